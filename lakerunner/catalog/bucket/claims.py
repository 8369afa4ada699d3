"""What is known of ids of segments and commits, and of what is set aside, as a part."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from lakerunner.catalog.bucket.digests import DigestIndex, split
from lakerunner.catalog.bucket.parquet import open_file, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

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
        high, low, self._kind, self._value = (
            table.column(name).combine_chunks().to_numpy() if table.num_rows else _empty(name)
            for name in _SCHEMA.names
        )
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
        return write_table(
            _SCHEMA, [pa.table([*self._digests, self._kind, self._value], schema=_SCHEMA)]
        )

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
        return ClaimPart(pa.table([high[keep], low[keep], kind[keep], value[keep]], schema=_SCHEMA))


def _empty(name: str) -> NDArray[Any]:
    return np.empty(0, dtype=_SCHEMA.field(name).type.to_pandas_dtype())


def _in_order(
    high: NDArray[np.uint64],
    low: NDArray[np.uint64],
    kind: NDArray[np.uint8],
    value: NDArray[np.int64],
) -> pa.Table:
    order = np.lexsort((low, high))
    return pa.table([high[order], low[order], kind[order], value[order]], schema=_SCHEMA)
