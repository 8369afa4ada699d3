"""What is known of ids of segments and commits, and of what is set aside, as a part."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lakerunner.catalog.ledger import digest
from lakerunner.limits import REMOVED_GRACE_NS, ZSTD_LEVEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

# Digests of what can be claimed once, and finding them in sorted arrays.


def segment_digest(segment_id: str) -> bytes:
    """The 16 bytes that stand for the id of a segment."""
    return digest(b"segment", segment_id)


def commit_digest(commit_id: str) -> bytes:
    """The 16 bytes that stand for the id of a commit."""
    return digest(b"commit", commit_id)


def split(digests: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    r"""The two halves of each digest, as numbers.

    Example:
        >>> split([bytes(7) + b"\1" + bytes(8)])
        (array([1], dtype=uint64), array([0], dtype=uint64))
    """
    pairs = np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


_FEW = 4096
"""So many rows are sorted sooner than sieved."""

_SIEVE_BITS = 4
"""One of two to this power rows passes a sieve by chance, or one of twice as many."""


class DigestIndex:
    """Where digests stand among the rows of a part. Immutable; no digest occurs twice.

    Args:
        high: First half of each row's digest.
        low: Second half.
        in_order: The rows are sorted by digest already; otherwise they are, at first use.
    """

    def __init__(
        self, high: NDArray[np.uint64], low: NDArray[np.uint64], *, in_order: bool = False
    ) -> None:
        self._high, self._low = high, low
        self._sorted = (np.arange(len(high)), high, low) if in_order else None

    def find(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The row of each digest, or -1."""
        found = np.full(len(high), -1, dtype=np.int64)
        if not len(self._high) or not len(high):
            return found
        if self._sorted is None and len(self._high) > _FEW:
            return self._find_sieved(high, low)
        order, sorted_high, sorted_low = self._sorted or self._sort()
        at = np.searchsorted(sorted_high, high)
        left = np.arange(len(high))
        while len(left):
            left = left[at[left] < len(sorted_high)]
            left = left[sorted_high[at[left]] == high[left]]
            same = sorted_low[at[left]] == low[left]
            found[left[same]] = order[at[left[same]]]
            left = left[~same]
            at[left] += 1  # two digests that share their first half: look at the next row
        return found

    def _find_sieved(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
        # To sort a million rows takes a second. A sieve of the first bits of what is asked for,
        # some times as wide as there are digests, leaves few of them to look at.
        bits = min(max(len(high).bit_length() + _SIEVE_BITS, 10), 30)
        shift = np.uint64(64 - bits)
        sieve = np.zeros(1 << bits, dtype=bool)
        sieve[high >> shift] = True
        rows = np.flatnonzero(sieve[self._high >> shift])
        few = DigestIndex(self._high[rows], self._low[rows])
        few._sort()
        found = few.find(high, low)
        return np.where(found >= 0, rows[found] if len(rows) else -1, -1)

    def _sort(self) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64]]:
        # Two threads may both come here; they store the same.
        order = np.lexsort((self._low, self._high))
        self._sorted = (order, self._high[order], self._low[order])
        return self._sorted


# Parquet files in memory, as parts are stored: with checksums, so that damage shows.


def write_table(schema: pa.Schema, groups: Iterable[pa.Table]) -> bytes:
    """A Parquet file of one row group for each table."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        for group in groups:
            writer.write_table(group, row_group_size=max(1, group.num_rows))
    return bytes(sink.getvalue())


def open_file(data: bytes, schema: pa.Schema) -> pq.ParquetFile:
    """A Parquet file to read row groups from.

    Raises:
        pa.ArrowInvalid: It is damaged, or has other columns.
    """
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    if not file.schema_arrow.equals(schema):
        names = file.schema_arrow.names
        raise pa.ArrowInvalid(f"columns {names} where {schema.names} belong")
    return file


def numbers(table: pa.Table, name: str) -> NDArray[Any]:
    """A column of numbers without NULLs as it lies in memory.

    Not by `to_numpy`, nor by `pa.array` the other way: both import pandas if it is installed, which
    takes longer than to open a catalog of a million segments.
    """
    chunks = [np.from_dlpack(chunk) for chunk in table.column(name).chunks if len(chunk)]
    if len(chunks) == 1:
        return chunks[0]
    return np.concatenate([*chunks, _empty(table.schema.field(name).type)])


def table_of(schema: pa.Schema, columns: Sequence[NDArray[Any]]) -> pa.Table:
    """The other way round: numbers as the columns of a table, in the order of its schema."""
    arrays = [
        pa.Array.from_buffers(
            field.type,
            len(values),
            [None, pa.py_buffer(np.ascontiguousarray(values, dtype=field.type.to_pandas_dtype()))],
        )
        for field, values in zip(schema, columns, strict=True)
    ]
    return pa.table(arrays, schema=schema)


def _empty(kind: pa.DataType) -> NDArray[Any]:
    return np.empty(0, dtype=kind.to_pandas_dtype())


COMMIT_IDS = 1_000_000
"""Commits whose ids are remembered, the last ones of the lake. Costs 25 bytes of a writer's memory
each. A commit that is sent again later is refused over its segments and sources."""

_SCHEMA = pa.schema(
    [
        pa.field("high", pa.uint64(), nullable=False),
        pa.field("low", pa.uint64(), nullable=False),
        pa.field("kind", pa.uint8(), nullable=False),
        pa.field("value", pa.int64(), nullable=False),
    ]
)


class Kind(IntEnum):
    """What a claim is about; the numbers are part of the format.

    Sources that were taken have runs of their own since version 3, which moves them there.
    """

    TAKEN = 1
    REJECTED = 2
    LIVE = 3
    REMOVED = 4
    PURGED = 5
    COMMIT = 6
    CONDEMNED = 7


class Claim(NamedTuple):
    """The state of one source, segment or commit id.

    Attributes:
        kind: The state.
        value: The number of the table of a segment, the sequence of a commit, or the epoch of a
            condemned segment; `MAX_NS` for one that has none.
    """

    kind: Kind
    value: int = 0

    @classmethod
    def rejected(cls) -> Self:
        """A source that is set aside."""
        return cls(Kind.REJECTED)

    @classmethod
    def live(cls, table: int) -> Self:
        """A segment of the current state."""
        return cls(Kind.LIVE, table)

    @classmethod
    def removed(cls, table: int) -> Self:
        """A segment that only the past shows."""
        return cls(Kind.REMOVED, table)

    @classmethod
    def purged(cls) -> Self:
        """A segment or source of which nothing is known any more; hides an older claim."""
        return cls(Kind.PURGED)

    @classmethod
    def condemned(cls, epoch: int) -> Self:
        """A segment that is never to be added."""
        return cls(Kind.CONDEMNED, epoch)

    @classmethod
    def commit(cls, sequence: int) -> Self:
        """A commit that was applied."""
        return cls(Kind.COMMIT, sequence)


class ClaimPart:
    """Claims in the order of their digests. Immutable.

    Args:
        table: Rows of the schema of this part, each digest once.
    """

    def __init__(self, table: pa.Table) -> None:
        high, low, self._kind, self._value = (numbers(table, name) for name in _SCHEMA.names)
        self._index = DigestIndex(high, low, in_order=True)
        self._digests = high, low

    @classmethod
    def of(cls, claims: Mapping[bytes, Claim]) -> ClaimPart:
        """A part of new claims."""
        high, low = split(list(claims))
        kinds = np.array([claim.kind for claim in claims.values()], dtype=np.uint8)
        values = np.array([claim.value for claim in claims.values()], dtype=np.int64)
        return cls(_in_order(high, low, kinds, values))

    @classmethod
    def decode(cls, data: bytes) -> ClaimPart:
        """Read what `encode` wrote; raises `pa.ArrowException` if it is something else."""
        return cls(open_file(data, _SCHEMA).read())

    def encode(self) -> bytes:
        """The part as a Parquet file."""
        return write_table(_SCHEMA, [table_of(_SCHEMA, [*self._digests, self._kind, self._value])])

    def __len__(self) -> int:
        return len(self._kind)

    def find(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> list[Claim | None]:
        """The claim of each digest, or None."""
        if not len(self):
            return [None] * len(high)
        rows = self._index.find(high, low)
        kinds, values = self._kind[rows].tolist(), self._value[rows].tolist()
        return [
            Claim(Kind(kind), value) if row >= 0 else None
            for row, kind, value in zip(rows.tolist(), kinds, values, strict=True)
        ]

    def taken(self) -> list[bytes]:
        """Sources that were taken: only in parts of before version 3."""
        rows = np.flatnonzero(self._kind == Kind.TAKEN)
        pairs = np.stack([half[rows] for half in self._digests], axis=1).astype(">u8").tobytes()
        return [pairs[at : at + 16] for at in range(0, len(pairs), 16)]

    @staticmethod
    def merge(parts: Sequence[ClaimPart], *, oldest: bool, sequence: int, floor: int) -> ClaimPart:
        """One part with the newest claim of each digest.

        Args:
            parts: From old to new.
            oldest: There is no older part, so purged claims hide nothing any more.
            sequence: The last commit; ids of commits long before it are dropped.
            floor: The epoch below which no segment is added; nothing below it need be condemned.
        """
        high, low = (
            np.concatenate([part._digests[half] for part in parts])  # noqa: SLF001 - its own class
            for half in (0, 1)
        )
        kind = np.concatenate([part._kind for part in parts])  # noqa: SLF001 - its own class
        value = np.concatenate([part._value for part in parts])  # noqa: SLF001 - its own class
        order = np.lexsort((low, high))  # stable: of equal digests, the newest comes last
        high, low, kind, value = high[order], low[order], kind[order], value[order]
        keep = np.ones(len(high), dtype=bool)
        keep[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        keep &= (kind != Kind.COMMIT) | (value > sequence - COMMIT_IDS)
        keep &= (kind != Kind.CONDEMNED) | (value >= floor)
        keep &= kind != Kind.TAKEN
        if oldest:
            keep &= kind != Kind.PURGED
        return ClaimPart(table_of(_SCHEMA, [high[keep], low[keep], kind[keep], value[keep]]))


def _in_order(
    high: NDArray[np.uint64],
    low: NDArray[np.uint64],
    kind: NDArray[np.uint8],
    value: NDArray[np.int64],
) -> pa.Table:
    order = np.lexsort((low, high))
    return table_of(_SCHEMA, [high[order], low[order], kind[order], value[order]])


# Which commit was the last one at a time, as a part: for as long as the past can be read.

_MOMENTS = pa.schema(
    [
        pa.field("before", pa.int64(), nullable=False),
        pa.field("newest_ns", pa.int64(), nullable=False),
    ]
)

_KEPT_NS = 4 * REMOVED_GRACE_NS
"""Times that lie so long before the newest commit are forgotten when parts are merged."""

Moment = tuple[int, int]
"""The commit before one that is later than all before it, and the time of that one."""


class MomentPart:
    """Commits that were later than all before them, in their order. Immutable.

    Args:
        before: The commit before each.
        newest_ns: Its time; only grows.
    """

    def __init__(self, before: NDArray[np.int64], newest_ns: NDArray[np.int64]) -> None:
        self.before, self.newest_ns = before, newest_ns

    @classmethod
    def of(cls, moments: Sequence[Moment]) -> MomentPart:
        """A part of new moments."""
        before, newest_ns = np.array(moments, dtype=np.int64).reshape(-1, 2).T
        return cls(before, newest_ns)

    @classmethod
    def decode(cls, data: bytes) -> MomentPart:
        """Read what `encode` wrote; raises `pa.ArrowException` if it is something else."""
        table = open_file(data, _MOMENTS).read()
        return cls(*(numbers(table, name) for name in _MOMENTS.names))

    def encode(self) -> bytes:
        """The part as a Parquet file."""
        return write_table(_MOMENTS, [table_of(_MOMENTS, [self.before, self.newest_ns])])

    def __len__(self) -> int:
        return len(self.before)

    def first_after(self, time_ns: int) -> int | None:
        """The commit before the first one after a time; None if none of these is."""
        index = int(np.searchsorted(self.newest_ns, time_ns, side="right"))
        return int(self.before[index]) if index < len(self) else None

    @staticmethod
    def merge(parts: Sequence[MomentPart], *, oldest: bool) -> MomentPart:
        """One part that says what these say together.

        Args:
            parts: From old to new.
            oldest: There is no older part: what lies too long back is left out.
        """
        before, newest_ns = (
            np.concatenate([getattr(part, name) for part in parts]) for name in _MOMENTS.names
        )
        if oldest and len(before):
            kept = newest_ns >= newest_ns[-1] - _KEPT_NS
            before, newest_ns = before[kept], newest_ns[kept]
        return MomentPart(before, newest_ns)
