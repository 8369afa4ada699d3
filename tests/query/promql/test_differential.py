"""Random expressions, answered by Prometheus and by us from the same samples."""

from __future__ import annotations

import math
import os
import random
import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import lakerunner
from lakerunner.errors import QueryError
from lakerunner.query.promql.parser import parse
from lakerunner.query.promql.printing import formatted
from lakerunner.testing.servers.prometheus import ask, prometheus, write_series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.lake import Lake

EXPRESSIONS = int(os.environ.get("PROMQL_EXPRESSIONS", "200"))
BASE_MS = 1_790_000_000_000
MINUTES = 60
LABELS = ("job", "zone", "n")

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Debian's package `prometheus` is not installed"
)


class Series:
    """One series: its labels, and samples as (milliseconds, value).

    Prometheus before 3.0 counts the first moment of a range to it, we do not. No sample lies there:
    all have odd milliseconds, and all times of evaluation are whole seconds.
    """

    def __init__(self, choose: random.Random, labels: dict[str, str]) -> None:
        self.labels = labels
        counter = labels["__name__"].endswith(("_total", "_bucket"))
        self.samples: list[tuple[int, float]] = []
        value = 0.0
        for minute in range(MINUTES * 2):
            if choose.random() < 0.15:
                continue
            at = BASE_MS + minute * 30_000 + choose.randrange(0, 9_000) * 2 + 1
            if counter:
                # Far from zero: where a counter could not have begun later, 2.42 went below it.
                value = max(value, 1000.0) + choose.random() * 9
                value = 1000 + choose.random() if choose.random() < 0.03 else value
            else:
                value = choose.uniform(-50, 50)
            self.samples.append((at, value))


@pytest.fixture(scope="module")
def series() -> list[Series]:
    choose = random.Random(7)  # noqa: S311 - the same samples each time
    found = [
        Series(choose, {"__name__": name, "job": job, "zone": zone, "n": str(n)})
        for name in ("a_total", "b_total", "c", "d")
        for job in ("x", "y")
        for zone in ("eu", "us")
        for n in range(2)
    ]
    for job in ("x", "y"):
        inner = [Series(choose, {"__name__": "unused_total"}).samples for _ in range(4)]
        times = [at for at, _ in inner[0]]
        total = [0.0] * len(times)
        for le, part in zip(("0.1", "0.5", "2.5", "+Inf"), inner, strict=True):
            steps = [value for _, value in part]
            grown = 0.0
            for at in range(len(times)):
                grown += abs(steps[at % len(steps)]) % 7
                total[at] += grown
            one = Series(choose, {"__name__": "h_bucket", "job": job, "le": le})
            one.samples = list(zip(times, total, strict=True))
            found.append(one)
    found.append(Series(choose, {"__name__": "names", "job": "x", "team": "shop"}))
    found.append(Series(choose, {"__name__": "names", "job": "y", "team": "pay"}))
    return found


@pytest.fixture(scope="module")
def server(series: list[Series]) -> Iterator[str]:
    with prometheus() as endpoint:
        write_series(endpoint, [(one.labels, one.samples) for one in series])
        yield endpoint


@pytest.fixture(scope="module")
def lake(series: list[Series]) -> Iterator[Lake]:
    rows = [
        {
            "metric_name": one.labels["__name__"],
            "metric_type": "gauge",
            "timestamp": at,
            "value": value,
            "attributes": [(k, v) for k, v in one.labels.items() if k != "__name__"],
        }
        for one in series
        for at, value in one.samples
    ]
    schema = pa.schema(
        [
            ("metric_name", pa.string()),
            ("metric_type", pa.string()),
            ("timestamp", pa.timestamp("ms", "UTC")),
            ("value", pa.float64()),
            ("attributes", pa.map_(pa.string(), pa.string())),
        ]
    )
    with lakerunner.open("memory://differential/lake") as lake:
        # In two parts whose times overlap, so that samples come in no order.
        lake.ingest(pa.Table.from_pylist(rows[::2], schema=schema), signal="metrics")
        lake.ingest(pa.Table.from_pylist(rows[1::2], schema=schema), signal="metrics")
        yield lake


class Grammar:
    """Makes random expressions of what both sides know."""

    def __init__(self, seed: int) -> None:
        self._choose = random.Random(seed)  # noqa: S311 - the same expressions each time

    def of(self, *options: str) -> str:
        return self._choose.choice(options)

    def selector(self) -> str:
        name = self.of("a_total", "b_total", "c", "d")
        matcher = self.of(
            "", "", '{job="x"}', '{zone!="eu"}', '{n=~"0|1"}', '{job!~"x.*"}', '{zone="",job="x"}'
        )
        return name + matcher

    def moment(self) -> str:
        return self.of(
            "", "", "", " offset 3m", " offset -2m", f" @ {BASE_MS // 1000 + 1800}", " @ start()"
        )

    def ranged(self) -> str:
        length = self.of("90s", "3m", "5m", "11m")
        if self._choose.random() < 0.2:
            inner = self.of(self.selector(), "rate(a_total[4m])")
            # No step of the inner grid falls on the beginning of the range.
            length = self.of("91s", "185s", "301s")
            return f"({inner})[{length}:{self.of('30s', '1m')}]{self.moment()}"
        return f"{self.selector()}[{length}]{self.moment()}"

    def over_time(self) -> str:
        function = self.of(
            "delta", "irate", "idelta", "deriv", "resets", "changes",
            "sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "count_over_time",
            "stddev_over_time", "stdvar_over_time", "last_over_time", "present_over_time",
        )  # fmt: skip
        if self._choose.random() < 0.25:
            counters = f"{self.of('a_total', 'b_total')}[{self.of('90s', '3m', '11m')}]"
            return f"{self.of('rate', 'increase')}({counters}{self.moment()})"
        if self._choose.random() < 0.15:
            return f"quantile_over_time({self.of('0.1', '0.5', '0.99', '1')}, {self.ranged()})"
        if self._choose.random() < 0.1:
            # With `@`, 2.42 lost samples at later steps.
            ahead = self.of("60", "-120", "3600")
            return f"predict_linear({self.selector()}[{self.of('3m', '11m')}], {ahead})"
        return f"{function}({self.ranged()})"

    def aggregation(self, depth: int) -> str:
        by = self.of("", " by (job)", " by (job, zone)", " without (n)", " without (zone, n)")
        op = self.of("sum", "avg", "min", "max", "count", "stddev", "stdvar", "group", "quantile")
        inner = self.vector(depth - 1)
        if op in ("stddev", "stdvar"):
            # Of a single NaN, 2.42 said 0.
            inner = self.selector()
        if op == "quantile":
            return f"quantile{by}({self.of('0.2', '0.9')}, {inner})"
        if self._choose.random() < 0.15:
            return f"{self.of('topk', 'bottomk')}{by}({self.of('1', '2')}, {self.selector()})"
        return f"{op}{by}({inner})"

    def mapped(self, depth: int) -> str:
        inner = self.vector(depth - 1)
        simple = self.of(
            "abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "sgn", "sin", "cos",
            "atan", "timestamp",
        )  # fmt: skip
        return self.of(
            f"{simple}({inner})",
            f"clamp({inner}, -5, {self.of('3', '40')})",
            f"clamp_min({inner}, 0)",
            f"round({inner}, {self.of('1', '0.5', '10')})",
            f"vector(scalar({inner}))",
            f"absent({inner})",
            f'label_replace({inner}, "more", "$1-$2", "zone", "(e)?(.*)")',
            f'label_join({inner}, "both", "/", "job", "n")',
            f"-{inner}",
            f"{self.of('hour', 'minute', 'day_of_week', 'month')}({self.selector()})",
        )

    def binary(self, depth: int) -> str:
        op = self.of("+", "-", "*", "/", "%", "^", "==", "!=", ">", "<=", "> bool")
        left = self.vector(depth - 1)
        right = self.of("2", "0.5", "time()", self.vector(depth - 1))
        return self.of(
            f"({left}) {op} ({right})",
            f"({left}) {self.of('and', 'or', 'unless')} ({self.vector(depth - 1)})",
            f"a_total {op} on (job, zone, n) b_total",
            f"c {op} ignoring (zone) group_left d{{zone='eu'}}",
            f"c {op} on (job) group_left (team) names",
            f"sum by (job) (c) {op} on (job) group_right d",
            f"c {self.of('and', 'unless', 'or')} on (job, n) d{{zone='us'}}",
        )

    def vector(self, depth: int) -> str:
        if depth <= 0:
            return self.of(self.selector() + self.moment(), self.over_time())
        makers = [self.aggregation, self.mapped, self.binary]
        if self._choose.random() < 0.35:
            return self.over_time()
        if self._choose.random() < 0.1:
            q = self.of("0.1", "0.5", "0.9", "1")
            inner = self.of("h_bucket", "rate(h_bucket[5m])", "sum by (le) (h_bucket)")
            return f"histogram_quantile({q}, {inner})"
        return self._choose.choice(makers)(depth)


LONG = "a_metric_whose_name_is_so_long_that_two_of_them_fill_a_line_and_more"
ODD_TEXTS = (
    *("1e21", "1e-5", "123456789", "0.1+NaN", "-Inf", "1e100*2.5e-9", "0x1f", "-(-x)", "--x"),
    *("sum without()(x)", "sum by()(x)", "x[1w2d3h]", "x[1y]", "x offset 90061s", "(((x)))"),
    *("{__name__=~'a.*',b='c'}", r"""x{a='\n\t \\ "q"'}""", "x @ 1.5", "x[5m] @ 12.3456"),
    *("rate(x[5m:])", "a == bool b", "a and on() b", "a * ignoring(x) group_right(y) b"),
    *("x[1500ms] offset 1h", f"topk(5, {LONG} + {LONG})"),
    f"sum(rate({LONG}{{job='b'}}[5m])) by (x, y) / -(sum without (n) (rate({LONG}[5m:1m])))",
    f"max_over_time((sum({LONG} unless {LONG}))[5m:1m])",
)

Answer = dict[tuple[tuple[str, str], ...], dict[int, float]]


def theirs(endpoint: str, text: str, start: int, end: int, step: int) -> Answer | None:
    found = ask(endpoint, "query_range", query=text, start=str(start), end=str(end), step=str(step))
    if found["status"] != "success":
        return None
    return {
        tuple(sorted(one["metric"].items())): {
            round(at * 1000): float(value.replace("Inf", "inf")) for at, value in one["values"]
        }
        for one in found["data"]["result"]
    }


def ours(lake: Lake, text: str, start: int, end: int, step: int) -> Answer | None:
    try:
        rows = lake.promql(text, start=start, end=end, step=step).to_arrow().to_pylist()
    except QueryError:
        return None
    answer: Answer = {}
    for row in rows:
        at, value = row.pop("timestamp"), row.pop("value")
        key = tuple(sorted((name, text) for name, text in row.items() if text))
        answer.setdefault(key, {})[round(at.timestamp() * 1000)] = value
    return answer


def close(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-7)


def difference(one: Answer | None, other: Answer | None) -> Any:
    if one is None or other is None:
        return None if one is other else ("fails", one is None, other is None)
    if set(one) != set(other):
        return ("series", sorted(set(one) ^ set(other))[:3])
    for key, samples in one.items():
        if set(samples) != set(other[key]):
            return ("times", key, sorted(set(samples) ^ set(other[key]))[:3])
        for at, value in samples.items():
            if not close(value, other[key][at]):
                return (key, at, value, other[key][at])
    return None


def test_expressions_are_written_as_prometheus_writes_them(server: str) -> None:
    several = [Grammar(seed).vector(3) for seed in range(EXPRESSIONS)]
    for text in (*several, *ODD_TEXTS):
        assert formatted(parse(text)) == ask(server, "format_query", query=text)["data"], text


def test_random_expressions_have_the_answers_of_prometheus(server: str, lake: Lake) -> None:
    start = BASE_MS // 1000 + 900
    end = start + 1500
    different = []
    answered = 0
    for seed in range(EXPRESSIONS):
        text = Grammar(seed).vector(2)
        expected = theirs(server, text, start, end, 300)
        answered += bool(expected)
        found = difference(expected, ours(lake, text, start, end, 300))
        if found is not None:
            different.append((text, found))
    assert different == [], "\n".join(map(str, different[:20]))
    assert answered > EXPRESSIONS / 2
