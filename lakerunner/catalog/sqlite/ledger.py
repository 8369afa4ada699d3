"""The ledger of sources in a catalog file: new digests in a tree, all others in packed runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lakerunner.catalog.ledger import HEADS, Run, Shelf, head_of, holds, source_digest, without

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.catalog.ledger import Block
    from lakerunner.model.segment import Source

_FIND = """
    SELECT number, digests FROM ledger_blocks WHERE number <= ? AND number >= ?
    ORDER BY number DESC LIMIT 1"""

_RUNS = "SELECT number, size, low, high, target FROM ledger_runs ORDER BY number"


def find_taken(connection: sqlite3.Connection, sources: Iterable[Source]) -> set[Source]:
    """Those of the sources that were taken.

    Each costs a walk down the tree of the new ones and one block of each run, of which there are a
    handful, wherever its digest lies.
    """
    digests = {source_digest(source): source for source in sources}
    runs = [Run(*row) for row in connection.execute(_RUNS)]
    new = "SELECT 1 FROM ledger_recent WHERE digest = ?"
    return {
        source
        for wanted, source in sorted(digests.items())
        if connection.execute(new, (wanted,)).fetchone()
        or any(holds(data, wanted) for _, data in _blocks_of(connection, runs, wanted))
    }


def _blocks_of(
    connection: sqlite3.Connection, runs: Sequence[Run], wanted: bytes
) -> Iterator[tuple[int, bytes]]:
    """The block of each run that may hold a digest, and its number."""
    head = head_of(wanted)
    for run in reversed(runs):
        if run.low <= head < run.high:
            first = run.number * HEADS
            yield from connection.execute(_FIND, (first + head, first))


def add_taken(connection: sqlite3.Connection, sources: Iterable[Source]) -> None:
    """Note that sources are taken which were not."""
    connection.executemany(
        "INSERT OR IGNORE INTO ledger_recent VALUES (?)",
        ((digest,) for digest in sorted(map(source_digest, sources))),
    )


def is_full(connection: sqlite3.Connection, size: int) -> bool:
    """Whether at least so many digests were not packed yet."""
    query = "SELECT 1 FROM ledger_recent LIMIT 1 OFFSET ?"
    return connection.execute(query, (size - 1,)).fetchone() is not None


def forget_taken(connection: sqlite3.Connection, sources: Iterable[Source]) -> None:
    """Note that sources are not taken, whether they were or not."""
    runs = [Run(*row) for row in connection.execute(_RUNS)]
    for unwanted in sorted(map(source_digest, sources)):
        connection.execute("DELETE FROM ledger_recent WHERE digest = ?", (unwanted,))
        for number, data in list(_blocks_of(connection, runs, unwanted)):
            if holds(data, unwanted):
                connection.execute(
                    "UPDATE ledger_blocks SET digests = ? WHERE number = ?",
                    (without(data, {unwanted}), number),
                )


class SqliteShelf(Shelf):
    """The ledger as a packer sees it. Whoever looks beside it sees a whole transaction, or none.

    Args:
        connection: The only writer, in a transaction.
    """

    block_digests: ClassVar[int] = 240

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def runs(self) -> list[Run]:
        """All runs."""
        return [Run(*row) for row in self._connection.execute(_RUNS)]

    def put_run(self, run: Run) -> None:
        """Replace the row of a run."""
        self._connection.execute(
            "REPLACE INTO ledger_runs (number, size, low, high, target) VALUES (?, ?, ?, ?, ?)", run
        )

    def drop_run(self, number: int) -> None:
        """Delete the row of a run."""
        self._connection.execute("DELETE FROM ledger_runs WHERE number = ?", (number,))

    def take_recent(self, at_least: int, limit: int) -> Sequence[bytes]:
        """Take the lowest digests of the tree."""
        query = "SELECT digest FROM ledger_recent ORDER BY digest LIMIT ?"
        found = [digest for (digest,) in self._connection.execute(query, (limit,))]
        if len(found) < max(at_least, 1):
            return []
        self._connection.execute("DELETE FROM ledger_recent WHERE digest <= ?", (found[-1],))
        return found

    def after(self, run: int, head: int, number: int) -> int:
        """Walk over so many numbers of blocks."""
        row = self._connection.execute(
            "SELECT number FROM ledger_blocks WHERE number >= ? AND number < ?"
            " ORDER BY number LIMIT 1 OFFSET ?",
            (run * HEADS + head, (run + 1) * HEADS, number),
        ).fetchone()
        return row[0] % HEADS if row else HEADS

    def take_blocks(self, run: int, low: int, high: int) -> Sequence[bytes]:
        """Read, then delete."""
        bounds = run * HEADS + low, run * HEADS + high
        where = "FROM ledger_blocks WHERE number >= ? AND number < ?"
        rows = self._connection.execute(f"SELECT digests {where} ORDER BY number", bounds)
        found = [digests for (digests,) in rows]
        self._connection.execute(f"DELETE {where}", bounds)
        return found

    def put_blocks(self, run: int, found: Iterable[Block]) -> None:
        """Insert all of them."""
        self._connection.executemany(
            "INSERT INTO ledger_blocks (number, digests) VALUES (?, ?)",
            ((run * HEADS + block.head, block.data) for block in found),
        )
