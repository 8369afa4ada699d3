"""Every field of every span, against what OpenTelemetry's own classes read."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
from hypothesis import given
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.model.signal import Signal
from lakerunner.schema.attribute import OVERFLOW, field_key, overflow_types
from lakerunner.schema.tables import EVENT_TYPE, SERVICE, TABLES
from lakerunner.segments.codec import order_columns
from tests.formats.records.test_mixes import written_rows

FALLBACK = 42
KINDS = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
CODES = ["UNSET", "OK", "ERROR"]
PREFIXES = ("resource_", "scope_", "attr_")
INTEGER_EVENTS = pa.list_(
    pa.struct(
        [
            field.with_type(pa.int64()) if field.name == "timestamp" else field
            for field in EVENT_TYPE
        ]
    )
)


def requests(parts: Any) -> st.SearchStrategy[Any]:
    """Any `ExportTraceServiceRequest`."""
    events = st.builds(
        Span.Event,
        time_unix_nano=parts.times,
        name=parts.text,
        attributes=parts.attributes,
        dropped_attributes_count=parts.uint32,
    )
    links = st.builds(
        Span.Link,
        trace_id=st.binary(max_size=17),
        span_id=st.binary(max_size=9),
        trace_state=parts.text,
        attributes=parts.attributes,
        dropped_attributes_count=parts.uint32,
        flags=parts.uint32,
    )
    spans = st.builds(
        Span,
        trace_id=st.binary(max_size=17),
        span_id=st.binary(max_size=9),
        parent_span_id=st.binary(max_size=9),
        trace_state=parts.text,
        flags=parts.uint32,
        name=parts.text,
        kind=st.integers(0, 5) | st.integers(-(2**31), 2**31 - 1),
        start_time_unix_nano=parts.times,
        end_time_unix_nano=parts.times,
        attributes=parts.attributes,
        dropped_attributes_count=parts.uint32,
        events=st.lists(events, max_size=3),
        dropped_events_count=parts.uint32,
        links=st.lists(links, max_size=3),
        dropped_links_count=parts.uint32,
        status=st.none()
        | st.builds(Status, message=parts.text, code=st.integers(0, 2) | st.integers(3, 99)),
    )
    scopes = st.builds(
        ScopeSpans, scope=parts.scope, spans=st.lists(spans, max_size=3), schema_url=parts.text
    )
    resources = st.builds(
        ResourceSpans,
        resource=parts.resource,
        scope_spans=st.lists(scopes, max_size=2),
        schema_url=parts.text,
    )
    return st.builds(ExportTraceServiceRequest, resource_spans=st.lists(resources, max_size=2))


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


def read_time(raw: int) -> tuple[int | None, str]:
    if raw == 0 or raw >= 2**63:
        return None, ""
    first, last = 946_684_800, 4_102_444_800
    for unit, scale in (("seconds", 10**9), ("milliseconds", 10**6), ("microseconds", 10**3)):
        if first * 10**9 <= raw * scale <= last * 10**9:
            return raw * scale, unit
    return raw, "time"


def raw_unless_read(raw: int) -> int | None:
    return raw if raw and read_time(raw)[1] != "time" else None


def enum(number: int, names: list[str]) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


def expected_times(span: Any) -> dict[str, Any]:
    start, unit = read_time(span.start_time_unix_nano)
    end, _ = read_time(span.end_time_unix_nano)
    source = unit if start is not None else "end" if end is not None else "object"
    return {
        "timestamp": next(time for time in (start, end, FALLBACK) if time is not None),
        "timestamp_source": source,
        "timestamp_raw": raw_unless_read(span.start_time_unix_nano),
        "end_timestamp": end,
        "end_timestamp_raw": raw_unless_read(span.end_time_unix_nano),
        "duration_ns": None if start is None or end is None else end - start,
    }


def expected(entry: tuple[Any, Any, Any]) -> dict[str, Any]:
    """The canonical columns of one span, apart from events, links and fingerprint."""
    by_resource, by_scope, span = entry
    return {
        **expected_times(span),
        "name": span.name or None,
        "kind": enum(span.kind, KINDS),
        "status_code": enum(span.status.code, CODES),
        "status_message": span.status.message or None,
        "trace_id": span.trace_id.hex() or None,
        "span_id": span.span_id.hex() or None,
        "parent_span_id": span.parent_span_id.hex() or None,
        "trace_state": span.trace_state or None,
        "flags": span.flags,
        "dropped_attributes_count": span.dropped_attributes_count,
        "dropped_events_count": span.dropped_events_count,
        "dropped_links_count": span.dropped_links_count,
        "scope_name": by_scope.scope.name or None,
        "scope_version": by_scope.scope.version or None,
        "scope_schema_url": by_scope.schema_url or None,
        "scope_dropped_attributes_count": by_scope.scope.dropped_attributes_count or None,
        "resource_schema_url": by_resource.schema_url or None,
        "resource_dropped_attributes_count": by_resource.resource.dropped_attributes_count or None,
    }


def expected_events(span: Any) -> list[dict[str, Any]]:
    return [
        {
            "timestamp": read_time(event.time_unix_nano)[0],
            "timestamp_raw": raw_unless_read(event.time_unix_nano),
            "name": event.name,
            "attributes": pairs(event.attributes),
            "dropped_attributes_count": event.dropped_attributes_count,
        }
        for event in span.events
    ]


def expected_links(span: Any) -> list[dict[str, Any]]:
    return [
        {
            "trace_id": link.trace_id.hex() or None,
            "span_id": link.span_id.hex() or None,
            "trace_state": link.trace_state or None,
            "attributes": pairs(link.attributes),
            "dropped_attributes_count": link.dropped_attributes_count,
            "flags": link.flags,
        }
        for link in span.links
    ]


def entries(request: Any) -> list[tuple[Any, Any, Any]]:
    return [
        (by_resource, by_scope, span)
        for by_resource in request.resource_spans
        for by_scope in by_resource.scope_spans
        for span in by_scope.spans
    ]


def structs(cell: Any) -> list[dict[str, Any]]:
    """A cell of `events` or `links` with attributes read."""
    read = [dict(item) for item in cell or []]
    for item in read:
        item["attributes"] = unjson(item["attributes"])
    return read


def rows_of(table: pa.Table) -> dict[str, list[Any]]:
    """Columns as lists; times as integers, also inside events."""
    columns = {}
    for name in table.schema.names:
        values = table[name]
        if name == "events":
            values = values.cast(INTEGER_EVENTS)
        elif name.endswith("timestamp"):
            values = values.cast("int64")
        columns[name] = values.to_pylist()
    return columns


def attribute_cells(table: pa.Table) -> list[dict[tuple[str, str], list[Any]]]:
    """By row: prefix and original key to the values held, in its column and in the overflow."""
    canonical = set(TABLES["spans"].schema.names) - {SERVICE}
    rows: list[dict[tuple[str, str], list[Any]]] = [{} for _ in range(table.num_rows)]
    for field in table.schema:
        if field.name not in canonical:
            prefix = next(prefix for prefix in PREFIXES if field.name.startswith(prefix))
            for row, cell in zip(rows, table[field.name].to_pylist(), strict=True):
                row[prefix, field_key(field)] = [cell]
    if OVERFLOW in table.schema.names:
        known = overflow_types(table.schema.field(OVERFLOW))
        for row, held in zip(rows, table[OVERFLOW].to_pylist(), strict=True):
            for name, text in held or ():
                prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
                # A key whose first values are all empty has no column, only what came again.
                row.setdefault((prefix, known[name][0]), [None]).append(text)
    return rows


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


def check_attributes(table: pa.Table, records: list[tuple[Any, Any, Any]]) -> None:
    for held, (by_resource, by_scope, span) in zip(attribute_cells(table), records, strict=True):
        sent: dict[tuple[str, str], list[Any]] = {}
        owners = zip(PREFIXES, (by_resource.resource, by_scope.scope, span), strict=True)
        for prefix, owner in owners:
            for pair in owner.attributes:
                if pair.value.WhichOneof("value"):
                    sent.setdefault((prefix, pair.key), []).append(pair.value)
        for place, values in sent.items():
            cells = held.pop(place, [None])
            assert len(cells) == len(values)
            assert all(map(same, cells, values)), (place, cells)
        assert all(cells == [None] for cells in held.values())


def check_table(table: pa.Table, records: list[tuple[Any, Any, Any]]) -> None:
    columns = rows_of(table)
    for row, entry in enumerate(records):
        for name, wanted in expected(entry).items():
            assert (columns[name][row] if name in columns else None) == wanted, name
        assert structs(columns["events"][row]) == expected_events(entry[2])
        assert structs(columns["links"][row]) == expected_links(entry[2])
        assert isinstance(columns["fingerprint"][row], int)
    check_attributes(table, records)


def decode(*messages: Any) -> Any:
    payloads = [message.SerializeToString() for message in messages]
    return OtlpProtobuf().decode(payloads, Signal.SPANS, [FALLBACK] * len(payloads))


@given(data=st.data())
def test_every_field_is_what_the_reference_reads(otlp_parts: Any, data: st.DataObject) -> None:
    sent = data.draw(st.lists(requests(otlp_parts), min_size=1, max_size=2))
    reference = [
        ExportTraceServiceRequest.FromString(message.SerializeToString()) for message in sent
    ]
    decoded = decode(*sent)
    assert decoded.rows.tolist() == [len(entries(message)) for message in reference]
    # Keys that fold to one name are told apart within a request: each is read for itself.
    alone = [decode(message).table for message in sent]
    for table, message in zip(alone, reference, strict=True):
        check_table(table, entries(message))
    assert written_rows(decoded.table) == [row for table in alone for row in written_rows(table)]
    for field in decoded.table.schema:
        if field.name in TABLES["spans"].schema.names and field.name != SERVICE:
            wanted = TABLES["spans"].schema.field(field.name).type
            assert wanted in (field.type, getattr(field.type, "value_type", field.type)), field
    order_columns(decoded.table, TABLES["spans"]).validate(full=True)


@given(data=st.data())
def test_a_fingerprint_does_not_depend_on_its_neighbours(
    otlp_parts: Any, data: st.DataObject
) -> None:
    first, second = data.draw(requests(otlp_parts)), data.draw(requests(otlp_parts))
    alone = decode(first).table["fingerprint"].to_pylist()
    behind = decode(second, first).table["fingerprint"].to_pylist()
    assert behind[len(behind) - len(alone) :] == alone
