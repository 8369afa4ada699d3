"""The same telemetry as JSON and as protobuf gives equal tables, whatever it holds."""

from __future__ import annotations

import base64
import json
from typing import Any

import hypothesis.strategies as st
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as Field
from hypothesis import given, settings
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lakerunner.formats.otlp.json import OtlpJson
from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.model.signal import Signal

REQUESTS = {
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.SPANS: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}
IDS = {"traceId", "spanId", "parentSpanId"}
TEXT = st.text(st.characters(codec="utf-8"), max_size=4) | st.sampled_from(
    ["service.name", "a", "a_b", "", '"\\\n{}[]', "trace_id", '"intValue":5', "🦜"]
)
NUMBERS = {
    Field.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    Field.TYPE_SINT32: st.integers(-(2**31), 2**31 - 1),
    Field.TYPE_UINT32: st.integers(0, 2**32 - 1),
    Field.TYPE_FIXED32: st.integers(0, 2**32 - 1),
    Field.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    Field.TYPE_SFIXED64: st.integers(-(2**63), 2**63 - 1),
    Field.TYPE_UINT64: st.integers(0, 2**64 - 1),
    Field.TYPE_FIXED64: st.integers(0, 2**64 - 1) | st.just(1767225600 * 10**9),
    Field.TYPE_DOUBLE: st.floats(),
    Field.TYPE_BOOL: st.booleans(),
    Field.TYPE_STRING: TEXT,
    Field.TYPE_BYTES: st.binary(max_size=17),
}
few_examples = settings(max_examples=settings().max_examples // 4)  # each is large
PROFILES = {"string_value_strindex", "key_strindex"}


@st.composite
def messages(draw: st.DrawFn, kind: Any, depth: int = 0) -> Any:
    """Any message of a type: every field may be there or not."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        inside = field.message_type
        deeper = depth + (kind.DESCRIPTOR.name == "AnyValue")
        if field.name in PROFILES or (inside and deeper > 2) or draw(st.integers(0, 2)) == 0:
            continue
        if inside:
            values = messages(inside._concrete_class, deeper)
        elif field.enum_type:
            values = st.sampled_from([value.number for value in field.enum_type.values])
        else:
            values = NUMBERS[field.type]
        if not field.is_repeated:
            if inside:
                getattr(message, field.name).CopyFrom(draw(values))
            else:
                setattr(message, field.name, draw(values))
        elif inside:
            getattr(message, field.name).extend(draw(st.lists(values, max_size=2)))
        else:
            getattr(message, field.name).extend(draw(st.lists(values, max_size=3)))
    return message


def hex_ids(document: Any) -> Any:
    """OTLP writes ids in hex, where protobuf's own JSON has base64."""
    if isinstance(document, list):
        return [hex_ids(item) for item in document]
    if not isinstance(document, dict):
        return document
    return {
        key: base64.b64decode(value).hex() if key in IDS else hex_ids(value)
        for key, value in document.items()
    }


def as_json(message: Any, **options: Any) -> bytes:
    document = json_format.MessageToDict(message, use_integers_for_enums=True)
    return json.dumps(hex_ids(document), **options).encode()


def decode(payload: bytes, signal: Signal, fallback_ns: int = 7) -> Any:
    parts = [part.data for part in OtlpJson().split([payload], 1 << 20)]
    return OtlpJson().decode(parts, signal, [fallback_ns] * len(parts))


def same(found: Any, wanted: Any) -> None:
    assert found.table.schema.equals(wanted.table.schema, check_metadata=True)
    assert repr(found.table.to_pydict()) == repr(wanted.table.to_pydict())  # NaN is not NaN


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("indent", [None, 1])
@few_examples
@given(data=st.data())
def test_json_and_protobuf_give_equal_tables(
    signal: Signal, indent: int | None, data: st.DataObject
) -> None:
    message = data.draw(messages(REQUESTS[signal]))
    found = decode(as_json(message, indent=indent), signal)
    assert found.set_aside == ()
    same(found, OtlpProtobuf().decode([message.SerializeToString()], signal, [7]))


@few_examples
@given(data=st.data())
def test_logs_of_every_kind_give_equal_tables(log_requests: Any, data: st.DataObject) -> None:
    message = data.draw(log_requests)
    found = decode(as_json(message, ensure_ascii=False), Signal.LOGS)
    same(found, OtlpProtobuf().decode([message.SerializeToString()], Signal.LOGS, [7]))


@pytest.mark.parametrize("signal", list(Signal))
@few_examples
@given(data=st.data())
def test_protobufs_own_json_is_understood(signal: Signal, data: st.DataObject) -> None:
    """Enum names, names of the protocol's definition, and ids in base64."""
    message = data.draw(messages(REQUESTS[signal]).map(with_usual_ids))
    text = json_format.MessageToJson(message, preserving_proto_field_name=True)
    found = decode(text.encode(), signal)
    assert found.set_aside == ()
    same(found, OtlpProtobuf().decode([message.SerializeToString()], signal, [7]))


def with_usual_ids(message: Any) -> Any:
    """The same with ids of 16 and 8 bytes, as only those are known in base64."""
    for field, value in message.ListFields():
        if field.name.endswith(("trace_id", "span_id")):
            size = 16 if field.name == "trace_id" else 8
            setattr(message, field.name, value.ljust(size, b"\xfe")[:size])
        elif field.message_type:
            for item in value if field.is_repeated else [value]:
                with_usual_ids(item)
    return message


@few_examples
@given(data=st.data())
def test_lines_are_documents(log_requests: Any, data: st.DataObject) -> None:
    requests = data.draw(st.lists(log_requests, min_size=1, max_size=5))
    gap = data.draw(st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\n"]))
    bom = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    found = decode(bom + gap.join(map(as_json, requests)) + gap, Signal.LOGS)
    merged = ExportLogsServiceRequest()
    for request in requests:
        merged.MergeFrom(request)
    same(found, OtlpProtobuf().decode([merged.SerializeToString()], Signal.LOGS, [7]))


@few_examples
@given(data=st.data())
def test_each_payload_keeps_its_rows(log_requests: Any, data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.lists(log_requests, max_size=3), min_size=1, max_size=4))
    payloads = [b"\n".join(map(as_json, group)) for group in groups]
    found = OtlpJson().decode(payloads, Signal.LOGS, range(len(payloads)))
    counts = [
        sum(
            len(scope.log_records)
            for request in group
            for resource in request.resource_logs
            for scope in resource.scope_logs
        )
        for group in groups
    ]
    assert found.rows.tolist() == counts


ROWS = {
    "example_events.json": (Signal.LOGS, 1),
    "example_logs.json": (Signal.LOGS, 1),
    "example_metrics.json": (Signal.METRICS, 4),
    "example_trace.json": (Signal.SPANS, 1),
    "logs_document.json": (Signal.LOGS, 1),
    "logs_simple.jsonl": (Signal.LOGS, 3),
    "metrics_simple.jsonl": (Signal.METRICS, 3),
    "metrics_all_types.jsonl": (Signal.METRICS, 5),
    "traces_simple.jsonl": (Signal.SPANS, 3),
    "traces_deep_nesting.jsonl": (Signal.SPANS, 1),
    "malformed.jsonl": (Signal.SPANS, 1),
}


@pytest.mark.parametrize("name", ROWS)
def test_captured_documents(telemetry: Any, name: str) -> None:
    payload = (telemetry / "otlp-json" / name).read_bytes()
    signal, rows = ROWS[name]
    assert OtlpJson().signal(payload) is signal
    found = decode(payload, signal)
    assert found.table.num_rows == rows
    assert sum(line.rows for line in found.set_aside) == (3 if name == "malformed.jsonl" else 0)


def test_captured_documents_are_all_known(telemetry: Any) -> None:
    assert {path.name for path in (telemetry / "otlp-json").iterdir()} == set(ROWS)


def test_the_example_of_the_specification(telemetry: Any) -> None:
    table = decode((telemetry / "otlp-json" / "example_logs.json").read_bytes(), Signal.LOGS).table
    (row,) = table.to_pylist()
    assert row["trace_id"] == "5b8efff798038103d269b633813fc60c"
    assert row["body"] == "Example log record"
    assert row["attr_int_attribute"] == 10
    assert json.loads(row["attr_array_attribute"]) == ["many", "values"]


def test_the_broken_lines_of_a_file_are_named(telemetry: Any) -> None:
    payload = (telemetry / "otlp-json" / "malformed.jsonl").read_bytes()
    found = decode(payload, Signal.SPANS)
    assert sorted(line for each in found.set_aside for line in each.lines) == [1, 2, 4]
    assert found.table["trace_id"].to_pylist() == ["abc"]
    assert found.table["name"].to_pylist() == ["valid span"]
