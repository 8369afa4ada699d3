"""Spans that are strange or broken: nothing is lost, and nothing is guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.limits import ATTRIBUTE_COLUMNS, NESTING_DEPTH
from lakerunner.model.signal import Signal

NOW = 1_767_225_600 * 10**9
FALLBACK = 5
MARK = "@@@"


def request_of(*spans: dict[str, Any]) -> Any:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for span in spans:
        scope.spans.add(**span)
    return request


def decode(payload: bytes) -> Any:
    return OtlpProtobuf().decode([payload], Signal.SPANS, [FALLBACK])


def times(start: int, end: int) -> dict[str, Any]:
    span = {"start_time_unix_nano": start, "end_time_unix_nano": end}
    (row,) = decode(request_of(span).SerializeToString()).table.to_pylist()
    (moment,) = (
        decode(request_of(span).SerializeToString()).table["timestamp"].cast("int64").to_pylist()
    )
    return {**row, "timestamp": moment}


def test_an_end_before_the_start_is_a_negative_duration() -> None:
    row = times(NOW, NOW - 7)
    assert row["duration_ns"] == -7
    assert row["timestamp"] == NOW


@pytest.mark.parametrize(
    ("start", "end", "moment", "source", "duration"),
    [
        (NOW, NOW + 1, NOW, "time", 1),
        (NOW, NOW, NOW, "time", 0),
        (1, 2**63 - 1, 1, "time", 2**63 - 2),
        (2**63 - 1, 1, 2**63 - 1, "time", 2 - 2**63),
        (NOW, 0, NOW, "time", None),
        (NOW, 2**64 - 1, NOW, "time", None),
        (0, NOW, NOW, "end", None),
        (2**63, NOW, NOW, "end", None),
        (0, 0, FALLBACK, "object", None),
        (2**64 - 1, 2**63, FALLBACK, "object", None),
        (NOW // 10**9, NOW // 10**9 + 2, NOW, "seconds", 2 * 10**9),
        (NOW // 10**6, NOW // 10**6 + 2, NOW, "milliseconds", 2 * 10**6),
        (NOW // 10**3, NOW + 5, NOW, "microseconds", 5),
    ],
)
def test_strange_times(
    start: int, end: int, moment: int, source: str, duration: int | None
) -> None:
    row = times(start, end)
    assert (row["timestamp"], row["timestamp_source"]) == (moment, source)
    assert row["duration_ns"] == duration
    # Whatever was sent can be had back.
    if start and source != "time":
        assert row["timestamp_raw"] == start
    if end and not NOW <= end < 2**63 and end > 1:
        assert row["end_timestamp_raw"] == end


def test_the_absurd_time_of_an_event_is_kept_as_a_number() -> None:
    span = {"start_time_unix_nano": NOW, "events": [{"name": "e", "time_unix_nano": 2**64 - 1}]}
    ((event,),) = decode(request_of(span).SerializeToString()).table["events"].to_pylist()
    assert event["timestamp"] is None
    assert event["timestamp_raw"] == 2**64 - 1


def test_numbers_without_a_name_are_kept() -> None:
    kinds = [3, 6, -1, 0, 6]
    spans: list[dict[str, Any]] = [{"kind": kind} for kind in kinds]
    spans[2]["status"] = {"code": 77}
    table = decode(request_of(*spans).SerializeToString()).table
    assert table["kind"].to_pylist() == ["CLIENT", "6", "-1", "UNSPECIFIED", "6"]
    assert table["status_code"].to_pylist() == ["UNSET", "UNSET", "77", "UNSET", "UNSET"]


def test_every_text_is_repaired_where_it_is_broken() -> None:
    attribute = {"key": MARK, "value": {"string_value": MARK}}
    payload = request_of(
        {
            "name": MARK,
            "trace_state": MARK,
            "status": {"message": MARK},
            "attributes": [attribute],
            "events": [{"name": MARK, "attributes": [attribute]}],
            "links": [{"trace_state": MARK, "attributes": [attribute]}],
        }
    ).SerializeToString()
    table = decode(payload.replace(MARK.encode(), b"\xff\xff\xff")).table
    broken = "\ufffd" * 3
    for name in ("name", "trace_state", "status_message", "attr____"):
        assert table[name].to_pylist() == [broken]
    ((event,),) = table["events"].to_pylist()
    ((link,),) = table["links"].to_pylist()
    assert (event["name"], link["trace_state"]) == (broken, broken)
    assert json.loads(event["attributes"]) == json.loads(link["attributes"]) == {broken: broken}


def delimited(number: int, content: bytes) -> bytes:
    """One length-delimited field; OpenTelemetry's classes refuse to write what lies too deep."""
    length = len(content)
    size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([number << 3 | 2]) + size + content


def nested(depth: int) -> bytes:
    """A request of one span and one event, both with an attribute of so many maps in each other."""
    value = delimited(1, b"leaf")
    for _ in range(depth):
        value = delimited(6, delimited(1, delimited(1, b"k") + delimited(2, value)))
    attribute = delimited(1, b"k") + delimited(2, value)
    span = delimited(9, attribute) + delimited(11, delimited(3, attribute))
    return delimited(1, delimited(2, delimited(2, span)))


@pytest.mark.parametrize("depth", [1, 20, NESTING_DEPTH])
def test_deep_attributes_of_events_are_kept(depth: int) -> None:
    table = decode(nested(depth)).table
    ((event,),) = table["events"].to_pylist()
    (own,) = table["attr_k"].to_pylist()
    held = json.loads(event["attributes"])
    assert held["k"] == json.loads(own)
    for _ in range(depth + 1):
        held = held["k"]
    assert held == "leaf"


def test_bottomless_attributes_of_events_are_corrupt() -> None:
    with pytest.raises(CorruptObjectError, match=str(NESTING_DEPTH)):
        decode(nested(NESTING_DEPTH + 5))


WHOLE = request_of(
    {"name": "GET", "start_time_unix_nano": NOW, "events": [{"name": "e"}], "links": [{}]},
    {"name": "PUT", "end_time_unix_nano": NOW, "status": {"code": 2}},
).SerializeToString()


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_a_cut_off_message_is_corrupt(length: int) -> None:
    with pytest.raises(CorruptObjectError):
        decode(WHOLE[:length])


def test_a_request_without_spans_has_no_rows() -> None:
    decoded = decode(b"")
    assert decoded.table.num_rows == 0
    assert decoded.rows.tolist() == [0]


def test_runaway_attributes_change_no_fingerprint() -> None:
    plain = {
        "name": "x",
        "kind": 3,
        "attributes": [
            {"key": "http.request.method", "value": {"string_value": "GET"}},
            {"key": "url.template", "value": {"string_value": "/users/{id}"}},
        ],
    }
    alone = decode(request_of(plain).SerializeToString()).table
    # Two spans each have every other key, so the two above are the rarest and overflow.
    crowd = {
        "attributes": [
            {"key": f"key.{number}", "value": {"bool_value": True}}
            for number in range(ATTRIBUTE_COLUMNS)
        ]
    }
    crowded = decode(request_of(crowd, plain, crowd).SerializeToString()).table
    assert "attr_url_template" not in crowded.schema.names
    assert crowded["fingerprint"][1] == alone["fingerprint"][0]
