"""The ASGI application: a lake behind HTTP, under any prefix."""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from lakerunner.errors import LakerunnerError
from lakerunner.gateway import telemetry
from lakerunner.gateway.access import Refused
from lakerunner.gateway.otlp_http import otlp_routes
from lakerunner.gateway.own import own_routes
from lakerunner.gateway.platforms import platform_routes
from lakerunner.gateway.problems import answer_error
from lakerunner.gateway.prometheus import prometheus_routes
from lakerunner.gateway.quotas import TooMany
from lakerunner.gateway.receivers import receiver_routes
from lakerunner.gateway.serving import GatewaySettings, Serving, read_settings
from lakerunner.gateway.tailing import tail_routes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from lakerunner.intake.writer import Writer
    from lakerunner.lake import Lake

_REQUEST_ID = "x-request-id"
_LONGEST_ID = 128


def app(
    lake: Lake,
    settings: GatewaySettings | Mapping[str, Any] | None = None,
    *,
    writer: Writer | None = None,
) -> Starlette:
    r"""A lake as an ASGI application, to be served by any server or mounted into another.

    Every endpoint is a call of the public API of `Lake`. The lake stays the caller's to close. With
    no settings it answers nobody: say who may ask by `access`.

    Args:
        lake: Whose rows are asked for. Each request sees it bound to the organization of its key.
        settings: See `GatewaySettings`.
        writer: Takes what is sent; without one nothing is received. It stays the caller's
            to close, after the server has ended.

    Raises:
        ConfigurationError: A setting is unknown or wrong.

    Example:
        >>> import lakerunner
        >>> from starlette.testclient import TestClient
        >>> lake = lakerunner.open("memory://doc/gateway")
        >>> client = TestClient(app(lake, {"access": {"anonymous": "default"}}))
        >>> client.get("/v1/sql", params={"query": "SELECT 1 AS one"}).text
        '{"one":1}\n'
    """
    serving = Serving(lake, read_settings(settings))

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        await serving.thread(lake.catalog.organizations)
        return PlainTextResponse("ready\n")

    async def measures(_: Request) -> Response:
        text = serving.telemetry.text(queries_running=serving.quotas.running())
        return Response(text, media_type=telemetry.MEDIA_TYPE)

    if writer is not None:
        serving.telemetry.watch(partial(_written, writer))
    routes = [
        *(Route(path, health) for path in ("/healthz", "/health", "/-/healthy")),
        Route("/readyz", ready),
        Route("/-/ready", ready),
        Route("/metrics", measures),
        *own_routes(serving),
        *tail_routes(serving),
        *prometheus_routes(serving),
        *platform_routes(serving),
        *([] if writer is None else otlp_routes(serving, writer)),
        *([] if writer is None else receiver_routes(serving, writer)),
    ]
    handled = (LakerunnerError, Refused, TooMany, HTTPException, Exception)
    made = Starlette(routes=routes, exception_handlers=dict.fromkeys(handled, answer_error))
    made.add_middleware(_Recorded, serving=serving)
    made.state.serving = serving
    return made


def _written(writer: Writer) -> dict[str, float]:
    """What became of what was received, for `/metrics`."""
    found = writer.report()
    names = ("payloads", "bytes", "committed", "rejected", "refused", "attempts")
    counts = {f"intake_{name}_total": float(getattr(found, name)) for name in names}
    gauges = ("waiting", "waiting_bytes", "oldest_seconds")
    counts |= {f"intake_{name}": float(getattr(found, name)) for name in gauges}
    counts["intake_rows_total"] = float(found.ingest.rows)
    counts["intake_segments_total"] = float(found.ingest.segments)
    for one in found.organizations:
        labels = f'{{organization="{one.organization}"}}'
        for name in ("records", "committed", "rejected", "waiting"):
            counts[f"intake_organization_{name}{labels}"] = float(getattr(one, name))
    return counts


class _Recorded:
    """Gives each request an id, counts it, and writes a line about it to the log."""

    def __init__(self, inner: ASGIApp, serving: Serving) -> None:
        self._inner = inner
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        given = dict(scope["headers"]).get(_REQUEST_ID.encode(), b"")
        fits = 0 < len(given) <= _LONGEST_ID and given.isascii() and given.decode().isprintable()
        request_id = given if fits else secrets.token_hex(8).encode()
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
            caller = scope.get("state", {}).get("caller")
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
