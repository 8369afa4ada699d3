"""The log interfaces of other platforms: the requests their clients send, and what they expect."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakerunner.lake import Lake
    from tests.gateway.conftest import Keys

FROM, TO = "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"
MS = 1000
WHERE = "resource_service_name = 'payment' AND level = 'ERROR'"


@pytest.fixture
def errors(lake: Lake) -> int:
    text = f"SELECT count(*) FROM logs WHERE {WHERE}"
    found: int = lake.for_organization("acme").sql(text).scalar()
    assert found > 5
    return found


def test_search_with_a_total(client: TestClient, keys: Keys, errors: int) -> None:
    body = {
        "start_time": FROM, "end_time": TO, "level": "error", "service": "payment", "limit": 3,
    }  # fmt: skip
    answer = client.post("/api/v1/logs", json=body, headers=keys.acme).json()
    assert answer["total"] == errors
    assert [set(one) for one in answer["logs"]] == [
        {"timestamp", "level", "service", "message", "trace_id", "span_id"}
    ] * 3
    times = [one["timestamp"] for one in answer["logs"]]
    assert times == sorted(times, reverse=True)
    found = client.post(
        "/api/v1/logs", json={**body, "search": "GatewayTimeout"}, headers=keys.acme
    )
    assert 0 < found.json()["total"] < errors
    assert all("GatewayTimeout" in one["message"] for one in found.json()["logs"])


@pytest.mark.parametrize("form", ["json", "csv"])
def test_export(client: TestClient, keys: Keys, errors: int, form: str) -> None:
    params = {
        "format": form, "start_time": FROM, "end_time": TO, "level": "ERROR", "service": "payment",
    }  # fmt: skip
    headers = {**keys.acme, "accept-encoding": "gzip"}
    answer = client.get("/api/v1/logs/export", params=params, headers=headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert f'filename="logs.{form}"' in answer.headers["content-disposition"]
    rows: list[Any] = (
        list(csv.DictReader(io.StringIO(answer.text)))
        if form == "csv"
        else [json.loads(line) for line in answer.text.splitlines()]
    )
    assert len(rows) == errors
    assert {one["service"] for one in rows} == {"payment"}


def test_events_page_by_page(client: TestClient, keys: Keys, errors: int) -> None:
    start = 1_767_225_600 * MS
    body: dict[str, Any] = {
        "tenant_id": "acme", "service": "payment", "from_ts": start, "to_ts": start + 300 * MS,
        "level": "ERROR", "contains": "", "limit": 4,
    }  # fmt: skip
    found: list[Any] = []
    while True:
        answer = client.post("/v1/query", json=body, headers=keys.acme).json()
        found += answer["items"]
        assert answer["stats"].keys() == {"objects_read", "events_scanned", "milliseconds"}
        if answer["next_cursor"] is None:
            break
        body["cursor"] = answer["next_cursor"]
    assert len(found) == errors
    assert len({json.dumps(one) for one in found}) == errors
    refused = client.post("/v1/query", json={**body, "tenant_id": "webshop"}, headers=keys.acme)
    assert refused.status_code == 403


def test_numbered_pages_and_traces(client: TestClient, keys: Keys, errors: int) -> None:
    params = {"service": "payment", "level": "ERROR", "from": FROM, "to": TO, "limit": "3"}
    pages = [
        client.get("/query", params={**params, "page": str(page)}, headers=keys.acme).json()
        for page in (1, 2)
    ]
    assert [one["page"] for one in pages] == [1, 2]
    assert len({json.dumps(row) for page in pages for row in page["logs"]}) == 6
    trace_id = next(one["trace_id"] for one in pages[0]["logs"] if one["trace_id"])
    logs = client.get(f"/query/{trace_id}", headers=keys.acme).json()["logs"]
    assert {one["trace_id"] for one in logs} == {trace_id}
    assert client.get("/health").text == "ok\n"


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/api/v1/logs", {"limit": 0}),
        ("POST", "/api/v1/logs", {"limit": "many"}),
        ("POST", "/api/v1/logs", {"start_time": "soon"}),
        ("POST", "/api/v1/logs", {"start_time": TO, "end_time": FROM}),
        ("POST", "/v1/query", {"cursor": "nowhere"}),
        ("GET", "/query", {"page": "1000000", "from": FROM, "to": TO}),
        ("GET", "/api/v1/logs/export", {"format": "xml"}),
    ],
)
def test_what_is_wrong_is_said(
    client: TestClient, keys: Keys, method: str, path: str, sent: dict[str, Any]
) -> None:
    answer = (
        client.post(path, json=sent, headers=keys.acme)
        if method == "POST"
        else client.get(path, params=sent, headers=keys.acme)
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


def test_words_of_a_search_are_values_and_nothing_else(client: TestClient, keys: Keys) -> None:
    body = {"start_time": FROM, "end_time": TO, "service": "x' OR true --", "search": "%"}
    assert client.post("/api/v1/logs", json=body, headers=keys.acme).json()["total"] == 0
