"""OTLP over HTTP: what is sent lands, and what is wrong is said as the protocol has it."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from starlette.testclient import TestClient

import lakerunner
from lakerunner.gateway import AccessScope, app, new_key
from lakerunner.generate import TelemetryConfig, logs_request
from lakerunner.generate.requests import requests_of
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.lake import Lake

WRITES, READS = new_key("collector", ("acme",), AccessScope.WRITE), new_key("reader", ("acme",))
PROTOBUF = {"authorization": f"Bearer {WRITES[0]}", "content-type": "application/x-protobuf"}
PATHS = {Signal.LOGS: "logs", Signal.SPANS: "traces", Signal.METRICS: "metrics"}


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with lakerunner.open(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def client(lake: Lake) -> Iterator[TestClient]:
    settings = {
        "access": {"keys": [WRITES[1], READS[1]]},
        "body_bytes": 1_000_000,
        "inflated_bytes": 3_000_000,
    }
    with (
        lake.writer(linger_seconds=0.01) as writer,
        TestClient(app(lake, settings, writer=writer)) as made,
    ):
        yield made


def rows(lake: Lake, table: str = "logs") -> int:
    return sum(one.rows for one in lake.for_organization("acme").segments(table))


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
    ],
)
@pytest.mark.parametrize("kind", ["application/x-protobuf", "application/json; charset=utf-8"])
def test_requests_land(client: TestClient, lake: Lake, encoding: str, pack: Any, kind: str) -> None:
    data = logs_request(100)
    if "json" in kind:
        data = MessageToJson(ExportLogsServiceRequest.FromString(data)).encode()
    headers = {**PROTOBUF, "content-type": kind, "content-encoding": encoding}
    answer = client.post("/v1/logs", content=pack(data), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == kind.partition(";")[0]
    if "json" in kind:
        assert answer.json() == {}
    else:
        assert ExportLogsServiceResponse.FromString(answer.content) == ExportLogsServiceResponse()
    assert rows(lake) == 100


def test_all_signals(client: TestClient, lake: Lake) -> None:
    config = TelemetryConfig(rate=20, duration_s=30, signals=tuple(Signal), records_per_object=500)
    sent = dict.fromkeys(Signal, 0)
    for signal, request in requests_of(config):
        answer = client.post(f"/v1/{PATHS[signal]}", content=request.data, headers=PROTOBUF)
        assert answer.status_code == 200
        sent[signal] += request.records
    assert sent == {signal: rows(lake, str(signal)) for signal in Signal}


def test_an_empty_request_is_a_good_one(client: TestClient, lake: Lake) -> None:
    assert client.post("/v1/logs", content=b"", headers=PROTOBUF).status_code == 200
    assert rows(lake) == 0


@pytest.mark.parametrize(
    ("headers", "content", "status", "code"),
    [
        ({}, b"\xff\xff", 400, 3),
        ({"content-type": "application/json"}, b"[1]", 400, 3),
        ({"content-type": "text/plain"}, b"hello", 415, 3),
        ({"content-encoding": "br"}, b"x", 415, 3),
        ({"content-encoding": "gzip"}, b"not gzip", 400, 3),
        ({"content-encoding": "gzip"}, gzip.compress(logs_request(50))[:-9], 400, 3),
        ({"content-encoding": "zstd"}, b"not zstd", 400, 3),
        ({}, b"x" * 1_000_001, 413, 3),
        ({"content-encoding": "gzip"}, gzip.compress(bytes(10_000_000)), 413, 3),
        ({"content-encoding": "zstd"}, zstandard.compress(bytes(10_000_000)), 413, 3),
        ({"authorization": "Bearer lr_unknown"}, b"", 401, 16),
        ({"authorization": f"Bearer {READS[0]}"}, b"", 403, 7),
    ],
)
def test_what_is_wrong_is_said(
    client: TestClient, lake: Lake, headers: dict[str, str], content: bytes, status: int, code: int
) -> None:
    answer = client.post("/v1/logs", content=content, headers={**PROTOBUF, **headers})
    assert answer.status_code == status
    if answer.headers["content-type"] == "application/json":
        assert json.loads(answer.content)["code"] == code
    else:
        assert answer.content[:2] == bytes([8, code])
    assert rows(lake) == 0


def test_json_that_is_no_request_is_refused_and_harms_nobody(
    client: TestClient, lake: Lake
) -> None:
    headers = {**PROTOBUF, "content-type": "application/json"}
    for text in (b'{"resourceLogs": [', b'{"message": "hello"}', b'{"resourceSpans": []}'):
        answer = client.post("/v1/logs", content=text, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert client.post("/v1/logs", content=b"{}", headers=headers).status_code == 200
    assert client.post("/v1/logs", content=logs_request(5), headers=PROTOBUF).status_code == 200
    assert rows(lake) == 5


def test_a_full_writer_says_when_to_come_again(lake: Lake) -> None:
    settings = {"access": {"keys": [WRITES[1]]}}
    with (
        lake.writer(
            acknowledge="buffered", pressure="reject", waiting_bytes=1000, flush_seconds=600
        ) as writer,
        TestClient(app(lake, settings, writer=writer)) as client,
    ):
        statuses = [
            client.post("/v1/logs", content=logs_request(5), headers=PROTOBUF) for _ in range(20)
        ]
    full = [one for one in statuses if one.status_code != 200]
    assert full
    assert {one.status_code for one in full} == {429}
    assert full[0].headers["retry-after"] == "1"
    assert rows(lake) == 5 * (20 - len(full))


def test_without_a_writer_nothing_is_received(lake: Lake) -> None:
    with TestClient(app(lake, {"access": {"keys": [WRITES[1]]}})) as client:
        assert client.post("/v1/logs", content=b"", headers=PROTOBUF).status_code == 404
