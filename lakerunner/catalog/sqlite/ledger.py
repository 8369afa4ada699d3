"""The ledger of sources in a catalog file: new digests in a tree, all others in packed runs."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from lakerunner.catalog.ledger import (
    BLOCK_DIGESTS,
    DIGEST_BYTES,
    blocks,
    head_of,
    holds,
    source_digest,
    to_merge,
    union,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from lakerunner.catalog.sqlite.queueing import WriterQueue
    from lakerunner.model.source import Source

    Writing: TypeAlias = Callable[[], AbstractContextManager[sqlite3.Connection]]
    """Lends a connection for a transaction: see `pool.ConnectionPool.writing`."""

RECENT = 32_768
"""Digests in the tree before they are packed. More make each commit touch more pages."""

SLICE = 262_144
"""Digests that one transaction of a merge writes: some 4 MB, and what others wait for."""

_HEADS = 1 << 32

_FIND = """
    SELECT digests FROM ledger_blocks WHERE number <= ? AND number >= ?
    ORDER BY number DESC LIMIT 1"""

_RANGE = """
    SELECT digests FROM ledger_blocks WHERE number < ? AND number >= coalesce(
        (SELECT max(number) FROM ledger_blocks WHERE number <= ? AND number >= ?), ?)
    ORDER BY number"""


def find_taken(connection: sqlite3.Connection, sources: Iterable[Source]) -> set[Source]:
    """Those of the sources that were taken.

    Each costs a walk down the tree of the new ones and one block of each run, of which there are a
    handful, wherever its digest lies.
    """
    digests = {source_digest(source): source for source in sources}
    query = "SELECT number FROM ledger_runs WHERE whole ORDER BY number DESC"
    runs = [number for (number,) in connection.execute(query)]
    found = set()
    for wanted, source in sorted(digests.items()):
        new = "SELECT 1 FROM ledger_recent WHERE digest = ?"
        if connection.execute(new, (wanted,)).fetchone() or any(
            _in_run(connection, run, wanted) for run in runs
        ):
            found.add(source)
    return found


def _in_run(connection: sqlite3.Connection, run: int, wanted: bytes) -> bool:
    first = run * _HEADS
    row = connection.execute(_FIND, (first + head_of(wanted), first)).fetchone()
    return row is not None and holds(row[0], wanted)


def add_taken(connection: sqlite3.Connection, sources: Iterable[Source]) -> None:
    """Note that sources are taken which were not."""
    connection.executemany(
        "INSERT OR IGNORE INTO ledger_recent VALUES (?)",
        ((digest,) for digest in sorted(map(source_digest, sources))),
    )


class Packer:
    """Packs what was taken into runs, and merges runs, outside of any commit.

    In each transaction a bounded number of digests is written. Whoever looks meanwhile sees the
    old runs, until the new one takes their place. One process packs at a time; one that dies leaves
    a run that is not whole, which the next one deletes.

    Args:
        writing: Lends a connection that is the only writer.
        queue: Says who packs.
    """

    def __init__(self, writing: Writing, queue: WriterQueue) -> None:
        self._writing = writing
        self._queue = queue

    def pack(self, limit: int, *, all_of_it: bool = False) -> None:
        """Pack and merge if it is due, unless somebody else does so now.

        Args:
            limit: Digests of a run that is not merged any more.
            all_of_it: Pack however few there are.
        """
        with suppress(BlockingIOError), self._queue.alone():
            self._sweep()
            while self._pack_recent(1 if all_of_it else RECENT):
                pass
            while self._merge(limit):
                pass

    def _pack_recent(self, at_least: int) -> bool:
        with self._writing() as connection:
            query = "SELECT digest FROM ledger_recent ORDER BY digest LIMIT ?"
            found = [digest for (digest,) in connection.execute(query, (SLICE,))]
            if len(found) < at_least:
                return False
            run = _new_run(connection, len(found))
            _write(connection, run, found)
            connection.execute("DELETE FROM ledger_recent WHERE digest <= ?", (found[-1],))
            connection.execute("UPDATE ledger_runs SET whole = 1 WHERE number = ?", (run,))
        return True

    def _merge(self, limit: int) -> bool:
        with self._writing() as connection:
            query = "SELECT number, size FROM ledger_runs WHERE whole ORDER BY number"
            runs = connection.execute(query).fetchall()
            count = to_merge([size for _, size in runs], limit)
            if not count:
                return False
            merged = [number for number, _ in runs[-count:]]
            total = sum(size for _, size in runs[-count:])
            run = _new_run(connection, 0)
        size = 0
        parts = max(1, -(-total // SLICE))
        bounds = [part * _HEADS // parts for part in range(parts + 1)]
        for low, high in pairwise(bounds):
            with self._writing() as connection:
                size += _write(connection, run, _between(connection, merged, low, high))
        with self._writing() as connection:
            connection.execute(
                "UPDATE ledger_runs SET whole = 1, size = ? WHERE number = ?", (size, run)
            )
            connection.executemany(
                "UPDATE ledger_runs SET whole = 0 WHERE number = ?", [(one,) for one in merged]
            )
        self._sweep()
        return True

    def _sweep(self) -> None:
        """Delete runs that were merged, or never finished."""
        while True:
            with self._writing() as connection:
                query = "SELECT number FROM ledger_runs WHERE NOT whole LIMIT 1"
                row = connection.execute(query).fetchone()
                if row is None:
                    return
                first = row[0] * _HEADS
                deleted = connection.execute(
                    "DELETE FROM ledger_blocks WHERE number IN (SELECT number FROM ledger_blocks"
                    " WHERE number >= ? AND number < ? LIMIT ?)",
                    (first, first + _HEADS, max(1, SLICE // BLOCK_DIGESTS)),
                ).rowcount
                if not deleted:
                    connection.execute("DELETE FROM ledger_runs WHERE number = ?", row)


def _new_run(connection: sqlite3.Connection, size: int) -> int:
    run = connection.execute(
        "INSERT INTO ledger_runs (size, whole) VALUES (?, 0)", (size,)
    ).lastrowid
    assert run is not None  # noqa: S101 - an INSERT always has one
    return run


def _write(connection: sqlite3.Connection, run: int, digests: Sequence[bytes]) -> int:
    """Write digests of one part of a run; returns how many there are."""
    found = union(digests)
    connection.executemany(
        "INSERT INTO ledger_blocks (number, digests) VALUES (?, ?)",
        ((run * _HEADS + block.head, block.data) for block in blocks(found)),
    )
    return len(found)


def _between(
    connection: sqlite3.Connection, runs: Sequence[int], low: int, high: int
) -> list[bytes]:
    """Digests of several runs whose heads lie in `[low, high)`."""
    found = []
    for run in runs:
        first = run * _HEADS
        rows = connection.execute(_RANGE, (first + high, first + low, first, first + low))
        data = b"".join(digests for (digests,) in rows)
        found.append(data[_position(data, low) : _position(data, high)])
    return found


def _position(data: bytes, head: int) -> int:
    """Where digests of a head or a greater one begin, by bisection."""
    low, high = 0, len(data) // DIGEST_BYTES
    while low < high:
        middle = (low + high) // 2
        at = middle * DIGEST_BYTES
        if head_of(data[at : at + DIGEST_BYTES]) < head:
            low = middle + 1
        else:
            high = middle
    return low * DIGEST_BYTES
