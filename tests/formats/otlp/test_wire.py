"""Cutting and recognising messages."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.formats.otlp.wire import recognise_signal, split_message
from lakerunner.model.signal import Signal
from lakerunner.schema.attribute import OVERFLOW
from tests.formats.otlp.test_logs import attribute_fields, overflow_names
from tests.formats.records.test_mixes import written_rows

NAME = {"string_value": "x"}


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in blocks of these sizes, the rest in one."""
    blocks, position = [], 0
    for size in sizes:
        blocks.append(data[position : position + size])
        position += size
    return [*blocks, data[position:]]


@given(data=st.data(), sizes=st.lists(st.integers(0, 40), max_size=9), limit=st.integers(0, 90))
def test_parts_join_to_the_message_whatever_the_cut(
    log_requests: st.SearchStrategy[Any], data: st.DataObject, sizes: list[int], limit: int
) -> None:
    request = data.draw(log_requests)
    payload = request.SerializeToString()
    parts = list(split_message(cut(payload, sizes), limit))
    assert b"".join(parts) == payload
    resources = 0
    for part in parts:
        message = ExportLogsServiceRequest.FromString(part)
        resources += len(message.resource_logs)
        assert len(part) <= limit or len(message.resource_logs) == 1
    assert resources == len(request.resource_logs)


def rows_by_key(table: Any) -> list[dict[Any, Any]]:
    """Rows with attributes by prefix and key as sent: which of two that fold has a name differs."""
    places = {field.name: place for place, field in attribute_fields(table).items()}
    known = overflow_names(table)
    rows: list[dict[Any, Any]] = [
        {places.get(name, name): value for name, value in row.items() if name != OVERFLOW}
        for row in written_rows(table)
    ]
    if known:
        for row, held in zip(rows, table[OVERFLOW].to_pylist(), strict=True):
            row[OVERFLOW] = sorted((known[name], text) for name, text in held or ())
    return [{OVERFLOW: [], **row} for row in rows]


def values_of(table: Any) -> list[list[str]]:
    """The values of each row, whatever the names of their columns."""
    rows = written_rows(table)
    return [sorted(value for name, value in row.items() if name != OVERFLOW) for row in rows]


@given(data=st.data(), limit=st.integers(1, 200))
def test_parts_decode_to_the_same_rows(
    log_requests: st.SearchStrategy[Any], data: st.DataObject, limit: int
) -> None:
    payload = data.draw(log_requests).SerializeToString()
    decoder = OtlpProtobuf()
    parts = [part.data for part in decoder.split([payload], limit)]
    whole = decoder.decode([payload], Signal.LOGS, [0])
    alone = [decoder.decode([part], Signal.LOGS, [0]).table for part in parts]
    assert [row for part in alone for row in rows_by_key(part)] == rows_by_key(whole.table)
    split = decoder.decode(parts, Signal.LOGS, [0] * len(parts))
    assert values_of(split.table) == values_of(whole.table)
    assert split.rows.tolist() == [part.num_rows for part in alone]


def test_an_empty_object_is_one_empty_message() -> None:
    assert list(split_message([], 10)) == [b""]
    assert list(split_message([b"", b""], 10)) == [b""]


def test_a_message_within_the_limit_is_not_read() -> None:
    assert list(split_message([b"not ", b"protobuf"], 12)) == [b"not protobuf"]


def test_a_large_block_is_cut_before_the_next_is_asked_for() -> None:
    request = ExportLogsServiceRequest()
    for _ in range(10):
        request.resource_logs.add(schema_url="u" * 8)
    asked = []

    def blocks() -> Any:
        for number in range(3):
            asked.append(number)
            yield request.SerializeToString()

    parts = split_message(blocks(), 30)
    first = [next(parts) for _ in range(4)]
    assert asked == [0]
    assert b"".join([*first, *parts]) == request.SerializeToString() * 3


@pytest.mark.parametrize("data", [b"\x0f" * 30, b"\x02\x01a" * 10, b"\xff" * 30, b"\x0b" * 30])
def test_what_cannot_be_cut_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptObjectError):
        list(split_message([data], 10))


def logs(**record: Any) -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(**record)
    return bytes(request.SerializeToString())


def spans(**record: Any) -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(**record)
    return bytes(request.SerializeToString())


def metrics(**record: Any) -> bytes:
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.add(**record)
    return bytes(request.SerializeToString())


POINT = {"data_points": [{"as_int": 1, "time_unix_nano": 1}]}
TIMES = {"start_time_unix_nano": 1, "end_time_unix_nano": 2}
IDS = {"trace_id": bytes(range(16)), "span_id": bytes(range(8))}


@pytest.mark.parametrize(
    ("payload", "signal"),
    [
        (logs(time_unix_nano=1), Signal.LOGS),
        (logs(observed_time_unix_nano=1), Signal.LOGS),
        (logs(body=NAME), Signal.LOGS),
        (logs(attributes=[{"key": "a", "value": NAME}]), Signal.LOGS),
        (logs(severity_number=9), Signal.LOGS),
        (logs(severity_text="INFO"), Signal.LOGS),
        (logs(event_name="e"), Signal.LOGS),
        (logs(flags=1), Signal.LOGS),
        (logs(**IDS), Signal.LOGS),
        (logs(time_unix_nano=1, body=NAME, event_name="e", flags=1, **IDS), Signal.LOGS),
        (spans(**TIMES), Signal.SPANS),
        (spans(name="GET", kind=2, **TIMES, **IDS), Signal.SPANS),
        (spans(start_time_unix_nano=1, name="GET"), Signal.SPANS),
        (spans(kind=1), Signal.SPANS),
        (spans(status={"code": 2}, **IDS), Signal.SPANS),
        (spans(name="GET", **IDS), Signal.SPANS),
        (spans(name="GET", trace_id=b"sixteen letters!", span_id=b"8letters"), Signal.SPANS),
        (spans(name="GET", span_id=bytes(8)), Signal.SPANS),
        (spans(name="\n", **IDS), Signal.SPANS),
        (spans(**IDS), Signal.SPANS),
        (spans(parent_span_id=b"8letters"), Signal.SPANS),
        (spans(attributes=[{"key": "a", "value": NAME}], **IDS), Signal.SPANS),
        (spans(events=[{"name": "e"}], **IDS), Signal.SPANS),
        (metrics(name="up", gauge=POINT), Signal.METRICS),
        (metrics(name="up", unit="1", description="d", sum=POINT), Signal.METRICS),
        (metrics(name="up", histogram={}), Signal.METRICS),
        (metrics(name="up", exponential_histogram={}), Signal.METRICS),
        (metrics(name="up", summary={}), Signal.METRICS),
        (metrics(name="up"), Signal.METRICS),
        (metrics(name="sixteen.letters!", description="8\nletter", gauge=POINT), Signal.METRICS),
        (metrics(name="sixteen.letters!", description="größe."), Signal.METRICS),
        (metrics(description="of what", gauge=POINT), Signal.METRICS),
        (metrics(name="up", gauge={}), Signal.METRICS),
        (metrics(sum=POINT), Signal.METRICS),
        (logs(), None),
        (b"", None),
        (b"\x0a\x00", None),
    ],
)
def test_the_signal_is_told_by_the_record(payload: bytes, signal: Signal | None) -> None:
    assert recognise_signal(payload) is signal


def test_the_first_record_that_tells_decides() -> None:
    assert recognise_signal(logs() + logs() + logs(time_unix_nano=1)) is Signal.LOGS


@pytest.mark.parametrize("data", [b"hello world", b"\x0a\x09ab", b"{}", b"\xff" * 12])
def test_other_content_is_no_signal(data: bytes) -> None:
    with pytest.raises(CorruptObjectError):
        recognise_signal(data)
