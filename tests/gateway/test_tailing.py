"""New rows over HTTP: as events and as messages, from any place, to clients fast and slow."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import lakerunner
from lakerunner.gateway import app
from tests.gateway.conftest import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.lake import Lake

OPEN = {"access": {"anonymous": "default"}, "tail_seconds": 0.02, "heartbeat_seconds": 0.2}


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with lakerunner.open(tmp_path) as opened:
        yield opened


def events(answer: httpx2.Response) -> Iterator[tuple[str, str, Any]]:
    """Name, place and data of each."""
    found: dict[str, str] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            found[name] = value
        elif not line and "event" in found:
            yield found["event"], found["id"], json.loads(found["data"])
            found = {}


def take(lake: Lake, *numbers: int) -> None:
    lake.ingest(b"\n".join(b'{"message":"%d"}' % one for one in numbers))


def test_events_carry_new_rows_and_go_on_where_they_ended(lake: Lake) -> None:
    take(lake, 0)
    with served(app(lake, OPEN)) as url, httpx2.Client(timeout=30) as client:
        asked = {"where": "body <> '2'", "column": "body"}
        with client.stream("GET", f"{url}/v1/tail", params=asked) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            told = events(answer)
            assert next(told)[0] == "place"
            take(lake, 1, 2, 3)
            name, place, rows = next(told)
            assert (name, rows) == ("rows", [{"body": "1"}, {"body": "3"}])
        take(lake, 4)  # while nobody listens
        lake.compact()
        again = {"last-event-id": place}
        with client.stream("GET", f"{url}/v1/tail", params=asked, headers=again) as answer:
            told = events(answer)
            assert next(told)[:2] == ("place", place)
            assert next(told)[2] == [{"body": "4"}]
            assert json.loads(client.get(f"{url}/v1/sql", params={"query": "SELECT 1 AS one"}).text)
            measures = client.get(f"{url}/metrics").text
            assert "lakerunner_tail_clients 1" in measures


def test_many_clients_read_a_page_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakerunner.query.tail import Tail  # noqa: PLC0415 - to count its calls

    reads = []
    original = Tail.next

    def counted(self: Tail, cursor: str, limit: int = 1000) -> Any:
        page = original(self, cursor, limit)
        reads.append(page.rows.num_rows)
        return page

    monkeypatch.setattr(Tail, "next", counted)
    place = lake.tail(columns=["body"]).start()
    take(lake, *range(50))
    with TestClient(app(lake, OPEN)) as client:
        for _ in range(8):
            with client.websocket_connect(f"/v1/tail?column=body&cursor={place}") as socket:
                assert socket.receive_json()["cursor"] == place
                assert len(socket.receive_json()["rows"]) == 50
    assert reads.count(50) == 1


def test_messages_and_their_refusals(lake: Lake) -> None:
    with TestClient(app(lake, OPEN)) as client:
        with client.websocket_connect("/v1/tail?column=body") as socket:
            assert socket.receive_json()["rows"] == []
            assert socket.receive_json()["rows"] == []  # so that it is known to live
            take(lake, 7)
            while not (rows := socket.receive_json()["rows"]):
                pass
            assert rows == [{"body": "7"}]
        with (
            pytest.raises(WebSocketDisconnect) as error,
            client.websocket_connect("/v1/tail?where=body%20="),
        ):
            pass
        assert error.value.code == 1008
    with TestClient(app(lake)) as client, pytest.raises(WebSocketDisconnect) as error:
        client.websocket_connect("/v1/tail").__enter__()
    assert "unauthorized" in error.value.reason


def test_what_cannot_be_followed(lake: Lake) -> None:
    with TestClient(app(lake, OPEN), raise_server_exceptions=False) as client:
        for wrong in ({"table": "none"}, {"where": "1 ="}, {"cursor": "x"}, {"since": "whenever"}):
            answer = client.get("/v1/tail", params=wrong)
            assert answer.status_code == 400, (wrong, answer.text)
    with TestClient(app(lake)) as client:
        assert client.get("/v1/tail").status_code == 401


def test_a_slow_client_is_told_and_let_go(lake: Lake) -> None:
    settings = {**OPEN, "slow_seconds": 0.3}
    with served(app(lake, settings)) as url, httpx2.Client(timeout=30) as client:
        # More than the buffers of a connection hold.
        place = lake.tail().start()
        lake.ingest(b"\n".join(b'{"message":"%s"}' % (b"x" * 500_000) for _ in range(30)))
        asked = {"limit": "2", "cursor": place}
        with client.stream("GET", f"{url}/v1/tail", params=asked) as answer:
            while "clients_let_go 1" not in httpx2.get(f"{url}/metrics").text:
                time.sleep(0.05)
            names = [name for name, _, _ in events(answer)]
        assert names[0] == "place"
        assert names[-1] == "slow"
        assert names.count("rows") < 15


def test_followers_are_counted(lake: Lake) -> None:
    settings = {**OPEN, "quotas": {"followers": 1}}
    with (
        TestClient(app(lake, settings)) as client,
        client.websocket_connect("/v1/tail"),
        pytest.raises(WebSocketDisconnect) as error,
    ):
        client.websocket_connect("/v1/tail").__enter__()
    assert "too_many_requests" in error.value.reason
