"""What a catalog knows about a segment: enough to plan a query without opening the file."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

import msgspec

from lakerunner.limits import DECODED_SEGMENTS
from lakerunner.model.card import card, listing
from lakerunner.model.times import isoformat
from lakerunner.printable import counted

# Where rows came from: the identity of an input object, and what became of it.


class Source(msgspec.Struct, frozen=True, order=True):
    """The identity of one version of one input object.

    Two sources are the same object exactly when all three parts are equal. Content is never part
    of the identity: two objects with equal bytes are two objects.

    Attributes:
        bucket: URL of the bucket, without a trailing slash: `s3://acme-telemetry`, `file://`.
        key: Full key of the object inside the bucket.
        etag: The store's version marker (ETag, generation, or modification time and size).

    Example:
        >>> Source("s3://raw", "otel-raw/acme/c1/logs_1.binpb", "9a0364b9").url
        's3://raw/otel-raw/acme/c1/logs_1.binpb'
    """

    bucket: str
    key: str
    etag: str

    @property
    def url(self) -> str:
        """The object's URL, for messages."""
        return f"{self.bucket}/{self.key}"


LAKE = "lake:"
"""As the bucket of a source: a segment of the lake itself that was set aside. No object is there
to be taken again."""


HANDED = ("kafka://", "request://")
"""As the start of the bucket of a source: it was handed over under a name, and lies nowhere."""


class SourceState(StrEnum):
    """What a catalog knows of a source."""

    TAKEN = "taken"
    REJECTED = "rejected"


UNKNOWN_ROWS = -1
"""As the number of rows of a source: a recovered catalog cannot tell."""


class TakenSource(msgspec.Struct, frozen=True):
    """A source whose every row is in the lake.

    Attributes:
        source: Its identity.
        rows: Rows that came from it; 0 for an object that holds none, or `UNKNOWN_ROWS`.
    """

    source: Source
    rows: int


class Rejection(msgspec.Struct, frozen=True):
    """A source, or a part of one, that was set aside.

    Attributes:
        source: The object.
        code: An `lakerunner.errors.ErrorCode` value.
        reason: One sentence for a person.
        rows: How many rows or lines were set aside, or None for the whole object.
        rejected_at_ns: When, in nanoseconds since the epoch.
    """

    source: Source
    code: str
    reason: str
    rejected_at_ns: int
    rows: int | None = None


StatValue = str | int | float | bool
"""A bound in a column's own order; timestamps are integer nanoseconds."""


class ColumnStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known about one column of one segment.

    Absent bounds say nothing; a column that is missing from `Segment.columns` is NULL in every row.

    Attributes:
        type: Arrow type as text, a key of `lakerunner.schema.arrays`: `string`, `int64`, …
        nulls: Number of NULLs.
        min: Smallest value; for text it may be a prefix, which never lies above the true value.
        max: Largest value, exact.
        values: Every distinct value in order, where there are few; None when unknown.
        key: The attribute key as it was sent; empty for columns that are no attributes.
        types: The OTLP value types that were merged into this column, in order.
        overflow: The value lives in the segment's overflow map and not in a column of its own.
        filter: For a column of ids, what `lakerunner.schema.ids` wrote of it; else empty.
        counts: Rows that have each of `values`, in their order; None when unknown.
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
    counts: tuple[int, ...] | None = None


class FilterSection(msgspec.Struct, frozen=True, array_like=True):
    """Where the token filter of some rows of a segment lies; see `segments.token_filter`.

    Attributes:
        rows: How many rows it is of; those of the sections before it come first.
        start: Where it begins in the file, in bytes.
        words: Chunks, bytes of each, and bits a token of its filter of words and values.
        grams: The same of the filter of parts of words, which follows.
        facts: What else holds for its texts; see `schema.words`.
        low: Smallest value of each column of the declared order; None where nothing is known.
        high: Largest value of each.
        strides: Of both filters, bytes from the beginning of a chunk to that of the next; 0 where
            they follow one another.
        grams_start: Where the second filter begins; 0 where it follows the first.
    """

    rows: int
    start: int
    words: tuple[int, int, int]
    grams: tuple[int, int, int]
    facts: int = 0
    low: tuple[StatValue | None, ...] = ()
    high: tuple[StatValue | None, ...] = ()
    strides: tuple[int, int] = (0, 0)
    grams_start: int = 0


class Segment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One immutable Parquet file: one organization, one table, one window, one sort order.

    Attributes:
        id: Unique and sortable by time of creation.
        organization: Whose rows these are.
        table: Which table they belong to.
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
        sources: The input objects its rows came from: in the file and in the commit that adds it. A
            catalog does not repeat them with each segment; `Catalog.sources` knows them.
        parents: Ids of the segments it replaces, for a compacted segment.
        level: 0 as ingested; one more than its parents when compacted.
        format_version: Version of the file layout (`lakerunner.limits.SEGMENT_FORMAT_VERSION`);
            where a description does not say, it is 1.
        siblings: Ids of all segments of its commit, its own among them. Only the segment that is
            put last has any: where it is, all of them were put. See `lakerunner.recover`.
        replaces: For a compacted segment, `parents` and what these replaced, and so on: nothing of
            it is live any more. Its `sources` are those of all of them.
        attests: For a compacted segment, what its `parents` named as `siblings` and `attests`:
            these were committed, though what named them may be gone.
        resolution_ns: Length of the buckets its rows sum up, in nanoseconds; 0 for rows as sent.
        inputs: Ids of segments of which it is made and which it does not replace, such as the raw
            points below a rollup.
        beside: Ids of segments whose rows it was made with the help of and does not hold: from the
            points before a window, counters go on.
        made_by: The rule that made it, with its version; empty for ingestion.
        kind: What made it: empty for ingestion, else `compact`, `rewrite` or `rollup`.
        epoch: Where the catalog stood when its writer began, as its id says, too: what it was made
            of was the state after that commit. See `lakerunner.model.commit`.
        checksums: Of its column chunks and of what follows them; see
            `lakerunner.segments.checksums`. Empty in the footer, which cannot know its own, and
            where only the footer is known.
        oldest: For a segment made of others, the lowest epoch of those whose rows it has; 0 where
            that is its own. See `lakerunner.model.deletion`.
        applied: Ids of the deletions of which it has no rows any more, though it is old enough.
        statement: What it states instead of rows, as JSON; only in tables of a lake's own.
        filters: The sections of its token filter in order; empty if it has none.
        fingerprint_rules: Versions of the rules that made the templates and fingerprints of its log
            rows (`lakerunner.limits.FINGERPRINT_RULES`), ascending; more than one where rows of
            several were merged. Where a description of logs does not say, it is version 1.
    """

    id: str
    organization: str
    table: str
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
    resolution_ns: int = 0
    inputs: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    made_by: str = ""
    kind: str = ""
    epoch: int = 0
    checksums: str = ""
    oldest: int = 0
    applied: tuple[str, ...] = ()
    statement: str = ""
    filters: tuple[FilterSection, ...] = ()
    fingerprint_rules: tuple[int, ...] = ()

    def __repr__(self) -> str:
        said = f"{counted(self.rows, 'row')}, {counted(self.bytes, 'byte')}, {_span(self)}"
        return f"<Segment {self.id} of {self.table}: {said}>"

    def _repr_html_(self) -> str:
        names = ("organization", "table", "rows", "bytes", "level", "key")
        pairs = [("time", _span(self)), *((name, getattr(self, name)) for name in names)]
        return card(f"Segment {self.id}", [*pairs, ("columns", tuple(self.columns))])


def _span(segment: Segment) -> str:
    first, last = segment.min_timestamp_ns, segment.max_timestamp_ns
    return f"{isoformat(first)} to {isoformat(last)}"


class Segments(list[Segment]):
    """A list of segments that looks like a table of them in a notebook."""

    def __repr__(self) -> str:
        shown = ",\n ".join(map(repr, self[:_SHOWN]))
        more = f",\n … {len(self) - _SHOWN:,} more" if len(self) > _SHOWN else ""
        return f"[{shown}{more}]"

    def _repr_html_(self) -> str:
        rows, size = sum(one.rows for one in self), sum(one.bytes for one in self)
        title = f"{counted(len(self), 'segment')}, {counted(rows, 'row')}, {size:,} bytes"
        names = ("id", "table", "time", "rows", "bytes", "level")
        first = [(x.id, x.table, _span(x), x.rows, x.bytes, x.level) for x in self[:_SHOWN]]
        return listing(title, names, first)


_SHOWN = 20


def encode_segment(segment: Segment) -> bytes:
    """Write a segment's description as JSON, for a catalog or a file footer."""
    return msgspec.json.encode(segment)


_DECODER = msgspec.json.Decoder(Segment)


@lru_cache(maxsize=DECODED_SEGMENTS)
def decode_segment(data: bytes | str) -> Segment:
    """Read what `encode_segment` wrote, in any version; fields of a newer one are ignored.

    Those read last are remembered by their bytes: to plan a query over thousands of segments would
    be to read thousands of descriptions, and the next query is planned over the same.

    Raises:
        msgspec.ValidationError: The data is not a segment's description.
    """
    try:
        return _DECODER.decode(data)
    except msgspec.ValidationError:
        described = msgspec.json.decode(data)
        if not isinstance(described, dict) or "signal" not in described:
            raise
    # Version 1 called a table by the signal that it held.
    return msgspec.convert({**described, "table": described["signal"]}, Segment)
