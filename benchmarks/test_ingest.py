"""Gzipped OTLP logs to a committed segment: our road, the naive road, one process and two.

The naive road is what a straightforward Python program does: parse with the official protobuf
classes, walk every record and attribute in Python, build columns from lists, sort and write.
"""

from __future__ import annotations

import gzip
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import lakerunner
from lakerunner.generate import logs_request

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

RECORDS = 5000
ROUNDS = count()


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder of gzipped objects of 5,000 records each."""
    timed = request.config.getoption("benchmark_enable", default=False)
    folder = tmp_path_factory.mktemp("raw")
    for number in range(60 if timed else 2):
        data = gzip.compress(logs_request(RECORDS, seed=number), 6)
        (folder / f"logs_{number:03d}.binpb.gz").write_bytes(data)
    return folder


def raw_bytes(folder: Path) -> int:
    return sum(len(gzip.decompress(path.read_bytes())) for path in folder.iterdir())


def rows_of(folder: Path) -> int:
    return RECORDS * len(list(folder.iterdir()))


def plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def naive(folder: Path, target: Path) -> int:
    """Every record and attribute becomes a Python object."""
    columns: dict[str, list[Any]] = {}
    rows = 0
    for path in sorted(folder.iterdir()):
        request = ExportLogsServiceRequest.FromString(gzip.decompress(path.read_bytes()))
        for resource in request.resource_logs:
            shared = {f"resource_{a.key}": plain(a.value) for a in resource.resource.attributes}
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    row = {
                        "timestamp": record.time_unix_nano,
                        "severity_text": record.severity_text,
                        "body": plain(record.body),
                        "trace_id": record.trace_id.hex(),
                        "span_id": record.span_id.hex(),
                        **shared,
                        **{f"attr_{a.key}": plain(a.value) for a in record.attributes},
                    }
                    for name, value in row.items():
                        column = columns.setdefault(name, [])
                        column.extend([None] * (rows - len(column)))
                        column.append(value)
                    rows += 1
    for column in columns.values():
        column.extend([None] * (rows - len(column)))
    table = pa.table(columns)
    order = [("resource_service.name", "ascending"), ("timestamp", "ascending")]
    pq.write_table(table.sort_by(order), target, compression="zstd", compression_level=1)
    return rows


def fresh(tmp_path: Path) -> Any:
    """Arguments for one round: a lake of its own, so that nothing is skipped as taken."""
    return (tmp_path / f"lake-{next(ROUNDS)}",), {}


def timed(benchmark: BenchmarkFixture) -> Any:
    """The fixture's `pedantic`, which has no types."""
    return benchmark.pedantic


def report_rate(benchmark: BenchmarkFixture, folder: Path) -> None:
    benchmark.extra_info["records"] = rows_of(folder)
    if benchmark.stats is not None:
        rate = rows_of(folder) / benchmark.stats.stats.median
        benchmark.extra_info["records_per_second"] = round(rate)


@pytest.mark.benchmark(group="ingest")
def test_lakerunner_one_process(benchmark: BenchmarkFixture, objects: Path, tmp_path: Path) -> None:
    def ingest(target: Path) -> tuple[int, int]:
        with lakerunner.open(target) as lake:
            report = lake.ingest(objects)
            return report.rows, report.bytes_written

    rows, written = timed(benchmark)(ingest, setup=lambda: fresh(tmp_path), rounds=5)
    assert rows == rows_of(objects)
    ratio = raw_bytes(objects) / written
    assert ratio >= 5  # a segment takes at most a fifth of the raw bytes
    benchmark.extra_info["raw_to_segment_bytes"] = round(ratio, 2)
    report_rate(benchmark, objects)


@pytest.mark.benchmark(group="ingest")
def test_lakerunner_two_processes(
    benchmark: BenchmarkFixture, objects: Path, tmp_path: Path
) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:

        def ingest(target: Path) -> int:
            with lakerunner.open(target, executor=executor) as lake:
                return lake.ingest(objects).rows

        rows = timed(benchmark)(ingest, setup=lambda: fresh(tmp_path), rounds=5, warmup_rounds=1)
    assert rows == rows_of(objects)
    report_rate(benchmark, objects)


@pytest.mark.benchmark(group="ingest")
def test_naive_python_loops(benchmark: BenchmarkFixture, objects: Path, tmp_path: Path) -> None:
    rows = timed(benchmark)(
        lambda: naive(objects, tmp_path / "naive.parquet"), rounds=2, iterations=1
    )
    assert rows == rows_of(objects)
    report_rate(benchmark, objects)
