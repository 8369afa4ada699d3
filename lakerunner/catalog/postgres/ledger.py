"""The ledger of sources in a database: new digests in a tree, all others in packed runs."""

from __future__ import annotations

from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, LiteralString

import psycopg

from lakerunner.catalog.ledger import HEADS, Run, Shelf, head_of, pack, source_digest, without
from lakerunner.catalog.postgres.pool import translate
from lakerunner.limits import CATALOG_BUSY_MS
from lakerunner.model.segment import Source, SourceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.catalog.ledger import Block
    from lakerunner.catalog.postgres.pool import Link, Pool

# Finding many sources or segments by their keys, in one statement each.

_INDEXED_BYTES = 800
"""Bytes of one text in an index: with three of them an entry still fits into a third of a page,
which is all that PostgreSQL allows."""

# OFFSET 0 keeps the inner query as it is: a lookup by the whole key. Joined freely, the server may
# walk all rejections of a bucket for each one, as long as it believes that there are few.
ASIDE: LiteralString = """
    SELECT asked.position, false AS taken
    FROM unnest(%(bucket)s::text[], %(key)s::text[], %(etag)s::text[])
        WITH ORDINALITY AS asked (bucket, key, etag, position)
    JOIN buckets ON buckets.url = asked.bucket
    WHERE EXISTS (
        SELECT FROM rejections
        WHERE bucket = buckets.number AND key = asked.key AND etag = asked.etag OFFSET 0)"""
"""Positions of those that are set aside, wholly or in part; they count from 1."""

SEGMENTS: LiteralString = """
    SELECT id, removed, payload FROM segments WHERE id = ANY(%(ids)s::text[])"""


def fold(text: str) -> str:
    """A text as the indexes hold it: itself, unless it is too long or has a NUL in it.

    Of such a one it is the beginning and a digest of the whole, which no other text has.

    Example:
        >>> fold("logs/1.binpb"), len(fold("é" * 5000).encode()) < 900
        ('logs/1.binpb', True)
    """
    data = text.encode()
    if len(data) <= _INDEXED_BYTES and b"\0" not in data:
        return text
    head = data[: _INDEXED_BYTES // 2].decode(errors="ignore").replace("\0", "")
    return f"{head}…{blake2b(data, digest_size=32).hexdigest()}"


def folded(source: Source) -> Source:
    """A source with all of its parts folded."""
    return Source(fold(source.bucket), fold(source.key), fold(source.etag))


def identities(sources: Iterable[Source]) -> dict[str, list[str]]:
    """The parts of many sources, folded, as the arrays `bucket`, `key` and `etag`."""
    all_folded = [folded(source) for source in sources]
    return {
        "bucket": [source.bucket for source in all_folded],
        "key": [source.key for source in all_folded],
        "etag": [source.etag for source in all_folded],
    }


def states_of(
    sources: Sequence[Source], rows: Iterable[tuple[Any, ...]]
) -> dict[Source, SourceState]:
    """The answers to `ledger.TAKEN` and `ASIDE`, by source: what was taken is taken."""
    known = sorted(rows)
    return {
        sources[position - 1]: SourceState.TAKEN if taken else SourceState.REJECTED
        for position, taken in known
    }


# The block of each run that may hold a digest: the last one that begins at or before it. A digest
# across the border of two others is none.
_BLOCK: LiteralString = """
    SELECT number, digests FROM ledger_blocks
    WHERE number <= run.number * 4294967296 + asked.head AND number >= run.number * 4294967296
    ORDER BY number DESC LIMIT 1"""

_ASKED: LiteralString = """
    FROM unnest(%(digests)s::bytea[], %(heads)s::bigint[])
        WITH ORDINALITY AS asked (digest, head, position)"""

_RECENT: LiteralString = "FROM ledger_recent WHERE digest = asked.digest"

_RUNS: LiteralString = f"""
    FROM ledger_runs AS run CROSS JOIN LATERAL ({_BLOCK}) AS block
    WHERE run.low <= asked.head AND run.high > asked.head
        AND mod(position(asked.digest IN block.digests), 16) = 1"""

TAKEN: LiteralString = f"""
    SELECT asked.position, true AS taken {_ASKED}
    WHERE EXISTS (SELECT 1 {_RECENT} OFFSET 0) OR EXISTS (SELECT 1 {_RUNS})"""
"""Positions of those that were taken; they count from 1."""

ADD: LiteralString = """
    INSERT INTO ledger_recent SELECT unnest(%(digests)s::bytea[]) ON CONFLICT DO NOTHING"""

_FORGET_RECENT: LiteralString = """
    DELETE FROM ledger_recent WHERE digest = ANY(%(digests)s::bytea[])"""

_HOLDING: LiteralString = f"""
    SELECT holding.*, asked.digest {_ASKED}
    CROSS JOIN LATERAL (SELECT block.* {_RUNS}) AS holding"""

_SET_BLOCKS: LiteralString = """
    UPDATE ledger_blocks SET digests = new.digests
    FROM unnest(%(numbers)s::bigint[], %(blocks)s::bytea[]) AS new (number, digests)
    WHERE ledger_blocks.number = new.number"""

_SLICE_LOCK: LiteralString = "SELECT pg_advisory_xact_lock(%s::int, hashtext(current_schema()))"
_TRY_LOCK: LiteralString = "SELECT pg_try_advisory_lock(%s::int, hashtext(current_schema()))"
_UNLOCK: LiteralString = "SELECT pg_advisory_unlock(%s::int, hashtext(current_schema()))"

_PACKER = 0x4C4B5032
"""First half of the advisory lock of whoever packs."""

_SLICE = 0x4C4B5033
"""First half of the advisory lock of whoever changes blocks, for one transaction."""


def digests_of(sources: Iterable[Source]) -> dict[str, list[bytes] | list[int]]:
    """The arrays that statements on the ledger take."""
    digests = [source_digest(folded(source)) for source in sources]
    return {"digests": digests, "heads": [head_of(digest) for digest in digests]}


def forget_taken(connection: Link, sources: Iterable[Source]) -> None:
    """Note that sources are not taken, in a transaction that no other one packs beside."""
    values = digests_of(sources)
    connection.execute(_SLICE_LOCK, (_SLICE,))
    connection.execute(_FORGET_RECENT, values)
    found: dict[int, tuple[bytes, set[bytes]]] = {}
    for number, data, digest in connection.execute(_HOLDING, values):
        found.setdefault(number, (data, set()))[1].add(digest)
    if found:
        blocks = [without(data, unwanted) for data, unwanted in found.values()]
        connection.execute(_SET_BLOCKS, {"numbers": list(found), "blocks": blocks})


def pack_ledger(pool: Pool, limit: int, *, at_least: int = 0) -> None:
    """Pack and merge what is due, unless somebody else does so now.

    Args:
        pool: Lends a connection. With it ends the right to pack, so whoever dies is followed.
        limit: Digests of a run that is not merged any more.
        at_least: Digests that are packed; see `ledger.pack`.

    Raises:
        CatalogUnavailableError: The server cannot be reached, or is busy.
    """
    with pool.lent() as connection:

        @contextmanager
        def begin() -> Iterator[PostgresShelf]:
            with connection.transaction():
                connection.execute(_SLICE_LOCK, (_SLICE,))
                yield PostgresShelf(connection)
            _reuse(connection)

        try:
            if not connection.execute(_TRY_LOCK, (_PACKER,)).fetchall()[0][0]:
                return
            try:
                pack(begin, limit, at_least=at_least)
            finally:
                if not connection.closed:
                    connection.execute(_UNLOCK, (_PACKER,))
        except psycopg.Error as error:
            raise translate(error, pool.address) from error


def _reuse(connection: Link) -> None:
    """Let the next slice use the room of what this one deleted: nothing is there twice for long.

    The server would come round to it, when a merge has doubled the table. It looks at pages that
    changed since the last time, and at a small index.
    """
    busy = f"SET statement_timeout = {CATALOG_BUSY_MS}"
    connection.execute("SET statement_timeout = 0")
    connection.execute("VACUUM (TRUNCATE false) ledger_blocks")
    connection.execute("VACUUM (TRUNCATE false) ledger_recent")
    connection.execute(busy.encode())


class PostgresShelf(Shelf):
    """The ledger as a packer sees it. A statement beside it sees a whole transaction, or none.

    Args:
        connection: In a transaction that holds the lock on blocks.
    """

    block_digests: ClassVar[int] = 496

    def __init__(self, connection: Link) -> None:
        self._connection = connection

    def runs(self) -> list[Run]:
        """All runs."""
        query: LiteralString = "SELECT number, size, low, high, target FROM ledger_runs"
        return sorted(Run(*row) for row in self._connection.execute(query))

    def put_run(self, run: Run) -> None:
        """Replace the row of a run."""
        self._connection.execute(
            "INSERT INTO ledger_runs (number, size, low, high, target)"
            " VALUES (%(number)s, %(size)s, %(low)s, %(high)s, %(target)s)"
            " ON CONFLICT (number) DO UPDATE SET size = excluded.size, low = excluded.low,"
            " high = excluded.high, target = excluded.target",
            run._asdict(),
        )

    def drop_run(self, number: int) -> None:
        """Delete the row of a run."""
        self._connection.execute("DELETE FROM ledger_runs WHERE number = %s", (number,))

    def take_recent(self, at_least: int, limit: int) -> Sequence[bytes]:
        """Take the lowest digests of the tree: those that are there now, and no others."""
        enough: LiteralString = "SELECT count(*) FROM (SELECT FROM ledger_recent LIMIT %s) AS few"
        wanted = max(at_least, 1)
        if self._connection.execute(enough, (wanted,)).fetchall() < [(wanted,)]:
            return []
        rows = self._connection.execute(
            "DELETE FROM ledger_recent WHERE digest = ANY (ARRAY ("
            "SELECT digest FROM ledger_recent ORDER BY digest LIMIT %s)) RETURNING digest",
            (limit,),
            binary=True,
        )
        return [digest for (digest,) in rows]

    def after(self, run: int, head: int, number: int) -> int:
        """Walk over so many numbers of blocks."""
        rows = self._connection.execute(
            "SELECT number FROM ledger_blocks WHERE number >= %s AND number < %s"
            " ORDER BY number LIMIT 1 OFFSET %s",
            (run * HEADS + head, (run + 1) * HEADS, number),
        ).fetchall()
        return rows[0][0] % HEADS if rows else HEADS

    def take_blocks(self, run: int, low: int, high: int) -> Sequence[bytes]:
        """Delete them, and sort what comes back."""
        rows = self._connection.execute(
            "DELETE FROM ledger_blocks WHERE number >= %s AND number < %s"
            " RETURNING number, digests",
            (run * HEADS + low, run * HEADS + high),
            binary=True,
        )
        return [digests for _, digests in sorted(rows)]

    def put_blocks(self, run: int, found: Iterable[Block]) -> None:
        """Insert all of them at once."""
        numbers, data = [], []
        for block in found:
            numbers.append(run * HEADS + block.head)
            data.append(block.data)
        self._connection.execute(
            "INSERT INTO ledger_blocks SELECT * FROM unnest(%s::bigint[], %s::bytea[])",
            (numbers, data),
        )
