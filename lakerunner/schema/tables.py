"""The tables of a lake: what each one is made of. The only place that lists them.

A table is where rows lie; a signal (`lakerunner.model.signal`) is what kind of telemetry an input
holds. Catalogs, segments, plans and query languages speak of tables by name, and whatever they need
to know of one is here: to add a table is to add an entry to `TABLES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.errors import ConfigurationError, did_you_mean
from lakerunner.model.deletion import DELETED, DELETIONS
from lakerunner.model.signal import Signal
from lakerunner.schema.arrays import TIMESTAMP, TYPES, type_name
from lakerunner.schema.attribute import (
    OVERFLOW,
    RECORD,
    RESOURCE,
    SCOPE,
    AttributeColumn,
    OverflowPairs,
    attribute_field,
    overflow_field,
    overflow_map,
)

if TYPE_CHECKING:
    from lakerunner.model.config import Config

# The columns that every table has, whatever was sent: their names, types and order.

SERVICE = "resource_service_name"
"""The attribute that says which service sent a row; segments are sorted by it first."""

SKETCH_TYPE = pa.struct([("bins", pa.list_(pa.int32())), ("counts", pa.list_(pa.int64()))])
"""A quantile sketch; see `lakerunner.schema.sketch`."""

EXACT_TYPE = pa.struct(
    [
        ("resets", pa.int64()),
        ("reset_sum", pa.float64()),
        ("whole", pa.bool_()),
        ("first_start_timestamp", TIMESTAMP),
        ("next_timestamp", TIMESTAMP),
        ("next_start_timestamp", TIMESTAMP),
        ("next_value", pa.float64()),
        ("next_min", pa.float64()),
        ("next_max", pa.float64()),
    ]
)
"""What PromQL needs of a bucket of numbers to answer as it would from the points; see
`lakerunner.tiers.exact`."""

OVERFLOW_TYPE = pa.map_(pa.string(), pa.string())

_TEXT = pa.string()

_COMMON = [
    ("organization", _TEXT),
    ("timestamp", TIMESTAMP),
    ("timestamp_source", _TEXT),
    ("timestamp_raw", pa.uint64()),
]

_ORIGIN = [
    ("scope_name", _TEXT),
    ("scope_version", _TEXT),
    ("scope_schema_url", _TEXT),
    ("scope_dropped_attributes_count", pa.uint32()),
    ("resource_schema_url", _TEXT),
    ("resource_dropped_attributes_count", pa.uint32()),
    ("resource_entity_refs", _TEXT),
    (SERVICE, _TEXT),
    (OVERFLOW, OVERFLOW_TYPE),
]

LOGS = pa.schema(
    [
        *_COMMON,
        ("observed_timestamp", TIMESTAMP),
        ("severity_number", pa.int32()),
        ("severity_text", _TEXT),
        ("level", _TEXT),
        ("body", _TEXT),
        ("event_name", _TEXT),
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("flags", pa.uint32()),
        ("dropped_attributes_count", pa.uint32()),
        ("fingerprint", pa.int64()),
        ("template", _TEXT),
        *_ORIGIN,
    ]
)

EVENT_TYPE = pa.struct(
    [
        ("timestamp", TIMESTAMP),
        ("timestamp_raw", pa.uint64()),
        ("name", _TEXT),
        ("attributes", _TEXT),
        ("dropped_attributes_count", pa.uint32()),
    ]
)
LINK_TYPE = pa.struct(
    [
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("trace_state", _TEXT),
        ("attributes", _TEXT),
        ("dropped_attributes_count", pa.uint32()),
        ("flags", pa.uint32()),
    ]
)

SPANS = pa.schema(
    [
        *_COMMON,
        ("end_timestamp", TIMESTAMP),
        ("end_timestamp_raw", pa.uint64()),
        ("duration_ns", pa.int64()),
        ("name", _TEXT),
        ("kind", _TEXT),
        ("status_code", _TEXT),
        ("status_message", _TEXT),
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("parent_span_id", _TEXT),
        ("trace_state", _TEXT),
        ("flags", pa.uint32()),
        ("events", pa.list_(EVENT_TYPE)),
        ("links", pa.list_(LINK_TYPE)),
        ("dropped_attributes_count", pa.uint32()),
        ("dropped_events_count", pa.uint32()),
        ("dropped_links_count", pa.uint32()),
        ("fingerprint", pa.int64()),
        *_ORIGIN,
    ]
)

QUANTILE_TYPE = pa.struct([("quantile", pa.float64()), ("value", pa.float64())])
EXEMPLAR_TYPE = pa.struct(
    [
        ("timestamp", TIMESTAMP),
        ("timestamp_raw", pa.uint64()),
        ("value", pa.float64()),
        ("value_int", pa.int64()),
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("attributes", _TEXT),
    ]
)

METRICS = pa.schema(
    [
        *_COMMON,
        ("start_timestamp", TIMESTAMP),
        ("start_timestamp_raw", pa.uint64()),
        ("metric_name", _TEXT),
        ("metric_type", _TEXT),
        ("unit", _TEXT),
        ("description", _TEXT),
        ("temporality", _TEXT),
        ("is_monotonic", pa.bool_()),
        ("series_id", pa.int64()),
        ("value", pa.float64()),
        ("value_int", pa.int64()),
        ("count", pa.uint64()),
        ("sum", pa.float64()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("bucket_counts", pa.list_(pa.uint64())),
        ("explicit_bounds", pa.list_(pa.float64())),
        ("scale", pa.int32()),
        ("zero_count", pa.uint64()),
        ("zero_threshold", pa.float64()),
        ("positive_offset", pa.int32()),
        ("positive_bucket_counts", pa.list_(pa.uint64())),
        ("negative_offset", pa.int32()),
        ("negative_bucket_counts", pa.list_(pa.uint64())),
        ("quantiles", pa.list_(QUANTILE_TYPE)),
        ("exemplars", pa.list_(EXEMPLAR_TYPE)),
        ("metadata", _TEXT),
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("flags", pa.uint32()),
        *_ORIGIN,
    ]
)

METRICS_ROLLUP = pa.schema(
    [
        ("organization", _TEXT),
        ("timestamp", TIMESTAMP),
        ("resolution_ns", pa.int64()),
        *[METRICS.field(name) for name in ("metric_name", "metric_type", "unit", "description")],
        *[METRICS.field(name) for name in ("temporality", "is_monotonic", "series_id")],
        ("point_count", pa.int64()),
        ("first_timestamp", TIMESTAMP),
        ("last_timestamp", TIMESTAMP),
        ("value_sum", pa.float64()),
        ("value_min", pa.float64()),
        ("value_max", pa.float64()),
        ("value_first", pa.float64()),
        ("value_last", pa.float64()),
        ("value_increase", pa.float64()),
        ("sketch", SKETCH_TYPE),
        ("exact", EXACT_TYPE),
        *[METRICS.field(name) for name in ("count", "sum", "min", "max", "bucket_counts")],
        *[METRICS.field(name) for name in ("explicit_bounds", "scale", "zero_count")],
        *[METRICS.field(name) for name in ("zero_threshold", "positive_offset")],
        *[METRICS.field(name) for name in ("positive_bucket_counts", "negative_offset")],
        METRICS.field("negative_bucket_counts"),
        ("metadata", _TEXT),
        ("scope_name", _TEXT),
        ("scope_version", _TEXT),
        ("scope_schema_url", _TEXT),
        ("resource_schema_url", _TEXT),
        (SERVICE, _TEXT),
        (OVERFLOW, OVERFLOW_TYPE),
    ]
)

ID_COLUMNS = ("trace_id",)
"""Columns that are looked up by single values in most tables."""

REPEATING = frozenset(
    {"organization", "timestamp_source", "severity_text", "level", "kind", "status_code"}
    | {"scope_name", "scope_version", "scope_schema_url", "resource_schema_url", SERVICE}
    | {"metric_name", "metric_type", "unit", "description", "temporality"}
)
"""Text columns that ingestion stores as dictionaries; so it does attributes of resources and
scopes. Where a file has one as plain text, it is read all the same, but slower."""


class TableSpec(NamedTuple):
    """What a table is made of.

    Attributes:
        name: In SQL, in catalogs and in the keys of its segments: lower-case, `[a-z0-9_]`.
        schema: Its canonical columns in order; attribute columns follow them, in name order.
        sort: Declared order of a segment: ascending, NULLs last. Columns of the schema.
        ids: Columns that are looked up by single values; segments carry filters for them.
        texts: Columns of prose, whose words are looked for; `search` looks there.
        repeating: Text columns of few distinct values, stored and read as dictionaries.
        window_ns: Length of a window of its own, in nanoseconds; None for `Config.window_ns`.
        aliases: What people may call it as well, where they name a table.
        always: Attributes that are columns of their own in every segment that has them, however
            rare they are.

    Example:
        >>> TABLES["spans"].sort
        ('resource_service_name', 'timestamp')
    """

    name: str
    schema: pa.Schema
    sort: tuple[str, ...]
    ids: tuple[str, ...] = ID_COLUMNS
    texts: tuple[str, ...] = ()
    repeating: frozenset[str] = REPEATING
    window_ns: int | None = None
    aliases: tuple[str, ...] = ()
    always: tuple[str, ...] = ()


TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        TableSpec("logs", LOGS, (SERVICE, "timestamp"), texts=("body",)),
        TableSpec(
            "spans",
            SPANS,
            (SERVICE, "timestamp"),
            texts=("name", "status_message"),
            aliases=("traces",),
        ),
        TableSpec("metrics", METRICS, ("metric_name", "series_id", "timestamp")),
        TableSpec(
            "metrics_rollup", METRICS_ROLLUP, ("metric_name", "series_id", "timestamp"), ids=()
        ),
    )
}
"""Every table by name, in the order in which people are told of them."""

TABLE_OF: dict[Signal, TableSpec] = {
    Signal.LOGS: TABLES["logs"],
    Signal.SPANS: TABLES["spans"],
    Signal.METRICS: TABLES["metrics"],
}
"""The table that takes the rows of each kind of telemetry."""

_STATEMENTS = pa.schema(
    [("organization", pa.string()), ("timestamp", TIMESTAMP), ("statement", pa.string())]
)

OWN_TABLES: dict[str, TableSpec] = {
    name: TableSpec(name, _STATEMENTS, ("timestamp",), ids=(), repeating=frozenset())
    for name in (DELETIONS, DELETED)
}
"""Tables that a lake keeps for itself. No query can name them, and no input is in them."""


def table_spec(name: str) -> TableSpec:
    """The table of a name.

    Raises:
        ConfigurationError: There is none.

    Example:
        >>> table_spec("log")
        Traceback (most recent call last):
        lakerunner.errors.ConfigurationError: no table 'log'; did you mean 'logs'?
    """
    called = (spec for spec in TABLES.values() if name in (spec.name, *spec.aliases))
    found = next(called, None)
    if found is None:
        hint = did_you_mean(name, TABLES, "the tables are")
        raise ConfigurationError(f"no table {name!r}{hint}", table=name)
    return found


def configured(spec: TableSpec, config: Config) -> TableSpec:
    """A table as the settings of a lake lay it out.

    Example:
        >>> from lakerunner.model.config import read_config
        >>> config = read_config({"tables": {"spans": {"sort": ["trace_id"]}}})
        >>> configured(TABLES["spans"], config).sort, configured(TABLES["logs"], config).sort
        (('trace_id',), ('resource_service_name', 'timestamp'))
    """
    chosen = config.tables.get(spec.name)
    if chosen is None:
        return spec
    return spec._replace(sort=chosen.sort or spec.sort, always=chosen.columns)


def check_settings(config: Config) -> None:
    """Refuse settings of tables that do not fit them.

    Raises:
        ConfigurationError: There is no such table; a column cannot be sorted by, or is named
            twice; or what shall always be a column is no attribute.
    """
    for table, chosen in config.tables.items():
        spec = table_spec(table)
        if spec.name != table:
            raise ConfigurationError(f"tables: {table!r} is called {spec.name!r} here", table=table)
        for name in chosen.sort:
            _check_sort(spec, name)
        for name in chosen.columns:
            if name in spec.schema.names or not name.startswith((RECORD, RESOURCE, SCOPE)):
                raise ConfigurationError(
                    f"tables.{table}.columns: {name!r} is no attribute column; these are called "
                    "attr_…, resource_… or scope_…",
                    column=name,
                )
        for names in (chosen.sort, chosen.columns):
            if len(set(names)) < len(names):
                raise ConfigurationError(f"tables.{table}: a column is named twice", table=table)


def _check_sort(spec: TableSpec, name: str) -> None:
    if name in spec.schema.names:
        plain = type_name(spec.schema.field(name).type) in TYPES and name != "organization"
    else:
        plain = name.startswith((RECORD, RESOURCE, SCOPE))
    if not plain:
        raise ConfigurationError(
            f"tables.{spec.name}.sort: rows cannot be sorted by {name!r}; it takes columns of "
            f"texts, numbers and times, and attributes",
            column=name,
        )


# What a decoder hands over: rows under their final column names, and where each came from.


class SetAside(NamedTuple):
    """Lines of one payload that cannot be taken, for one reason, while the others are.

    Attributes:
        payload: Position of the payload in its batch.
        lines: Their numbers within the payload, from 1, ascending; none for formats without lines.
        rows: How many there are.
        code: An `lakerunner.errors.ErrorCode` value.
        reason: One sentence for a person, without the line number.
    """

    payload: int
    lines: tuple[int, ...]
    rows: int
    code: str
    reason: str


class Days(NamedTuple):
    """What a payload tells of the order in which it writes day and month as numbers.

    Attributes:
        day_first: One of its dates can only be read with the day first.
        month_first: One of its dates can only be read with the month first.
    """

    day_first: bool = False
    month_first: bool = False

    @property
    def turned(self) -> bool:
        """Whether the day comes first, which is not taken for granted."""
        return self.day_first and not self.month_first

    def with_more(self, other: Days) -> Days:
        """What two payloads tell of the object that both belong to."""
        return Days(self.day_first or other.day_first, self.month_first or other.month_first)


class Decoded(NamedTuple):
    """Rows of one batch of payloads.

    Attributes:
        table: One chunk per column; attribute fields carry their original key and types.
        rows: int64, one per payload: how many rows came from it.
        set_aside: Lines that were left out.
        payload: int array, one per row: position of its payload in the batch; None if not kept.
        days: One per payload, where times were read in the order of day and month that it tells;
            empty if there are none.
    """

    table: pa.Table
    rows: Any
    set_aside: tuple[SetAside, ...] = ()
    payload: Any = None
    days: tuple[Days, ...] = ()


class PayloadRows(NamedTuple):
    """Which payload of a batch each row came from.

    Attributes:
        payload: int array, one per row: position of its payload in the batch.
        payloads: Payloads in the batch.
    """

    payload: Any
    payloads: int


def decoded(
    columns: dict[str, Any],
    attributes: dict[str, AttributeColumn],
    overflow: list[OverflowPairs],
    origin: PayloadRows,
    types: dict[str, tuple[str, ...]],
) -> Decoded:
    """Put the parts of a decoded batch together.

    Args:
        columns: Canonical columns.
        attributes: Attribute columns by name.
        overflow: Overflow pairs of each prefix.
        origin: Which payload each row came from.
        types: Value types that were merged into a canonical column, where it may have several.
    """
    fields = [
        pa.field(
            name,
            values.type,
            metadata={b"lakerunner.types": ",".join(types[name]).encode()}
            if name in types
            else None,
        )
        for name, values in columns.items()
    ]
    arrays = list(columns.values())
    for name, column in attributes.items():
        fields.append(attribute_field(name, column))
        arrays.append(column.values)
    if overflow:
        known: dict[str, tuple[str, tuple[str, ...]]] = {}
        for part in overflow:
            known |= part.types
        folded = overflow_map(overflow, len(origin.payload))
        known |= {new: known[old] for new, old in folded.repeats.items() if old in known}
        fields.append(overflow_field(OVERFLOW, known))
        arrays.append(folded.values)
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    rows = np.bincount(origin.payload, minlength=origin.payloads)
    return Decoded(table, rows, payload=origin.payload)
