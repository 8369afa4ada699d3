"""What tiers hold stays what it is: a segment of any version says what a new one would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakerunner.fencing import Fence
from lakerunner.model.commit import Commit
from lakerunner.segments.codec import read_description
from tests.rollup.world import SECOND, START, Point, World

GOLDEN = Path(__file__).with_name("golden")
NEWEST = "v2"
SINCE = {"exact": "v2"}
"""Columns that came later, and the version that has them first."""


def filled() -> World:
    """Counters with a reset, gauges on both sides of zero, and histograms of two kinds."""
    world = World()
    world.ingest(*(Point(at, value) for at, value in ((1, 10), (4, 30), (12, 5), (70, 6.5))))
    world.ingest(*(Point(at, at * 1.5 - 20, "b", gauge=True) for at in range(0, 40, 3)))
    histograms: dict[str, Any] = {
        "metric_name": ["sizes", "sizes", "spread", "spread"],
        "metric_type": ["histogram"] * 2 + ["exponential_histogram"] * 2,
        "temporality": ["delta", "delta", "cumulative", "cumulative"],
        "timestamp": pa.array(
            [(START + at) * SECOND for at in (2, 3, 5, 15)], pa.timestamp("ns", "UTC")
        ),
        "count": pa.array([6, 3, 4, 9], pa.uint64()),
        "sum": [20.0, 7.0, 8.0, 30.0],
        "min": [1.0, 2.0, None, None],
        "max": [9.0, 3.0, None, None],
        "bucket_counts": pa.array([[1, 2, 3], [0, 3], None, None], pa.list_(pa.uint64())),
        "explicit_bounds": pa.array([[1.0, 5.0], [5.0], None, None], pa.list_(pa.float64())),
        "scale": pa.array([None, None, 2, 2], pa.int32()),
        "zero_count": pa.array([None, None, 1, 1], pa.uint64()),
        "zero_threshold": [None, None, 0.0, 0.0],
        "positive_offset": pa.array([None, None, -1, -2], pa.int32()),
        "positive_bucket_counts": pa.array([None, None, [1, 2], [1, 3, 4]], pa.list_(pa.uint64())),
        "negative_offset": pa.array([None, None, 0, 0], pa.int32()),
        "negative_bucket_counts": pa.array([None, None, [], []], pa.list_(pa.uint64())),
    }
    world.lake.ingest(pa.table(histograms), signal="metrics")
    world.roll()
    return world


def write() -> None:
    """How the golden file was made; a new version gets a file of its own."""
    world = filled()
    (segment,) = [
        one for one in world.lake.segments("metrics_rollup") if one.resolution_ns == 10 * SECOND
    ]
    (GOLDEN / f"{NEWEST}.parquet").write_bytes(world.store.get(segment.key).data)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_segment_of_any_version_says_what_a_new_one_would(version: str) -> None:
    data = (GOLDEN / f"{version}.parquet").read_bytes()
    world = World()
    described = read_description(
        pa.BufferReader(data), key="segments/golden.parquet", size=len(data)
    )
    assert (described.made_by, described.resolution_ns) == (f"rollup/{version[1:]}", 10 * SECOND)
    Fence(world.store, world.catalog).begin()
    world.store.put(described.key, data)
    world.catalog.commit(Commit("golden", "default", 0, add=(described,)))
    later = [name for name, since in SINCE.items() if since > version]
    expected = [
        {name: None if name in later else value for name, value in row.items()}
        for row in filled().buckets(10)
    ]
    assert world.buckets(10) == expected
    rows = {
        (row["metric_name"], row["timestamp"].value // SECOND - START): row
        for row in world.buckets(10)
    }
    assert rows["requests", 10]["value_increase"] == 5.0
    assert rows["sizes", 0]["bucket_counts"] == [3, 6]
    assert rows["spread", 10]["positive_bucket_counts"] == [1, 2, 2]
