"""What a catalog knows about a segment: enough to plan a query without opening the file."""

from __future__ import annotations

import msgspec

from lakerunner.model.signal import Signal
from lakerunner.model.source import Source

StatValue = str | int | float | bool
"""A bound in a column's own order; timestamps are integer nanoseconds."""


class ColumnStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known about one column of one segment.

    Absent bounds say nothing; a column that is missing from `Segment.columns` is NULL in every row.

    Attributes:
        type: Arrow type as text, a key of `lakerunner.schema.types`: `string`, `int64`, …
        nulls: Number of NULLs.
        min: Smallest value; for text it may be a prefix, which never lies above the true value.
        max: Largest value, exact.
        values: Every distinct value in order, where there are few; None when unknown.
        key: The attribute key as it was sent; empty for columns that are no attributes.
        types: The OTLP value types that were merged into this column, in order.
        overflow: The value lives in the segment's overflow map and not in a column of its own.
        filter: For a column of ids, what `lakerunner.schema.id_filter` wrote of it; else empty.
    """

    type: str
    nulls: int = 0
    min: StatValue | None = None
    max: StatValue | None = None
    values: tuple[str, ...] | None = None
    key: str = ""
    types: tuple[str, ...] = ()
    overflow: bool = False
    filter: str = ""


class Segment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One immutable Parquet file: one organization, one signal, one window, one sort order.

    Attributes:
        id: Unique and sortable by time of creation.
        organization: Whose rows these are.
        signal: Which table they belong to.
        key: Key of the object, relative to the lake.
        window_start_ns: Start of the epoch-aligned window; no row lies before it.
        window_ns: Length of the window; no row lies at or past its end.
        min_timestamp_ns: Smallest timestamp in it.
        max_timestamp_ns: Largest timestamp in it (inclusive).
        rows: Number of rows, at least 1.
        bytes: Size of the object.
        sort: Declared order: column names, ascending, NULLs last.
        columns: Statistics by column name.
        created_ns: When it was written.
        commit_id: The commit it was written for.
        sources: The input objects its rows came from.
        parents: Ids of the segments it replaces, for a compacted segment.
        level: 0 as ingested; one more than its parents when compacted.
        format_version: Version of the file layout (`lakerunner.limits.SEGMENT_FORMAT_VERSION`).
        siblings: Ids of all segments of its commit, its own among them. Only the segment that is
            put last has any: where it is, all of them were put. See `lakerunner.recover`.
        replaces: For a compacted segment, `parents` and what these replaced, and so on: nothing of
            it is live any more. Its `sources` are those of all of them.
        attests: For a compacted segment, what its `parents` named as `siblings` and `attests`:
            these were committed, though what named them may be gone.
    """

    id: str
    organization: str
    signal: Signal
    key: str
    window_start_ns: int
    window_ns: int
    min_timestamp_ns: int
    max_timestamp_ns: int
    rows: int
    bytes: int
    sort: tuple[str, ...]
    columns: dict[str, ColumnStats]
    created_ns: int
    commit_id: str
    sources: tuple[Source, ...] = ()
    parents: tuple[str, ...] = ()
    level: int = 0
    format_version: int = 1
    siblings: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    attests: tuple[str, ...] = ()


def encode_segment(segment: Segment) -> bytes:
    """Write a segment's description as JSON, for a catalog or a file footer."""
    return msgspec.json.encode(segment)


_DECODER = msgspec.json.Decoder(Segment)


def decode_segment(data: bytes | str) -> Segment:
    """Read what `encode_segment` wrote; fields that a newer version added are ignored.

    Raises:
        msgspec.ValidationError: The data is not a segment's description.
    """
    return _DECODER.decode(data)
