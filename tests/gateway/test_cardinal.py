"""The query interface of CardinalHQ's LakeRunner: frames, shapes, codes, and how keys are shown."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from starlette.testclient import TestClient

import lakerunner
from lakerunner.errors import QuerySyntaxError, UnsupportedQueryError
from lakerunner.gateway import app, new_key
from lakerunner.gateway.cardinal import Question, window_of
from lakerunner.gateway.log_selectors import read_selector

if TYPE_CHECKING:
    from pathlib import Path

    from httpx2 import Response

    from lakerunner.lake import Lake
    from tests.gateway.conftest import Keys

SPAN = {"s": "2026-01-01T00:00:00Z", "e": "2026-01-01T00:05:00Z"}


def events_of(answer: Response) -> list[dict[str, Any]]:
    """What lies in the frames of a stream that ended well."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = answer.text.split("\n\n")
    assert frames.pop() == ""
    assert all(frame.startswith("data: ") for frame in frames)
    events = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    assert events.pop() == {"type": "done", "data": {"status": "ok"}}
    assert {event["type"] for event in events} <= {"result"}
    return [event["data"] for event in events]


def ask(client: TestClient, keys: Keys, path: str, **question: Any) -> Response:
    return client.post(f"/api/v1/{path}", json={**SPAN, **question}, headers=keys.acme)


def test_metrics_are_what_promql_says(client: TestClient, keys: Keys, lake: Lake) -> None:
    text = "sum by (service_name) (shop_orders_total)"
    found = events_of(ask(client, keys, "metrics/query", q=text))
    result = lake.for_organization("acme").promql(text, start=SPAN["s"], end=SPAN["e"], step=10)
    expected = [
        {
            "tags": {k: v for k, v in row.items() if k not in ("timestamp", "value") and v},
            "value": row["value"],
            "timestamp": row["timestamp"].value // 1_000_000,
            "label": text,
        }
        for row in result.to_arrow().to_pylist()
    ]
    assert found == expected
    assert len(found) > 20


def test_a_sample_that_is_no_number_is_left_out(client: TestClient, keys: Keys) -> None:
    assert events_of(ask(client, keys, "metrics/query", q="sum(shop_orders_total) / 0 * 0")) == []


def test_logs_have_times_and_tags(client: TestClient, keys: Keys, lake: Lake) -> None:
    question = {"q": '{service_name="checkout", level=~"WARN|ERROR"} |= "o" !~ "zzz"'}
    found = events_of(ask(client, keys, "logs/query", **question))
    text = (
        "SELECT timestamp, body FROM logs WHERE resource_service_name = 'checkout' "
        "AND level IN ('WARN', 'ERROR') AND contains(body, 'o') ORDER BY timestamp"
    )
    expected = lake.for_organization("acme").sql(text).to_arrow().to_pylist()
    assert [one["timestamp_ns"] for one in found] == [one["timestamp"].value for one in expected]
    assert [one["timestamp"] for one in found] == [one["timestamp_ns"] // 10**6 for one in found]
    assert sorted(one["tags"]["log_message"] for one in found) == sorted(
        one["body"] for one in expected
    )
    assert {one["tags"]["resource_service_name"] for one in found} == {"checkout"}
    assert {one["tags"]["log_level"] for one in found} == {"WARN", "ERROR"}


def test_newest_first_some_and_fields(client: TestClient, keys: Keys) -> None:
    question = {"q": '{level="ERROR"}', "reverse": True, "limit": 7, "fields": ["log_message"]}
    found = events_of(ask(client, keys, "logs/query", **question))
    times = [one["timestamp_ns"] for one in found]
    assert (len(times), times) == (7, sorted(times, reverse=True))
    assert {tuple(one["tags"]) for one in found} == {("log_message",)}


def test_spans_are_as_logs_and_their_line_is_the_name(client: TestClient, keys: Keys) -> None:
    found = events_of(ask(client, keys, "spans/query", q='{span_name=~"POST .*"} |= "check"'))
    assert {one["tags"]["span_name"] for one in found} == {"POST /checkout"}


@pytest.mark.parametrize("table", ["logs", "spans"])
def test_tags_and_their_values(client: TestClient, keys: Keys, table: str) -> None:
    tags = ask(client, keys, f"{table}/tags").json()["tags"]
    assert {"resource_service_name", "trace_id"} <= set(tags)
    assert tags == sorted(tags)
    answer = ask(client, keys, f"{table}/tagvalues?tagName=service.name", q='{service_name=~"c.*"}')
    assert events_of(answer) == [{"value": "cart"}, {"value": "checkout"}]
    assert events_of(ask(client, keys, f"{table}/tagvalues?tagName=nobody.has.it")) == []


def test_tags_of_metrics(client: TestClient, keys: Keys) -> None:
    tags = ask(client, keys, "metrics/tags", metric="shop_orders_total").json()["tags"]
    assert "service_name" in tags
    values = events_of(
        ask(client, keys, "metrics/tagvalues?tagName=service.name", metric="shop_orders_total")
    )
    assert values
    assert all(list(one) == ["value"] for one in values)
    metrics = ask(client, keys, "metrics/metadata").json()["metrics"]
    assert "shop_orders_total" in {one["name"] for one in metrics}


def test_series_services_ping_and_features(client: TestClient, keys: Keys) -> None:
    series = ask(client, keys, "logs/series", q='{level="ERROR"}').json()
    assert series["status"] == "success"
    assert {one["log_level"] for one in series["data"]} == {"ERROR"}
    assert client.get("/api/v1/ping", headers=keys.acme).json() == {"status": "ok"}
    services = client.get("/api/v1/services", headers=keys.acme).json()["services"]
    assert {"cart", "checkout"} <= set(services)
    assert client.get("/api/v1/features", headers=keys.acme).json()["data"]["lakerunner"]["logs"]


@pytest.mark.parametrize(
    ("language", "text", "valid"),
    [
        ("promql", "sum(rate(x[5m]))", True),
        ("promql", "sum(", False),
        ("logql", '{a="b"} |= "c"', True),
        ("logql", '{a="b"', False),
    ],
)
def test_texts_are_checked(
    client: TestClient, keys: Keys, language: str, text: str, *, valid: bool
) -> None:
    found = ask(client, keys, f"{language}/validate", q=text).json()
    assert found["valid"] is valid
    assert ("error" in found) is not valid


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("logs/query", b"{", 400, "INVALID_JSON"),
        ("logs/query", b'{"limit": "many"}', 400, "VALIDATION_FAILED"),
        ("logs/query", b'{"s": "e-1x"}', 400, "VALIDATION_FAILED"),
        ("logs/query", b'{"s": "now", "e": "now-1h"}', 400, "VALIDATION_FAILED"),
        ("logs/query", b'{"q": "{a"}', 400, "INVALID_EXPR"),
        ("logs/query", b'{"q": "{a=\\"b\\"} | json"}', 501, "REWRITE_UNSUPPORTED"),
        ("metrics/query", b'{"q": "sum("}', 400, "INVALID_EXPR"),
        ("metrics/query", b'{"q": "up", "summary": true}', 422, "COMPILE_ERROR"),
        ("logs/tagvalues", b"{}", 400, "VALIDATION_FAILED"),
    ],
)
def test_what_is_wrong_is_said_with_a_code(
    client: TestClient, keys: Keys, path: str, body: bytes, status: int, code: str
) -> None:
    answer = client.post(f"/api/v1/{path}", content=body, headers=keys.acme)
    told = answer.json()
    assert (answer.status_code, told["status"], told["code"]) == (status, status, code)
    assert told["message"]


def test_who_takes_no_events_is_told(client: TestClient, keys: Keys) -> None:
    headers = {**keys.acme, "accept": "application/json"}
    answer = client.post("/api/v1/logs/query", json=SPAN, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (406, "SSE_UNSUPPORTED")
    nobody = client.post("/api/v1/logs/query", json=SPAN)
    assert (nobody.status_code, nobody.json()["code"]) == (401, "UNAUTHORIZED")


def test_keys_are_looked_for_in_the_documented_order(tmp_path: Path) -> None:
    mine, kept = new_key("mine", ("mine",))
    other, theirs = new_key("other", ("other",))
    secret = "thirty-two bytes or a few more." * 2
    (tmp_path / "secret").write_text(secret)
    access = {
        "keys": [kept, theirs],
        "jwt": {
            "algorithms": ["HS256"],
            "secret_file": str(tmp_path / "secret"),
            "issuer": "cardinalhq.io",
        },
    }
    claims = {"iss": "cardinalhq.io", "org_id": "mine", "exp": time.time() + 60}
    token = jwt.encode(claims, secret, "HS256")
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.ingest(b'{"message": "x", "service.name": "mine"}', organization="mine")
        client = TestClient(app(lake, {"access": access}))
        for headers in (
            {"x-cardinalhq-api-key": mine, "api-key": other, "cookie": f"api_key={other}"},
            {"api-key": mine, "cookie": f"api_key={other}"},
            {"cookie": f"api_key={mine}; cardinal_token={token}"},
            {"cookie": f"cardinal_token={token}"},
        ):
            answer = client.get("/api/v1/services", headers=headers)
            assert answer.json() == {"services": ["mine"]}, headers
        client.cookies.clear()
        forged = jwt.encode({**claims, "iss": "somebody"}, secret, "HS256")
        refused = client.get("/api/v1/services", headers={"cookie": f"cardinal_token={forged}"})
        assert refused.status_code == 401


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, (6_400, 10_000)),
        ("e-5m", 9_000, (8_700, 9_000)),
        ("now-2h", "now", (2_800, 10_000)),
        ("1000", "2000", (1_000, 2_000)),
        (1_600_000_000_000, 1_700_000_000_000, (1_600_000_000, 1_700_000_000)),
        ("1970-01-01T01:00:00Z", "1970-01-01T02:00:00Z", (3_600, 7_200)),
    ],
)
def test_times_are_read(start: Any, end: Any, expected: tuple[int, int]) -> None:
    found = window_of(Question(s=start, e=end), 10_000 * 10**9)
    assert found == (expected[0] * 10**9, expected[1] * 10**9)


@pytest.mark.parametrize(
    ("minutes", "step"), [(65, 10), (66, 60), (720, 60), (721, 300), (1441, 1200), (4321, 3600)]
)
def test_the_step_follows_from_the_time(minutes: int, step: int) -> None:
    assert window_of(Question(s=f"e-{minutes}m"), 10**18).step_seconds() == step


def test_selectors_that_are_none() -> None:
    for text in ("", "{}", '{a="b"} extra', '{a="b"} |~ "("', '{a="b"} |= "open'):
        with pytest.raises(QuerySyntaxError):
            read_selector(text)
    for text in ('{a="b"} | logfmt', 'sum by (x) (rate({a="b"}[5m]))', '{a="b"} |> "<_>"'):
        with pytest.raises(UnsupportedQueryError):
            read_selector(text)


@pytest.mark.parametrize(
    ("matcher", "rows"),
    [
        ('{nobody=""}', 2),
        ('{nobody!=""}', 0),
        ('{nobody!="x"}', 2),
        ('{nobody=~"x?"}', 2),
        ('{color="red"}', 1),
        ('{color!="red"}', 1),
        ('{color!~"re."}', 1),
        ('{color=~"re"}', 0),
        ('{color=""}', 1),
        ('{size="3"}', 1),
        ('{} |= "50%"', 1),
        ('{} != "50%"', 1),
    ],
)
def test_a_label_that_is_missing_is_empty(tmp_path: Path, matcher: str, rows: int) -> None:
    with lakerunner.open(tmp_path) as lake:
        lake.ingest(b'{"message": "50% off", "color": "red"}\n{"message": "all of 50", "size": 3}')
        client = TestClient(app(lake, {"access": {"anonymous": "default"}}))
        matcher = matcher.replace("{", '{organization="default",', 1)
        answer = client.post(
            "/api/v1/logs/query", json={"q": matcher, "s": "now-1h", "e": "now+1h"}
        )
    assert len(events_of(answer)) == rows
