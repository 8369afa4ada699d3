"""What PromQL keeps of streams between queries changes no answer, and saves reading them again."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lakerunner
from lakerunner.errors import QueryExecutionError
from lakerunner.query.backing import Recent
from lakerunner.query.promql.answering import answer
from lakerunner.query.promql.grid import read_grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.lake import Lake
    from lakerunner.query.promql.answering import SampleResult


class Point(NamedTuple):
    """A point of one of a few series; labels are numbers or texts, as whole tables have them."""

    at: int
    x: int | None = 0
    name: str = "m"
    kind: str = "gauge"
    temporality: str | None = None
    value: float = 1.0


def put(lake: Lake, points: list[Point], **extra: str) -> None:
    """One segment; `extra` are attributes of all its points."""
    columns: dict[str, Any] = {
        "metric_name": [one.name for one in points],
        "metric_type": [one.kind for one in points],
        "temporality": pa.array([one.temporality for one in points], pa.string()),
        "is_monotonic": [one.kind == "sum" for one in points],
        "timestamp": pa.array([one.at for one in points], pa.timestamp("s", "UTC")),
        "value": [one.value for one in points],
        "attributes": pa.array(
            [[*([] if one.x is None else [("x", str(one.x))]), *extra.items()] for one in points],
            pa.map_(pa.string(), pa.string()),
        ),
    }
    lake.ingest(pa.table(columns), signal="metrics")


@pytest.fixture
def lake() -> Iterator[Lake]:
    with lakerunner.open(f"memory://{uuid.uuid4().hex}") as opened:
        yield opened


def afresh(lake: Lake, text: str, **times: Any) -> SampleResult:
    """The answer of an engine that has kept nothing."""
    engine = lake._queries
    reader = engine._metrics()
    bare = reader._replace(kept=reader.kept._replace(recent=Recent(0)))
    at, start, end, step = (times.get(name) for name in ("time", "start", "end", "step"))
    return answer(text, read_grid(at, start, end, step, None, 0), bare)


def agree(lake: Lake, text: str, **times: Any) -> SampleResult:
    kept, without = lake.promql(text, **times), afresh(lake, text, **times)
    assert kept.to_arrow().equals(without.to_arrow())
    assert (kept.kind, kept.warnings) == (without.kind, without.warnings)
    assert kept.infos == without.infos
    return kept


def agree_or_fail(lake: Lake, text: str, **times: Any) -> None:
    """Series with several partners are an error, whichever is named."""
    try:
        afresh(lake, text, **times)
    except QueryExecutionError:
        with pytest.raises(QueryExecutionError):
            lake.promql(text, **times)
    else:
        agree(lake, text, **times)


POINTS = st.builds(
    Point,
    st.integers(0, 1200),
    st.sampled_from([0, 1, 2, 3, None]),
    st.sampled_from(["m", "m", "n"]),
    st.sampled_from(["gauge", "sum"]),
    st.sampled_from([None, "cumulative", "delta"]),
    st.integers(0, 9).map(float),
)
QUERIES = st.sampled_from(
    [
        *("m", "count(m)", 'm{x="1"}', 'm{x=~"[12]"}', 'm{x!="1"}', "m_total", "n + on (x) m"),
        *("rate(m_total[5m])", "sum by (x) (count_over_time(m[10m]))", '{x=~".+"}', 'm{y="b"}'),
        *("increase(m_total[5m] offset 2m)", "absent(n)", "target_info"),
    ]
)
TIMES = st.one_of(
    st.fixed_dictionaries({"time": st.integers(0, 1500)}),
    st.builds(
        lambda start, length: {"start": start, "end": start + length, "step": 60},
        st.integers(0, 900),
        st.integers(0, 600),
    ),
)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.lists(POINTS, min_size=1, max_size=6), st.sampled_from(["", "y"])),
            st.tuples(QUERIES, TIMES),
        ),
        min_size=4,
        max_size=14,
    )
)
def test_no_answer_is_another(steps: list[tuple[Any, Any]]) -> None:
    with lakerunner.open(f"memory://{uuid.uuid4().hex}") as lake:
        put(lake, [Point(0), Point(600, 1), Point(300, 2, kind="sum", temporality="cumulative")])
        for what, how in steps:
            if isinstance(what, list):
                put(lake, what, **({how: "b"} if how else {}))
            else:
                agree_or_fail(lake, what, **how)
        agree(lake, "count by (x) (m)", time=700)


def test_a_second_query_does_not_read_labels_again(lake: Lake) -> None:
    put(lake, [Point(at, x) for x in range(50) for at in range(0, 300, 10)])
    first = lake.promql("count(m)", time=295)
    again = agree(lake, "count(m)", time=299)
    assert again.to_arrow()["value"].to_pylist() == [50.0]
    assert again.stats.bytes_read < first.stats.bytes_read
    put(lake, [Point(290, 50)])
    assert agree(lake, "count(m)", time=300).to_arrow()["value"].to_pylist() == [51.0]


def test_only_the_wanted_of_known_series_are_read(lake: Lake) -> None:
    for least in (0, 10_000):
        put(lake, [Point(at, least + x) for x in range(2_000) for at in range(3)])
    text = 'count(m{x=~"7|8"})'
    first = agree(lake, text, time=5)
    again = agree(lake, text, time=5)
    assert again.to_arrow()["value"].to_pylist() == [2.0]
    assert again.stats.rows_scanned < first.stats.rows_scanned
    none = agree(lake, 'count(m{x=~"nothing"})', time=5)
    assert none.to_arrow().num_rows == 0
    assert agree(lake, 'count(m{x=~"nothing"})', time=5).stats.rows_scanned == 0


def test_what_is_deleted_is_not_seen_any_more(lake: Lake) -> None:
    put(lake, [Point(0, x) for x in range(3)])
    assert agree(lake, "count(m)", time=1).to_arrow()["value"].to_pylist() == [3.0]
    lake.delete("metrics", "attr_x = '1'")
    assert agree(lake, "m", time=1).to_arrow()["x"].to_pylist() == ["0", "2"]


def test_a_series_that_becomes_a_delta_is_told_anew(lake: Lake) -> None:
    put(lake, [Point(at, 1, kind="sum", temporality="cumulative", value=at) for at in (0, 60)])
    text = "increase(m_total[5m])"
    agree(lake, text, time=90)
    put(lake, [Point(at, 1, kind="sum", temporality="delta") for at in (120, 180)])
    agree(lake, text, time=200)
    agree(lake, text, time=200)


def test_organizations_keep_their_own(lake: Lake) -> None:
    put(lake, [Point(0, 1)])
    other = lake.for_organization("other")
    assert lake.promql("m", time=1).to_arrow()["x"].to_pylist() == ["1"]
    assert other.promql("m", time=1).to_arrow().num_rows == 0
    put(other, [Point(0, 2)])
    assert other.promql("m", time=1).to_arrow()["x"].to_pylist() == ["2"]
    assert lake.promql("m", time=1).to_arrow()["x"].to_pylist() == ["1"]


def test_what_was_not_used_for_longest_is_given_up() -> None:
    kept = Recent[str](10)
    kept.put("a", "first", 4)
    kept.put("b", "second", 4)
    assert kept.get("a") == "first"
    kept.put("c", "third", 4)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == ("first", None, "third")
    kept.put("a", "more", 8)
    assert (kept.get("a"), kept.get("c")) == ("more", None)
    kept.drop("a")
    assert kept.get("a") is None
    kept.put("a", "too much", 11)
    assert kept.get("a") is None
