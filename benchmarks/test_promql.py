"""PromQL over a lake of counters, beside hand-written NumPy over the same Parquet files.

Timed, the lake holds 20,000 series of an hour at 10 seconds, 7.2 million samples, and 2,000 classic
histograms of 12 buckets; run as a test, a fiftieth of it. Others hold 100,000 series of five
minutes, and a day of 500 series with its tiers.

`python benchmarks/test_promql.py 1000000 1024` asks a million series at 1,000 steps in a process of
its own, which may hold 1,024 MiB, and says what it took.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakerunner
from lakerunner.query.promql.evaluate import evaluate
from lakerunner.query.promql.grid import Read, read_grid, reads
from lakerunner.query.promql.otlp import conditions
from lakerunner.query.promql.parser import parse
from lakerunner.query.promql.reading import Metrics as Scanned
from lakerunner.query.promql.syntax import Matcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pytest_benchmark.fixture import BenchmarkFixture

    from lakerunner.lake import Lake

START_MS = 1_790_002_800_000
POINTS = 360
SERIES, QUICK_SERIES = 20_000, 400
HISTOGRAMS, QUICK_HISTOGRAMS = 2_000, 40
BUCKETS = 12
GROUPS = 20
AT_ONCE = 1_000
CROWD, QUICK_CROWD = 100_000, 1_000
DAY_SERIES, QUICK_DAY_SERIES = 500, 5
SEGMENTS = 1_000
STEP_MS, WINDOW_MS = 60_000, 300_000


class Metrics(NamedTuple):
    """A lake, and what is in it."""

    lake: Lake
    folder: Path
    series: int
    histograms: int


def attributes(rows: int, **columns: pa.Array) -> pa.MapArray:
    """A map of the same keys in each row."""
    keys = pa.array(np.tile(list(columns), rows))
    stacked = pa.concat_arrays(list(columns.values()))
    order = np.stack([np.arange(rows) + place * rows for place in range(len(columns))], axis=1)
    offsets = pa.array(np.arange(rows + 1) * len(columns), pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, stacked.take(pa.array(order.ravel())))


def counters(first: int, series: int, points: int = POINTS, gap_ms: int = 10_000) -> pa.Table:
    """Counters with a reset in every fiftieth."""
    rng = np.random.default_rng(first)
    times = START_MS + np.arange(points)[None, :] * gap_ms + rng.integers(0, 3_000, (series, 1))
    values = np.cumsum(rng.random((series, points)) * 10, axis=1)
    values[::50, points // 2 :] -= values[::50, points // 2, None]
    rows = series * points
    number = pa.array(np.repeat(np.arange(first, first + series), points))
    group = pa.array(np.repeat(np.arange(first, first + series) % GROUPS, points))
    return pa.table(
        {
            "metric_name": pa.array(["m_total"]).take(pa.array(np.zeros(rows, np.int32))),
            "metric_type": pa.array(["sum"]).take(pa.array(np.zeros(rows, np.int32))),
            "is_monotonic": pa.array(np.ones(rows, dtype=bool)),
            "temporality": pa.array(["cumulative"]).take(pa.array(np.zeros(rows, np.int32))),
            "timestamp": pa.array(times.ravel(), pa.timestamp("ms", "UTC")),
            "value": values.ravel(),
            "attributes": attributes(rows, n=number.cast("string"), x=group.cast("string")),
        }
    )


def histograms(count: int) -> pa.Table:
    """Classic histograms, at one time each."""
    rng = np.random.default_rng(1)
    buckets = rng.integers(0, 100, (count, BUCKETS)).astype(np.uint64)
    offsets = pa.array(np.arange(count + 1) * BUCKETS, pa.int32())
    bounds = np.tile(2.0 ** np.arange(BUCKETS - 1), count)
    bound_offsets = pa.array(np.arange(count + 1) * (BUCKETS - 1), pa.int32())
    return pa.table(
        {
            "metric_name": pa.array(["h"] * count),
            "metric_type": pa.array(["histogram"] * count),
            "temporality": pa.array(["cumulative"] * count),
            "timestamp": pa.array([START_MS + 3_600_000] * count, pa.timestamp("ms", "UTC")),
            "count": buckets.sum(axis=1),
            "sum": buckets.sum(axis=1).astype(np.float64),
            "bucket_counts": pa.ListArray.from_arrays(offsets, pa.array(buckets.ravel())),
            "explicit_bounds": pa.ListArray.from_arrays(bound_offsets, pa.array(bounds)),
            "attributes": attributes(count, n=pa.array(np.arange(count)).cast("string")),
        }
    )


@pytest.fixture(scope="module")
def metrics(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Metrics]:
    timed = bool(request.config.getoption("benchmark_enable"))
    series = SERIES if timed else QUICK_SERIES
    number = HISTOGRAMS if timed else QUICK_HISTOGRAMS
    folder = tmp_path_factory.mktemp("promql")
    with lakerunner.open(str(folder)) as lake:
        for first in range(0, series, AT_ONCE):
            lake.ingest(counters(first, min(AT_ONCE, series - first)), signal="metrics")
        lake.ingest(histograms(number), signal="metrics")
        yield Metrics(lake, folder, series, number)


@pytest.fixture(scope="module")
def crowd(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Lake, int]]:
    """Very many series, with a point a minute for five minutes."""
    series = CROWD if request.config.getoption("benchmark_enable") else QUICK_CROWD
    with lakerunner.open(tmp_path_factory.mktemp("crowd")) as lake:
        for first in range(0, series, 20_000):
            lake.ingest(counters(first, min(20_000, series - first), 5, 60_000), signal="metrics")
        yield lake, series


@pytest.fixture(scope="module")
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of a point every ten seconds, with its tiers."""
    series = DAY_SERIES if request.config.getoption("benchmark_enable") else QUICK_DAY_SERIES
    folder = tmp_path_factory.mktemp("day")
    with lakerunner.open(folder) as lake:
        for first in range(0, series, 100):
            lake.ingest(counters(first, min(100, series - first), 8_640), signal="metrics")
        lake.rollup()
    return folder


RANGE: dict[str, Any] = {
    "start": (START_MS + WINDOW_MS) / 1000,
    "end": (START_MS + 3_600_000) / 1000,
    "step": STEP_MS / 1000,
}


def by_hand(metrics: Metrics) -> NDArray[np.float64]:
    """`sum by (x) (rate(m_total[5m]))` in NumPy, without staleness, labels or anything else."""
    columns = ["series_id", "timestamp", "value", "attr_x", "metric_name"]
    only = [("metric_name", "=", "m_total")]
    table = pq.read_table(metrics.folder / "segments", columns=columns, filters=only)
    ids = table["series_id"].to_numpy()
    time = table["timestamp"].cast(pa.int64()).to_numpy() // 1_000_000
    order = np.lexsort((time, ids))
    ids, time, value = ids[order], time[order], table["value"].to_numpy()[order]
    _, first, series = np.unique(ids, return_index=True, return_inverse=True)
    texts = table["attr_x"].take(pa.array(order[first])).cast("string").to_numpy()
    _, group = np.unique(texts, return_inverse=True)
    steps = np.arange(START_MS + WINDOW_MS, START_MS + 3_600_001, STEP_MS)
    key = series << 44 | (time - START_MS)
    grid = np.arange(len(first), dtype=np.int64)[:, None] << 44
    low = np.searchsorted(key, grid | (steps - WINDOW_MS - START_MS)[None, :], side="right")
    high = np.searchsorted(key, grid | (steps - START_MS)[None, :], side="right")
    begin, end = np.minimum(low, len(key) - 1), np.maximum(high - 1, 0)
    fell = np.zeros(len(value))
    fell[1:] = np.where((value[1:] < value[:-1]) & (series[1:] == series[:-1]), value[:-1], 0)
    lost = np.cumsum(fell)
    grown = value[end] - value[begin] + lost[end] - lost[begin]
    sampled = (time[end] - time[begin]) / 1000
    usual = sampled / np.maximum(high - low - 1, 1)
    to_start = (time[begin] - (steps - WINDOW_MS)[None, :]) / 1000
    to_end = (steps[None, :] - time[end]) / 1000
    to_start = np.where(to_start >= usual * 1.1, usual / 2, to_start)
    to_start = np.minimum(to_start, sampled * (value[begin] / grown))
    to_end = np.where(to_end >= usual * 1.1, usual / 2, to_end)
    rate = grown * ((sampled + to_start + to_end) / sampled) / (WINDOW_MS / 1000)
    sums = np.zeros((group.max() + 1, len(steps)))
    np.add.at(sums, group, rate)
    return sums


def test_rate_by_hand(benchmark: BenchmarkFixture, metrics: Metrics) -> None:
    sums = benchmark(by_hand, metrics)
    ours = metrics.lake.promql("sum by (x) (rate(m_total[5m]))", **RANGE).to_arrow()
    assert np.allclose(ours["value"].to_numpy(), sums.ravel())


def test_rate(benchmark: BenchmarkFixture, metrics: Metrics) -> None:
    text = "sum by (x) (rate(m_total[5m]))"
    found = benchmark(lambda: metrics.lake.promql(text, **RANGE))
    assert found.to_arrow().num_rows == GROUPS * 56
    benchmark.extra_info["samples"] = metrics.series * POINTS
    benchmark.extra_info["bytes_read"] = found.stats.bytes_read


def test_rate_beyond_the_scan(benchmark: BenchmarkFixture, metrics: Metrics) -> None:
    """What is left of it when all is read: samples in order, rates, sums."""
    text = "sum by (x) (rate(m_total[5m]))"
    node, grid = parse(text), read_grid(None, RANGE["start"], RANGE["end"], RANGE["step"], None, 0)
    reader = metrics.lake._queries._metrics()  # noqa: SLF001 - a part of a query is timed
    scanned = Scanned(reader, reads(node, grid))
    found = benchmark(lambda: evaluate(text, node, grid, scanned))
    assert found.vector is not None
    assert found.vector.present.sum() == GROUPS * 56


def test_instant_over_all_series(benchmark: BenchmarkFixture, metrics: Metrics) -> None:
    at = RANGE["end"]
    found = benchmark(lambda: metrics.lake.promql("count(m_total)", time=at))
    assert found.to_arrow()["value"].to_pylist() == [metrics.series]


def test_instant_over_a_crowd(benchmark: BenchmarkFixture, crowd: tuple[Lake, int]) -> None:
    lake, series = crowd
    at = (START_MS + 299_000) / 1000
    found = benchmark(lambda: lake.promql("count(m_total)", time=at))
    assert found.to_arrow()["value"].to_pylist() == [series]


@pytest.mark.parametrize("rollups", [True, False], ids=["tiers", "points"])
def test_a_day_by_the_hour(benchmark: BenchmarkFixture, day: Path, *, rollups: bool) -> None:
    with lakerunner.open(day, config={"promql_rollups": rollups}) as lake:
        hour = START_MS // 3_600_000 * 3600 + 3600
        times = {"start": hour + 3600, "end": hour + 22 * 3600, "step": 3600}
        found = benchmark(lambda: lake.promql("sum by (x) (increase(m_total[1h]))", **times))
        assert found.to_arrow().num_rows == 22 * len(set(found.to_arrow()["x"].to_pylist()))
        benchmark.extra_info["rows_read"] = found.stats.rows_scanned
        benchmark.extra_info["bytes_read"] = found.stats.bytes_read
        tiers = any(one.segment.table == "metrics_rollup" for one in _explained(lake, times))
        assert tiers is rollups


def _explained(lake: Lake, times: dict[str, Any]) -> Any:
    text = "increase(m_total[1h])"
    return lake.explain(text, language="promql", **times).segments


def test_what_the_catalog_tells_of_many_segments(
    benchmark: BenchmarkFixture, metrics: Metrics
) -> None:
    segment = metrics.lake.segments("metrics")[0]
    several = [
        msgspec.structs.replace(segment, id=f"{segment.id}-{number}") for number in range(SEGMENTS)
    ]
    matchers = (Matcher("__name__", "=", "m_total"), Matcher("n", "=", "77"))
    read = Read(matchers, START_MS, START_MS + 3_600_000)
    known = benchmark(lambda: conditions(read, several, resource=True))
    assert known is not None
    assert known.narrow


def test_one_series_of_many(benchmark: BenchmarkFixture, metrics: Metrics) -> None:
    found = benchmark(lambda: metrics.lake.promql('m_total{n="77"}', **RANGE))
    assert found.to_arrow().num_rows == 56
    everything = sum(one.bytes for one in metrics.lake.segments("metrics"))
    benchmark.extra_info["bytes_read"] = found.stats.bytes_read
    benchmark.extra_info["share_of_bytes"] = found.stats.bytes_read / everything


@pytest.mark.parametrize("name", ["h_bucket", "h"], ids=["classic", "native"])
def test_quantiles(benchmark: BenchmarkFixture, metrics: Metrics, name: str) -> None:
    at = RANGE["end"]
    text = f"histogram_quantile(0.9, {name})"
    found = benchmark(lambda: metrics.lake.promql(text, time=at))
    assert found.to_arrow().num_rows == metrics.histograms


def test_parse(benchmark: BenchmarkFixture) -> None:
    text = (
        "histogram_quantile(0.95, sum by (le, job) "
        '(rate(http_request_duration_seconds_bucket{job=~"api.*",code!="500"}[5m])))'
    )
    assert benchmark(parse, text).name == "histogram_quantile"


CHILD = """
import json, sys, time
import lakerunner

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

folder, memory, start, end, step = sys.argv[1], *map(int, sys.argv[2:])
with lakerunner.open(folder, config={"query_memory_bytes": memory}) as lake:
    lake.promql("vector(1)", time=start)
    before, used, begun = peak(), time.process_time(), time.perf_counter()
    found = lake.promql("sum by (x) (rate(m_total[2h]))", start=start, end=end, step=step)
    table = found.to_arrow()
print(json.dumps({
    "rows": table.num_rows,
    "before": before,
    "peak": peak(),
    "processor_seconds": round(time.process_time() - used, 1),
    "seconds": round(time.perf_counter() - begun, 1),
}))
"""
"""Asks about all series at all steps, and says what memory and time that took."""


def ask_in_a_child(folder: Path, series: int, steps: int, memory_bytes: int) -> dict[str, Any]:
    """Fill a lake with series of a point every 50 minutes, and ask for rates at so many steps."""
    with lakerunner.open(folder) as lake:
        for first in range(0, series, 50_000):
            part = counters(first, min(50_000, series - first), 20, 3_000_000)
            lake.ingest(part, signal="metrics")
    start = START_MS // 1000 + 7200
    span = [str(start), str(start + 54 * (steps - 1)), "54"]
    command = [sys.executable, "-c", CHILD, str(folder), str(memory_bytes), *span]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def test_many_series_by_many_steps_fit_in_memory(tmp_path: Path) -> None:
    found = ask_in_a_child(tmp_path, 4_000, 1_000, 16 << 20)
    assert found["rows"] == GROUPS * 1_000
    # All samples at all steps are 256 MB as the evaluation holds them, on top of about 150 MiB that
    # any such query takes: 16 MiB of steps and 16 MiB of DataFusion's are what is counted, the rest
    # are decoded pages, copies of columns and what allocators keep of freed memory. Reading series
    # and samples in one scan adds 30 to 75 MiB, by measurement.
    assert found["peak"] - found["before"] < 256 << 20


def main() -> None:
    """Write what a number of series by 1,000 steps takes."""
    series, mebibytes = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        found = ask_in_a_child(Path(folder), series, 1_000, mebibytes << 20)
    sys.stdout.write(f"{found}\n")


if __name__ == "__main__":
    main()
