"""Which commit was the last one at a time, as a part: for as long as the past can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lakerunner.catalog.bucket.parquet import open_file, write_table
from lakerunner.limits import REMOVED_GRACE_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SCHEMA = pa.schema(
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
        table = open_file(data, _SCHEMA).read()
        return cls(*(table.column(name).to_numpy() for name in _SCHEMA.names))

    def encode(self) -> bytes:
        """The part as a Parquet file."""
        return write_table(_SCHEMA, [pa.table([self.before, self.newest_ns], schema=_SCHEMA)])

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
            np.concatenate([getattr(part, name) for part in parts]) for name in _SCHEMA.names
        )
        if oldest and len(before):
            kept = newest_ns >= newest_ns[-1] - _KEPT_NS
            before, newest_ns = before[kept], newest_ns[kept]
        return MomentPart(before, newest_ns)
