"""Cut a table into windows and put each into its declared order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.model.times import NANOS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class WindowTable(NamedTuple):
    """The rows of one window, sorted.

    Attributes:
        start_ns: Start of the window.
        table: Its rows, in declared order; one chunk per column.
        sort: The declared order: the columns of the wanted order that the table has.
    """

    start_ns: int
    table: pa.Table
    sort: tuple[str, ...]


def lay_out(table: pa.Table, window_ns: int, sort: Sequence[str]) -> Iterator[WindowTable]:
    """Sort rows and cut them where an epoch-aligned window ends.

    The sort is ascending with NULLs last and stable: rows that compare equal keep their order. Text
    is compared by its UTF-8 bytes. Columns that are NULL in every row of a window are left out.

    Args:
        table: Has a column `timestamp` without NULLs. One chunk per column.
        window_ns: Length of a window in nanoseconds.
        sort: Wanted order; columns that the table does not have are passed over.

    Yields:
        Windows in order of time; none for an empty table.
    """
    if not table.num_rows:
        return
    timestamps = table["timestamp"].chunk(0).cast(pa.int64()).to_numpy()
    windows = timestamps // window_ns
    present = [name for name in sort if name in table.schema.names]
    single = bool((windows == windows[0]).all())
    order = sorted_order(table, present, () if single and present else (windows,))
    sorted_table = table.take(pa.array(order)).combine_chunks()
    edges = [0, table.num_rows]
    if not single:
        edges[1:1] = (np.flatnonzero(np.diff(windows[order])) + 1).tolist()
    starts = windows[order][edges[:-1]] * window_ns
    for first, last, start in zip(edges, edges[1:], starts.tolist(), strict=False):
        part = _without_empty_columns(sorted_table.slice(first, last - first))
        kept = tuple(name for name in present if name in part.schema.names)
        yield WindowTable(start, part, kept)


def sorted_order(table: pa.Table, sort: Sequence[str], first: Sequence[Any] = ()) -> Any:
    """In which order rows come: positions, as an int64 array.

    Args:
        table: One chunk per column.
        sort: Columns of it.
        first: Numbers of each row by which it is sorted before all columns, the last one first.
    """
    return np.lexsort([*(_ranks(table[name].chunk(0)) for name in reversed(sort)), *first])


def _ranks(values: Any) -> Any:
    """Numbers that sort as the values do, NULLs last."""
    if pa.types.is_dictionary(values.type):
        rank = pc.rank(values.dictionary, tiebreaker="dense").to_numpy().astype(np.int64)
        by_code = np.append(rank, np.iinfo(np.int64).max)
        return by_code[pc.fill_null(values.indices, len(rank)).to_numpy()]
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    if pa.types.is_integer(values.type) and not values.null_count:
        return values.to_numpy()
    return pc.rank(values, tiebreaker="dense").to_numpy()


def _without_empty_columns(table: pa.Table) -> pa.Table:
    kept = [
        name
        for name, column in zip(table.schema.names, table.columns, strict=True)
        if column.null_count < table.num_rows
    ]
    return table.select(kept)


# Where a segment lies in the lake.

SEGMENTS_PREFIX = "segments/"
"""Everything below it in a lake is a segment."""


def segment_id(created_ns: int, epoch: int, entropy: bytes) -> str:
    """Make a segment's id: sortable by time of creation, unique by its entropy.

    Args:
        created_ns: When it was written, nanoseconds since the epoch of Unix.
        epoch: What its writer had read of the catalog before it put anything: see `model.head`.
        entropy: 8 random bytes.

    Example:
        >>> segment_id(1767225600 * 10**9, 7, bytes(8))
        '18867251edfa0000-0000000000000007-0000000000000000'
    """
    return f"{created_ns:016x}-{epoch:016x}-{entropy.hex()}"


def segment_of(key: str) -> str:
    """The id of the segment at a key.

    Example:
        >>> segment_of("segments/acme/logs/2026-01-01/00/1.parquet")
        '1'
    """
    return key.rpartition("/")[2].removesuffix(".parquet")


def segment_key(organization: str, table: str, window_start_ns: int, identifier: str) -> str:
    """Make a segment's key, relative to the lake.

    Example:
        >>> segment_key("acme", "logs", 1767225600 * 10**9, "1")
        'segments/acme/logs/2026-01-01/00/1.parquet'
    """
    start = datetime.fromtimestamp(window_start_ns // NANOS, UTC)
    return f"{SEGMENTS_PREFIX}{organization}/{table}/{start:%Y-%m-%d/%H}/{identifier}.parquet"
