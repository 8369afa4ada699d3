"""A subscription of Pub/Sub, on a small server that speaks the part of its REST interface we use.

No emulator can be had as a package. What the server does follows the reference:
https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions
"""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.errors import ConfigurationError, EventsUnavailableError
from lakerunner.events import open_source
from lakerunner.events.pubsub import PubSubSource

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBSCRIPTION = "/v1/projects/acme/subscriptions/raw"


class PubSub(ThreadingHTTPServer):
    """Messages with deadlines."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.lock = threading.Lock()
        self.messages: dict[str, tuple[dict[str, Any], float]] = {}
        self.status = 200
        self.asked: list[str] = []

    def publish(self, message: dict[str, Any]) -> None:
        name = f"ack-{len(self.messages)}"
        with self.lock:
            self.messages[name] = ({"messageId": name, **message}, 0.0)

    def pull(self, maximum: int, wait: float) -> list[dict[str, Any]]:
        until = time.monotonic() + wait
        while True:
            with self.lock:
                now = time.monotonic()
                due = [name for name, (_, at) in self.messages.items() if at <= now][:maximum]
                for name in due:
                    self.messages[name] = (self.messages[name][0], now + 10)
                if due or now >= until:
                    return [{"ackId": n, "message": self.messages[n][0]} for n in due]
            time.sleep(0.02)

    def answer(self, verb: str, body: dict[str, Any], wait: float) -> dict[str, Any]:
        self.asked.append(verb)
        if verb == "pull":
            found = self.pull(body["maxMessages"], wait)
            return {"receivedMessages": found} if found else {}
        with self.lock:
            for name in body["ackIds"]:
                if verb == "acknowledge":
                    self.messages.pop(name, None)
                elif name in self.messages:
                    due = time.monotonic() + body["ackDeadlineSeconds"]
                    self.messages[name] = (self.messages[name][0], due)
        return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PubSub

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path, _, verb = self.path.partition(":")
        status = self.server.status if path == SUBSCRIPTION else 404
        answer: dict[str, Any] = {"error": {"code": status, "message": "no"}}
        if status == 200:
            wait = float(self.headers.get("X-Server-Timeout", "0"))
            answer = self.server.answer(verb, body, wait)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(BrokenPipeError):  # who asked has lost patience
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of the base
        pass


@pytest.fixture
def server() -> Iterator[PubSub]:
    with PubSub() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def source(server: PubSub) -> Iterator[PubSubSource]:
    options = {"token": "anon", "endpoint_url": server.endpoint}
    with PubSubSource("pubsub://acme/raw", options, lease_seconds=60) as opened:
        yield opened


def notification(key: str, kind: str = "OBJECT_FINALIZE") -> dict[str, Any]:
    resource = {"kind": "storage#object", "bucket": "raw", "name": key, "size": "5"}
    return {
        "attributes": {
            "eventType": kind,
            "bucketId": "raw",
            "objectId": key,
            "objectGeneration": "17",
        },
        "data": b64encode(json.dumps(resource).encode()).decode(),
    }


def test_notifications_are_received_and_acknowledged(server: PubSub, source: PubSubSource) -> None:
    server.publish(notification("a b"))
    server.publish(notification("a b", "OBJECT_DELETE"))
    server.publish({"data": b64encode(b"no JSON").decode()})
    created, deleted, broken = source.receive(10, 0)
    (event,) = created.events
    assert (event.url, event.size, event.etag) == ("gs://raw/a b", 5, "17")
    assert (deleted.events, deleted.problems) == ((), ())
    assert "not JSON" in broken.problems[0]
    source.acknowledge([created, deleted, broken])
    assert server.messages == {}
    assert server.asked == ["pull", "modifyAckDeadline", "acknowledge"]


def test_what_is_released_comes_again(server: PubSub, source: PubSubSource) -> None:
    server.publish(notification("a"))
    first = source.receive(10, 0)
    assert not source.receive(10, 0.1)
    source.release(first)
    second = source.receive(10, 0)
    assert [each.events for each in second] == [each.events for each in first]
    source.release(second, 0.5)
    assert not source.receive(10, 0)
    begun = time.monotonic()
    assert len(source.receive(10, 5)) == 1
    assert time.monotonic() - begun < 3


def test_a_service_that_waits_longer_than_it_was_told(
    server: PubSub, source: PubSubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(maximum: int, wait: float) -> list[dict[str, Any]]:
        time.sleep(1)
        return []

    monkeypatch.setattr(server, "pull", slow)
    monkeypatch.setattr("lakerunner.events.pubsub._GRACE_SECONDS", 0.3)
    assert source.receive(10, 0) == []


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, ConfigurationError), (503, EventsUnavailableError), (429, EventsUnavailableError)],
)
def test_refusals_and_failures(
    server: PubSub, source: PubSubSource, status: int, error: type[Exception]
) -> None:
    server.status = status
    with pytest.raises(error, match=str(status)):
        source.receive(10, 0)
    server.status = 200
    assert source.receive(10, 0) == []


def test_a_service_that_is_not_there() -> None:
    options = {"token": "anon", "endpoint_url": "http://127.0.0.1:9"}
    with (
        open_source("pubsub://acme/raw", options) as opened,
        pytest.raises(EventsUnavailableError),
    ):
        opened.receive(1, 0)


def test_a_service_that_answers_strangely(
    server: PubSub, source: PubSubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "answer", lambda *_: {"receivedMessages": 5})
    with pytest.raises(EventsUnavailableError, match="strange"):
        source.receive(10, 0)


@pytest.mark.parametrize("url", ["pubsub://acme", "pubsub://acme/", "pubsub:///raw"])
def test_a_url_without_subscription(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PROJECT/SUBSCRIPTION"):
        PubSubSource(url)


def test_credentials_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with (
        PubSubSource("pubsub://acme/raw") as opened,
        pytest.raises(ConfigurationError, match=r"none\.json"),
    ):
        opened.receive(1, 0)
