"""Every field of every data point, against what OpenTelemetry's own classes read."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
from hypothesis import given
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.model.signal import Signal
from lakerunner.schema.attribute import OVERFLOW, field_key, overflow_types
from lakerunner.schema.tables import EXEMPLAR_TYPE, SERVICE, TABLES
from tests.formats.records.test_mixes import written_rows

FALLBACK = 42
KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
PREFIXES = ("resource_", "scope_", "attr_")
OWN = {
    "gauge": ("value", "value_int"),
    "sum": ("value", "value_int"),
    "histogram": ("count", "sum", "min", "max", "bucket_counts", "explicit_bounds"),
    "exponential_histogram": (
        *("count", "sum", "min", "max", "scale", "zero_count", "zero_threshold"),
        *("positive_offset", "positive_bucket_counts"),
        *("negative_offset", "negative_bucket_counts"),
    ),
    "summary": ("count", "sum", "quantiles"),
}
INTEGER_EXEMPLARS = pa.list_(
    pa.struct(
        [
            field.with_type(pa.int64()) if field.name == "timestamp" else field
            for field in EXEMPLAR_TYPE
        ]
    )
)
UINT64 = st.integers(0, 2**64 - 1)
FLOATS = st.floats()
NUMBERS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    FLOATS.map(lambda number: {"as_double": number}),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: {"as_int": number}),
)
INT32 = st.integers(-(2**31), 2**31 - 1)


def maybe(field: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.just({}) | values.map(lambda value: {field: value})


def merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda all_of: {k: v for part in all_of for k, v in part.items()})


def points_of(parts: Any) -> dict[str, st.SearchStrategy[Any]]:
    """Points of every kind; bounds and counts have nothing to do with each other."""
    exemplar = merged(
        st.fixed_dictionaries(
            {
                "time_unix_nano": parts.times,
                "filtered_attributes": parts.attributes,
                "trace_id": st.binary(max_size=17),
                "span_id": st.binary(max_size=9),
            }
        ),
        NUMBERS,
    ).map(lambda fields: pb.Exemplar(**fields))
    shared = {
        "attributes": parts.attributes,
        "time_unix_nano": parts.times,
        "start_time_unix_nano": parts.times,
        "flags": st.integers(0, 1) | parts.uint32,
    }
    base = st.fixed_dictionaries({**shared, "exemplars": st.lists(exemplar, max_size=2)})
    counts = st.lists(UINT64, max_size=4)
    extremes = [maybe(field, FLOATS) for field in ("sum", "min", "max")]
    histogram = st.fixed_dictionaries(
        {"count": UINT64, "bucket_counts": counts, "explicit_bounds": st.lists(FLOATS, max_size=3)}
    )
    buckets = st.builds(
        pb.ExponentialHistogramDataPoint.Buckets, offset=INT32, bucket_counts=counts
    )
    exponential = st.fixed_dictionaries(
        {"count": UINT64, "scale": INT32, "zero_count": UINT64, "zero_threshold": FLOATS}
    )
    quantiles = st.builds(pb.SummaryDataPoint.ValueAtQuantile, quantile=FLOATS, value=FLOATS)
    summary = st.fixed_dictionaries(
        {
            **shared,
            "count": UINT64,
            "sum": FLOATS,
            "quantile_values": st.lists(quantiles, max_size=2),
        }
    )
    number = merged(base, NUMBERS).map(lambda fields: pb.NumberDataPoint(**fields))
    return {
        "gauge": number,
        "sum": number,
        "histogram": merged(base, histogram, *extremes).map(
            lambda fields: pb.HistogramDataPoint(**fields)
        ),
        "exponential_histogram": merged(
            base, exponential, *extremes, maybe("positive", buckets), maybe("negative", buckets)
        ).map(lambda fields: pb.ExponentialHistogramDataPoint(**fields)),
        "summary": summary.map(lambda fields: pb.SummaryDataPoint(**fields)),
    }


def metric_of(parts: Any, kind: str, points: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    data: dict[str, st.SearchStrategy[Any]] = {"data_points": st.lists(points, max_size=3)}
    if kind in {"sum", "histogram", "exponential_histogram"}:
        data["aggregation_temporality"] = st.integers(0, 2) | INT32
    if kind == "sum":
        data["is_monotonic"] = st.booleans()
    shared = {
        "name": parts.text,
        "unit": parts.text,
        "description": parts.text,
        "metadata": parts.attributes,
    }
    return st.fixed_dictionaries({**shared, kind: st.fixed_dictionaries(data)}).map(
        lambda fields: pb.Metric(**fields)
    )


def requests(parts: Any) -> st.SearchStrategy[Any]:
    """Any `ExportMetricsServiceRequest`."""
    metrics = st.one_of(
        st.builds(pb.Metric, name=parts.text),
        *(metric_of(parts, kind, points) for kind, points in points_of(parts).items()),
    )
    scopes = st.builds(
        pb.ScopeMetrics,
        scope=parts.scope,
        metrics=st.lists(metrics, max_size=3),
        schema_url=parts.text,
    )
    resources = st.builds(
        pb.ResourceMetrics,
        resource=parts.resource,
        scope_metrics=st.lists(scopes, max_size=2),
        schema_url=parts.text,
    )
    return st.builds(ExportMetricsServiceRequest, resource_metrics=st.lists(resources, max_size=2))


Entry = tuple[Any, Any, Any, str, Any]


def entries(request: Any) -> list[Entry]:
    """Points with all they belong to, in the order of the table: kind after kind."""
    sent = [
        (by_resource, by_scope, metric, kind, point)
        for by_resource in request.resource_metrics
        for by_scope in by_resource.scope_metrics
        for metric in by_scope.metrics
        if (kind := metric.WhichOneof("data"))
        for point in getattr(metric, kind).data_points
    ]
    return sorted(sent, key=lambda entry: KINDS.index(entry[3]))


def optional(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def number_of(holder: Any) -> dict[str, Any]:
    kind = holder.WhichOneof("value")
    return {
        "value": None if kind is None else float(getattr(holder, kind)),
        "value_int": holder.as_int if kind == "as_int" else None,
    }


def read_time(raw: int) -> tuple[int | None, str]:
    if raw == 0 or raw >= 2**63:
        return None, "object"
    first, last = 946_684_800, 4_102_444_800
    for unit, scale in (("seconds", 10**9), ("milliseconds", 10**6), ("microseconds", 10**3)):
        if first * 10**9 <= raw * scale <= last * 10**9:
            return raw * scale, unit
    return raw, "time"


def raw_unless_read(raw: int) -> int | None:
    return raw if raw and read_time(raw)[1] != "time" else None


def plain(value: Any) -> Any:
    """What JSON must say of a value; a map is its pairs, so that repeated keys count."""
    name = value.WhichOneof("value")
    held: Any = getattr(value, name) if name else None
    if name == "array_value":
        held = [plain(item) for item in held.values]
    elif name == "kvlist_value":
        held = pairs(held.values)
    elif name == "bytes_value":
        held = base64.b64encode(held).decode()
    elif name == "double_value" and not math.isfinite(held):
        held = "NaN" if math.isnan(held) else "Infinity" if held > 0 else "-Infinity"
    return held


def pairs(attributes: Any) -> Any:
    return ("map", [(pair.key, plain(pair.value)) for pair in attributes])


def unjson(text: str | None) -> Any:
    if text is None:
        return ("map", [])
    return json.loads(text, object_pairs_hook=lambda pairs: ("map", pairs))


def expected_own(kind: str, point: Any) -> dict[str, Any]:
    """The columns that only some kinds have."""
    if kind in {"gauge", "sum"}:
        return dict.fromkeys(OWN[kind]) if point.flags & 1 else number_of(point)
    wanted: dict[str, Any] = {"count": point.count}
    if kind == "summary":
        pairs = [{"quantile": q.quantile, "value": q.value} for q in point.quantile_values]
        return wanted | {"sum": point.sum, "quantiles": pairs}
    wanted |= {field: optional(point, field) for field in ("sum", "min", "max")}
    if kind == "histogram":
        return wanted | {
            "bucket_counts": list(point.bucket_counts),
            "explicit_bounds": list(point.explicit_bounds),
        }
    for field in ("scale", "zero_count", "zero_threshold"):
        wanted[field] = getattr(point, field)
    for side in ("positive", "negative"):
        buckets = optional(point, side)
        wanted[f"{side}_offset"] = buckets and buckets.offset
        wanted[f"{side}_bucket_counts"] = buckets and list(buckets.bucket_counts)
    return wanted


def expected(entry: Entry) -> dict[str, Any]:
    """The canonical columns of one point, apart from texts of JSON."""
    by_resource, by_scope, metric, kind, point = entry
    time, source = read_time(point.time_unix_nano)
    number = getattr(getattr(metric, kind), "aggregation_temporality", 0)
    names = {0: None, 1: "delta", 2: "cumulative"}
    return {
        **dict.fromkeys(name for columns in OWN.values() for name in columns),
        "timestamp": FALLBACK if time is None else time,
        "timestamp_source": source,
        "timestamp_raw": raw_unless_read(point.time_unix_nano),
        "start_timestamp": read_time(point.start_time_unix_nano)[0],
        "start_timestamp_raw": raw_unless_read(point.start_time_unix_nano),
        "metric_name": metric.name or None,
        "metric_type": kind,
        "unit": metric.unit or None,
        "description": metric.description or None,
        "temporality": names.get(number, str(number)),
        "is_monotonic": metric.sum.is_monotonic if kind == "sum" else None,
        "flags": point.flags,
        "trace_id": None,
        "span_id": None,
        "scope_name": by_scope.scope.name or None,
        "scope_version": by_scope.scope.version or None,
        "scope_schema_url": by_scope.schema_url or None,
        "scope_dropped_attributes_count": by_scope.scope.dropped_attributes_count or None,
        "resource_schema_url": by_resource.schema_url or None,
        "resource_dropped_attributes_count": by_resource.resource.dropped_attributes_count or None,
        **expected_own(kind, point),
    }


def check_exemplars(cell: Any, point: Any) -> None:
    sent = getattr(point, "exemplars", ())
    assert len(cell or ()) == len(sent)
    for held, exemplar in zip(cell or (), sent, strict=True):
        assert unjson(held.pop("attributes")) == pairs(exemplar.filtered_attributes)
        wanted = {
            "timestamp": read_time(exemplar.time_unix_nano)[0],
            "timestamp_raw": raw_unless_read(exemplar.time_unix_nano),
            **number_of(exemplar),
            "trace_id": exemplar.trace_id.hex() or None,
            "span_id": exemplar.span_id.hex() or None,
        }
        assert repr(held) == repr(wanted)


def same(cell: Any, value: Any) -> bool:
    """Whether a cell of whatever type holds a value."""
    name, wanted = value.WhichOneof("value"), plain(value)
    if name is None or cell is None:
        return name is None and cell is None
    if not isinstance(cell, str):
        number = value.double_value if name == "double_value" else wanted
        return bool(cell == number or (math.isnan(cell) and wanted == "NaN"))
    if name == "string_value" or (name == "double_value" and isinstance(wanted, str)):
        return bool(cell == wanted)
    return bool(unjson(cell) == wanted)


def rows_of(table: pa.Table) -> dict[str, list[Any]]:
    """Columns as lists; times as integers."""
    columns = {}
    for name in table.schema.names:
        column = table[name]
        if name == "exemplars":
            column = column.cast(INTEGER_EXEMPLARS)
        columns[name] = (column.cast("int64") if name.endswith("timestamp") else column).to_pylist()
    return columns


def places_of(table: pa.Table) -> dict[str, tuple[str, str]]:
    """Prefix and original key of every column name that holds an attribute."""
    canonical = set(TABLES["metrics"].schema.names) - {SERVICE}
    keys = {f.name: field_key(f) for f in table.schema if f.name not in canonical}
    if OVERFLOW in table.schema.names:
        types = overflow_types(table.schema.field(OVERFLOW))
        keys |= {name: key for name, (key, _) in types.items()}
    return {
        name: (next(prefix for prefix in PREFIXES if name.startswith(prefix)), key)
        for name, key in keys.items()
    }


def check_attributes(table: pa.Table, points: list[Entry]) -> None:
    """Every pair is in its column or, if its key came again, in the overflow; nothing else is."""
    columns, places = rows_of(table), places_of(table)
    nothing: list[Any] = [None] * len(points)
    overflow = columns.get(OVERFLOW, nothing)
    for row, (by_resource, by_scope, _, _, point) in enumerate(points):
        # A key without a column has a first value that is empty.
        held: dict[Any, list[Any]] = {place: [None] for place in places.values()}
        held |= {places[name]: [columns[name][row]] for name in places.keys() & columns.keys()}
        for name, text in overflow[row] or ():
            held[places[name]].append(text)
        owners = zip(PREFIXES, (by_resource.resource, by_scope.scope, point), strict=True)
        sent: dict[Any, list[Any]] = {}
        for prefix, owner in owners:
            for pair in owner.attributes:
                if pair.value.WhichOneof("value"):
                    sent.setdefault((prefix, pair.key), []).append(pair.value)
        for place, values in sent.items():
            texts = held.pop(place, [None])
            assert len(texts) == len(values)
            assert all(map(same, texts, values)), (place, texts)
        assert all(texts == [None] for texts in held.values())


def check(table: pa.Table, points: list[Entry]) -> None:
    assert table.num_rows == len(points)
    columns = rows_of(table)
    nothing = [None] * len(points)
    for row, entry in enumerate(points):
        held = {name: columns.get(name, nothing)[row] for name in expected(entry)}
        assert repr(held) == repr(expected(entry))
        assert unjson(columns.get("metadata", nothing)[row]) == pairs(entry[2].metadata)
        check_exemplars(columns.get("exemplars", nothing)[row], entry[4])
    for field in table.schema:
        if field.name in TABLES["metrics"].schema.names and field.name != SERVICE:
            wanted = TABLES["metrics"].schema.field(field.name).type
            assert wanted in (field.type, getattr(field.type, "value_type", None)), field
    check_attributes(table, points)


@given(data=st.data())
def test_every_field_is_what_the_reference_reads(otlp_parts: Any, data: st.DataObject) -> None:
    payload = data.draw(requests(otlp_parts)).SerializeToString()
    points = entries(ExportMetricsServiceRequest.FromString(payload))
    decoded = OtlpProtobuf().decode([payload], Signal.METRICS, [FALLBACK])
    assert decoded.rows.tolist() == [len(points)]
    check(decoded.table, points)


@given(data=st.data())
def test_a_batch_holds_the_points_of_all_its_payloads(otlp_parts: Any, data: st.DataObject) -> None:
    sent = data.draw(st.lists(requests(otlp_parts), min_size=1, max_size=3))
    payloads = [request.SerializeToString() for request in sent]
    decoded = OtlpProtobuf().decode(payloads, Signal.METRICS, [FALLBACK] * len(payloads))
    alone = [OtlpProtobuf().decode([one], Signal.METRICS, [FALLBACK]) for one in payloads]
    assert decoded.rows.tolist() == [len(entries(request)) for request in sent]
    rows = [row for one in alone for row in written_rows(one.table)]
    assert sorted(map(repr, written_rows(decoded.table))) == sorted(map(repr, rows))


def test_a_metric_without_points_names_no_key_of_another_payload() -> None:
    def payload(key: str, points: int) -> bytes:
        request = ExportMetricsServiceRequest()
        held = request.resource_metrics.add()
        held.resource.attributes.add(key=key).value.string_value = "held"
        scope = held.scope_metrics.add()
        scope.scope.attributes.add(key=key).value.string_value = "held"
        metric = scope.metrics.add(name="m")
        metric.gauge.SetInParent()
        for _ in range(points):
            metric.gauge.data_points.add(as_int=1, time_unix_nano=5)
        return request.SerializeToString()

    payloads = [payload("a;b", 0), payload("a:b", 1), payload("a;b", 0)]
    both = OtlpProtobuf().decode(payloads, Signal.METRICS, [FALLBACK] * 3)
    alone = OtlpProtobuf().decode(payloads[1:2], Signal.METRICS, [FALLBACK])
    assert both.rows.tolist() == [0, 1, 0]
    assert both.table.equals(alone.table)
