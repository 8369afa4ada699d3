"""The columns that every table has, whatever was sent: their names, types and order."""

from __future__ import annotations

import pyarrow as pa

from lakerunner.schema.names import OVERFLOW
from lakerunner.schema.types import TIMESTAMP

SERVICE = "resource_service_name"
"""The attribute that says which service sent a row; segments are sorted by it first."""

SKETCH_TYPE = pa.struct([("bins", pa.list_(pa.int32())), ("counts", pa.list_(pa.int64()))])
"""A quantile sketch; see `lakerunner.schema.sketch`."""

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
