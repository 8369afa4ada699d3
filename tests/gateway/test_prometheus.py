"""Prometheus' HTTP API: answers as its own server gives them, from the library's own answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from starlette.testclient import TestClient

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
    absent = client.get("/api/v1/query_exemplars", params={"query": "up"}, headers=keys.acme)
    assert (absent.status_code, absent.json()["error"]["code"]) == (404, "not_found")
