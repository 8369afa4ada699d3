"""Prometheus' HTTP API: answers as its own server gives them, from the library's own answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import uuid4

import anyio
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

import lakerunner
from lakerunner.gateway import app
from lakerunner.schema.tables import EXEMPLAR_TYPE
from tests.gateway.conftest import KEYS

if TYPE_CHECKING:
    from lakerunner.lake import Lake
    from tests.gateway.conftest import Keys

START = 1_767_225_600
RATE = "sum by (service_name) (rate(http_server_request_duration_seconds_count[2m]))"


def asked(client: TestClient, keys: Keys, path: str, **params: Any) -> Any:
    answer = client.get(f"/api/v1/{path}", params=params, headers=keys.acme)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["status"] == "success"
    return body["data"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_range(client: TestClient, keys: Keys, lake: Lake, method: str) -> None:
    params: dict[str, Any] = {
        "query": RATE,
        "start": START + 120,
        "end": START + 300,
        "step": "30",
    }
    path = "/api/v1/query_range"
    answer = (
        client.get(path, params=params, headers=keys.acme)
        if method == "GET"
        else client.post(path, data=params, headers=keys.acme)
    )
    data = answer.json()["data"]
    expected = (
        lake.for_organization("acme")
        .promql(RATE, start=START + 120, end=START + 300, step=30)
        .to_arrow()
    )
    assert data["resultType"] == "matrix"
    rows = [
        (one["metric"]["service_name"], at, float(value))
        for one in data["result"]
        for at, value in one["values"]
    ]
    assert len(rows) == expected.num_rows > 5
    assert [value for _, _, value in rows] == pytest.approx(expected["value"].to_pylist())
    assert [name for name, _, _ in rows] == expected["service_name"].to_pylist()
    assert rows[0][1] >= START + 120


def test_an_instant(client: TestClient, keys: Keys) -> None:
    at = START + 200.5
    data = asked(client, keys, "query", query="shop_orders_total", time=at)
    assert data["resultType"] == "vector"
    assert all(one["metric"]["__name__"] == "shop_orders_total" for one in data["result"])
    assert {one["value"][0] for one in data["result"]} == {at}
    assert asked(client, keys, "query", query="1 + 1", time=START) == {
        "resultType": "scalar",
        "result": [START, "2"],
    }
    text = asked(client, keys, "query", query='"text"', time=START)
    assert text == {"resultType": "string", "result": [START, "text"]}
    matrix = asked(client, keys, "query", query="shop_orders_total[1m]", time=at)
    assert matrix["resultType"] == "matrix"
    assert len(matrix["result"][0]["values"]) == 4


def test_limits_and_statistics(client: TestClient, keys: Keys) -> None:
    params: dict[str, Any] = {
        "query": "shop_orders_total",
        "time": START + 200,
        "limit": "1",
        "stats": "all",
    }
    answer = client.get("/api/v1/query", params=params, headers=keys.acme).json()
    assert len(answer["data"]["result"]) == 1
    assert answer["warnings"] == ["results truncated due to limit"]
    assert answer["data"]["stats"]["timings"]["evalTotalTime"] > 0


def test_lookback_is_settable(client: TestClient, keys: Keys) -> None:
    late: dict[str, Any] = {"query": "shop_orders_total", "time": START + 1000}
    assert asked(client, keys, "query", **late)["result"] == []
    assert asked(client, keys, "query", **late, lookback_delta="1h")["result"]


def test_series_labels_and_values(client: TestClient, keys: Keys) -> None:
    span: dict[str, Any] = {"start": START, "end": START + 300}
    selector = 'http_server_request_duration_seconds_bucket{service_name="frontend"}'
    series = asked(client, keys, "series", **{"match[]": selector}, **span)
    assert {one["__name__"] for one in series} == {"http_server_request_duration_seconds_bucket"}
    assert {"0.005", "10", "+Inf"} <= {one["le"] for one in series}
    several: dict[str, Any] = {"match[]": [selector, "shop_orders_total"]}
    both = asked(client, keys, "series", **several, **span)
    assert len(both) > len(series)
    assert asked(client, keys, "series", **several, **span, limit="2") == both[:2]
    names = asked(client, keys, "labels", **span)
    assert {"__name__", "service_name", "job", "le", "quantile"} <= set(names)
    assert names == sorted(names)
    found = asked(client, keys, "labels", **{"match[]": "shop_orders_total"}, **span)
    assert "le" not in found
    metrics = asked(client, keys, "label/__name__/values", **span)
    assert "shop_orders_total" in metrics
    assert "http_server_request_duration_seconds_bucket" in metrics
    services = asked(client, keys, "label/service_name/values", **{"match[]": "shop_orders_total"})
    assert services == ["checkout"]
    assert "+Inf" in asked(client, keys, "label/le/values", **span)
    assert asked(client, keys, "label/nothing/values", **span) == []
    assert asked(client, keys, "label/job/values", limit=1) == ["shop/cart"]
    assert asked(client, keys, "series", **{"match[]": "up"}, **span) == []


def test_metadata(client: TestClient, keys: Keys) -> None:
    found = asked(client, keys, "metadata")
    assert found["shop_orders_total"] == [
        {"type": "counter", "help": "Orders by what became of them.", "unit": "{order}"}
    ]
    assert found["http_server_request_duration_seconds"][0]["type"] == "histogram"
    assert asked(client, keys, "metadata", metric="shop_stock_level").keys() == {"shop_stock_level"}
    assert len(asked(client, keys, "metadata", limit="2")) == 2


@pytest.mark.parametrize(
    ("path", "params", "status", "kind", "says"),
    [
        ("query", {"query": "sum(", "time": 0}, 400, "bad_data", "parse error"),
        ("query", {}, 400, "bad_data", '"query"'),
        ("query", {"query": "up", "time": "soon"}, 400, "bad_data", '"time"'),
        ("query", {"query": "up", "timeout": "-1"}, 400, "bad_data", "positive"),
        ("query_range", {"query": "up", "start": 0, "end": 1}, 400, "bad_data", '"step"'),
        ("query_range", {"query": "up", "start": 2, "end": 1, "step": 1}, 400, "bad_data", "end"),
        ("query_range", {"query": "up", "start": 0, "end": 1, "step": 0}, 400, "bad_data", "zero"),
        ("series", {}, 400, "bad_data", "match[]"),
        ("series", {"match[]": "sum(up)"}, 400, "bad_data", "selector"),
        ("query", {"query": "up", "limit": "x"}, 400, "bad_data", '"limit"'),
        (
            "query_range",
            {"query": "up", "start": 0, "end": 100_000, "step": 1},
            422,
            "execution",
            "11,000",
        ),
    ],
)
def test_errors_are_said_as_prometheus_says_them(
    client: TestClient, keys: Keys, path: str, params: Any, status: int, kind: str, says: str
) -> None:
    answer = client.get(f"/api/v1/{path}", params=params, headers=keys.acme)
    body = answer.json()
    assert (answer.status_code, body["status"], body["errorType"]) == (status, "error", kind)
    assert says in body["error"]


def test_without_a_key_prometheus_is_silent_too(client: TestClient) -> None:
    answer = client.get("/api/v1/query", params={"query": "up"})
    assert (answer.status_code, answer.json()["errorType"]) == (401, "unauthorized")


def test_what_grafana_asks_first(client: TestClient, keys: Keys) -> None:
    assert asked(client, keys, "status/buildinfo")["version"].startswith("3.")
    assert asked(client, keys, "rules") == {"groups": []}
    assert asked(client, keys, "alerts") == {"alerts": []}
    assert asked(client, keys, "targets")["activeTargets"] == []
    assert asked(client, keys, "status/flags") == {}
    assert asked(client, keys, "status/runtimeinfo")["reloadConfigSuccess"] is True


def test_what_a_database_of_series_says_of_itself(client: TestClient, keys: Keys) -> None:
    data = asked(client, keys, "status/tsdb", limit=3)
    series = asked(client, keys, "series", **{"match[]": '{__name__=~"shop_orders_total"}'})
    counted = {one["name"]: one["value"] for one in data["seriesCountByMetricName"]}
    assert len(counted) == 3
    assert data["headStats"]["numSeries"] >= sum(counted.values()) >= len(series)
    assert START * 1000 <= data["headStats"]["minTime"] < data["headStats"]["maxTime"]
    assert any(one["name"] == "__name__" for one in data["memoryInBytesByLabelName"])


def test_a_query_is_formatted_and_taken_apart(client: TestClient, keys: Keys) -> None:
    text = "foo / on(bar) group_left(b, a) sum  by(x) (rate(up{a='b'}[5m] offset -90s))"
    assert asked(client, keys, "format_query", query=text) == (
        'foo / on (bar) group_left (b, a) sum by (x) (rate(up{a="b"}[5m] offset -1m30s))'
    )
    tree = asked(client, keys, "parse_query", query="foo/bar")

    def selector(name: str) -> dict[str, Any]:
        return {
            "type": "vectorSelector",
            "name": name,
            "offset": 0,
            "startOrEnd": None,
            "timestamp": None,
            "matchers": [{"name": "__name__", "type": "=", "value": name}],
        }

    assert tree == {
        "type": "binaryExpr",
        "op": "/",
        "bool": False,
        "lhs": selector("foo"),
        "rhs": selector("bar"),
        "matching": {"card": "one-to-one", "include": [], "labels": [], "on": False},
    }
    inner = asked(client, keys, "parse_query", query="topk(3, rate(up{a!~'b'}[5m] @ end()))")
    assert inner["param"] == {"type": "numberLiteral", "val": "3"}
    assert (inner["op"], inner["grouping"], inner["without"]) == ("topk", [], False)
    called = inner["expr"]
    assert called["func"] == {
        "name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector",
    }  # fmt: skip
    (taken,) = called["args"]
    assert (taken["type"], taken["range"], taken["startOrEnd"]) == (
        "matrixSelector",
        300_000,
        "end",
    )
    assert [one["name"] for one in taken["matchers"]] == ["a", "__name__"]
    bad = client.get("/api/v1/parse_query", params={"query": "up{"}, headers=keys.acme)
    assert (bad.status_code, bad.json()["errorType"]) == (400, "bad_data")


def test_long_queries_take_several_lines(client: TestClient, keys: Keys) -> None:
    name = "http_server_request_duration_seconds_bucket"
    text = (
        f"histogram_quantile(.95, sum by (le) (rate({name}{{job=~'api.*',status!='500'}}[5m])))>2"
    )
    assert asked(client, keys, "format_query", query=text).splitlines() == [
        "  histogram_quantile(",
        "    0.95,",
        f'    sum by (le) (rate({name}{{job=~"api.*",status!="500"}}[5m]))',
        "  )",
        ">",
        "  2",
    ]


def test_exemplars_lead_to_traces(keys: Keys) -> None:
    at = pa.array([START, START + 1], pa.timestamp("s", "UTC")).cast(EXEMPLAR_TYPE[0].type)
    exemplar = {"timestamp": at[1], "value": 2.5, "trace_id": "ab" * 16, "span_id": "cd" * 8}
    exemplar["attributes"] = '{"user":"it\'s \\"me\\"","n":3}'
    points = pa.table(
        {
            "metric_name": ["m_total"] * 2,
            "metric_type": ["sum"] * 2,
            "timestamp": at,
            "value": [1.0, 2.0],
            "exemplars": pa.array([[], [exemplar]], pa.list_(EXEMPLAR_TYPE)),
            "attributes": pa.array([[("job", "a")]] * 2, pa.map_(pa.string(), pa.string())),
        }
    )
    with lakerunner.open(f"memory://{uuid4().hex}") as lake:
        lake.ingest(points, signal="metrics", organization="acme")
        settings = {"access": {"keys": [kept for _, kept in KEYS.values()]}}
        with TestClient(app(lake, settings)) as client:
            found = asked(
                client,
                keys,
                "query_exemplars",
                query="rate(m_total[5m])",
                start=START,
                end=START + 9,
            )
            none = asked(client, keys, "query_exemplars", query="x", start=START, end=START + 9)
    assert found == [
        {
            "seriesLabels": {"__name__": "m_total", "job": "a"},
            "exemplars": [
                {
                    "labels": {
                        "trace_id": "ab" * 16,
                        "span_id": "cd" * 8,
                        "user": 'it\'s "me"',
                        "n": "3",
                    },
                    "value": "2.5",
                    "timestamp": START + 1,
                }
            ],
        }
    ]
    assert none == []


def test_values_of_a_label_with_an_escaped_name(keys: Keys) -> None:
    points = pa.table(
        {
            "metric_name": ["up"],
            "metric_type": ["gauge"],
            "timestamp": pa.array([START], pa.timestamp("s", "UTC")),
            "value": [1.0],
            "attributes": pa.array([[("service_name", "a")]], pa.map_(pa.string(), pa.string())),
        }
    )
    with lakerunner.open(f"memory://{uuid4().hex}") as lake:
        lake.ingest(points, signal="metrics", organization="acme")
        settings = {"access": {"keys": [kept for _, kept in KEYS.values()]}}
        with TestClient(app(lake, settings)) as client:
            assert asked(client, keys, "label/U__service__name/values") == ["a"]
            assert asked(client, keys, "label/U__a_2e_b/values") == []


def test_a_subquery_that_does_not_fit_in_memory(client: TestClient, keys: Keys) -> None:
    query = "quantile_over_time(0.5, {__name__=~'.+'}[5m:1ms])"
    params: dict[str, Any] = {"query": query, "start": START, "end": START + 300, "step": "0.1"}
    answer = client.get("/api/v1/query_range", params=params, headers=keys.acme)
    assert answer.status_code != 200
    assert "query_memory_bytes" in answer.json()["error"]


def test_who_hangs_up_ends_the_evaluation(lake: Lake, keys: Keys) -> None:
    settings = {"access": {"keys": [kept for _, kept in KEYS.values()]}}
    made = app(lake, settings)
    # Without an end that would take half a minute, in many small parts: 3,000 runs of 300 a series.
    query = "quantile_over_time(0.5, {__name__=~'.+'}[5m:1s])"
    text = urlencode({"query": query, "start": START, "end": START + 300, "step": "0.1"})
    sent: list[Any] = []

    async def ask() -> None:
        asking = anyio.Event()

        async def receive() -> dict[str, Any]:
            if not asking.is_set():
                asking.set()
                return {"type": "http.request", "body": b"", "more_body": False}
            await anyio.sleep(0.2)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/v1/query_range",
            "raw_path": b"/api/v1/query_range",
            "query_string": text.encode(),
            "headers": [(b"authorization", keys.acme["authorization"].encode())],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("test", 80),
            "client": ("test", 1),
        }
        await made(scope, receive, send)

    anyio.run(ask)
    assert json.loads(sent[1]["body"])["error"] == "nobody waits for the answer any more"
