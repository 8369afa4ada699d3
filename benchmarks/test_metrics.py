"""Gzipped OTLP metrics to a committed segment: our road, and the naive road, in the same run.

Two inputs: small points (about 126 bytes, 20,000 series, one object per 5,000 points), and a real
collector's export with many attributes (637 bytes a point). The naive road parses with the official
protobuf classes, walks every point and attribute in Python, builds columns from lists, sorts and
writes; it computes no series ids.
"""

from __future__ import annotations

import gzip
import random
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

import lakerunner

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

START = 1_790_000_000 * 10**9
SERVICES, NAMES, INSTANCES = 20, 50, 20
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROUNDS = count()
CAPTURED = Path(__file__).resolve().parents[2] / "shared" / "data" / "otlp" / "metrics"


def add_point(metric: Any, kind: int, service: int, instance: int, rng: random.Random) -> None:
    """Half gauges, four tenths counters, one tenth histograms; four attributes each."""
    if kind < 5:
        point = metric.gauge.data_points.add(as_double=rng.gauss(100, 15))
    elif kind < 9:
        metric.sum.aggregation_temporality = 2
        metric.sum.is_monotonic = True
        point = metric.sum.data_points.add(as_int=rng.randrange(10**6))
    else:
        metric.histogram.aggregation_temporality = 1
        counts = [rng.randrange(20) for _ in range(len(BOUNDS) + 1)]
        point = metric.histogram.data_points.add(explicit_bounds=BOUNDS, bucket_counts=counts)
        point.count, point.sum = sum(counts), sum(counts) * 0.3
    for key, text in (
        ("instance", f"i-{service:02d}-{instance:04d}"),
        ("state", ("used", "free", "cached")[instance % 3]),
        ("device", f"sd{'abcd'[instance % 4]}"),
        ("cpu", f"cpu{instance % 8}"),
    ):
        point.attributes.add(key=key).value.string_value = text


def small_points(number: int) -> bytes:
    """A quarter of a tick of 10 s: five services' points, 5,000 in all."""
    rng = random.Random(number)
    tick, quarter = divmod(number, 4)
    request = ExportMetricsServiceRequest()
    for service in range(quarter * 5, quarter * 5 + 5):
        by_resource = request.resource_metrics.add()
        for key in ("service.name", "service.version", "k8s.pod.name", "host.name"):
            by_resource.resource.attributes.add(key=key).value.string_value = f"{key}-{service}"
        scope = by_resource.scope_metrics.add()
        scope.scope.name = "otelcol/hostmetrics"
        for name in range(NAMES):
            metric = scope.metrics.add(name=f"system.part{name}.use", unit="1", description="x")
            for instance in range(INSTANCES):
                add_point(metric, name % 10, service, instance, rng)
            for point in getattr(metric, metric.WhichOneof("data") or "").data_points:
                point.time_unix_nano = START + tick * 10**10 + rng.randrange(9 * 10**9)
                point.start_time_unix_nano = START
    return request.SerializeToString()


@pytest.fixture(scope="module", params=["small", "captured"])
def objects(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[str, Path]:
    """A name and a folder of gzipped objects."""
    timed = request.config.getoption("benchmark_enable", default=False)
    folder = tmp_path_factory.mktemp("raw")
    if request.param == "small":
        for number in range(60 if timed else 2):
            data = gzip.compress(small_points(number), 6)
            (folder / f"metrics_{number:03d}.binpb.gz").write_bytes(data)
        return request.param, folder
    source = CAPTURED / "metrics_221198848.binpb.gz"
    if not source.is_file():
        pytest.skip(f"no captured telemetry at {source}")
    for number in range(5 if timed else 1):
        (folder / f"metrics_{number}.binpb.gz").write_bytes(source.read_bytes())
    return request.param, folder


def points_in(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        request = ExportMetricsServiceRequest.FromString(gzip.decompress(path.read_bytes()))
        total += sum(
            len(getattr(metric, metric.WhichOneof("data") or "gauge").data_points)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
    return total


def plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    held = getattr(value, kind) if kind else None
    return held if isinstance(held, str | int | float | None) else str(held)


def value_columns(kind: str, point: Any) -> dict[str, Any]:
    if kind in {"gauge", "sum"}:
        name = point.WhichOneof("value")
        return {"value": float(getattr(point, name)) if name else None}
    return {
        "count": point.count,
        "sum": point.sum,
        "bucket_counts": list(point.bucket_counts),
        "explicit_bounds": list(point.explicit_bounds),
    }


def to_array(values: list[Any]) -> Any:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # a key with values of several types
        return pa.array([None if value is None else str(value) for value in values])


def naive(folder: Path, target: Path) -> int:
    """Every point and attribute becomes a Python object."""
    columns: dict[str, list[Any]] = {}
    rows = 0
    for path in sorted(folder.iterdir()):
        request = ExportMetricsServiceRequest.FromString(gzip.decompress(path.read_bytes()))
        for resource in request.resource_metrics:
            shared = {f"resource_{a.key}": plain(a.value) for a in resource.resource.attributes}
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data") or "gauge"
                    for point in getattr(metric, kind).data_points:
                        row = {
                            "timestamp": point.time_unix_nano,
                            "start_timestamp": point.start_time_unix_nano,
                            "metric_name": metric.name,
                            "metric_type": kind,
                            "unit": metric.unit,
                            "flags": point.flags,
                            **value_columns(kind, point),
                            **shared,
                            **{f"attr_{a.key}": plain(a.value) for a in point.attributes},
                        }
                        for name, value in row.items():
                            column = columns.setdefault(name, [])
                            column.extend([None] * (rows - len(column)))
                            column.append(value)
                        rows += 1
    for column in columns.values():
        column.extend([None] * (rows - len(column)))
    table = pa.table({name: to_array(values) for name, values in columns.items()})
    order = [("metric_name", "ascending"), ("timestamp", "ascending")]
    pq.write_table(table.sort_by(order), target, compression="zstd", compression_level=1)
    return rows


def fresh(tmp_path: Path) -> Any:
    """Arguments for one round: a lake of its own, so that nothing is skipped as taken."""
    return (tmp_path / f"lake-{next(ROUNDS)}",), {}


def timed(benchmark: BenchmarkFixture) -> Any:
    """The fixture's `pedantic`, which has no types."""
    return benchmark.pedantic


def report_rate(benchmark: BenchmarkFixture, rows: int) -> None:
    benchmark.extra_info["points"] = rows
    if benchmark.stats is not None:
        benchmark.extra_info["points_per_second"] = round(rows / benchmark.stats.stats.median)


@pytest.mark.benchmark(group="metrics")
def test_lakerunner(benchmark: BenchmarkFixture, objects: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = objects

    def ingest(target: Path) -> int:
        with lakerunner.open(target) as lake:
            return lake.ingest(folder).rows

    rows = timed(benchmark)(ingest, setup=lambda: fresh(tmp_path), rounds=5, warmup_rounds=1)
    assert rows == points_in(folder)
    benchmark.extra_info["input"] = name
    report_rate(benchmark, rows)


@pytest.mark.benchmark(group="metrics")
def test_naive_python_loops(
    benchmark: BenchmarkFixture, objects: tuple[str, Path], tmp_path: Path
) -> None:
    name, folder = objects
    rows = timed(benchmark)(
        lambda: naive(folder, tmp_path / "naive.parquet"), rounds=2, iterations=1
    )
    assert rows == points_in(folder)
    benchmark.extra_info["input"] = name
    report_rate(benchmark, rows)
