"""Generated metrics measure the generated spans, exactly, in both temporalities."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lakerunner.generate import TelemetryConfig, TelemetryObject, telemetry_objects, traffic
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CUMULATIVE = TelemetryConfig(
    seed=2,
    signals=(Signal.SPANS, Signal.METRICS),
    rate=300,
    duration_s=100,
    metrics_interval_s=8,
    records_per_object=1500,
    compression="none",
)
DELTA = msgspec.structs.replace(CUMULATIVE, temporality="delta")
HTTP, RPC, DATABASE = (
    "http.server.request.duration",
    "rpc.server.duration",
    "db.client.operation.duration",
)

Series = tuple[str, str, tuple[tuple[str, Any], ...]]


class Point(NamedTuple):
    """A point, its metric, and who sent it."""

    service: str
    pod: str
    metric: Any
    kind: str
    point: Any

    @property
    def series(self) -> Series:
        return (self.metric.name, self.pod, attributes(self.point.attributes))


def attributes(holder: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((a.key, getattr(a.value, a.value.WhichOneof("value"))) for a in holder)


def of_signal(objects: Iterable[TelemetryObject], signal: Signal) -> list[TelemetryObject]:
    return [each for each in objects if each.signal == signal]


def points(objects: Iterable[TelemetryObject]) -> Iterator[Point]:
    for each in of_signal(objects, Signal.METRICS):
        for of in ExportMetricsServiceRequest.FromString(each.data).resource_metrics:
            known = dict(attributes(of.resource.attributes))
            for metric in of.scope_metrics[0].metrics:
                kind = str(metric.WhichOneof("data"))
                for point in getattr(metric, kind).data_points:
                    yield Point(known["service.name"], known["k8s.pod.name"], metric, kind, point)


def spans(objects: Iterable[TelemetryObject]) -> Iterator[tuple[str, Any]]:
    for each in of_signal(objects, Signal.SPANS):
        for of in ExportTraceServiceRequest.FromString(each.data).resource_spans:
            pod = dict(attributes(of.resource.attributes))["k8s.pod.name"]
            for span in of.scope_spans[0].spans:
                yield pod, span


@pytest.fixture(scope="module", autouse=True)
def _small_blocks() -> Iterator[None]:
    """Let requests and exports reach from block to block, many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traffic, "BLOCK_RECORDS", 5000)
        yield


@pytest.fixture(scope="module")
def cumulative() -> list[TelemetryObject]:
    return [*telemetry_objects(CUMULATIVE)]


@pytest.fixture(scope="module")
def delta() -> list[TelemetryObject]:
    return [*telemetry_objects(DELTA)]


def measured(span: Any) -> str | None:
    keys = {each.key for each in span.attributes}
    if span.kind == span.SPAN_KIND_SERVER:
        return RPC if "rpc.system" in keys else HTTP
    return DATABASE if "db.system.name" in keys else None


def test_bytes_are_what_protobuf_itself_would_write(
    cumulative: list[TelemetryObject], delta: list[TelemetryObject]
) -> None:
    own = of_signal([*cumulative, *delta], Signal.METRICS)
    for each in own:
        assert ExportMetricsServiceRequest.FromString(each.data).SerializeToString() == each.data


@pytest.mark.parametrize("which", ["cumulative", "delta"])
def test_objects_are_full_named_and_ordered(which: str, request: pytest.FixtureRequest) -> None:
    own = of_signal(request.getfixturevalue(which), Signal.METRICS)
    assert [each.records for each in own[:-1]] == [1500] * (len(own) - 1)
    assert all("/metrics_" in each.key for each in own)
    latest = CUMULATIVE.start_ns
    for each in own:
        times = [found.point.time_unix_nano for found in points([each])]
        assert len(times) == each.records
        assert latest <= min(times)
        latest = max(times)
    assert latest == CUMULATIVE.end_ns - 1


def test_there_is_every_kind_of_point(cumulative: list[TelemetryObject]) -> None:
    kinds = Counter(found.kind for found in points(cumulative))
    assert set(kinds) == {"gauge", "sum", "histogram", "exponential_histogram", "summary"}
    numbers = {
        found.point.WhichOneof("value")
        for found in points(cumulative)
        if found.kind in {"gauge", "sum"}
    }
    assert numbers == {"as_double", "as_int"}
    sums = {f.metric.name: f.metric.sum.is_monotonic for f in points(cumulative) if f.kind == "sum"}
    assert sums["process.memory.usage"] is False
    assert sums["process.cpu.time"] is True


def test_deltas_add_up_to_the_spans(delta: list[TelemetryObject]) -> None:
    counted: Counter[tuple[str, str]] = Counter()
    total: dict[str, float] = defaultdict(float)
    for found in points(delta):
        if found.metric.name in {HTTP, RPC, DATABASE}:
            data = getattr(found.metric, found.kind)
            assert data.aggregation_temporality == 1
            counted[found.metric.name, found.pod] += found.point.count
            total[found.metric.name] += found.point.sum
    true: Counter[tuple[str, str]] = Counter()
    elapsed: dict[str, float] = defaultdict(float)
    for pod, span in spans(delta):
        name = measured(span)
        if name:
            true[name, pod] += 1
            scale = 1e-6 if name == RPC else 1e-9
            elapsed[name] += (span.end_time_unix_nano - span.start_time_unix_nano) * scale
    assert counted == true
    assert total == pytest.approx(elapsed)


def test_histograms_agree_with_themselves(
    cumulative: list[TelemetryObject], delta: list[TelemetryObject]
) -> None:
    seen = 0
    for found in [*points(cumulative), *points(delta)]:
        point = found.point
        if found.kind == "histogram":
            assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
            assert sum(point.bucket_counts) == point.count > 0
        elif found.kind == "exponential_histogram":
            assert point.zero_count + sum(point.positive.bucket_counts) == point.count > 0
            counts = point.positive.bucket_counts
            if counts:
                base = 2**2**-point.scale
                lowest = base**point.positive.offset
                highest = base ** (point.positive.offset + len(counts))
                assert counts[0] > 0
                assert counts[-1] > 0
                assert point.max <= highest * (1 + 1e-9)
                assert point.zero_count or lowest * (1 - 1e-9) <= point.min
        else:
            continue
        seen += 1
        assert point.min <= point.sum / point.count * (1 + 1e-9)
        assert point.sum / point.count <= point.max * (1 + 1e-9)
    assert seen > 1000


def test_totals_are_the_deltas_added_up_since_the_start(
    cumulative: list[TelemetryObject], delta: list[TelemetryObject]
) -> None:
    def value(found: Point) -> float:
        if found.kind == "sum":
            return float(getattr(found.point, found.point.WhichOneof("value")))
        return float(found.point.count)

    added: dict[Series, list[tuple[int, float]]] = defaultdict(list)
    for found in points(delta):
        data = getattr(found.metric, found.kind)
        if found.kind != "gauge" and getattr(data, "aggregation_temporality", 2) == 1:
            added[found.series].append((found.point.time_unix_nano, value(found)))
            assert found.point.time_unix_nano - found.point.start_time_unix_nano <= 8 * 10**9
    checked = 0
    for found in points(cumulative):
        if found.series in added:
            since, until = found.point.start_time_unix_nano, found.point.time_unix_nano
            parts = [v for at, v in added[found.series] if since < at <= until]
            assert value(found) == pytest.approx(sum(parts))
            checked += 1
    assert checked > 2000


def test_counters_start_anew_with_their_process(cumulative: list[TelemetryObject]) -> None:
    by_series: dict[Series, list[Any]] = defaultdict(list)
    for found in points(cumulative):
        if found.kind == "histogram" or found.metric.name == "process.cpu.time":
            by_series[found.series].append(found.point)
    resets = set()
    for series, own in by_series.items():
        for before, after in pairwise(own):
            assert before.time_unix_nano < after.time_unix_nano
            grown = (
                after.count >= before.count
                if hasattr(after, "count")
                else after.as_double > before.as_double
            )
            if after.start_time_unix_nano == before.start_time_unix_nano:
                assert grown
            else:
                assert after.start_time_unix_nano >= before.time_unix_nano
                resets.add(series[1])
    assert any(pod.startswith("payment") for pod in resets)
    assert len(resets) < 20


def test_exemplars_are_spans_of_the_same_series(delta: list[TelemetryObject]) -> None:
    known = {(span.trace_id, span.span_id): (pod, span) for pod, span in spans(delta)}
    seen: Counter[str] = Counter()
    for found in points(delta):
        for exemplar in getattr(found.point, "exemplars", ()):
            pod, span = known[exemplar.trace_id, exemplar.span_id]
            assert (pod, measured(span)) == (found.pod, found.metric.name)
            assert set(attributes(found.point.attributes)) <= set(attributes(span.attributes))
            assert exemplar.time_unix_nano == span.end_time_unix_nano
            assert found.point.min <= exemplar.as_double <= found.point.max
            begin, end = found.point.start_time_unix_nano, found.point.time_unix_nano
            assert begin <= exemplar.time_unix_nano <= end
            seen[found.metric.name] += 1
    assert set(seen) == {HTTP, RPC, DATABASE}


@pytest.mark.parametrize("wanted", [600, 20_000])
def test_there_are_as_many_series_as_asked_for(wanted: int) -> None:
    config = TelemetryConfig(
        signal=Signal.METRICS, rate=300, duration_s=60, series=wanted, compression="none"
    )
    found = {each.series for each in points(telemetry_objects(config))}
    assert 0.7 * wanted < len(found) <= wanted


def test_seed_decides() -> None:
    config = msgspec.structs.replace(DELTA, signal=Signal.METRICS, rate=900, duration_s=90)
    objects = [*telemetry_objects(config)]
    assert [*telemetry_objects(config)] == objects
    other = msgspec.structs.replace(config, seed=3)
    assert [each.data for each in telemetry_objects(other)] != [each.data for each in objects]


def test_processes_report_even_where_nothing_is_logged() -> None:
    config = TelemetryConfig(signals=tuple(Signal), rate=0.001, duration_s=60, compression="none")
    names = {each.metric.name for each in points(telemetry_objects(config))}
    assert "process.cpu.time" in names
    assert HTTP not in names
