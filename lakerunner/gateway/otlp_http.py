"""OTLP over HTTP: what SDKs and collectors send, handed to a writer.

Paths, encodings, statuses and bodies are those of
https://opentelemetry.io/docs/specs/otlp/#otlphttp.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lakerunner.errors import InputError, LakerunnerError
from lakerunner.gateway.credentials import AccessScope
from lakerunner.gateway.forms import body_of, inflated
from lakerunner.gateway.openapi import JSON, DescribedRoute, Operation
from lakerunner.gateway.problems import headers_of, problem_of
from lakerunner.intake.protocols.messages import rpc_status
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from starlette.requests import Request

    from lakerunner.gateway.serving import Serving
    from lakerunner.intake.writer import Writer

PATHS = {
    "/v1/logs": Signal.LOGS,
    "/v1/traces": Signal.SPANS,
    "/v1/metrics": Signal.METRICS,
}
_PROTOBUF = "application/x-protobuf"
_FIRST_SERVER_ERROR = 500
_INVALID_ARGUMENT, _UNAVAILABLE, _UNAUTHENTICATED, _EXHAUSTED, _INTERNAL = 3, 14, 16, 8, 13
_STATUS_CODES = {401: _UNAUTHENTICATED, 403: 7, 429: _EXHAUSTED, 503: _UNAVAILABLE}


def otlp_routes(serving: Serving, writer: Writer) -> list[DescribedRoute]:
    """The three services, each below its own path."""

    def route(path: str, signal: Signal) -> DescribedRoute:
        async def endpoint(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            try:
                return await _received(serving, writer, request, signal, kind)
            except Exception as error:  # noqa: BLE001 - each is told in this protocol's own words
                return _failure(error, kind, serving)

        kinds = (_PROTOBUF, JSON)
        told = Operation(f"Takes {signal} as OTLP.", bodies=kinds, answers=kinds, failure=None)
        return DescribedRoute(path, endpoint, told, ("POST",))

    return [route(path, signal) for path, signal in PATHS.items()]


async def _received(
    serving: Serving, writer: Writer, request: Request, signal: Signal, kind: str
) -> Response:
    visit = serving.visit(request, AccessScope.WRITE)
    if kind not in (_PROTOBUF, JSON):
        raise HTTPException(415, f"Content-Type must be {_PROTOBUF} or {JSON}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    body = await body_of(request, serving.settings.body_bytes)
    most = serving.settings.inflated_bytes
    data = await serving.thread(partial(inflated, body, encoding, most)) if body else b""
    if kind == JSON and data.strip()[:1] != b"{":
        raise InputError("the body is no JSON object")
    if data:
        await writer.write_async(data.strip() if kind == JSON else data, signal=signal,
                                 organization=visit.caller.organization)  # fmt: skip
    # An empty message: all of it was taken.
    return Response(b"{}" if kind == JSON else b"", media_type=kind)


def _failure(error: Exception, kind: str, serving: Serving) -> Response:
    problem = problem_of(error)
    if isinstance(error, LakerunnerError) and problem.status == 504:  # noqa: PLR2004 - it may pass
        problem = msgspec.structs.replace(problem, status=503)
    if problem.status >= _FIRST_SERVER_ERROR:
        serving.log.error("a request failed", exc_info=error)
    code = _STATUS_CODES.get(
        problem.status,
        _INTERNAL if problem.status >= _FIRST_SERVER_ERROR else _INVALID_ARGUMENT,
    )
    return Response(
        _status(code, problem.message, kind),
        problem.status,
        headers_of(problem),
        kind if kind in (_PROTOBUF, JSON) else JSON,
    )


def _status(code: int, message: str, kind: str) -> bytes:
    """A `google.rpc.Status`, which is what a failure says."""
    if kind != _PROTOBUF:
        return msgspec.json.encode({"code": code, "message": message})
    return rpc_status(code, message)
