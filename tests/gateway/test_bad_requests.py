"""What a server is sent by those who mean no good, or cannot do better."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.testclient import TestClient

import lakerunner
from lakerunner.gateway import app
from lakerunner.testing.servers.process import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.lake import Lake
    from tests.gateway.conftest import Keys

IDLE = 400
"""Connections at once: 10,000 are tried by `benchmarks/test_gateway.py`."""


@pytest.fixture(scope="module")
def port(lake: Lake) -> Iterator[int]:
    """Of a server that answers over a real socket."""
    (port,) = free_ports(1)
    made = app(lake, {"access": {"anonymous": "acme"}})
    server = uvicorn.Server(uvicorn.Config(made, port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join()


def exchanged(port: int, sent: bytes, *, half: bool = False) -> bytes:
    """What comes back for some bytes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        if half:
            connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"200"),
        (b"this is no HTTP\r\n\r\n", b"400"),
        (b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n", b"400"),
        (b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /v1/tables/..%2f..%2fx HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"4"),
        (b"GET /v1/tables/%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"400"),
        (b"GET //v1//sql HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
    ],
)
def test_odd_requests_are_refused(port: int, sent: bytes, status: bytes) -> None:
    assert exchanged(port, sent).startswith(b"HTTP/1.1 " + status)
    assert exchanged(port, b"GET /healthz HTTP/1.0\r\n\r\n").endswith(b"ok\n")


def test_half_requests_harm_nobody(port: int) -> None:
    for half in (
        b"GET /heal",
        b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nSEL",
    ):
        told = exchanged(port, half, half=True)
        assert not told.startswith(b"HTTP/1.1 2")
    assert exchanged(port, b"GET /healthz HTTP/1.0\r\n\r\n").endswith(b"ok\n")


def test_nothing_of_a_request_becomes_a_header(client: TestClient, keys: Keys) -> None:
    evil = "x\r\nSet-Cookie: a=b"
    for path in ("/v1/export", "/api/v1/logs/export"):
        for name in ("format", "query", "cursor", "start_time"):
            answer = client.get(path, params={name: evil}, headers=keys.acme)
            assert answer.status_code < 500
            assert "set-cookie" not in answer.headers
    answer = client.get("/healthz", headers={"x-request-id": "a\x7fb"})
    assert answer.headers["x-request-id"].isalnum()


WRONG: list[Any] = [None, 1, -1, 1e400, True, "x", "\udcff", [], [1], {}, {"a": 1}, "9" * 400]


@pytest.mark.parametrize("path", ["/v1/sql", "/v1/query", "/api/v1/logs", "/api/v1/logs/query"])
def test_wrong_types_in_every_field(client: TestClient, keys: Keys, path: str) -> None:
    document = client.get("/openapi.json").json()
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = schema["$ref"].rpartition("/")[2]
    fields = document["components"]["schemas"][name]["properties"]
    headers = {**keys.acme, "content-type": "application/json"}
    for field in fields:
        for value in WRONG:
            body = {"query": "SELECT 1", "q": '{level="x"}', field: value}
            if path != "/v1/sql":
                del body["query"]
            if path != "/api/v1/logs/query" and field != "q":
                del body["q"]
            answer = client.post(path, content=json.dumps(body).encode(), headers=headers)
            assert answer.status_code < 500, (field, value, answer.content)


def test_unknown_organizations_and_keys_are_told_the_same(client: TestClient, keys: Keys) -> None:
    def told(headers: dict[str, str]) -> tuple[int, bytes]:
        answer = client.get("/v1/tables", headers=headers)
        return answer.status_code, answer.content

    unknown = {told({"x-api-key": one}) for one in ("lr_a", "lr_" + "b" * 43, "x", "a b")}
    assert len(unknown) == 1
    theirs = {told({**keys.acme, "x-scope-orgid": one}) for one in ("webshop", "nobody", "../x")}
    assert len(theirs) == 1
    assert next(iter(theirs))[0] == 403


def test_idle_connections_keep_nobody_from_asking(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        assert exchanged(port, b"GET /healthz HTTP/1.0\r\n\r\n").endswith(b"ok\n")


def test_a_lake_whose_files_disappear_is_there_again(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as made:
        made.ingest(b'{"message": "hello"}')
    with lakerunner.open(tmp_path / "lake", read_only=True) as lake:
        client = TestClient(
            app(lake, {"access": {"anonymous": "default"}}), raise_server_exceptions=False
        )
        text = {"query": "SELECT body FROM logs"}
        assert client.get("/v1/sql", params=text).status_code == 200
        segments = tmp_path / "lake" / "segments"
        segments.rename(tmp_path / "gone")
        answer = client.get("/v1/sql", params=text)
        assert answer.status_code == 422
        assert "is missing" in answer.json()["error"]["message"]
        shutil.move(tmp_path / "gone", segments)
        assert client.get("/v1/sql", params=text).json() == {"body": "hello"}
