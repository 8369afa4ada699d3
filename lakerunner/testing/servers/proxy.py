"""A proxy in front of a service: it writes down each request, and spoils some of them."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import unquote, urlsplit

from lakerunner.testing.servers.process import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
_TIMEOUT_SECONDS = 60


class Exchange(NamedTuple):
    """A request, as the service saw it.

    Attributes:
        method: `GET`, `PUT` and so on.
        path: Decoded, without what follows a `?`.
        query: What follows it, as it was sent.
        span: The value of the `Range` header, or empty.
        status: Of the answer; 0 if it was withheld.
    """

    method: str
    path: str
    query: str
    span: str
    status: int


class Answer(NamedTuple):
    """What a service answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Spoil(NamedTuple):
    """What becomes of a request.

    Attributes:
        status: Answered in place of the service's; 0 breaks the connection instead.
        forward: Whether the service sees the request all the same.
        body: Of the answer.
    """

    status: int
    forward: bool = False
    body: bytes = b""


class Proxy:
    """Passes requests on to a service, counts them, and spoils those that `spoil` says.

    Use it as a context manager. A client is given `url` in place of the service's endpoint.

    Args:
        endpoint: Of the service.
        keep_host: Whether requests keep the name of the host they were sent to. They must where it
            is signed, as in S3; fake-gcs-server knows some requests by its own name only.
        drop: Headers, in lower case, that the service shall not see: it takes `if-none-match` from
            a service that checks no signatures, and what it makes of a put is what many do that
            know no conditions.

    Attributes:
        url: Of the proxy.
        spoil: Called with method and decoded path of each request; None leaves it alone. May be
            replaced at any time.
    """

    def __init__(
        self, endpoint: str, *, keep_host: bool = True, drop: Collection[str] = ()
    ) -> None:
        self.spoil: Callable[[str, str], Spoil | None] = lambda _method, _path: None
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._keep_host = keep_host
        self._dropped = _HOP.union(drop)
        where = urlsplit(endpoint)
        self._target = (where.hostname or HOST, where.port or 80)
        self._server = _Server((HOST, 0), _Handler)
        self._server.proxy = self
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reset(self) -> list[Exchange]:
        """What was asked since the last time, in the order of the answers."""
        with self._lock:
            exchanges, self._exchanges = self._exchanges, []
        return exchanges

    def counts(self) -> Counter[tuple[str, str]]:
        """How often each method was used on each path since the last time; starts again."""
        return Counter((one.method, one.path) for one in self.reset())

    def note(self, exchange: Exchange) -> None:
        """Write a request down."""
        with self._lock:
            self._exchanges.append(exchange)

    def forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> Answer:
        """Ask the service."""
        connection = http.client.HTTPConnection(*self._target, timeout=_TIMEOUT_SECONDS)
        try:
            connection.putrequest(
                handler.command, handler.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in handler.headers.items():
                if name.lower() == "host" and not self._keep_host:
                    connection.putheader("Host", "{}:{}".format(*self._target))
                elif name.lower() not in self._dropped:
                    connection.putheader(name, value)
            if body or handler.command in {"PUT", "POST"}:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    proxy: Proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body of each answer waits 40 ms behind its head
    server: _Server

    def handle_any(self) -> None:
        proxy = self.server.proxy
        body = self._body()
        where = urlsplit(self.path)
        path = unquote(where.path)
        spoil = proxy.spoil(self.command, path)
        answer = Answer(0, [], b"")
        if spoil is None or spoil.forward:
            answer = proxy.forward(self, body)
        if spoil is not None:
            answer = Answer(spoil.status, [], spoil.body)
        span = self.headers.get("Range", "")
        proxy.note(Exchange(self.command, path, where.query, span, answer.status))
        if not answer.status:
            self.close_connection = True
            return
        self._answer(answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - names of the base

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        length = str(len(answer.body))
        for name, value in answer.headers:
            if self.command == "HEAD" and name.lower() == "content-length":
                length = value  # of what a GET would send
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of the base
        """Keep quiet: what was asked is written down."""
