"""Input that is broken, huge or strange: no neighbour is lost, and nothing is guessed."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.limits import ATTRIBUTE_COLUMNS, NESTING_DEPTH
from lakerunner.model.signal import Signal
from lakerunner.schema.attribute import OVERFLOW, field_key, overflow_types

MARK = "\ue000"
"""Three bytes in UTF-8, nowhere else in the tests: broken bytes are patched in over it."""

BROKEN = [b"\xff\xfe\xfd", b"\x80\x80\xf0", b"\xed\xa0\x80", b"\xc3\x28\xff", b"\xf0\x9f\x98"]


def decode(payload: bytes, fallback_ns: int = 0) -> Any:
    return OtlpProtobuf().decode([payload], Signal.LOGS, [fallback_ns])


def request_of(*records: dict[str, Any]) -> Any:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for record in records:
        scope.log_records.add(**record)
    return request


def delimited(number: int, data: bytes) -> bytes:
    """A length-delimited field, written by hand."""
    head, length = [number << 3 | 2], len(data)
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    return bytes([*head, length]) + data


def nested(depth: int, field: int) -> bytes:
    """A log request whose body is nested `depth` levels deep; field 5 is an array, 6 a map."""
    value = delimited(1, b"leaf")
    for _ in range(depth):
        inside = value if field == 5 else delimited(1, b"k") + delimited(2, value)
        value = delimited(field, delimited(1, inside))
    return delimited(1, delimited(2, delimited(2, delimited(5, value))))


def marked(request: Any) -> Any:
    """The same request with the mark somewhere in every text of its first records."""
    for by_resource in request.resource_logs:
        by_resource.resource.attributes.add(key=f"k{MARK}").value.string_value = MARK
        by_resource.schema_url += MARK
        for by_scope in by_resource.scope_logs:
            by_scope.scope.name = MARK + by_scope.scope.name
            for record in by_scope.log_records:
                record.event_name += MARK
                nest = record.attributes.add(key="nested").value.kvlist_value.values.add(key=MARK)
                nest.value.array_value.values.add(string_value=f"a{MARK}b")
    return request


@given(data=st.data(), broken=st.sampled_from(BROKEN))
def test_bytes_that_are_no_text_become_replacement_characters(
    log_requests: st.SearchStrategy[Any], data: st.DataObject, broken: bytes
) -> None:
    request = marked(data.draw(log_requests))
    payload, mark = request.SerializeToString(), MARK.encode()
    patched = decode(payload.replace(mark, broken)).table
    # The reference: Python's own idea of the repair, one U+FFFD per broken byte.
    repaired = broken.decode("utf-8", "surrogateescape")
    repaired = "".join("\ufffd" if "\udc80" <= char <= "\udcff" else char for char in repaired)
    whole = decode(payload).table
    assert patched.num_rows == whole.num_rows
    for name in whole.schema.names:
        if MARK in field_key(whole.schema.field(name)) or name == OVERFLOW:
            continue
        wanted = [
            cell.replace(MARK, repaired) if isinstance(cell, str) else cell
            for cell in whole[name].to_pylist()
        ]
        found = patched[name].to_pylist()
        assert repr(found) == repr(wanted), name


def test_a_broken_key_is_repaired_and_kept() -> None:
    request = request_of({})
    record = request.resource_logs[0].scope_logs[0].log_records[0]
    record.attributes.add(key=f"a{MARK}").value.int_value = 7
    payload = request.SerializeToString().replace(MARK.encode(), b"\xff\xff\xff")
    table = decode(payload).table
    (name,) = (name for name in table.schema.names if name.startswith("attr_"))
    assert field_key(table.schema.field(name)) == "a\ufffd\ufffd\ufffd"
    assert table[name].to_pylist() == [7]


BODY = request_of(
    {"time_unix_nano": 10**18, "body": {"string_value": "hello"}, "trace_id": bytes(16)},
    {"time_unix_nano": 10**18, "body": {"string_value": "again"}},
).SerializeToString()


@pytest.mark.parametrize("length", range(1, len(BODY)))
def test_a_cut_off_message_is_corrupt(length: int) -> None:
    with pytest.raises(CorruptObjectError):
        decode(BODY[:length])


@pytest.mark.parametrize(
    "payload",
    [b"hello world", b'{"resourceLogs":[]}', b"\xff" * 20, b"\x0a\x02\x0a\x05", b"PAR1"],
)
def test_other_content_is_corrupt(payload: bytes) -> None:
    with pytest.raises(CorruptObjectError):
        decode(payload)


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_corrupt(payload: bytes) -> None:
    try:
        decoded = decode(payload)
    except CorruptObjectError:
        return
    assert decoded.table.num_rows == decoded.rows.sum()


@given(st.integers(0, len(BODY) - 1), st.integers(0, 255))
def test_one_changed_byte_decodes_or_is_corrupt(position: int, byte: int) -> None:
    try:
        decoded = decode(BODY[:position] + bytes([byte]) + BODY[position + 1 :])
    except CorruptObjectError:
        return
    assert decoded.table.num_rows == decoded.rows.sum()


@pytest.mark.parametrize("payload", [b"", delimited(1, b""), request_of().SerializeToString()])
def test_a_request_without_records_has_no_rows(payload: bytes) -> None:
    decoded = decode(payload)
    assert decoded.table.num_rows == 0
    assert decoded.rows.tolist() == [0]


def test_runaway_attributes_go_to_the_overflow() -> None:
    keys = 5000
    request = request_of(*({} for _ in range(10)))
    records = request.resource_logs[0].scope_logs[0].log_records
    for index in range(keys):
        records[index % 10].attributes.add(key=f"key.{index}").value.int_value = index
    for record in records:
        record.attributes.add(key="everywhere").value.string_value = "yes"
    table = decode(request.SerializeToString()).table
    columns = [name for name in table.schema.names if name.startswith("attr_")]
    assert len(columns) == ATTRIBUTE_COLUMNS
    assert table["attr_everywhere"].to_pylist() == ["yes"] * 10
    held = {
        (row, name): int(text)
        for row, pairs in enumerate(table[OVERFLOW].to_pylist())
        for name, text in pairs
    }
    held |= {
        (row, name): value
        for name in columns
        if name != "attr_everywhere"
        for row, value in enumerate(table[name].to_pylist())
        if value is not None
    }
    assert held == {(index % 10, f"attr_key_{index}"): index for index in range(keys)}
    types = overflow_types(table.schema.field(OVERFLOW))
    assert len(types) == keys + 1 - ATTRIBUTE_COLUMNS
    assert all(name == f"attr_{key.replace('.', '_')}" for name, (key, _) in types.items())
    assert {kinds for _, kinds in types.values()} == {("int64",)}


def test_runaway_resource_attributes_leave_room_for_the_records() -> None:
    request = request_of({}, {})
    resource = request.resource_logs[0].resource
    for index in range(1000):
        resource.attributes.add(key=f"r{index}").value.bool_value = True
    record = request.resource_logs[0].scope_logs[0].log_records[0]
    record.attributes.add(key="mine").value.string_value = "here"
    table = decode(request.SerializeToString()).table
    assert table["attr_mine"].to_pylist() == ["here", None]
    overflow = table[OVERFLOW].to_pylist()
    columns = {name for name in table.schema.names if name.startswith("resource_")}
    assert len(columns) == ATTRIBUTE_COLUMNS // 2
    assert overflow[0] == overflow[1]
    assert {name for name, _ in overflow[0]} | columns == {f"resource_r{i}" for i in range(1000)}


def test_a_body_of_five_megabytes_is_kept() -> None:
    text = "ä" * 2_500_000
    table = decode(request_of({"body": {"string_value": text}}).SerializeToString()).table
    assert table["body"].to_pylist() == [text]


YEAR_2200 = 7_258_118_400 * 10**9


@pytest.mark.parametrize(
    ("raw", "nanoseconds", "source", "kept"),
    [
        (0, 5, "object", None),
        (2**63, 5, "object", 2**63),
        (2**64 - 1, 5, "object", 2**64 - 1),
        (YEAR_2200, YEAR_2200, "time", None),
        (1_767_225_600 * 10**9, 1_767_225_600 * 10**9, "time", None),
        (1_767_225_600, 1_767_225_600 * 10**9, "seconds", 1_767_225_600),
        (1_767_225_600_123, 1_767_225_600_123 * 10**6, "milliseconds", 1_767_225_600_123),
        (1_767_225_600_123_456, 1_767_225_600_123_456_000, "microseconds", 1_767_225_600_123_456),
        (1, 1, "time", None),
    ],
)
def test_strange_times(raw: int, nanoseconds: int, source: str, kept: int | None) -> None:
    payload = request_of({"time_unix_nano": raw}).SerializeToString()
    table = decode(payload, fallback_ns=5).table
    assert table["timestamp"].cast("int64").to_pylist() == [nanoseconds]
    assert table["timestamp_source"].to_pylist() == [source]
    raws = table["timestamp_raw"].to_pylist() if "timestamp_raw" in table.schema.names else [None]
    assert raws == [kept]


def test_without_a_time_the_observed_time_counts() -> None:
    record = {"observed_time_unix_nano": 1_767_225_600 * 10**9}
    table = decode(request_of(record).SerializeToString(), fallback_ns=5).table
    assert table["timestamp"].equals(table["observed_timestamp"])
    assert table["timestamp_source"].to_pylist() == ["observed"]


def test_each_payload_has_its_own_fallback() -> None:
    payload = request_of({}).SerializeToString()
    table = OtlpProtobuf().decode([payload, payload], Signal.LOGS, [3, 4]).table
    assert table["timestamp"].cast("int64").to_pylist() == [3, 4]


@pytest.mark.parametrize("field", [5, 6])
@pytest.mark.parametrize("depth", [1, 20, NESTING_DEPTH])
def test_deep_values_are_kept(depth: int, field: int) -> None:
    value = json.loads(decode(nested(depth, field)).table["body"][0].as_py())
    levels = 0
    while value != "leaf":
        value, levels = value[0 if field == 5 else "k"], levels + 1
    assert levels == depth


@pytest.mark.parametrize("field", [5, 6])
def test_bottomless_values_are_corrupt(field: int) -> None:
    with pytest.raises(CorruptObjectError, match=str(NESTING_DEPTH)):
        decode(nested(200, field))
