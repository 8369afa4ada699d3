"""Protocols over HTTP by which others send telemetry, handed to a writer.

What a request holds and how it is answered is the protocol's own, in `lakerunner.intake.protocols`;
who may send, how much, and how failures are told apart is the same for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from lakerunner.errors import LakerunnerError, UnknownFormatError
from lakerunner.gateway.credentials import AccessScope
from lakerunner.gateway.forms import body_of, inflated
from lakerunner.gateway.openapi import ANY_BODY, DescribedRoute, Operation
from lakerunner.gateway.problems import headers_of, problem_of
from lakerunner.intake.protocols.elasticsearch import BULK, PROBES
from lakerunner.intake.protocols.journald import JOURNALD
from lakerunner.intake.protocols.json_logs import (
    DATADOG,
    GELF,
    LINES,
    SPLUNK,
    SPLUNK_HEALTH,
    SPLUNK_RAW,
)
from lakerunner.intake.protocols.loki import LOKI
from lakerunner.intake.protocols.protocol import Sent
from lakerunner.intake.protocols.remote_write import REMOTE_WRITE

if TYPE_CHECKING:
    from starlette.requests import Request

    from lakerunner.gateway.serving import Serving
    from lakerunner.intake.protocols.protocol import Answer, Protocol, Taken
    from lakerunner.intake.writer import Writer

PROTOCOLS = (
    LOKI,
    REMOTE_WRITE,
    BULK,
    DATADOG,
    SPLUNK,
    SPLUNK_RAW,
    SPLUNK_HEALTH,
    GELF,
    JOURNALD,
    LINES,
    PROBES,
)
"""All of them, in the order in which a path is looked for."""

_TENANT = "/org/{organization}"


def receiver_routes(serving: Serving, writer: Writer) -> list[DescribedRoute]:
    """The routes of all protocols, and the same below `/org/ORGANIZATION`.

    A path names the organization for clients that cannot send a header; their key must be for it.
    """
    return [
        _route(serving, writer, protocol, before + path)
        for before in ("", _TENANT)
        for protocol in PROTOCOLS
        for path in protocol.paths
    ]


def _route(serving: Serving, writer: Writer, protocol: Protocol, path: str) -> DescribedRoute:
    async def endpoint(request: Request) -> Response:
        try:
            return await _received(serving, writer, request, protocol)
        except Exception as error:  # noqa: BLE001 - each is told in the protocol's own words
            return _failed(serving, protocol, error)

    told = Operation(
        f"Takes {protocol.name}.", bodies=(ANY_BODY,), answers=(ANY_BODY,), failure=None
    )
    return DescribedRoute(path, endpoint, told, protocol.methods)


async def _received(
    serving: Serving, writer: Writer, request: Request, protocol: Protocol
) -> Response:
    headers = request.headers
    visit = serving.visit(request, AccessScope.WRITE, request.path_params.get("organization"))
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if protocol.encoding is not None:
        encoding = protocol.encoding(headers)
    body = await body_of(request, serving.settings.body_bytes)

    def read() -> Taken:
        data = inflated(body, encoding, serving.settings.inflated_bytes) if body else b""
        kind = headers.get("content-type", "").strip().lower()
        sent = Sent(data, kind, headers, request.query_params, request.path_params)
        return protocol.take(sent)

    taken = await serving.thread(read)
    for payload in taken.payloads:
        await writer.write_async(payload, organization=visit.caller.organization)
    if taken.rejected:
        writer.refused(taken.rejected, taken.reasons, organization=visit.caller.organization)
    return _response(taken.answer, {})


def _failed(serving: Serving, protocol: Protocol, error: Exception) -> Response:
    problem = problem_of(error)
    status = problem.status
    if isinstance(error, UnknownFormatError):
        status = 415
    elif isinstance(error, LakerunnerError) and status == 504:  # noqa: PLR2004 - it may pass
        status = 503
    if status >= 500:  # noqa: PLR2004 - as HTTP counts
        serving.log.error("a request failed", exc_info=error)
    return _response(protocol.failure(status, problem.message), headers_of(problem))


def _response(answer: Answer, further: dict[str, str]) -> Response:
    headers = {**answer.headers, **further}
    return Response(answer.body, answer.status, headers, answer.kind if answer.body else None)
