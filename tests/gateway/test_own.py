"""lakerunner's own HTTP API: every format, parameters, limits, and errors."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from lakerunner.gateway import app

if TYPE_CHECKING:
    from lakerunner.lake import Lake
    from tests.gateway.conftest import Keys

ROWS = "SELECT timestamp, level, body FROM logs ORDER BY timestamp, body"


def table_of(data: bytes, form: str) -> pa.Table:
    match form:
        case "arrow":
            return pa.ipc.open_stream(data).read_all()
        case "parquet":
            return pq.read_table(io.BytesIO(data))
        case "csv":
            return pa.csv.read_csv(
                io.BytesIO(data), parse_options=pa.csv.ParseOptions(newlines_in_values=True)
            )
    return pa.Table.from_pylist([json.loads(line) for line in data.splitlines()])


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("arrow", "application/vnd.apache.arrow.stream"),
        ("json", "application/x-ndjson"),
        ("csv", "text/csv; charset=utf-8"),
        ("parquet", "application/vnd.apache.parquet"),
    ],
)
def test_rows_are_those_of_the_library(
    client: TestClient, keys: Keys, lake: Lake, form: str, kind: str, encoding: str
) -> None:
    headers = {**keys.acme, "accept": kind, "accept-encoding": encoding}
    with client.stream("POST", "/v1/sql", json={"query": ROWS}, headers=headers) as answer:
        data = b"".join(answer.iter_raw())
    assert answer.status_code == 200, data
    assert answer.headers["content-type"] == kind
    packed = encoding != "identity" and form != "parquet"
    assert answer.headers.get("content-encoding") == (encoding if packed else None)
    if packed:
        data = pa.CompressedInputStream(pa.BufferReader(data), encoding).read()
    expected = lake.for_organization("acme").sql(ROWS).to_arrow()
    found = table_of(data, form)
    assert found.num_rows == expected.num_rows == 12_000
    assert found["body"].to_pylist() == expected["body"].to_pylist()
    if form in ("arrow", "parquet"):
        assert found.equals(expected)


def test_a_query_comes_as_json_as_text_and_as_a_parameter(client: TestClient, keys: Keys) -> None:
    text = "SELECT count(*) AS n FROM logs"
    for answer in (
        client.post("/v1/sql", json={"query": text}, headers=keys.acme),
        client.post("/v1/sql", content=text, headers=keys.acme),
        client.get("/v1/sql", params={"query": text}, headers=keys.acme),
    ):
        assert answer.json() == {"n": 12_000}


def test_values_are_bound(client: TestClient, keys: Keys) -> None:
    body = {
        "query": "SELECT count(*) AS n FROM logs WHERE level = $level AND body <> $other",
        "params": {"level": "ERROR", "other": "' OR true --"},
    }
    found = client.post("/v1/sql", json=body, headers=keys.acme).json()
    text = "SELECT count(*) AS n FROM logs WHERE level = 'ERROR'"
    assert found == client.get("/v1/sql", params={"query": text}, headers=keys.acme).json()


def test_nobody_sees_the_rows_of_others(client: TestClient, keys: Keys) -> None:
    text = {"query": "SELECT organization, count(*) AS n FROM logs GROUP BY 1"}
    assert client.get("/v1/sql", params=text, headers=keys.webshop).json() == {
        "organization": "webshop",
        "n": 1,
    }
    asked = {**keys.operator, "x-scope-orgid": "acme"}
    assert client.get("/v1/sql", params=text, headers=asked).json()["organization"] == "acme"


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({"query": "SELEC 1"}, 400, "query_syntax", "SELEC"),
        ({"query": "SELECT nobody FROM logs"}, 400, "query_syntax", "nobody"),
        ({"query": "SELECT 1", "format": "xml"}, 400, "configuration", "arrow"),
        ({"query": "SELECT 1", "langauge": "sql"}, 400, "configuration", "langauge"),
        ({"query": 1}, 400, "configuration", "query"),
        ({"query": "SELECT 1", "language": "cobol"}, 400, "configuration", "cobol"),
        ({"query": "up", "language": "promql", "start": "0"}, 400, "configuration", "step"),
        ({"query": "SELECT 1/0 FROM logs"}, 422, "query_execution", ""),
        ({"query": "DROP TABLE logs"}, 422, "unsupported_query", ""),
        (
            {"query": "SELECT count(*) FROM generate_series(1, 1000000000000)", "timeout": 0.05},
            504,
            "query_timeout",
            "query_timeout",
        ),
    ],
)
def test_what_is_wrong_is_said(
    client: TestClient, keys: Keys, body: Any, status: int, code: str, says: str
) -> None:
    answer = client.post("/v1/sql", json=body, headers=keys.acme)
    error = answer.json()["error"]
    assert (answer.status_code, error["status"], error["code"]) == (status, status, code)
    assert says in error["message"]


def test_bodies_that_are_no_query(client: TestClient, keys: Keys) -> None:
    json_kind = {**keys.acme, "content-type": "application/json"}
    assert client.post("/v1/sql", content=b"{", headers=json_kind).status_code == 400
    assert client.post("/v1/sql", content=b"\xff", headers=keys.acme).status_code == 400
    assert client.post("/v1/sql", content=b"", headers=keys.acme).status_code == 400
    longer = client.post("/v1/sql", content=b" " * (17 * 2**20), headers=keys.acme)
    assert (longer.status_code, longer.json()["error"]["code"]) == (413, "too_large")
    assert client.get("/v1/nothing", headers=keys.acme).json()["error"]["code"] == "not_found"
    assert client.delete("/v1/sql", headers=keys.acme).status_code == 405


def test_without_a_key_there_is_nothing(client: TestClient, keys: Keys) -> None:
    for headers in ({}, {"authorization": "Bearer lr_wrong"}):
        answer = client.get("/v1/sql", params={"query": "SELECT 1"}, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/healthz", "/readyz", "/metrics"):
        assert client.get(path).status_code == 200
    assert client.get("/v1/rejected", headers=keys.acme).status_code == 403
    asked = {**keys.operator, "x-scope-orgid": "acme"}
    assert client.get("/v1/rejected", headers=asked).json() == []


def rows_of(client: TestClient, keys: Keys, path: str, **params: Any) -> list[Any]:
    answer = client.get(f"/v1/{path}", params=params, headers=keys.acme)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_what_a_lake_is_made_of(client: TestClient, keys: Keys, lake: Lake) -> None:
    tables = {one["table"]: one for one in rows_of(client, keys, "tables")}
    assert tables["logs"]["segments"] == len(lake.for_organization("acme").segments("logs"))
    columns = {one["column"]: one["type"] for one in rows_of(client, keys, "tables/logs")}
    assert columns["body"] == "string"
    assert {"http.route"} <= {one["key"] for one in rows_of(client, keys, "attributes/logs")}
    services = {one["service"] for one in rows_of(client, keys, "services")}
    assert {"checkout", "payment"} <= services
    found = rows_of(client, keys, "values/service.name", prefix="c", limit=5)
    assert [one["value"] for one in found] == ["cart", "checkout"]
    series = rows_of(client, keys, "series", match="shop_orders_total")
    assert {one["__name__"] for one in series} == {"shop_orders_total"}
    segments = client.get("/v1/segments", params={"table": "spans"}, headers=keys.acme).json()
    assert sum(one["rows"] for one in segments) > 10_000
    explained = client.get(
        "/v1/explain", params={"query": "SELECT body FROM logs"}, headers=keys.acme
    )
    assert "kept" in explained.text
    assert "shop_orders_total" in {one["name"] for one in rows_of(client, keys, "metrics")}


def test_a_trace_and_its_logs(client: TestClient, keys: Keys, lake: Lake) -> None:
    text = "SELECT trace_id FROM spans WHERE name = 'POST /checkout' LIMIT 1"
    trace_id = lake.for_organization("acme").sql(text).scalar()
    spans = rows_of(client, keys, f"trace/{trace_id}")
    assert spans[0]["depth"] == 0
    assert len(spans) == lake.for_organization("acme").trace(trace_id).to_arrow().num_rows > 3
    assert {one["trace_id"] for one in rows_of(client, keys, f"trace/{trace_id}", logs=1)} == {
        trace_id
    }
    assert rows_of(client, keys, "trace/ffff") == []


def test_pages_go_on_where_they_ended(client: TestClient, keys: Keys, lake: Lake) -> None:
    text = "SELECT timestamp, body FROM logs WHERE level = 'WARN' ORDER BY timestamp DESC"
    expected = lake.for_organization("acme").sql(text).to_arrow()
    found: list[Any] = []
    cursor = None
    while True:
        body = {"query": text, "limit": 100, "cursor": cursor}
        answer = client.post("/v1/sql", json=body, headers=keys.acme)
        page = [json.loads(line) for line in answer.text.splitlines()]
        if not page:
            break
        found += page
        cursor = answer.headers["x-lakerunner-cursor"]
    assert len(found) == expected.num_rows > 100
    assert sorted(one["body"] for one in found) == sorted(expected["body"].to_pylist())
    wrong = client.post("/v1/sql", json={"query": text, "cursor": "wrong"}, headers=keys.acme)
    assert wrong.status_code == 400


def test_an_export_is_a_file(client: TestClient, keys: Keys) -> None:
    params = {"query": ROWS, "format": "csv"}
    answer = client.get("/v1/export", params=params, headers=keys.acme)
    assert answer.headers["content-disposition"] == 'attachment; filename="rows.csv"'


def test_too_many_requests_are_told_when_to_come_again(lake: Lake) -> None:
    settings = {
        "access": {"anonymous": "acme"},
        "quotas": {"requests_per_second": 0.5},
    }
    with TestClient(app(lake, settings)) as client:
        assert client.get("/v1/tables").status_code == 200
        answer = client.get("/v1/tables")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 2


def test_requests_are_told_apart_and_counted(client: TestClient, keys: Keys) -> None:
    given = client.get("/healthz", headers={"x-request-id": "mine"})
    assert given.headers["x-request-id"] == "mine"
    bad = client.get("/healthz", headers={"x-request-id": "x" * 500})
    assert len(bad.headers["x-request-id"]) == 16
    client.get("/v1/tables", headers=keys.acme)
    text = client.get("/metrics").text
    assert 'lakerunner_http_requests_total{method="GET",route="/v1/tables",status="200"}' in text
    assert 'lakerunner_query_duration_seconds_bucket{route="/v1/tables",le="+Inf"}' in text
