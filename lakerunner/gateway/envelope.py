"""What surrounds every answer: an id, a line in the log, and compression of what is sent whole."""

from __future__ import annotations

import hashlib
import secrets
import time
import zlib
from typing import TYPE_CHECKING

import msgspec
import zstandard
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from lakerunner.gateway.serving import Serving

_REQUEST_ID = "x-request-id"
_LONGEST_ID = 128
_WORTH_BYTES = 1024
_GZIP, _GZIP_LEVEL, _ZSTD_LEVEL = zlib.MAX_WBITS | 16, 5, 3
_PACKABLE = ("application/json", "text/")


def encoding_wanted(headers: Headers) -> str | None:
    """How an answer may be compressed on its way: `zstd`, `gzip` or not at all.

    Example:
        >>> encoding_wanted(Headers({"accept-encoding": "gzip;q=0.5, zstd;q=0, br"}))
        'gzip'
    """
    wanted = {
        part.partition(";")[0].strip().lower()
        for part in headers.get("accept-encoding", "").split(",")
        if "q=0" not in part.replace("q=0.", "")
    }
    return next((one for one in ("zstd", "gzip") if one in wanted), None)


def tag_of(*parts: str | bytes) -> str:
    """What `ETag` says of an answer that is a function of some texts."""
    whole = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8) + data)
    return f'W/"{whole.hexdigest()}"'


def known_answer(request: Request, tag: str) -> Response | None:
    """That the client has the answer already, if it says so; else None."""
    shown = [one.strip() for one in request.headers.get("if-none-match", "").split(",")]
    return Response(None, 304, cached(tag)) if tag in shown else None


def cached(tag: str) -> dict[str, str]:
    """Headers of an answer that a client may keep, if it asks each time whether it is still so."""
    return {"etag": tag, "cache-control": "private, no-cache"}


def validated(request: Request, body: bytes, media_type: str) -> Response:
    """An answer that clients need not be sent twice."""
    tag = tag_of(body)
    return known_answer(request, tag) or Response(body, 200, cached(tag), media_type)


class Recorded:
    """Gives each request an id, counts it, and writes a line about it to the log.

    Args:
        inner: Answers.
        serving: Has the counts and the log.
        mounted: Paths below which other applications do the same for themselves.
    """

    def __init__(self, inner: ASGIApp, serving: Serving, mounted: Collection[str] = ()) -> None:
        self._inner = inner
        self._serving = serving
        self._mounted = tuple(mounted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or self._passes(scope):
            await self._inner(scope, receive, send)
            return
        given = dict(scope["headers"]).get(_REQUEST_ID.encode(), b"")
        fits = 0 < len(given) <= _LONGEST_ID and given.isascii() and given.decode().isprintable()
        request_id = given if fits else secrets.token_hex(8).encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        started = time.perf_counter()
        told = {"status": 500, "bytes": 0}

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
                message["headers"] = [
                    *message.get("headers", ()), (_REQUEST_ID.encode(), request_id)
                ]  # fmt: skip
            else:
                told["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._inner(scope, receive, sent)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "") or "unknown"
            self._serving.telemetry.request(scope["method"], path, told["status"])
            caller = scope["state"].get("caller")
            line = {
                "request_id": request_id.decode(),
                "method": scope["method"],
                "route": path,
                "status": told["status"],
                "bytes": told["bytes"],
                "milliseconds": round((time.perf_counter() - started) * 1000, 3),
                "caller": getattr(caller, "name", None),
                "organization": getattr(caller, "organization", None),
            }
            self._serving.log.info("%s", msgspec.json.encode(line).decode())

    def _passes(self, scope: Scope) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return any(path.startswith(f"{one}/") for one in self._mounted)


class Packed:
    """Compresses answers that are sent whole; those that are streamed do it themselves.

    Args:
        inner: Answers.
    """

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        encoding = encoding_wanted(Headers(scope=scope)) if scope["type"] == "http" else None
        if encoding is None:
            await self._inner(scope, receive, send)
            return
        head: list[Message] = []

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                head.append(message)
                return
            if head:
                start = head.pop()
                if not message.get("more_body", False):
                    _pack(start, message, encoding)
                await send(start)
            await send(message)

        await self._inner(scope, receive, sent)


def _pack(start: Message, body: Message, encoding: str) -> None:
    headers = MutableHeaders(raw=list(start["headers"]))
    whole = body.get("body", b"")
    kind = headers.get("content-type", "")
    if len(whole) < _WORTH_BYTES or "content-encoding" in headers or not kind.startswith(_PACKABLE):
        return
    if encoding == "zstd":
        packed = zstandard.ZstdCompressor(_ZSTD_LEVEL).compress(whole)
    else:
        packed = zlib.compress(whole, _GZIP_LEVEL, _GZIP)
    headers["content-encoding"] = encoding
    headers["content-length"] = str(len(packed))
    headers.add_vary_header("Accept-Encoding")
    start["headers"], body["body"] = headers.raw, packed
