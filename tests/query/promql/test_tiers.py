"""PromQL over tiers answers as over points: exactly, wherever edges, resets and doubles lie."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lakerunner
from lakerunner.errors import QueryExecutionError
from lakerunner.executors import InlineExecutor
from lakerunner.lake import Lake
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.tiers import Span, roll_buckets, roll_points
from lakerunner.tiers.exact import read_exact

HOUR = 1_790_002_800_000
MINUTE = 60_000
KINDS = {
    "m_total": ("sum", "cumulative", True),
    "g": ("gauge", None, None),
    "d_total": ("sum", "delta", True),
}
FUNCTIONS = [
    *("rate", "increase", "delta", "resets", "count_over_time", "sum_over_time", "avg_over_time"),
    *("min_over_time", "max_over_time", "first_over_time", "last_over_time", "present_over_time"),
    *("ts_of_first_over_time", "ts_of_last_over_time"),
]


class Point(NamedTuple):
    """A point of one of a few series, in milliseconds after the hour, with microseconds beyond."""

    at: int
    value: float | None
    name: str = "m_total"
    series: str = "a"
    micros: int = 0
    start: int | None = None
    stale: bool = False


def table_of(points: list[Point]) -> pa.Table:
    def times(values: list[int | None]) -> pa.Array:
        return pa.array(values, pa.int64()).cast(TIMESTAMP)

    return pa.table(
        {
            "metric_name": [one.name for one in points],
            "metric_type": [KINDS[one.name][0] for one in points],
            "temporality": pa.array([KINDS[one.name][1] for one in points], pa.string()),
            "is_monotonic": pa.array([KINDS[one.name][2] for one in points], pa.bool_()),
            "timestamp": times([(HOUR + one.at) * 10**6 + one.micros * 1000 for one in points]),
            "start_timestamp": times(
                [None if one.start is None else (HOUR + one.start) * 10**6 for one in points]
            ),
            "value": pa.array([None if one.stale else one.value for one in points], pa.float64()),
            "flags": pa.array([int(one.stale) for one in points], pa.uint32()),
            "attributes": pa.array(
                [[("series", one.series)] for one in points], pa.map_(pa.string(), pa.string())
            ),
        }
    )


class Pair:
    """A lake that may read tiers, and one that may not, over the same files."""

    def __init__(self) -> None:
        url = f"memory://{uuid4().hex}"
        self.tiers = lakerunner.open(url, config={"backoff_seconds": 0.001})
        store, catalog = self.tiers._scope.store, self.tiers._scope.catalog
        self.points = Lake(store, catalog, config={"promql_rollups": False})

    def ingest(self, *points: Point) -> None:
        self.tiers.ingest(table_of(list(points)), signal="metrics")

    def roll(self) -> None:
        assert not self.tiers.rollup(executor=InlineExecutor(), again=True).failed

    def ask(self, text: str, **times: Any) -> tuple[pa.Table, int]:
        """The answer, and how many rows fewer were read for it than without tiers."""
        try:
            without = self.points.promql(text, **times)
        except QueryExecutionError as error:
            with pytest.raises(QueryExecutionError, match=re.escape(str(error))):
                self.tiers.promql(text, **times)
            return pa.table({}), 0
        with_tiers = self.tiers.promql(text, **times)
        mine, its = with_tiers.to_arrow(), without.to_arrow()
        assert mine.schema == its.schema
        assert [_plain(row) for row in mine.to_pylist()] == [_plain(row) for row in its.to_pylist()]
        assert (with_tiers.warnings, with_tiers.infos) == (without.warnings, without.infos)
        return mine, without.stats.rows_scanned - with_tiers.stats.rows_scanned


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    value = row["value"]
    return {**row, "value": "NaN" if math.isnan(value) else value}


EDGES = [0, 1, 10_000, 59_999, MINUTE, 90_000, 2 * MINUTE, 5 * MINUTE, 299_999, 600_000]
VALUES = st.one_of(
    st.integers(0, 9).map(float),
    st.sampled_from([0.1, 0.7, 1e16, -3.0, math.nan, math.inf]),
    st.none(),
)
POINTS = st.builds(
    Point,
    st.one_of(st.sampled_from(EDGES), st.integers(0, 1_300_000)),
    VALUES,
    st.sampled_from(["m_total", "m_total", "g", "d_total"]),
    st.sampled_from("ab"),
    st.sampled_from([0, 0, 0, 7]),
    st.one_of(st.none(), st.sampled_from([0, 50_000, 10 * MINUTE])),
    st.sampled_from([False] * 9 + [True]),
)


@settings(max_examples=200 if settings().max_examples > 1000 else 6)
@given(
    st.lists(POINTS, min_size=1, max_size=40),
    st.lists(POINTS, max_size=3),
    st.lists(
        st.tuples(
            st.sampled_from(FUNCTIONS),
            st.sampled_from(["m_total", "g", "d_total", '{series="a"}']),
            st.sampled_from([10, 60, 120, 300, 600, 90]),
            st.sampled_from([10, 60, 300, 45]),
            st.sampled_from([0, 0, 60, 7]),
        ),
        min_size=6,
        max_size=6,
    ),
)
def test_tiers_never_change_an_answer(
    points: list[Point], late: list[Point], asked: list[tuple[str, str, int, int, int]]
) -> None:
    pair = Pair()
    pair.ingest(*points)
    pair.roll()
    if late:
        pair.ingest(*late)
    start = HOUR / 1000
    for function, selector, length, step, offset in asked:
        moved = f" offset {offset}s" if offset else ""
        text = f"{function}({selector}[{length}s]{moved})"
        pair.ask(text, start=start, end=start + 1500, step=step)
        pair.ask(f"sum({text})", time=start + 600)


@given(st.lists(POINTS, min_size=1, max_size=30), st.sampled_from([30, 60, 120]))
def test_a_long_bucket_says_the_same_of_points_and_of_buckets(
    points: list[Point], seconds: int
) -> None:
    rows = table_of([one for one in points if one.value is None or math.isfinite(one.value)])
    series = pa.array([{"a": 1, "b": 2}[each[0][1]] for each in rows["attributes"].to_pylist()])
    rows = rows.append_column("series_id", series).drop_columns(["attributes"])
    span = Span(0, 0)
    fine, coarse = roll_points(rows, 10**10, span), roll_points(rows, seconds * 10**9, span)
    if not fine.num_rows:
        return
    again = roll_buckets(fine, seconds * 10**9)
    mine, its = read_exact(again["exact"]), read_exact(coarse["exact"])
    assert mine.known.tolist() == its.known.tolist()
    for place in range(len(mine.known)):
        if mine.known[place]:
            one, other = ([column[place] for column in exact] for exact in (mine, its))
            assert one[1] == other[1]
            assert other[3] or not one[3]  # what is added up may be taken for too large
            assert [str(each) for each in one[4:]] == [str(each) for each in other[4:]]
            assert one[1] > 2 or one[2] == other[2]


def test_far_fewer_rows_are_read_and_explain_says_so() -> None:
    pair = Pair()
    values = [float(number % 500) for number in range(1440)]
    pair.ingest(*(Point(at * 5_000, value) for at, value in enumerate(values)))
    pair.roll()
    start = HOUR / 1000
    times: dict[str, Any] = {"start": start + 1200, "end": start + 6000, "step": 300}
    for function in FUNCTIONS:
        answer, saved = pair.ask(f"{function}(m_total[10m])", **times)
        assert answer.num_rows == 17
        assert saved > 900
    said = str(pair.tiers.explain("rate(m_total[10m])", language="promql", **times))
    assert 'm_total"} from buckets of 300 s, which tell the same, of 2026-09-21T15:10:00Z' in said
    assert "metrics_rollup: " in said


def test_histograms_are_read_of_points_and_explain_says_why() -> None:
    pair = Pair()
    buckets = pa.array([[at, at] for at in range(240)], pa.list_(pa.uint64()))
    pair.tiers.ingest(
        pa.table(
            {
                "metric_name": ["h"] * 240,
                "metric_type": ["histogram"] * 240,
                "temporality": ["cumulative"] * 240,
                "timestamp": pa.array([(HOUR + at * 5_000) * 10**6 for at in range(240)]).cast(
                    TIMESTAMP
                ),
                "count": pa.array([2 * at for at in range(240)], pa.uint64()),
                "sum": [float(at) for at in range(240)],
                "bucket_counts": buckets,
                "explicit_bounds": pa.array([[1.0]] * 240, pa.list_(pa.float64())),
            }
        ),
        signal="metrics",
    )
    pair.roll()
    start = HOUR / 1000
    times: dict[str, Any] = {"start": start + 600, "end": start + 1140, "step": 60}
    for text in ("rate(h_count[5m])", "increase(h_bucket[5m])", "histogram_sum(rate(h[5m]))"):
        answer, saved = pair.ask(text, **times)
        assert answer.num_rows in (10, 20)
        assert saved == 0
        said = str(pair.tiers.explain(text, language="promql", **times))
        assert "from points, for tiers do not say from where to where histograms" in said
    off = str(pair.points.explain("rate(h_count[5m])", language="promql", **times))
    assert "from points, for promql_rollups is off" in off


def test_points_are_read_where_a_tier_lacks_some_and_buckets_elsewhere() -> None:
    pair = Pair()
    pair.ingest(*(Point(at * 5_000, float(at)) for at in range(2160)))
    pair.roll()
    pair.ingest(Point(2 * 3_600_000 + 12_345, 5.5))
    start = HOUR / 1000
    times: dict[str, Any] = {"start": start + 300, "end": start + 10_800, "step": 60}
    _, saved = pair.ask("rate(m_total[5m])", **times)
    assert 1200 < saved < 1440
    said = str(pair.tiers.explain("rate(m_total[5m])", language="promql", **times))
    assert "from buckets of 60 s" in said
    assert "from points of 2026-09-21T17:00:00Z to " in said


def test_sums_whose_last_digit_depends_on_the_order_are_made_of_points() -> None:
    pair = Pair()
    pair.ingest(*(Point(at * 5_000, 0.1 * (at % 7)) for at in range(240)))
    pair.roll()
    start = HOUR / 1000
    for text in ("sum_over_time(m_total[10m])", "increase(m_total[10m])"):
        _, saved = pair.ask(text, start=start + 600, end=start + 1200, step=60)
        assert saved <= 0


def test_rows_that_are_deleted_or_expired_are_not_seen_in_tiers_either() -> None:
    pair = Pair()
    pair.ingest(*(Point(at * 5_000, float(at), series="ab"[at % 2]) for at in range(240)))
    pair.roll()
    start = HOUR / 1000
    times: dict[str, Any] = {"start": start, "end": start + 1200, "step": 60}
    _, saved = pair.ask("count_over_time(m_total[2m])", **times)
    assert saved > 0
    pair.tiers.delete("metrics", where="attr_series = 'a'")
    answer, _ = pair.ask("count_over_time(m_total[2m])", **times)
    assert set(answer["series"].to_pylist()) == {"b"}
    pair.tiers.maintain()
    answer, _ = pair.ask("count_over_time(m_total[2m])", **times)
    assert set(answer["series"].to_pylist()) == {"b"}
    pair.tiers.delete("metrics_rollup", where="attr_series = 'b'")
    answer, _ = pair.ask("count_over_time(m_total[2m])", **times)
    assert set(answer["series"].to_pylist()) == {"b"}


def test_a_state_of_the_past_is_explained_and_answered_as_it_was() -> None:
    pair = Pair()
    pair.ingest(*(Point(at * 5_000, float(at)) for at in range(240)))
    pair.roll()
    snapshot = pair.tiers.snapshot()
    pair.ingest(Point(7, 3.0, series="later"))
    start = HOUR / 1000
    times: dict[str, Any] = {"start": start + 60, "end": start + 1200, "step": 60}
    with pair.tiers.at(snapshot) as past:
        answer = past.promql("increase(m_total[1m])", **times)
        said = past.explain("increase(m_total[1m])", language="promql", **times)
    assert "later" not in answer.to_arrow()["series"].to_pylist()
    assert "from buckets of 60 s" in str(said)
    now = pair.tiers.explain("increase(m_total[1m])", language="promql", **times)
    assert "for no tier holds all of it" in str(now)  # one came that they do not hold
