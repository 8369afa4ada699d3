"""What goes wrong, as HTTP says it: a status, and JSON with our code."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lakerunner.errors import (
    ConfigurationError,
    ErrorCode,
    InputError,
    LakerunnerError,
    QueryError,
)
from lakerunner.gateway.access import Refused
from lakerunner.gateway.quotas import TooMany
from lakerunner.printable import printable

if TYPE_CHECKING:
    from starlette.requests import Request

_STATUS = {
    ErrorCode.READ_ONLY: 403,
    ErrorCode.OBJECT_TOO_LARGE: 413,
    ErrorCode.QUERY_EXECUTION: 422,
    ErrorCode.QUERY_LIMIT: 422,
    ErrorCode.UNSUPPORTED_QUERY: 422,
    ErrorCode.SNAPSHOT_EXPIRED: 410,
    ErrorCode.QUERY_TIMEOUT: 504,
    ErrorCode.QUERY_BUSY: 503,
    ErrorCode.INTAKE_FULL: 429,
    ErrorCode.STORE_UNAVAILABLE: 503,
    ErrorCode.CATALOG_UNAVAILABLE: 503,
    ErrorCode.EVENTS_UNAVAILABLE: 503,
    ErrorCode.MISSING_EXTRA: 501,
}
_WRONG_REQUEST = (ConfigurationError, InputError, QueryError)
_SERVER_ERROR = 500
_RETRY = {503: "1", 429: "1"}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as a client gets it.

    Attributes:
        status: The HTTP status.
        code: Stable: one of `lakerunner.errors.ErrorCode`, or `unauthorized`, `forbidden`,
            `too_many_requests`, `not_found`, `method_not_allowed`, `internal`.
        message: For a person.
        query: The query it is about.
        retry_after: Seconds after which it may be worth trying again.
    """

    status: int
    code: str
    message: str
    query: str = ""
    retry_after: float = 0.0


class Failure(msgspec.Struct, frozen=True):
    """The body of an answer that failed.

    Attributes:
        error: Why.
    """

    error: Problem


def problem_of(error: Exception) -> Problem:
    """What a client is told of an error; nothing of what is not meant for it."""
    match error:
        case LakerunnerError():
            status = _STATUS.get(error.code) or (400 if isinstance(error, _WRONG_REQUEST) else 500)
            query = error.context.get("query", "") if isinstance(error, QueryError) else ""
            after = error.context.get("retry_after")
            text, seconds = printable(str(query), lines=True), 0.0
            if isinstance(after, float):
                seconds = after
            return Problem(status, str(error.code), str(error), text, seconds)
        case Refused():
            code = "unauthorized" if error.status == 401 else "forbidden"  # noqa: PLR2004 - as HTTP calls it
            return Problem(error.status, code, str(error))
        case TooMany():
            return Problem(429, "too_many_requests", str(error), retry_after=error.seconds)
        case HTTPException():
            names = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
            code = names.get(error.status_code, "configuration")
            return Problem(error.status_code, code, error.detail)
    return Problem(_SERVER_ERROR, "internal", "the server failed on this request; its log says why")


def respond(problem: Problem) -> Response:
    """A problem as an answer of our own API."""
    return Response(
        msgspec.json.encode(Failure(problem)),
        problem.status,
        headers_of(problem),
        "application/json",
    )


def headers_of(problem: Problem) -> dict[str, str]:
    """What goes with a problem in the head of an answer."""
    headers = {"cache-control": "no-store"}
    if problem.status == 401:  # noqa: PLR2004 - as HTTP calls it
        headers["www-authenticate"] = 'Bearer realm="lakerunner"'
    if problem.retry_after:
        headers["retry-after"] = str(math.ceil(problem.retry_after))
    elif problem.status in _RETRY:
        headers["retry-after"] = _RETRY[problem.status]
    return headers


def failed_answer(error: Exception) -> Response:
    """Whatever an endpoint raises, as an answer of our own API."""
    return respond(problem_of(error))


async def answer_error(_: Request, error: Exception) -> Response:
    """Starlette's handler of the same."""
    return failed_answer(error)


def cause_of(error: BaseException) -> BaseException:
    """What really happened, of groups of one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
