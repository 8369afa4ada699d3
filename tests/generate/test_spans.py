"""Generated spans are whole traces, and those of the generated logs."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from lakerunner.generate import TelemetryConfig, TelemetryObject, telemetry_objects, traffic
from lakerunner.generate.shop import SERVICE_NAMES
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = TelemetryConfig(
    seed=5,
    signals=(Signal.LOGS, Signal.SPANS),
    rate=400,
    duration_s=40,
    records_per_object=4000,
    compression="none",
)


class Sent(NamedTuple):
    """A log record or a span, and who sent it."""

    service: str
    pod: str
    record: Any


def parsed(objects: list[TelemetryObject]) -> list[Any]:
    kinds: dict[Signal, Any] = {
        Signal.LOGS: ExportLogsServiceRequest,
        Signal.SPANS: ExportTraceServiceRequest,
    }
    return [kinds[each.signal].FromString(each.data) for each in objects]


def attributes(holder: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in holder}


def sent(objects: list[TelemetryObject], resources: str, scopes: str, records: str) -> list[Sent]:
    found = []
    for request in parsed(objects):
        for of in getattr(request, resources):
            known = attributes(of.resource.attributes)
            for scope in getattr(of, scopes):
                found += [
                    Sent(known["service.name"], known["k8s.pod.name"], record)
                    for record in getattr(scope, records)
                ]
    return found


@pytest.fixture(scope="module", autouse=True)
def _small_blocks() -> Iterator[None]:
    """Let requests and exports reach from block to block, many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traffic, "BLOCK_RECORDS", 5000)
        yield


@pytest.fixture(scope="module")
def objects() -> list[TelemetryObject]:
    return list(telemetry_objects(CONFIG))


def of_signal(objects: list[TelemetryObject], signal: Signal) -> list[TelemetryObject]:
    return [each for each in objects if each.signal == signal]


@pytest.fixture(scope="module")
def spans(objects: list[TelemetryObject]) -> list[Sent]:
    return sent(of_signal(objects, Signal.SPANS), "resource_spans", "scope_spans", "spans")


@pytest.fixture(scope="module")
def logs(objects: list[TelemetryObject]) -> list[Sent]:
    return sent(of_signal(objects, Signal.LOGS), "resource_logs", "scope_logs", "log_records")


def test_bytes_are_what_protobuf_itself_would_write(objects: list[TelemetryObject]) -> None:
    for each in of_signal(objects, Signal.SPANS):
        assert ExportTraceServiceRequest.FromString(each.data).SerializeToString() == each.data


def test_objects_are_full_named_and_ordered(objects: list[TelemetryObject]) -> None:
    own = of_signal(objects, Signal.SPANS)
    assert [each.records for each in own[:-1]] == [4000] * (len(own) - 1)
    assert all("/traces_" in each.key for each in own)
    assert len({each.key for each in objects}) == len(objects)
    latest = CONFIG.start_ns
    for each in own:
        rows = sent([each], "resource_spans", "scope_spans", "spans")
        assert len(rows) == each.records
        ends = [row.record.end_time_unix_nano for row in rows]
        assert latest <= min(ends)
        latest = max(ends)
    assert latest < CONFIG.end_ns


def test_a_signal_is_the_same_alone_and_with_the_others(objects: list[TelemetryObject]) -> None:
    for signal in (Signal.LOGS, Signal.SPANS):
        alone = TelemetryConfig(
            **{
                name: getattr(CONFIG, name) for name in CONFIG.__struct_fields__ if name != "signal"
            },
            signal=signal,
        )
        assert [*telemetry_objects(alone)] == of_signal(objects, signal)


def test_logs_have_spans_of_their_service_that_last_while_they_are_written(
    logs: list[Sent], spans: list[Sent]
) -> None:
    known = {(s.record.trace_id, s.record.span_id): s for s in spans}
    assert len(known) == len(spans)
    traced = [log for log in logs if log.record.trace_id]
    found = [(log, known.get((log.record.trace_id, log.record.span_id))) for log in traced]
    missing = sum(span is None for _, span in found)
    assert missing < 0.01 * len(traced)  # those that had not ended with the interval
    for log, span in found:
        if span is not None:
            assert log.pod == span.pod
            assert (
                span.record.start_time_unix_nano
                <= log.record.time_unix_nano
                <= span.record.end_time_unix_nano
            )


def test_traces_are_trees_in_time(spans: list[Sent]) -> None:
    traces: dict[bytes, dict[bytes, Sent]] = defaultdict(dict)
    for span in spans:
        traces[span.record.trace_id][span.record.span_id] = span
    roots = 0
    for of in traces.values():
        for span in of.values():
            record = span.record
            assert record.start_time_unix_nano < record.end_time_unix_nano
            if not record.parent_span_id:
                roots += 1
                assert (span.service, record.kind) == ("frontend", record.SPAN_KIND_SERVER)
                continue
            parent = of.get(record.parent_span_id)
            if parent is None:  # not over at the end of the interval
                assert record.end_time_unix_nano > CONFIG.end_ns - 20 * 10**9
                continue
            assert parent.record.start_time_unix_nano <= record.start_time_unix_nano
            remote = record.kind in {record.SPAN_KIND_SERVER, record.SPAN_KIND_CONSUMER}
            assert (parent.service != span.service) == remote
            if record.kind != record.SPAN_KIND_CONSUMER:
                assert record.end_time_unix_nano <= parent.record.end_time_unix_nano
    assert len(traces) - 3 <= roots <= len(traces)


def test_every_kind_status_event_and_link_occurs(spans: list[Sent]) -> None:
    kinds = Counter(span.record.kind for span in spans)
    assert set(kinds) == {1, 2, 3, 4, 5}
    assert {span.record.status.code for span in spans} == {0, 1, 2}
    assert {span.service for span in spans} == {*SERVICE_NAMES}
    events = Counter(event.name for span in spans for event in span.record.events)
    assert set(events) == {"exception", "retry", "shop.order.placed"}
    for span in spans:
        times = [event.time_unix_nano for event in span.record.events]
        assert times == sorted(times)
        for time in times:
            assert span.record.start_time_unix_nano <= time <= span.record.end_time_unix_nano
        for link in span.record.links:
            assert (link.trace_id, link.span_id) == (
                span.record.trace_id,
                span.record.parent_span_id,
            )
        assert len(span.record.links) == (span.record.kind == span.record.SPAN_KIND_CONSUMER)
    failed = [span for span in spans if span.record.status.code == Status.STATUS_CODE_ERROR]
    assert all("error.type" in attributes(span.record.attributes) for span in failed)
    thrown = next(e for s in spans for e in s.record.events if e.name == "exception")
    assert {"exception.type", "exception.message", "exception.stacktrace"} == set(
        attributes(thrown.attributes)
    )


def test_a_service_alone_sends_its_own_spans() -> None:
    config = TelemetryConfig(
        signal=Signal.SPANS, services=("cart",), rate=50, duration_s=20, compression="none"
    )
    rows = sent([*telemetry_objects(config)], "resource_spans", "scope_spans", "spans")
    assert len(rows) > 100
    assert {row.service for row in rows} == {"cart"}
