"""New rows as they are committed: server-sent events, and WebSockets.

Each client stands at a place of its own and is sent what lies behind it, no faster than it reads.
What is new is looked for once for all clients, and a page is read once for all that stand at the
same place. Who reads nothing for a while is told where it stands and let go: it can go on there.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio
import msgspec
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from lakerunner.gateway.answers import hang_up, json_list
from lakerunner.gateway.forms import LIMIT, Kind, Parameter, form_of
from lakerunner.gateway.openapi import EVENTS, DescribedRoute, Operation
from lakerunner.gateway.problems import problem_of
from lakerunner.gateway.quotas import TooMany
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.requests import HTTPConnection, Request
    from starlette.routing import BaseRoute
    from starlette.types import Receive, Scope, Send
    from starlette.websockets import WebSocket

    from lakerunner.gateway.serving import Serving, Visit
    from lakerunner.query.tail import Tail

_ROWS, _MOST_ROWS = 1000, 10_000
_KEPT_BYTES = 64 * MIB
_GRACE_S = 10.0  # for a slow client, to read what it still has and that it was let go
_REFUSED = 1008  # WebSocket's code for what a policy does not allow


_FOLLOWED = (
    Parameter("table", about="logs, if nothing is said."),
    Parameter("where", about="A condition in SQL."),
    Parameter("column", about="Which columns; else all.", several=True),
    Parameter("since", Kind.TIME, "Rows from before are left out; an hour ago if nothing is said."),
    Parameter("cursor", about="The id of the last event that came."),
    LIMIT,
)


class _Sent(NamedTuple):
    """A page as it is sent: rows as a JSON list, the place behind them, and whether to go on."""

    rows: bytes
    cursor: str
    rows_sent: int
    more: bool


class Followers:
    """All who follow tables of a lake. For one event loop.

    Args:
        serving: The lake.

    Attributes:
        let_go: How many clients were too slow.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._head = -1
        self._looking = anyio.Lock()
        self._pages: OrderedDict[tuple[str, ...], _Sent] = OrderedDict()
        self._reading: dict[tuple[str, ...], anyio.Lock] = {}
        self._bytes = 0
        self._following: Counter[str] = Counter()
        self.let_go = 0

    @contextmanager
    def counted(self, organization: str) -> Iterator[None]:
        """Count a client of an organization for as long as the context lasts.

        Raises:
            TooMany: As many follow already.
        """
        most = self._serving.settings.quotas.followers
        if self._following[organization] >= most:
            raise TooMany(f"{most} clients follow already", 5.0)
        self._following[organization] += 1
        try:
            yield
        finally:
            self._following[organization] -= 1

    def number(self) -> int:
        """How many there are."""
        return self._following.total()

    async def pages(
        self, organization: str, tail: Tail, cursor: str, limit: int
    ) -> AsyncIterator[_Sent | None]:
        """Pages behind a place, and None now and then while there are none."""
        while True:
            head = self._head
            page = await self._page((organization, tail.identity, str(limit), cursor), tail)
            cursor = page.cursor
            if page.rows_sent:
                yield page
            if page.more:
                continue
            with anyio.move_on_after(self._serving.settings.heartbeat_seconds) as waited:
                await self._committed(head)
            if waited.cancelled_caught:
                yield None

    async def _committed(self, seen: int) -> None:
        """Wait until something was committed; of all who wait, one looks."""
        while self._head == seen:
            async with self._looking:
                if self._head != seen:
                    return
                found = await self._serving.thread(self._serving.lake.catalog.head)
                if found.sequence == self._head:
                    await anyio.sleep(self._serving.settings.tail_seconds)
                self._head = found.sequence

    async def _page(self, key: tuple[str, ...], tail: Tail) -> _Sent:
        """A page, read once for all who stand at the same place."""
        reading = self._reading.setdefault(key, anyio.Lock())
        try:
            async with reading:
                if key in self._pages:
                    self._pages.move_to_end(key)
                    return self._pages[key]
                sent = await self._serving.thread(partial(_read, tail, key[3], int(key[2])))
                if sent.rows_sent:  # what is not there yet may be there the next time
                    self._pages[key] = sent
                    self._bytes += len(sent.rows)
                    while self._bytes > _KEPT_BYTES and len(self._pages) > 1:
                        self._bytes -= len(self._pages.popitem(last=False)[1].rows)
                return sent
        finally:
            if not reading.statistics().tasks_waiting:
                self._reading.pop(key, None)


def _read(tail: Tail, cursor: str, limit: int) -> _Sent:
    page = tail.next(cursor, limit)
    count = page.rows.num_rows
    return _Sent(json_list(page.rows.to_batches()), page.cursor, count, page.more)


class _Asked(NamedTuple):
    visit: Visit
    tail: Tail
    cursor: str
    limit: int


async def _asked(serving: Serving, connection: HTTPConnection) -> _Asked:
    """What a client wants to follow, and from which place on.

    Raises:
        LakerunnerError: It is nothing that can be followed.
        Refused: It may not.
    """
    visit = serving.visit(connection)
    form = form_of(connection, _FOLLOWED)

    def begin() -> tuple[Tail, str]:
        tail = visit.lake.tail(
            form.text("table") or "logs",
            form.text("where"),
            columns=form.texts("column"),
            since=form.time("since") or "now-1h",
        )
        given = connection.headers.get("last-event-id") or form.text("cursor")
        if given:
            tail.next(given, 1)  # is refused now, if it is, and not in the middle
        return tail, given or tail.start()

    tail, cursor = await serving.thread(begin)
    return _Asked(visit, tail, cursor, min(form.limit() or _ROWS, _MOST_ROWS))


def tail_routes(serving: Serving) -> list[BaseRoute]:
    """`/v1/tail`, by HTTP and by WebSocket."""
    followers = Followers(serving)
    serving.telemetry.watch(
        lambda: {
            "tail_clients": float(followers.number()),
            "tail_clients_let_go": float(followers.let_go),
        }
    )

    async def events(request: Request) -> Response:
        return _Events(serving, followers, await _asked(serving, request))

    async def socket(websocket: WebSocket) -> None:
        await _serve_socket(serving, followers, websocket)

    told = Operation("New rows, without end; by WebSocket, too.", _FOLLOWED, answers=(EVENTS,))
    return [DescribedRoute("/v1/tail", events, told), WebSocketRoute("/v1/tail", socket)]


class _Events(Response):
    """Rows as server-sent events, with places as their ids: browsers go on there by themselves.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    def __init__(self, serving: Serving, followers: Followers, asked: _Asked) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(None, 200, headers, EVENTS)
        del self.headers["content-length"]
        self._serving = serving
        self._followers = followers
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until the client goes."""
        del scope
        with self._followers.counted(self._asked.visit.caller.organization):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hang_up, receive, tasks.cancel_scope)
                start = {"type": "http.response.start", "status": 200}
                await send({**start, "headers": self.raw_headers})
                await self._send(send)
                tasks.cancel_scope.cancel()

    async def _send(self, send: Send) -> None:
        asked, told = self._asked, self._asked.cursor
        last = _event("place", told, b"{}")
        await send({"type": "http.response.body", "body": last, "more_body": True})
        pages = self._followers.pages(
            asked.visit.caller.organization, asked.tail, told, asked.limit
        )
        try:
            async for page in pages:
                body = b": \n\n" if page is None else _event("rows", page.cursor, page.rows)
                with anyio.move_on_after(self._serving.settings.slow_seconds) as sending:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                if sending.cancelled_caught:
                    self._followers.let_go += 1
                    last = _event("slow", told, b"{}")
                    break
                told = told if page is None else page.cursor
        except Exception as error:  # noqa: BLE001 - told as an event: the status was sent long ago
            last = _event("error", told, msgspec.json.encode(problem_of(error)))
        with anyio.move_on_after(_GRACE_S):
            await send({"type": "http.response.body", "body": last, "more_body": False})


def _event(name: str, cursor: str, data: bytes) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), cursor.encode(), data)


async def _serve_socket(serving: Serving, followers: Followers, websocket: WebSocket) -> None:
    """Rows as messages: each a JSON object with `rows`, and `cursor`, the place behind them."""
    try:
        asked = await _asked(serving, websocket)
        with followers.counted(asked.visit.caller.organization):
            await websocket.accept()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hang_up, websocket.receive, tasks.cancel_scope)
                await _send_messages(serving, followers, asked, websocket)
                tasks.cancel_scope.cancel()
    except WebSocketDisconnect:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the client gets to know
        problem = problem_of(error)
        await websocket.close(_REFUSED, f"{problem.code}: {problem.message}"[:120])


async def _send_messages(
    serving: Serving, followers: Followers, asked: _Asked, websocket: WebSocket
) -> None:
    told = asked.cursor
    await websocket.send_text(_message(b"[]", told))
    organization = asked.visit.caller.organization
    async for page in followers.pages(organization, asked.tail, told, asked.limit):
        text = _message(b"[]", told) if page is None else _message(page.rows, page.cursor)
        with anyio.move_on_after(serving.settings.slow_seconds) as sending:
            await websocket.send_text(text)
        if sending.cancelled_caught:
            followers.let_go += 1
            with anyio.move_on_after(_GRACE_S):
                await websocket.close(_REFUSED, f"slow: go on from {told}"[:120])
            return
        told = told if page is None else page.cursor


def _message(rows: bytes, cursor: str) -> str:
    return (b'{"cursor":"%s","rows":%s}' % (cursor.encode(), rows)).decode()
