"""Points of counters into tiers, beside the same sums by `pyarrow.Table.group_by`.

Timed, an hour of 1,000 counters with a point every two seconds, 1.8 million points, which are
360,000 buckets of ten seconds; run as a test, a fiftieth of it. The peer knows nothing of counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import lakerunner
from lakerunner.executors import InlineExecutor
from lakerunner.schema.arrays import TIMESTAMP, one_chunk
from lakerunner.schema.sketch import bins_of
from lakerunner.tiers import Span, roll_buckets, roll_points

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

SECOND = 10**9
START = 1_790_002_800 * SECOND
POINTS = 1_800
SERIES, QUICK_SERIES = 1_000, 20
RESOLUTIONS = [each * SECOND for each in (10, 60, 300, 1200, 3600)]


def series_of(benchmark: BenchmarkFixture) -> int:
    """How many, by whether anybody looks at the clock."""
    return QUICK_SERIES if benchmark.disabled else SERIES


def counters(series: int) -> pa.Table:
    """Counters of six attributes, as a segment holds them."""
    rng = np.random.default_rng(1)
    size = series * POINTS
    owner = np.repeat(np.arange(series), POINTS)
    step = 2 * SECOND
    times = np.tile(np.arange(POINTS) * step, series) + rng.integers(0, step, size)
    values = np.cumsum(rng.integers(0, 100, (series, POINTS)), axis=1).ravel()

    def texts(number: int, prefix: str, codes: Any) -> pa.DictionaryArray:
        words = pa.array([f"{prefix}{each:03d}" for each in range(number)])
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), words)

    return pa.table(
        {
            "metric_name": texts(20, "m", owner * 20 // series),
            "metric_type": pa.array(["sum"] * size).dictionary_encode(),
            "temporality": pa.array(["cumulative"] * size).dictionary_encode(),
            "is_monotonic": pa.array(np.ones(size, np.bool_)),
            "series_id": pa.array(owner),
            "timestamp": pa.array(START + times).cast(TIMESTAMP),
            "value": pa.array(values.astype(np.float64)),
            "flags": pa.array(np.zeros(size, np.uint32)),
            **{f"attr_{place}": texts(place + 3, "v", owner % (place + 3)) for place in range(6)},
        }
    )


def finest(table: pa.Table) -> pa.Table:
    """The tier of ten seconds."""
    return roll_points(table, RESOLUTIONS[0], Span(START, START))


@pytest.mark.benchmark(group="rollup: points to 10 s")
def test_points_to_ten_seconds(benchmark: BenchmarkFixture) -> None:
    series = series_of(benchmark)
    table = counters(series)
    tier = benchmark(finest, table)
    assert pc.sum(tier["point_count"]).as_py() == series * POINTS
    benchmark.extra_info["points"] = series * POINTS


@pytest.mark.benchmark(group="rollup: points to 10 s")
def test_peer_points_to_ten_seconds(benchmark: BenchmarkFixture) -> None:
    series = series_of(benchmark)
    table = counters(series)
    buckets = pc.divide(table["timestamp"].cast(pa.int64()), RESOLUTIONS[0])
    table = table.append_column("bucket", buckets)

    def peer() -> tuple[pa.Table, pa.Table]:
        bins = pa.array(bins_of(table["value"].to_numpy()))
        sums = [("value", "sum"), ("value", "min"), ("value", "max"), ("value", "count")]
        keys = ["series_id", "bucket"]
        names = [name for name in table.schema.names if name.startswith("attr_")]
        grouped = table.group_by([*keys, "metric_name", *names]).aggregate(sums)
        binned = (
            table.append_column("bin", bins).group_by([*keys, "bin"]).aggregate([([], "count_all")])
        )
        return grouped, binned

    grouped, _ = benchmark(peer)
    assert pc.sum(grouped["value_count"]).as_py() == series * POINTS


@pytest.mark.benchmark(group="rollup: each tier from the one below")
@pytest.mark.parametrize("place", [1, 2, 3, 4], ids=["60s", "5min", "20min", "1h"])
def test_a_coarser_tier(benchmark: BenchmarkFixture, place: int) -> None:
    series = series_of(benchmark)
    tier = finest(counters(series))
    for resolution in RESOLUTIONS[1:place]:
        tier = roll_buckets(tier, resolution)
    coarse = benchmark(roll_buckets, tier, RESOLUTIONS[place])
    assert pc.sum(coarse["point_count"]).as_py() == series * POINTS
    benchmark.extra_info["buckets"] = tier.num_rows


@pytest.mark.benchmark(group="rollup: a window of a lake")
def test_a_window_of_a_lake(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    series = series_of(benchmark)
    points = counters(series).drop_columns(["series_id", "flags"])
    names = [name for name in points.schema.names if name.startswith("attr_")]
    keys = pa.array(np.tile(np.array(names, dtype=object), points.num_rows), pa.string())
    stacked = pa.concat_arrays([one_chunk(points[name].cast(pa.string())) for name in names])
    order = np.arange(points.num_rows * len(names)).reshape(len(names), -1).T.ravel()
    offsets = pa.array((np.arange(points.num_rows + 1) * len(names)).astype(np.int32))
    maps = pa.MapArray.from_arrays(offsets, keys, stacked.take(pa.array(order)))
    taken = points.drop_columns(names).append_column("attributes", maps)
    lakes: list[Any] = []

    def fresh() -> tuple[tuple[Any, ...], dict[str, Any]]:
        lake = lakerunner.open(str(tmp_path / f"lake{len(lakes)}"))
        lakes.append(lake)
        lake.ingest(taken, signal="metrics")
        return (lake,), {}

    def roll(lake: Any) -> Any:
        return lake.rollup(executor=InlineExecutor())

    measure: Any = benchmark.pedantic
    report = measure(roll, setup=fresh, rounds=1 if benchmark.disabled else 3)
    assert report.rows_read == series * POINTS
    assert not report.failed
    for lake in lakes:
        lake.close()
