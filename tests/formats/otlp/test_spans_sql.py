"""Spans from objects to SQL: captured ones, and ones with events and links."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import lakerunner
from lakerunner.limits import ID_FILTER_BITS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = 1_767_225_600 * 10**9
TRACE = bytes(range(16))
KINDS = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]


def request_of(*spans: dict[str, Any]) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for span in spans:
        scope.spans.add(**span)
    return request.SerializeToString()


def attribute(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[lakerunner.Lake]:
    with lakerunner.open(tmp_path / "lake") as opened:
        yield opened


def rows(lake: lakerunner.Lake, text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.sql(text).to_arrow().to_pylist()
    return found


@pytest.mark.parametrize(
    ("name", "spans", "resources"),
    [("otel-traces.binpb.gz", 246, 166), ("traces_244872953.binpb.gz", 257, None)],
)
def test_captured_spans(
    lake: lakerunner.Lake, telemetry: Path, name: str, spans: int, resources: int | None
) -> None:
    path = telemetry / "otlp" / "traces" / name
    report = lake.ingest(path)
    assert (report.rows, report.rejected) == (spans, ())
    request = ExportTraceServiceRequest.FromString(gzip.decompress(path.read_bytes()))
    assert resources in (None, len(request.resource_spans))
    sent = [
        (by_resource.resource, span)
        for by_resource in request.resource_spans
        for by_scope in by_resource.scope_spans
        for span in by_scope.spans
    ]
    text = """
        SELECT trace_id, span_id, parent_span_id, name, kind, status_code, duration_ns,
            arrow_cast(timestamp, 'Int64') AS start, resource_service_name AS service
        FROM spans
    """
    found = Counter(tuple(row.values()) for row in rows(lake, text))
    wanted = Counter(
        (
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex() or None,
            span.name,
            KINDS[span.kind],
            ["UNSET", "OK", "ERROR"][span.status.code],
            span.end_time_unix_nano - span.start_time_unix_nano,
            span.start_time_unix_nano,
            next(a.value.string_value for a in resource.attributes if a.key == "service.name"),
        )
        for resource, span in sent
    )
    assert found == wanted
    assert sum(found.values()) == spans


EVENTS = [
    {
        "time_unix_nano": START + 1,
        "name": "exception",
        "attributes": [
            attribute("exception.type", string_value='Say "no"'),
            attribute("retries", int_value=2**62 + 1),
            attribute("context", kvlist_value={"values": [attribute("ok", bool_value=True)]}),
            attribute("empty"),
        ],
        "dropped_attributes_count": 3,
    },
    {"time_unix_nano": START + 2, "name": "retry"},
]
LINKS = [{"trace_id": TRACE, "span_id": TRACE[:8], "trace_state": "a=b", "flags": 256}]


@pytest.fixture
def eventful(lake: lakerunner.Lake) -> lakerunner.Lake:
    """One span without events or links, one with two events, one with an event and a link."""
    lake.ingest(
        request_of(
            {"name": "none", "start_time_unix_nano": START},
            {"name": "two", "start_time_unix_nano": START, "events": EVENTS},
            {"name": "one", "start_time_unix_nano": START, "events": EVENTS[1:], "links": LINKS},
        )
    )
    return lake


def test_one_event_by_its_position(eventful: lakerunner.Lake) -> None:
    text = "SELECT name, events[1]['name'] AS event FROM spans ORDER BY name"
    assert rows(eventful, text) == [
        {"name": "none", "event": None},
        {"name": "one", "event": "retry"},
        {"name": "two", "event": "exception"},
    ]


def test_events_as_rows(eventful: lakerunner.Lake) -> None:
    text = """
        SELECT name, event['name'] AS event, arrow_cast(event['timestamp'], 'Int64') - {} AS after
        FROM (SELECT name, unnest(events) AS event FROM spans) ORDER BY name, after
    """
    assert rows(eventful, text.format(START)) == [
        {"name": "one", "event": "retry", "after": 2},
        {"name": "two", "event": "exception", "after": 1},
        {"name": "two", "event": "retry", "after": 2},
    ]


def test_the_attributes_of_an_event_are_one_json_object(eventful: lakerunner.Lake) -> None:
    text = """
        SELECT events[1]['attributes'] AS held, events[1]['dropped_attributes_count'] AS dropped
        FROM spans WHERE events[1]['name'] = 'exception'
    """
    (row,) = rows(eventful, text)
    assert row["dropped"] == 3
    assert json.loads(row["held"]) == {
        "exception.type": 'Say "no"',
        "retries": 2**62 + 1,
        "context": {"ok": True},
        "empty": None,
    }


def test_links_as_rows(eventful: lakerunner.Lake) -> None:
    text = "SELECT name, link FROM (SELECT name, unnest(links) AS link FROM spans)"
    assert rows(eventful, text) == [
        {
            "name": "one",
            "link": {
                "trace_id": TRACE.hex(),
                "span_id": TRACE[:8].hex(),
                "trace_state": "a=b",
                "attributes": None,
                "dropped_attributes_count": 0,
                "flags": 256,
            },
        }
    ]


def test_segments_with_and_without_events_are_one_table(eventful: lakerunner.Lake) -> None:
    eventful.ingest(request_of({"name": "later", "start_time_unix_nano": START + 1}))
    text = "SELECT count(*) AS spans, count(events) AS eventful, count(links) AS linked FROM spans"
    assert rows(eventful, text) == [{"spans": 4, "eventful": 2, "linked": 1}]
    found = eventful.sql("SELECT events FROM spans WHERE name = 'later'").to_arrow()
    assert found["events"].to_pylist() == [None]


def test_a_span_of_ids_and_a_name_is_a_span(lake: lakerunner.Lake) -> None:
    report = lake.ingest(request_of({"name": "GET", "trace_id": TRACE, "span_id": TRACE[:8]}))
    assert report.rows == 1
    text = "SELECT name, trace_id, timestamp_source, duration_ns FROM spans"
    assert rows(lake, text) == [
        {"name": "GET", "trace_id": TRACE.hex(), "timestamp_source": "object", "duration_ns": None}
    ]


def test_the_kind_of_every_signal_is_told_apart(lake: lakerunner.Lake) -> None:
    lake.ingest(request_of({"name": "GET", "start_time_unix_nano": START}))
    assert lake.catalog.snapshot("default", "spans").rows == 1
    assert lake.catalog.snapshot("default", "logs").rows == 0


def traces(number: int, count: int = 3) -> bytes:
    """Spans of so many traces, named by the number of their object."""
    return request_of(
        *(
            {
                "name": f"of {number}",
                "trace_id": bytes([number, index % 256, index // 256, *range(13)]),
                "span_id": TRACE[:8],
                "start_time_unix_nano": START + number,
            }
            for index in range(count)
        )
    )


@pytest.mark.parametrize("operator", ["= '{}'", "IN ('{}', 'ff')"])
def test_a_trace_opens_only_its_own_segment(lake: lakerunner.Lake, operator: str) -> None:
    for number in range(8):
        lake.ingest(traces(number))
    wanted = bytes([5, 1, 0, *range(13)]).hex()
    result = lake.sql(f"SELECT name FROM spans WHERE trace_id {operator.format(wanted)}")
    assert result.to_arrow().to_pylist() == [{"name": "of 5"}]
    assert (result.stats.segments, result.stats.scanned) == (8, 1)


def test_an_id_in_no_segment_reads_nothing_of_a_large_one(lake: lakerunner.Lake) -> None:
    lake.ingest(traces(1, count=ID_FILTER_BITS // 4 + 1))
    (segment,) = lake.segments("spans")
    assert not segment.columns["trace_id"].filter
    absent = bytes([1, 7, 7, *range(1, 14)]).hex()
    result = lake.sql(f"SELECT name FROM spans WHERE trace_id = '{absent}'")
    assert result.to_arrow().num_rows == 0
    # The catalog does not know, and the filter within the segment does.
    assert (result.stats.scanned, result.stats.rows_scanned) == (0, 0)
