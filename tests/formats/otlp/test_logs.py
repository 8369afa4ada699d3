"""Every field of every request, against what OpenTelemetry's own classes read."""

from __future__ import annotations

import base64
import json
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis import given
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.model.signal import Signal
from lakerunner.schema.attribute import OVERFLOW, field_key, field_types, overflow_types
from lakerunner.schema.tables import SERVICE, TABLES
from tests.formats.records.test_mixes import written_rows

if TYPE_CHECKING:
    import pyarrow as pa

PREFIXES = ("resource_", "scope_", "attr_")
TYPES = {
    "string_value": "string",
    "bool_value": "bool",
    "int_value": "int64",
    "double_value": "double",
    "bytes_value": "bytes",
    "array_value": "array",
    "kvlist_value": "map",
}
LEVEL_WORDS = {"warning": "WARN", "INFO": "INFO", "Error": "ERROR"}
LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
FALLBACK = 42


def kind(value: Any) -> str | None:
    return value.WhichOneof("value") if value is not None else None


def plain(value: Any) -> Any:
    """What JSON must say of a value; a map is its pairs, so that repeated keys count."""
    name = kind(value)
    held: Any = getattr(value, name) if name else None
    if name == "array_value":
        held = [plain(item) for item in held.values]
    elif name == "kvlist_value":
        held = ("map", [(pair.key, plain(pair.value)) for pair in held.values])
    elif name == "bytes_value":
        held = base64.b64encode(held).decode()
    elif name == "double_value" and not math.isfinite(held):
        held = "NaN" if math.isnan(held) else "Infinity" if held > 0 else "-Infinity"
    return held


def unjson(text: str) -> Any:
    def refuse(text: str) -> Any:
        raise AssertionError(f"{text} is not JSON")

    return json.loads(text, object_pairs_hook=lambda pairs: ("map", pairs), parse_constant=refuse)


def same(cell: Any, value: Any) -> bool:
    """Whether a cell of whatever type holds a value."""
    name, wanted = kind(value), plain(value)
    if name is None or cell is None:
        return name is None and cell is None
    if not isinstance(cell, str):
        number = value.double_value if name == "double_value" else wanted
        return bool(cell == number or (math.isnan(cell) and wanted == "NaN"))
    if name == "string_value" or (name == "double_value" and isinstance(wanted, str)):
        return bool(cell == wanted)
    return bool(unjson(cell) == wanted)


def read_time(raw: int) -> tuple[int, str] | None:
    if raw == 0 or raw >= 2**63:
        return None
    first, last = 946_684_800, 4_102_444_800
    for unit, scale in (("seconds", 10**9), ("milliseconds", 10**6), ("microseconds", 10**3)):
        if first * 10**9 <= raw * scale <= last * 10**9:
            return raw * scale, unit
    return raw, "time"


def level(record: Any) -> str | None:
    if record.severity_text in LEVEL_WORDS:
        return LEVEL_WORDS[record.severity_text]
    return LEVELS[(record.severity_number - 1) // 4] if record.severity_number else None


def expected(entry: tuple[Any, Any, Any]) -> dict[str, Any]:
    """The canonical columns of one record, apart from its body."""
    by_resource, by_scope, record = entry
    sent, seen = read_time(record.time_unix_nano), read_time(record.observed_time_unix_nano)
    nanoseconds, source = sent or ((seen[0], "observed") if seen else (FALLBACK, "object"))
    altered = source != "time" and record.time_unix_nano != 0
    return {
        "timestamp": nanoseconds,
        "timestamp_source": source,
        "timestamp_raw": record.time_unix_nano if altered else None,
        "observed_timestamp": seen[0] if seen else None,
        "severity_number": record.severity_number or None,
        "severity_text": record.severity_text or None,
        "event_name": record.event_name or None,
        "trace_id": record.trace_id.hex() or None,
        "span_id": record.span_id.hex() or None,
        "flags": record.flags,
        "dropped_attributes_count": record.dropped_attributes_count,
        "scope_name": by_scope.scope.name or None,
        "scope_version": by_scope.scope.version or None,
        "scope_schema_url": by_scope.schema_url or None,
        "scope_dropped_attributes_count": by_scope.scope.dropped_attributes_count or None,
        "resource_schema_url": by_resource.schema_url or None,
        "resource_dropped_attributes_count": by_resource.resource.dropped_attributes_count or None,
    }


def entries(request: Any) -> list[tuple[Any, Any, Any]]:
    return [
        (by_resource, by_scope, record)
        for by_resource in request.resource_logs
        for by_scope in by_resource.scope_logs
        for record in by_scope.log_records
    ]


def rows_of(table: pa.Table) -> dict[str, list[Any]]:
    """Columns as lists; times as integers."""
    return {
        name: (table[name].cast("int64") if name.endswith("timestamp") else table[name]).to_pylist()
        for name in table.schema.names
    }


def attribute_fields(table: pa.Table) -> dict[tuple[str, str], pa.Field]:
    """The field of every attribute column, by prefix and original key."""
    canonical = set(TABLES["logs"].schema.names) - {SERVICE}
    found = {}
    for field in table.schema:
        if field.name not in canonical:
            prefix = next(prefix for prefix in PREFIXES if field.name.startswith(prefix))
            assert (prefix, field_key(field)) not in found
            found[prefix, field_key(field)] = field
    return found


def pairs_of(entry: tuple[Any, Any, Any]) -> list[tuple[tuple[str, str], Any]]:
    """The pairs of a record that have a value, in order, each with its prefix and key."""
    by_resource, by_scope, record = entry
    owners = zip(PREFIXES, (by_resource.resource, by_scope.scope, record), strict=True)
    return [
        ((prefix, pair.key), pair.value)
        for prefix, owner in owners
        for pair in owner.attributes
        if kind(pair.value)
    ]


def grouped(pairs: list[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for name, value in pairs:
        groups.setdefault(name, []).append(value)
    return groups


def overflow_names(table: pa.Table) -> dict[str, tuple[str, str]]:
    """Prefix and original key of every name in the overflow map."""
    if OVERFLOW not in table.schema.names:
        return {}
    return {
        name: (next(prefix for prefix in PREFIXES if name.startswith(prefix)), key)
        for name, (key, _) in overflow_types(table.schema.field(OVERFLOW)).items()
    }


def check_attributes(table: pa.Table, records: list[tuple[Any, Any, Any]]) -> None:
    """Every pair is in its column or, if its key came again, in the overflow; nothing else is."""
    columns, fields, places = rows_of(table), attribute_fields(table), overflow_names(table)
    overflow = columns.get(OVERFLOW, [None] * len(records))
    types: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row, entry in enumerate(records):
        sent = grouped(pairs_of(entry))
        held = grouped([(places[name], text) for name, text in overflow[row] or ()])
        for place, field in fields.items():
            first = sent.get(place, [None])[0]
            assert same(columns[field.name][row], first), (place, field)
        for place, values in sent.items():
            texts = held.pop(place, [])
            assert len(texts) == len(values) - 1
            assert all(map(same, texts, values[1:])), (place, texts)
            if kind(values[0]):
                types[place].add(TYPES[str(kind(values[0]))])
        assert not held
    # Resources without records leave a column of NULLs, or one more type, behind.
    assert types.keys() <= fields.keys()
    assert all(seen <= set(field_types(fields[place])) for place, seen in types.items())


def check(request: Any) -> None:
    payload = request.SerializeToString()
    records = entries(ExportLogsServiceRequest.FromString(payload))
    decoded = OtlpProtobuf().decode([payload], Signal.LOGS, [FALLBACK])
    assert decoded.rows.tolist() == [len(records)]
    assert decoded.table.num_rows == len(records)
    columns = rows_of(decoded.table)
    for row, entry in enumerate(records):
        record = entry[2]
        for name, wanted in expected(entry).items():
            assert (columns[name][row] if name in columns else None) == wanted, name
        assert same(columns["body"][row], record.body if record.HasField("body") else None)
        if record.severity_text in {"", *LEVEL_WORDS}:
            assert columns["level"][row] == level(record)
    for field in decoded.table.schema:
        if field.name in TABLES["logs"].schema.names and field.name != SERVICE:
            wanted_type = TABLES["logs"].schema.field(field.name).type
            held = getattr(field.type, "value_type", field.type)
            assert wanted_type in (field.type, held), field
    check_attributes(decoded.table, records)


@given(data=st.data())
def test_every_field_is_what_the_reference_reads(
    log_requests: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    check(data.draw(log_requests))


@given(data=st.data())
def test_a_batch_is_its_payloads_one_after_the_other(
    log_requests: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    requests = data.draw(st.lists(log_requests, min_size=1, max_size=3))
    payloads = [request.SerializeToString() for request in requests]
    decoded = OtlpProtobuf().decode(payloads, Signal.LOGS, [FALLBACK] * len(payloads))
    alone = [OtlpProtobuf().decode([one], Signal.LOGS, [FALLBACK]) for one in payloads]
    assert decoded.rows.tolist() == [len(entries(request)) for request in requests]
    assert written_rows(decoded.table) == [row for one in alone for row in written_rows(one.table)]


def test_a_resource_without_records_names_no_key_of_another_payload() -> None:
    def payload(key: str, records: int) -> bytes:
        request = ExportLogsServiceRequest()
        held = request.resource_logs.add()
        held.resource.attributes.add(key=key).value.string_value = "held"
        scope = held.scope_logs.add()
        scope.scope.attributes.add(key=key).value.string_value = "held"
        for _ in range(records):
            scope.log_records.add().body.string_value = "line"
        return request.SerializeToString()

    payloads = [payload("a;b", 0), payload("a:b", 1)]
    both = OtlpProtobuf().decode(payloads, Signal.LOGS, [FALLBACK] * 2).table
    alone = OtlpProtobuf().decode(payloads[1:], Signal.LOGS, [FALLBACK]).table
    assert both.schema == alone.schema
    assert both.equals(alone)
