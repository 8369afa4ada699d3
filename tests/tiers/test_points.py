"""Buckets against points that are summed up one by one."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.sketch import RELATIVE_ERROR, quantiles, read_sketches
from lakerunner.schema.tables import METRICS, METRICS_ROLLUP
from lakerunner.tiers import Span, last_points, roll_buckets, roll_points

SECOND = 10**9
TIERS = [each * SECOND for each in (10, 60, 300, 1200, 3600)]
EPOCH = 1767225600 * SECOND
TYPES = {field.name: field.type for field in METRICS}


class Point(NamedTuple):
    """A point of a number, as a test says it."""

    series: int
    time: int
    value: float
    kind: str = "cumulative"
    start: int | None = None


def table_of(points: list[Point]) -> pa.Table:
    rows = [
        {
            "metric_name": f"m{point.series % 2}",
            "metric_type": "gauge" if point.kind == "gauge" else "sum",
            "temporality": None if point.kind == "gauge" else point.kind,
            "is_monotonic": None if point.kind == "gauge" else True,
            "series_id": point.series * 7919 - 20000,
            "timestamp": EPOCH + point.time,
            "start_timestamp": None if point.start is None else EPOCH + point.start,
            "value": point.value,
            "attr_who": f"s{point.series}",
        }
        for point in points
    ]
    return rows_of(rows)


def rows_of(rows: list[dict[str, Any]]) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        dtype = TYPES.get(name, pa.string())
        if dtype == TIMESTAMP:
            columns[name] = pa.array(values, pa.int64()).cast(TIMESTAMP)
        else:
            columns[name] = pa.array(values, dtype)
    return pa.table(columns)


def increases(points: list[Point], lookback: int) -> list[float]:
    """What each point adds, told one by one; points are in order of time."""
    found, before = [], None
    for point in points:
        start = 0 if point.start is None else point.start
        if point.kind == "delta":
            more = point.value
        elif before is None:
            more = point.value if point.start is not None and lookback <= start < point.time else 0
        else:
            anew = point.value < before.value
            if point.start is not None and start != before.start:
                anew |= start >= before.time
            more = point.value if anew else point.value - before.value
        found.append(more)
        before = point
    return found


POINTS = st.lists(
    st.builds(
        Point,
        series=st.integers(0, 4),
        time=st.integers(0, 4000).map(lambda at: at * SECOND // 2 + 1),
        value=st.integers(-3, 1000).map(float),
        kind=st.just(""),
        start=st.none() | st.integers(0, 2000).map(lambda at: at * SECOND + 5),
    ),
    min_size=1,
    max_size=80,
    unique_by=lambda point: (point.series, point.time),
).map(lambda points: [_typed(point) for point in points])


def _typed(point: Point) -> Point:
    kind = ("gauge", "cumulative", "delta", "cumulative", "cumulative")[point.series]
    value = point.value if kind == "gauge" else abs(point.value)
    return point._replace(kind=kind, value=value)


def _by_bucket(points: list[Point], resolution: int) -> dict[tuple[int, int], list[Point]]:
    found = defaultdict(list)
    for point in sorted(points, key=lambda one: (one.series, one.time)):
        found[point.series, (EPOCH + point.time) // resolution * resolution].append(point)
    return found


@given(POINTS, st.randoms(use_true_random=False))
def test_each_tier_sums_up_what_single_points_say(points: list[Point], random: Any) -> None:
    random.shuffle(points)
    table = roll_points(table_of(points), TIERS[0], Span(EPOCH, EPOCH))
    more: dict[Point, float] = {}
    for series in range(5):
        mine = sorted((p for p in points if p.series == series), key=lambda one: one.time)
        more |= dict(zip(mine, increases(mine, 0), strict=True))
    for resolution in TIERS:
        table = roll_buckets(table, resolution) if resolution > TIERS[0] else table
        assert set(table.schema.names) - {"attr_who"} <= set(METRICS_ROLLUP.names)
        expected = _by_bucket(points, resolution)
        rows = table.to_pylist()
        order = [(row["metric_name"], row["series_id"], row["timestamp"]) for row in rows]
        assert order == sorted(set(order))
        assert len(rows) == len(expected)
        times = table["timestamp"].cast(pa.int64()).to_pylist()
        read = quantiles(read_sketches(table["sketch"]), [0.0, 0.5, 0.9, 1.0])
        for row, time, found in zip(rows, times, read, strict=True):
            mine = expected[int(row["attr_who"][1:]), time]
            values = [point.value for point in mine]
            assert row["resolution_ns"] == resolution
            assert row["point_count"] == len(mine)
            assert row["value_sum"] == sum(values)
            assert (row["value_min"], row["value_max"]) == (min(values), max(values))
            assert (row["value_first"], row["value_last"]) == (values[0], values[-1])
            if mine[0].kind == "gauge":
                assert row.get("value_increase") is None
            else:
                assert row["value_increase"] == sum(more[point] for point in mine)
            for share, got in zip([0.0, 0.5, 0.9, 1.0], found, strict=True):
                true = sorted(values)[math.floor(share * (len(values) - 1))]
                assert abs(got - true) <= abs(true) * RELATIVE_ERROR * (1 + 1e-9)


@given(POINTS, st.integers(1, 399))
def test_a_window_goes_on_from_the_last_points_of_the_one_before(
    points: list[Point], cut: int
) -> None:
    edge = cut * 10 * SECOND
    whole = roll_points(table_of(points), TIERS[0], Span(EPOCH, EPOCH)).to_pylist()
    early = [point for point in points if point.time < edge]
    late = [point for point in points if point.time >= edge]
    halves = []
    if early:
        halves.append(roll_points(table_of(early), TIERS[0], Span(EPOCH, EPOCH)))
    if late:
        known = table_of(late)
        if early:
            known = pa.concat_tables([last_points(table_of(early)), known])
        halves.append(roll_points(known, TIERS[0], Span(EPOCH + edge, EPOCH)))
    together = pa.concat_tables(halves, promote_options="default").to_pylist()

    def key(row: dict[str, Any]) -> Any:
        return row["metric_name"], row["series_id"], row["timestamp"]

    assert sorted(together, key=key) == sorted(whole, key=key)


def test_six_buckets_of_ten_seconds_make_one_of_sixty() -> None:
    points = [Point(0, at * SECOND, 2.0, "gauge") for at in range(60)]
    ten = roll_points(table_of(points), 10 * SECOND, Span(EPOCH, EPOCH))
    sixty = roll_buckets(ten, 60 * SECOND)
    assert ten["point_count"].to_pylist() == [10] * 6
    assert sixty["point_count"].to_pylist() == [60]
    assert sixty["value_sum"].to_pylist() == [120.0]


def test_a_counter_that_begins_anew_within_a_bucket() -> None:
    values = [(1, 100.0), (4, 130.0), (7, 5.0), (12, 9.0)]
    points = [Point(0, at * SECOND, value) for at, value in values]
    table = roll_points(table_of(points), 10 * SECOND, Span(EPOCH, EPOCH))
    assert table["value_increase"].to_pylist() == [35.0, 4.0]


def test_a_later_start_is_a_reset_though_the_counter_is_above() -> None:
    first = Point(0, 1 * SECOND, 10.0, start=0)
    after = Point(0, 5 * SECOND, 30.0, start=2 * SECOND)
    table = roll_points(table_of([first, after]), 10 * SECOND, Span(EPOCH, EPOCH))
    assert table["value_increase"].to_pylist() == [40.0]


def test_what_counts_from_long_ago_adds_nothing_at_first() -> None:
    points = [Point(0, 100 * SECOND, 10.0, start=-SECOND), Point(0, 101 * SECOND, 11.0, start=-1)]
    table = roll_points(table_of(points), 10 * SECOND, Span(EPOCH, EPOCH))
    assert table["value_increase"].to_pylist() == [1.0]


def test_a_point_that_only_ends_its_series_and_what_is_no_number() -> None:
    points = table_of([Point(0, at, value, "gauge") for at, value in ((1, 3.0), (2, 4.0))])
    ended = points.append_column("flags", pa.array([0, 1], pa.uint32()))
    assert roll_points(ended, 10 * SECOND, Span(EPOCH, EPOCH))["point_count"].to_pylist() == [1]
    odd = table_of([Point(0, at, v, "gauge") for at, v in enumerate((math.nan, 3.0, math.inf))])
    (row,) = roll_points(odd, 10 * SECOND, Span(EPOCH, EPOCH)).to_pylist()
    assert math.isnan(row["value_sum"])
    assert (row["value_min"], row["value_max"], row["point_count"]) == (3.0, math.inf, 3)
    nothing = points.slice(0, 0)
    assert not roll_points(nothing, 10 * SECOND, Span(EPOCH, EPOCH)).num_rows


def _histogram(at: int, counts: list[int], bounds: list[float], kind: str) -> dict[str, Any]:
    return {
        "metric_name": "h",
        "metric_type": "histogram",
        "temporality": kind,
        "series_id": 1,
        "timestamp": EPOCH + at * SECOND,
        "count": sum(counts),
        "sum": float(sum(counts)),
        "min": float(at),
        "max": float(at + 1),
        "bucket_counts": counts,
        "explicit_bounds": bounds,
    }


def _bucketed(table: pa.Table) -> list[tuple[Any, ...]]:
    names = ("count", "sum", "bucket_counts", "explicit_bounds")
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


def test_delta_histograms_are_added_by_the_bounds_they_share() -> None:
    rows = [
        _histogram(1, [1, 2, 3], [1.0, 5.0], "delta"),
        _histogram(2, [4, 0, 1], [1.0, 5.0], "delta"),
        _histogram(11, [1, 1, 1, 1], [1.0, 5.0, 9.0], "delta"),
        _histogram(12, [2, 2, 2], [5.0, 7.0], "delta"),
    ]
    ten = roll_points(rows_of(rows), 10 * SECOND, Span(EPOCH, EPOCH))
    assert _bucketed(ten) == [
        (11, 11.0, [5, 2, 4], [1.0, 5.0]),
        (10, 10.0, [4, 6], [5.0]),
    ]
    assert ten["min"].to_pylist() == [1.0, 11.0]
    assert ten["max"].to_pylist() == [3.0, 13.0]
    assert _bucketed(roll_buckets(ten, 60 * SECOND)) == [(21, 21.0, [11, 10], [5.0])]


def test_cumulative_histograms_say_what_was_added() -> None:
    bounds = [1.0, 5.0]
    rows = [
        _histogram(1, [1, 2, 3], bounds, "cumulative"),
        _histogram(5, [2, 2, 5], bounds, "cumulative"),
        _histogram(12, [3, 4, 5], bounds, "cumulative"),
        _histogram(15, [0, 1, 0], bounds, "cumulative"),
        _histogram(18, [0, 3, 20], bounds, "cumulative"),
        _histogram(19, [9, 0, 20], bounds, "cumulative"),
    ]
    ten = roll_points(rows_of(rows), 10 * SECOND, Span(EPOCH, EPOCH))
    assert _bucketed(ten) == [
        (3, 3.0, [1, 0, 2], bounds),
        (3 + 23 + 29, 55.0, [1 + 0 + 9, 2 + 3, 0 + 20 + 20], bounds),
    ]
    assert ten["min"].to_pylist() == [None, None]
    assert _bucketed(roll_buckets(ten, 60 * SECOND)) == [(58, 58.0, [11, 5, 42], bounds)]


def test_bounds_that_change_under_a_counter() -> None:
    rows = [
        _histogram(1, [1, 2, 3], [1.0, 5.0], "cumulative"),
        _histogram(5, [2, 4, 0, 3], [1.0, 5.0, 9.0], "cumulative"),
    ]
    (row,) = roll_points(rows_of(rows), 10 * SECOND, Span(EPOCH, EPOCH)).to_pylist()
    assert (row["count"], row["bucket_counts"]) == (3, [1, 2, 0])


def _exponential(
    at: int, scale: int, offset: int, counts: list[int], **more: Any
) -> dict[str, Any]:
    return {
        "metric_name": "e",
        "metric_type": "exponential_histogram",
        "temporality": "delta",
        "series_id": 1,
        "timestamp": EPOCH + at * SECOND,
        "count": sum(counts) + more.get("zero_count", 0),
        "sum": 1.0,
        "scale": scale,
        "zero_count": 0,
        "zero_threshold": 0.0,
        "positive_offset": offset,
        "positive_bucket_counts": counts,
        "negative_offset": 0,
        "negative_bucket_counts": [],
        **more,
    }


def test_exponential_histograms_meet_at_the_coarsest_scale() -> None:
    rows = [_exponential(1, 3, -3, [1, 2, 3, 4]), _exponential(2, 2, 0, [5, 0, 6], zero_count=2)]
    (row,) = roll_points(rows_of(rows), 10 * SECOND, Span(EPOCH, EPOCH)).to_pylist()
    assert (row["scale"], row["count"], row["zero_count"]) == (2, 23, 2)
    # -3 becomes -2, -2 and -1 become -1, and 0 stays: each bucket with the one beside it.
    assert (row["positive_offset"], row["positive_bucket_counts"]) == (-2, [1, 5, 9, 0, 6])


@given(
    st.lists(
        st.tuples(
            st.integers(-2, 6),
            st.integers(-40, 40),
            st.lists(st.integers(0, 9), max_size=6),
            st.lists(st.integers(0, 9), max_size=3),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_exponential_sums_hold_every_count_where_it_was(parts: list[Any]) -> None:
    rows = [
        _exponential(
            at, scale, offset, counts, negative_offset=offset, negative_bucket_counts=negative
        )
        for at, (scale, offset, counts, negative) in enumerate(parts)
    ]
    (row,) = roll_points(rows_of(rows), 10 * SECOND, Span(EPOCH, EPOCH)).to_pylist()
    assert row["scale"] == min(part[0] for part in parts)
    for side, name in ((2, "positive"), (3, "negative")):
        expected: dict[int, int] = defaultdict(int)
        for part in parts:
            for place, count in enumerate(part[side]):
                expected[(part[1] + place) >> (part[0] - row["scale"])] += count
        counts = row[f"{name}_bucket_counts"]
        found = {row[f"{name}_offset"] + place: count for place, count in enumerate(counts)}
        assert {k: v for k, v in found.items() if v} == {k: v for k, v in expected.items() if v}


@pytest.mark.parametrize("size", [1, 3])
def test_far_apart_exponential_buckets_are_brought_together(size: int) -> None:
    rows = [_exponential(1, 20, 0, [size]), _exponential(2, 20, 30_000_000, [7])]
    (row,) = roll_points(rows_of(rows), 10 * SECOND, Span(EPOCH, EPOCH)).to_pylist()
    assert len(row["positive_bucket_counts"]) <= 1024
    assert sum(row["positive_bucket_counts"]) == size + 7


def test_a_wider_zero_bucket_takes_what_it_cuts() -> None:
    rows = [
        _exponential(1, 0, -3, [1, 2, 4, 8]),
        _exponential(2, 0, 3, [5], zero_count=1, zero_threshold=0.4),
    ]
    (row,) = roll_points(rows_of(rows), 10 * SECOND, Span(EPOCH, EPOCH)).to_pylist()
    # (0.125, 0.25] and (0.25, 0.5] go to zero, (0.5, 1] and (1, 2] stay.
    assert (row["zero_count"], row["zero_threshold"]) == (1 + 1 + 2, 0.5)
    assert (row["positive_offset"], row["positive_bucket_counts"]) == (-1, [4, 8, 0, 0, 5])


def test_a_counter_of_exponential_histograms() -> None:
    rows = [
        _exponential(1, 0, 0, [1, 2], temporality="cumulative"),
        _exponential(11, 0, 0, [4, 2, 1], temporality="cumulative"),
        _exponential(21, 0, 0, [1], temporality="cumulative"),
    ]
    table = roll_points(rows_of(rows), 10 * SECOND, Span(EPOCH, EPOCH)).to_pylist()
    assert [row["count"] for row in table] == [None, 4, 1]
    assert [row["positive_bucket_counts"] for row in table] == [None, [3, 0, 1], [1]]


def test_sketches_are_right_on_both_sides_of_zero() -> None:
    rng = np.random.default_rng(7)
    values = rng.lognormal(3, 2, 20_000) - rng.lognormal(3, 2, 20_000)
    points = [Point(0, at, value, "gauge") for at, value in enumerate(values.tolist())]
    table = roll_points(table_of(points), 10 * SECOND, Span(EPOCH, EPOCH))
    shares = np.linspace(0, 1, 101)
    got = quantiles(read_sketches(table["sketch"]), shares.tolist())[0]
    true = np.sort(values)[np.floor(shares * (len(values) - 1)).astype(int)]
    off = (got - true) / np.abs(true)
    assert np.abs(off).max() <= RELATIVE_ERROR * (1 + 1e-9)
    assert abs(off.mean()) < RELATIVE_ERROR / 5  # as often above as below
