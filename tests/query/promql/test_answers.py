"""PromQL over a lake: kinds of answers, names of OpenTelemetry metrics, limits, bad input."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import lakerunner
from lakerunner.cli.promql import draw
from lakerunner.errors import (
    ConfigurationError,
    QueryExecutionError,
    QueryLimitError,
    QuerySyntaxError,
)
from lakerunner.query.promql.answering import answer
from lakerunner.query.promql.grid import Grid
from lakerunner.query.promql.source import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from lakerunner.lake import Lake

POINTS = pa.schema(
    [
        ("metric_name", pa.string()),
        ("metric_type", pa.string()),
        ("unit", pa.string()),
        ("temporality", pa.string()),
        ("is_monotonic", pa.bool_()),
        ("timestamp", pa.timestamp("s", "UTC")),
        ("start_timestamp", pa.timestamp("s", "UTC")),
        ("value", pa.float64()),
        ("count", pa.uint64()),
        ("sum", pa.float64()),
        ("explicit_bounds", pa.list_(pa.float64())),
        ("bucket_counts", pa.list_(pa.uint64())),
        ("quantiles", pa.list_(pa.struct([("quantile", pa.float64()), ("value", pa.float64())]))),
        ("attributes", pa.map_(pa.string(), pa.string())),
        ("resource", pa.map_(pa.string(), pa.string())),
    ]
)


def point(name: str, kind: str, at: int, **fields: Any) -> dict[str, Any]:
    return {"metric_name": name, "metric_type": kind, "timestamp": at, **fields}


@pytest.fixture
def lake() -> Iterator[Lake]:
    with lakerunner.open(f"memory://promql-{uuid.uuid4().hex}/lake") as opened:
        yield opened


def put(lake: Lake, *points: dict[str, Any]) -> None:
    lake.ingest(pa.Table.from_pylist(list(points), schema=POINTS), signal="metrics")


def rows(result: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result.to_arrow().to_pylist()
    for row in found:
        row["timestamp"] = row["timestamp"].timestamp()
    return found


def test_what_an_answer_is(lake: Lake) -> None:
    put(lake, *(point("up", "gauge", at, value=at * 1.0) for at in (0, 10, 20)))
    scalar = lake.promql("1 + 1", time=5)
    assert scalar.kind == "scalar"
    assert rows(scalar) == [{"timestamp": 5.0, "value": 2.0}]
    text = lake.promql('"hello"', time=5)
    assert text.kind == "string"
    assert rows(text) == [{"timestamp": 5.0, "value": "hello"}]
    vector = lake.promql("up", time=12)
    assert vector.kind == "vector"
    assert rows(vector) == [{"__name__": "up", "timestamp": 12.0, "value": 10.0}]
    spread = lake.promql("up", start=0, end=20, step=timedelta(seconds=10))
    assert spread.kind == "matrix"
    assert [row["value"] for row in rows(spread)] == [0.0, 10.0, 20.0]
    raw = lake.promql("up[15s]", time=20)
    assert raw.kind == "matrix"
    assert [row["timestamp"] for row in rows(raw)] == [10.0, 20.0]
    empty = lake.promql("down", time=5)
    assert empty.kind == "vector"
    assert rows(empty) == []
    assert empty.stats.rows == 0
    assert "0 rows" in repr(empty)
    assert "<table" in empty._repr_html_()


def test_a_label_called_like_another_column_gets_a_mark(lake: Lake) -> None:
    put(lake, point("up", "gauge", 0, value=1.0, attributes=[("value", "a"), ("timestamp", "b")]))
    assert rows(lake.promql("up", time=1)) == [
        {"__name__": "up", "timestamp_": "b", "value_": "a", "timestamp": 1.0, "value": 1.0}
    ]


def test_names_units_targets_and_parts(lake: Lake) -> None:
    resource = [
        ("service.name", "cart"),
        ("service.namespace", "shop"),
        ("service.instance.id", "i1"),
        ("cloud.region", "eu"),
    ]
    put(
        lake,
        point("http.requests", "sum", 0, unit="{request}", temporality="cumulative",
              is_monotonic=True, value=7.0, resource=resource, attributes=[("http.route", "/a")]),
        point("mem.used", "gauge", 0, unit="By", value=5.0, resource=resource),
        point("mem.share", "gauge", 0, unit="1", value=0.5, resource=resource),
        point("took", "histogram", 0, unit="s", temporality="cumulative", count=6, sum=9.5,
              explicit_bounds=[0.5, 2.0], bucket_counts=[1, 2, 3], resource=resource),
        point("asked", "summary", 0, count=3, sum=4.0,
              quantiles=[{"quantile": 0.5, "value": 1.5}], resource=resource),
    )  # fmt: skip
    (found,) = rows(lake.promql('http_requests_total{http_route="/a"}', time=1))
    assert found == {
        "__name__": "http_requests_total",
        "cloud_region": "eu",
        "http_route": "/a",
        "instance": "i1",
        "job": "shop/cart",
        "service_instance_id": "i1",
        "service_name": "cart",
        "service_namespace": "shop",
        "timestamp": 1.0,
        "value": 7.0,
    }
    one = {
        "mem_used_bytes": 5.0,
        "mem_share_ratio": 0.5,
        "took_seconds_sum": 9.5,
        "took_seconds_count": 6.0,
        "asked_sum": 4.0,
        "asked_count": 3.0,
        'asked{quantile="0.5"}': 1.5,
        'took_seconds_bucket{le="0.5"}': 1.0,
        'took_seconds_bucket{le="2"}': 3.0,
        'took_seconds_bucket{le="+Inf"}': 6.0,
        "histogram_count(took_seconds)": 6.0,
        "histogram_quantile(0.5, took_seconds)": 2.0,
        "histogram_quantile(0.5, took_seconds_bucket)": 2.0,
        'target_info{cloud_region="eu",job="shop/cart"}': 1.0,
        'sum(up or mem_used_bytes{job="shop/cart"})': 5.0,
    }
    assert {text: rows(lake.promql(text, time=1))[0]["value"] for text in one} == one
    assert rows(lake.promql('mem_used_bytes{job="cart"}', time=1)) == []
    known = lake.metrics().to_arrow()
    assert known["name"].to_pylist() == [
        "asked", "http_requests_total", "mem_share_ratio", "mem_used_bytes", "took_seconds"
    ]  # fmt: skip
    assert known["unit"].to_pylist() == [None, "{request}", "1", "By", "s"]


def test_deltas_are_added_up(lake: Lake) -> None:
    put(
        lake,
        *(
            point("hits", "sum", at, temporality="delta", is_monotonic=True, value=3.0)
            for at in (10, 20, 30, 40)
        ),
        *(
            point("took", "histogram", at, temporality="delta", count=2, sum=1.0,
                  explicit_bounds=[1.0], bucket_counts=[2, 0])
            for at in (10, 20, 30, 40)
        ),
    )  # fmt: skip
    assert rows(lake.promql("increase(hits_total[30s])", time=40))[0]["value"] == 9.0
    assert rows(lake.promql("rate(hits_total[30s])", time=40))[0]["value"] == 0.3
    assert rows(lake.promql("increase(took_count[30s])", time=40))[0]["value"] == 6.0
    assert rows(lake.promql("histogram_count(increase(took[30s]))", time=40))[0]["value"] == 6.0


def test_a_later_start_is_a_reset(lake: Lake) -> None:
    common = {"temporality": "cumulative", "is_monotonic": True}
    put(
        lake,
        point("hits", "sum", 10, value=5.0, start_timestamp=0, **common),
        point("hits", "sum", 20, value=8.0, start_timestamp=15, **common),
    )
    assert rows(lake.promql("resets(hits_total[1m])", time=20))[0]["value"] == 1.0


def test_the_last_of_two_points_of_one_moment_counts(lake: Lake) -> None:
    put(lake, point("up", "gauge", 0, value=1.0))
    put(lake, point("up", "gauge", 0, value=1.0), point("up", "gauge", 5, value=2.0))
    assert rows(lake.promql("count_over_time(up[1m])", time=10))[0]["value"] == 2.0


def test_parts_give_the_same_answer_as_the_whole(lake: Lake) -> None:
    put(
        lake,
        *(
            point("m", "sum", at, temporality="cumulative", is_monotonic=True, value=at * n * 1.0,
                  attributes=[("n", str(n))])
            for n in range(1, 9)
            for at in range(0, 300, 10)
        ),
    )  # fmt: skip
    text = "rate(m_total[1m]) or label_replace(m_total offset 1m, 'x', 'y', '', '')"
    times = Grid(100_000, 250_000, 1000)
    engine = lake._queries
    whole, parts = (
        answer(text, times, engine._metrics()._replace(memory_bytes=size)).to_arrow()
        for size in (1 << 30, 1 << 16)
    )
    assert isinstance(engine._metrics(), Reader)
    assert whole.num_rows == 2 * 8 * 151
    assert parts.equals(whole)


def test_more_samples_than_fit_are_refused(lake: Lake) -> None:
    put(lake, *(point("m", "gauge", at, value=1.0) for at in range(1000)))
    reader = lake._queries._metrics()._replace(memory_bytes=1000)
    with pytest.raises(QueryLimitError, match="query_memory_bytes"):
        answer("sum_over_time(m[1h])", Grid(900_000, 900_000), reader)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"start": 0, "end": 10}, "start=, end= and step= together"),
        ({"time": 5, "step": 1}, "start=, end= and step= together"),
        ({"start": 10, "end": 0, "step": 1}, "end must not lie before start"),
        ({"start": 0, "end": 10, "step": 0}, "step must be seconds above 0"),
        ({"start": 0, "end": 10, "step": -1}, "step must be seconds above 0"),
        ({"start": 0, "end": 10, "step": "soon"}, "step must be seconds above 0"),
        ({"time": 5, "lookback": "0s"}, "lookback must be seconds above 0"),
    ],
)
def test_times_that_contradict(lake: Lake, times: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        lake.promql("up", **times)


def test_too_many_steps(lake: Lake) -> None:
    assert lake.promql("1", start=0, end=10_999, step=1).to_arrow().num_rows == 11_000
    with pytest.raises(QueryLimitError, match="11,000 points per series"):
        lake.promql("1", start=0, end=11_000, step=1)


def test_what_cannot_be_answered_is_said(lake: Lake) -> None:
    put(lake, point("a", "gauge", 0, value=1.0, attributes=[("x", "1")]))
    put(lake, point("a", "gauge", 0, value=2.0, attributes=[("x", "2")]))
    with pytest.raises(QueryExecutionError, match="found duplicate series for the match group"):
        lake.promql("a + on () a", time=1)
    with pytest.raises(QueryExecutionError, match="range query, must be Scalar or instant Vector"):
        lake.promql("a[1m]", start=0, end=1, step=1)
    with pytest.raises(QueryExecutionError, match="a range that is anchored is no answer"):
        lake.promql("a[1m] anchored", time=1)
    with pytest.raises(QuerySyntaxError, match="1:1: parse error: unknown function"):
        lake.promql("holt_winters(a[1m], 0.5, 0.5)", time=1)


def test_quotes_in_values_stay_values(lake: Lake) -> None:
    evil = "x' OR '1'='1"
    put(lake, point("a", "gauge", 0, value=1.0, attributes=[("q", evil)]))
    put(lake, point("a", "gauge", 0, value=2.0, attributes=[("q", 'say "hi"')]))
    assert [row["value"] for row in rows(lake.promql(f'a{{q="{evil}"}}', time=1))] == [1.0]
    assert [row["value"] for row in rows(lake.promql("a{q='say \"hi\"'}", time=1))] == [2.0]


def test_another_organization_sees_nothing(lake: Lake) -> None:
    put(lake, point("a", "gauge", 0, value=1.0))
    assert rows(lake.for_organization("other").promql("a", time=1)) == []
    assert lake.for_organization("other").metrics().to_arrow().num_rows == 0


def test_the_past_is_asked_as_well(lake: Lake) -> None:
    put(lake, point("a", "gauge", 0, value=1.0))
    before = lake.snapshot()
    put(lake, point("a", "gauge", 1, value=2.0))
    assert [row["value"] for row in rows(lake.at(before).promql("a", time=5))] == [1.0]


def test_a_selector_is_explained(lake: Lake) -> None:
    put(lake, point("a", "gauge", 0, value=1.0))
    put(lake, point("b", "gauge", 0, value=1.0))
    explained = lake.explain("rate(a[1m]) / b", language="promql", time=1)
    assert len(explained.kept) == 2
    only = lake.explain("a", language="promql", time=1)
    assert (len(only.kept), len(only.dropped)) == (1, 1)
    assert "no metric can have this name" in str(lake.explain("c", language="promql", time=1))
    with pytest.raises(ConfigurationError, match="no such language: 'logql'"):
        lake.explain("a", language="logql")


def test_captured_metrics_have_the_counts_they_had(telemetry: Path) -> None:
    with lakerunner.open(f"memory://captured-{uuid.uuid4().hex}/lake") as lake:
        lake.ingest(str(telemetry / "otlp" / "metrics") + "/")
        known = lake.metrics().to_arrow()
        assert known.num_rows > 20
        span = lake.sql("SELECT max(timestamp) AS t FROM metrics").to_arrow()["t"][0].as_py()

        def counts(selector: str) -> dict[str, float]:
            found = lake.promql(f"count by (__name__) ({selector})", time=span, lookback="3650d")
            return {row["__name__"]: row["value"] for row in rows(found)}

        names = [row["name"] for row in known.to_pylist() if row["type"] == "histogram"]
        assert names
        # All in two questions; a name alone and a pattern of names are looked up differently.
        either = "|".join(names)
        native = counts(f'{{__name__=~"{either}"}}')
        assert native.keys() == set(names)
        assert all(value > 0 for value in native.values())
        found = counts(f'{{__name__=~"({either})_count"}}')
        assert found == {f"{name}_count": value for name, value in native.items()}
        assert counts(names[0]) == {names[0]: native[names[0]]}
        assert counts(f"{names[0]}_count") == {f"{names[0]}_count": native[names[0]]}


def counters(lake: Lake, series: int, samples: int) -> None:
    put(
        lake,
        *(
            point("m", "sum", at * 10, temporality="cumulative", is_monotonic=True,
                  value=(at % 17) * (n + 1) / 3, attributes=[("n", str(n))])
            for n in range(series)
            for at in range(samples)
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "sum by (n) (rate(m_total[1m]))",
        "sum(rate(m_total[1m])) / avg(m_total ^ 0.3)",
        "stddev(-increase(m_total[1m]) * 2)",
        "topk(3, max_over_time(m_total[1m] offset 10s))",
        "m_total > 4",
        "quantile(0.4, clamp_max(m_total, 5)) + count(rate(m_total[20s] smoothed))",
        "max_over_time(m_total[2m:10s]) - on (n) group_right () info(m_total)",
        "absent(m_total) or label_replace(m_total, 'x', '$1', 'n', '(.*)')",
    ],
)
def test_series_in_pieces_give_the_same_answer_as_at_once(lake: Lake, text: str) -> None:
    counters(lake, 12, 40)
    engine, times = lake._queries, Grid(100_000, 390_000, 20_000)
    read: list[str] = []

    def asked(query: str, without: Iterable[str]) -> Any:
        assert not list(without)
        read.append(query)
        return engine.sql(query)

    small = engine._metrics()._replace(memory_bytes=10_000, ask=asked)
    whole = answer(text, times, engine._metrics()).to_arrow()
    pieces = answer(text, times, small).to_arrow()
    assert pieces.equals(whole)
    assert len({query for query in read if "value" in query.partition("FROM")[0]}) > 4


@pytest.mark.parametrize(
    "text",
    ["absent_over_time(m_total[5m])", "m_total[5m]"],
)
def test_where_samples_are_needed_at_once_the_limit_says_so(lake: Lake, text: str) -> None:
    counters(lake, 12, 40)
    small = lake._queries._metrics()._replace(memory_bytes=10_000)
    with pytest.raises(QueryLimitError, match="query_memory_bytes") as caught:
        answer(text, Grid(390_000, 390_000), small)
    assert caught.value.context["limit"] == "query_memory_bytes"


@pytest.mark.parametrize(
    "text", ["sum_over_time(m_total[1h:1s])", "last_over_time(vector(1)[90y:1ms])"]
)
def test_a_subquery_of_too_many_times_is_refused(lake: Lake, text: str) -> None:
    counters(lake, 12, 40)
    small = lake._queries._metrics()._replace(memory_bytes=1 << 20)
    with pytest.raises(QueryLimitError, match="step longer") as caught:
        answer(text, Grid(390_000, 390_000), small)
    assert caught.value.context["limit"] == "query_memory_bytes"


def test_the_same_moment_in_two_segments_has_one_winner(lake: Lake) -> None:
    values = (3.0, 7.0, 5.0)
    put(lake, point("a", "gauge", 0, value=values[0]), point("b", "gauge", 0, value=values[2]))
    for at, other in ((1, 2), (2, 1)):
        put(lake, point("a", "gauge", 0, value=values[at]), point("b", "gauge", 0, value=other))
    for name in ("a", "b"):
        expected = 7.0 if name == "a" else 5.0
        for _ in range(3):
            assert [one["value"] for one in rows(lake.promql(name, time=1))] == [expected]


def test_all_selectors_see_one_state(lake: Lake) -> None:
    put(lake, point("a", "gauge", 0, value=1.0, attributes=[("x", "a")]))
    reader = lake._queries._metrics()
    put(lake, point("b", "gauge", 0, value=1.0, attributes=[("x", "b")]))
    assert answer("a or b", Grid(1000, 1000), reader).to_arrow().num_rows == 1
    assert lake.promql("a or b", time=1).to_arrow().num_rows == 2


def test_attributes_of_resources_can_be_left_out() -> None:
    config = {"promql_resource_labels": False}
    with lakerunner.open(f"memory://promql-{uuid.uuid4().hex}/lake", config=config) as lake:
        resource = [("service.name", "cart"), ("service.instance.id", "i"), ("region", "eu")]
        put(lake, point("up", "gauge", 0, value=1.0, resource=resource, attributes=[("x", "y")]))
        (found,) = rows(lake.promql("up", time=1))
        labels = {"__name__": "up", "instance": "i", "job": "cart", "x": "y"}
        assert found == labels | {"timestamp": 1.0, "value": 1.0}
        assert rows(lake.promql('up{region="eu"}', time=1)) == []
        (added,) = rows(lake.promql('info(up, {region="eu"})', time=1))
        assert added["region"] == "eu"


def test_many_to_many_names_the_labels(lake: Lake) -> None:
    put(lake, *(point("a", "gauge", 0, value=1.0, attributes=[("x", "1"), ("y", y)]) for y in "pq"))
    with pytest.raises(QueryExecutionError) as caught:
        lake.promql("a * on (x) a", time=1)
    for part in ("found duplicate series for the match group", 'x="1"', 'y="p"', 'y="q"'):
        assert part in caught.value.message


def test_subqueries_thirty_levels_deep(lake: Lake) -> None:
    put(lake, *(point("m", "gauge", at, value=1.0 * at) for at in range(0, 600, 60)))
    text = "m"
    for _ in range(30):
        text = f"max_over_time({text}[1m:1m])"
    assert rows(lake.promql(text, time=540))[0]["value"] == 540.0


def test_names_of_every_class_of_characters(lake: Lake) -> None:
    name = "\u540d \u00e9\u0301.\u0661-\u20ac\u2460\U0001f600\u05d0\u0905\u3042"
    put(lake, point(name, "gauge", 0, value=7.0, attributes=[(name, name)]))
    (told,) = lake.metrics().to_arrow()["name"].to_pylist()
    (found,) = rows(lake.promql(f'{{"{told}"}}', time=1))
    assert (told, found["__name__"], found["value"]) == (name, name, 7.0)
    assert name in found.values()
    with pytest.raises(QuerySyntaxError, match="unexpected character"):
        lake.promql(name, time=1)


def test_points_out_of_order_are_brought_in_order(lake: Lake) -> None:
    counter = {"temporality": "cumulative", "is_monotonic": True}
    for at in (50, 10, 30, 0, 40, 20):
        put(lake, point("hits", "sum", at, value=at * 1.0, **counter))
    assert rows(lake.promql("increase(hits_total[50s])", time=50))[0]["value"] == 50.0
    assert rows(lake.promql("resets(hits_total[1m])", time=50))[0]["value"] == 0.0


def test_a_series_whose_type_changes_is_a_series_of_each(lake: Lake) -> None:
    put(lake, *(point("m", "gauge", at, value=1.0 * at) for at in (0, 10)))
    counter = {"temporality": "cumulative", "is_monotonic": True}
    put(lake, *(point("m", "sum", at, value=1.0 * at, **counter) for at in (20, 30)))
    bounds = {"explicit_bounds": [1.0], "temporality": "cumulative"}
    put(lake, point("m", "histogram", 40, count=3, sum=2.0, bucket_counts=[1, 2], **bounds))
    found = rows(lake.promql('{__name__=~"m.*"}', time=45))
    kinds = {row["__name__"]: row.get("histogram") for row in found}
    assert {"m_total", "m_bucket", "m_sum", "m_count"} <= set(kinds)
    assert [one["value"] for one in found if one["__name__"] == "m_total"] == [30.0]
    assert rows(lake.promql("m", time=15))[0]["value"] == 10.0
    assert rows(lake.promql("m", time=45))[0]["histogram"]["count"] == 3.0


def test_a_label_of_two_attributes_where_series_lack_both(lake: Lake) -> None:
    both = [("a.b", "1"), ("a-b", "2")]
    put(
        lake,
        point("m", "gauge", 0, value=1.0, attributes=both),
        point("m", "gauge", 0, value=2.0, attributes=both[:1]),
        point("m", "gauge", 0, value=3.0, attributes=[("c", "3")]),
        point("m", "gauge", 0, value=4.0),
    )
    found = {row["value"]: row["a_b"] for row in rows(lake.promql("m", time=1))}
    assert found == {1.0: "2;1", 2.0: "1", 3.0: None, 4.0: None}


def test_lines_in_the_terminal_are_named_by_the_labels_they_have() -> None:
    table = pa.table(
        {
            "a": ["x", None, None],
            "b": ["y  z", "q", None],
            "timestamp": pa.array([0, 60, 120], pa.timestamp("s", "UTC")),
            "value": [1.0, 2.0, 3.0],
        }
    )
    drawn = draw(table, "three series").plain
    assert "a=x b=y  z" in drawn
    assert "b=q" in drawn
    assert "three series" in draw(table.select(["a", "timestamp", "value"]), "three series").plain
