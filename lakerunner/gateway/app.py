"""The ASGI application: a lake behind HTTP, under any prefix."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount

import lakerunner
from lakerunner.errors import LakerunnerError
from lakerunner.gateway import telemetry
from lakerunner.gateway.access import Refused
from lakerunner.gateway.accounts import AuditSettings
from lakerunner.gateway.administration import administration_routes
from lakerunner.gateway.cardinal import cardinal_routes
from lakerunner.gateway.envelope import Packed, Recorded, validated
from lakerunner.gateway.glance import glance_routes
from lakerunner.gateway.openapi import JSON, TEXT, DescribedRoute, Operation, document
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
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from lakerunner.intake.writer import Writer
    from lakerunner.lake import Lake


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
    if writer is not None:
        serving.telemetry.watch(partial(_written, writer))
    mounts = [Mount(f"/lakes/{name}", _mounted(serving, name)) for name in serving.settings.lakes]
    routes: list[BaseRoute] = [*mounts]
    routes += _about_itself(serving, routes)
    routes += glance_routes(serving, writer)
    routes += own_routes(serving)
    routes += tail_routes(serving)
    routes += administration_routes(serving)
    routes += prometheus_routes(serving)
    routes += cardinal_routes(serving)
    routes += platform_routes(serving)
    if writer is not None:
        routes += otlp_routes(serving, writer)
        routes += receiver_routes(serving, writer)
    handled = (LakerunnerError, Refused, TooMany, HTTPException, Exception)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await serving.thread(serving.close)

    made = Starlette(
        routes=routes,
        exception_handlers=dict.fromkeys(handled, answer_error),
        lifespan=lifespan,
    )
    made.add_middleware(Packed)
    made.add_middleware(Recorded, serving=serving, mounted=[one.path for one in mounts])
    made.state.serving = serving
    return made


def _mounted(serving: Serving, name: str) -> Starlette:
    """A further lake of the settings. It is closed with the first one."""
    one, settings = serving.settings.lakes[name], serving.settings
    lake = lakerunner.open(one.location, read_only=True)
    serving.closing.append(lake.close)
    whose = msgspec.structs.replace(
        settings,
        access=one.access or settings.access,
        quotas=one.quotas or settings.quotas,
        audit=AuditSettings(),
        lakes={},
    )
    return app(lake, whose)


def _about_itself(serving: Serving, routes: list[BaseRoute]) -> list[DescribedRoute]:
    """Whether it is there, how it is doing, and what it answers."""

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        await serving.thread(serving.lake.catalog.organizations)
        return PlainTextResponse("ready\n")

    async def measures(_: Request) -> Response:
        running = serving.quotas.running()
        text = await serving.thread(partial(serving.telemetry.text, queries_running=running))
        return Response(text, media_type=telemetry.MEDIA_TYPE)

    async def openapi(request: Request) -> Response:
        prefix = request.scope.get("root_path", "")
        return validated(request, document(routes, prefix), JSON)

    def open_to_all(path: str, about: str, endpoint: Any, kind: str = TEXT) -> DescribedRoute:
        return DescribedRoute(path, endpoint, Operation(about, answers=(kind,), anyone=True))

    alive = ("/healthz", "/health", "/-/healthy")
    return [
        *(open_to_all(path, "Whether it runs.", health) for path in alive),
        *(
            open_to_all(path, "Whether it can ask the lake.", ready)
            for path in ("/readyz", "/-/ready")
        ),
        open_to_all("/metrics", "What it did, for Prometheus.", measures),
        open_to_all("/openapi.json", "This document.", openapi, JSON),
    ]


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
