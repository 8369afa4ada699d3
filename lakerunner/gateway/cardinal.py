"""The query interface of CardinalHQ's LakeRunner: questions as JSON, rows as server-sent events.

Each event is `data: {"type":"result","data":…}`, and the last one `{"type":"done","data":{"status":
"ok"}}`, or `"error"` where a query fails after its first rows were sent. What fails before is an
answer `{"status","code","message"}`. A question has the times `s` and `e`, and `q` in PromQL for
metrics, or a selector of LogQL for logs and spans; see `log_selectors`.
"""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lakerunner.errors import ConfigurationError, ErrorCode, InvalidTimeError, LakerunnerError
from lakerunner.gateway.administration import answer
from lakerunner.gateway.answers import Pipe, Streamed
from lakerunner.gateway.forms import Parameter, body_of, form_of
from lakerunner.gateway.log_selectors import (
    LINES,
    SHOWN,
    Window,
    column_of,
    read_selector,
    row_objects,
    select,
    tag_columns,
    value_objects,
)
from lakerunner.gateway.openapi import EVENTS, JSON, DescribedRoute, Operation
from lakerunner.gateway.problems import headers_of, problem_of
from lakerunner.gateway.sample_json import label_names, metric_objects
from lakerunner.model.times import NANOS, isoformat, parse_duration, to_nanoseconds
from lakerunner.query.promql.parser import parse
from lakerunner.query.writing import json_values, text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.requests import Request

    from lakerunner.gateway.serving import Serving, Visit

_HOUR_NS = 3600 * NANOS
_BEFORE_END = re.compile(r"e-(\S+)")
_MILLISECONDS, _NANOSECONDS = 1e11, 1e16  # from here on a number of an epoch is one of these
_TAG = Parameter("tagName", about="Whose values.", required=True)
_MOST_SERIES = 10_000
_SELECTED = "s, e and q, the text of the question."

_CODES = {
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    406: "SSE_UNSUPPORTED",
    413: "REQUEST_TOO_LARGE",
    422: "COMPILE_ERROR",
    429: "RATE_LIMITED",
    503: "SERVICE_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Question(msgspec.Struct, frozen=True):
    """What is asked.

    Attributes:
        s: From when on: `e-1h`, `now-1h`, seconds or milliseconds of the epoch, RFC 3339.
        e: Until when; now if nothing is said.
        q: PromQL, or a selector of LogQL.
        metric: Tags of which metric, instead of `q`.
        step: Seconds, or text such as `30s`; by the length of time if nothing is said.
        summary: Not answered here.
        reverse: Newest first.
        limit: Rows at most; 0 for all.
        fields: Which tags; all of them if none is named.
    """

    s: str | float | None = None
    e: str | float | None = None
    q: str = ""
    metric: str = ""
    step: str | float | None = None
    summary: bool = False
    reverse: bool = False
    limit: int = 0
    fields: list[str] = []


class CardinalFailure(msgspec.Struct, frozen=True):
    """The body of an answer that failed.

    Attributes:
        status: Of HTTP.
        code: Such as `INVALID_EXPR`.
        message: For a person.
    """

    status: int
    code: str
    message: str


_QUESTION = msgspec.json.Decoder(Question)


def window_of(question: Question, now_ns: int) -> Window:
    """The time range of a question: the last hour, if nothing is said.

    Raises:
        ConfigurationError: It cannot be read, or is empty.

    Example:
        >>> window_of(Question(s="e-5m", e=1_700_000_000), 0)
        Window(start=1699999700000000000, end=1700000000000000000)
    """
    end = now_ns if question.e in (None, "") else _moment(question.e, now_ns)
    before = _BEFORE_END.fullmatch(str(question.s))
    try:
        if before:
            start = end - parse_duration(before[1])
        else:
            start = end - _HOUR_NS if question.s in (None, "") else _moment(question.s, now_ns)
    except InvalidTimeError as error:
        raise ConfigurationError(f"s: {error}") from error
    if start >= end:
        raise ConfigurationError(f"s {question.s!r} is not before e {question.e!r}")
    return Window(start, end)


def _moment(given: str | float | None, now_ns: int) -> int:
    try:
        number = float(given or "")
    except ValueError:
        return to_nanoseconds(str(given), now_ns=now_ns)
    size = abs(number)
    unit = NANOS if size < _MILLISECONDS else NANOS // 1000 if size < _NANOSECONDS else 1
    if not size * unit < 2**63:
        raise InvalidTimeError(f"{given!r} is no time")
    return round(number * unit)


def cardinal_routes(serving: Serving) -> list[DescribedRoute]:
    """The routes below `/api/v1`; `/api/v1/features` is one with Prometheus' own."""

    def asking(
        path: str, about: str, endpoint: Callable[[Serving, Request], Awaitable[Response]],
        *parameters: Parameter, stream: bool = False, method: str = "POST",
    ) -> DescribedRoute:  # fmt: skip
        async def answered(request: Request) -> Response:
            try:
                _check_accepted(request, stream=stream)
                return await endpoint(serving, request)
            except Exception as error:  # noqa: BLE001 - each is told in this interface's own words
                return _failure(error, serving)

        told = Operation(
            about, parameters, Question if method == "POST" else None,
            answers=(EVENTS if stream else JSON,), failure=CardinalFailure,
        )  # fmt: skip
        return DescribedRoute(path, answered, told, (method,))

    routes = [
        asking("/api/v1/ping", "Whether a key is good.", _ping, method="GET"),
        asking("/api/v1/services", "Services.", _services, method="GET"),
        asking("/api/v1/metrics/query", f"PromQL: {_SELECTED}", _metrics, stream=True),
        asking("/api/v1/metrics/metadata", "Metrics, and what they are.", _metadata),
        asking("/api/v1/metrics/tags", "Labels of metrics.", _metric_tags),
        asking(
            "/api/v1/metrics/tagvalues", "Values of a label.", _metric_values, _TAG, stream=True
        ),
        asking("/api/v1/logs/series", "Services and levels of logs.", _log_series),
        asking("/api/v1/promql/validate", "Whether a text is PromQL.", partial(_validate, parse)),
        asking(
            "/api/v1/logql/validate", "Whether a text is a selector.",
            partial(_validate, read_selector),
        ),
    ]  # fmt: skip
    for table in LINES:
        selected = f"Rows of {table}: {_SELECTED}"
        routes += [
            asking(f"/api/v1/{table}/query", selected, partial(_rows, table), stream=True),
            asking(f"/api/v1/{table}/tags", f"Tags of {table}.", partial(_tags, table)),
            asking(
                f"/api/v1/{table}/tagvalues", "Values of a tag.", partial(_values, table), _TAG,
                stream=True,
            ),
        ]  # fmt: skip
    return routes


def _check_accepted(request: Request, *, stream: bool) -> None:
    accepted = request.headers.get("accept", "*/*")
    kinds = {one.partition(";")[0].strip() for one in accepted.split(",")}
    if stream and not kinds & {EVENTS, "text/*", "*/*"}:
        raise HTTPException(406, f"Accept must have {EVENTS}")


def _failure(error: Exception, serving: Serving) -> Response:
    problem = problem_of(error)
    status = problem.status
    code = _CODES.get(status, "VALIDATION_FAILED" if status < 500 else "INTERNAL_ERROR")  # noqa: PLR2004 - as HTTP counts
    match problem.code:
        case ErrorCode.QUERY_SYNTAX:
            code = "INVALID_EXPR"
        case ErrorCode.UNSUPPORTED_QUERY:
            status, code = 501, "REWRITE_UNSUPPORTED"
    if isinstance(error, _InvalidJsonError):
        code = "INVALID_JSON"
    if status >= 500 and not isinstance(error, LakerunnerError):  # noqa: PLR2004 - as HTTP counts
        serving.log.error("a request failed", exc_info=error)
    body = msgspec.json.encode(CardinalFailure(status, code, problem.message))
    return Response(body, status, headers_of(problem), JSON)


class _InvalidJsonError(ConfigurationError):
    """The body cannot be read."""


async def _asked(serving: Serving, request: Request) -> tuple[Question, Window]:
    body = await body_of(request, serving.settings.body_bytes)
    try:
        question = _QUESTION.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"the body: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise _InvalidJsonError(f"the body: {error}") from error
    return question, window_of(question, time.time_ns())


# What is answered at once.


async def _ping(serving: Serving, request: Request) -> Response:
    serving.visit(request)
    return answer({"status": "ok"})


async def _services(serving: Serving, request: Request) -> Response:
    found = await serving.query(request, lambda visit: visit.lake.services().to_arrow())
    return answer({"services": found["service"].to_pylist()})


async def _metadata(serving: Serving, request: Request) -> Response:
    _, window = await _asked(serving, request)

    def work(visit: Visit) -> list[dict[str, Any]]:
        found = visit.lake.metrics(isoformat(window.start), isoformat(window.end)).to_arrow()
        columns = ["name", "type", "unit", "description"]
        rows: list[dict[str, Any]] = found.select(columns).to_pylist()
        return rows

    return answer({"metrics": await serving.query(request, work)})


def _series(visit: Visit, question: Question, window: Window) -> pa.Table:
    matchers = [one for one in (question.q, question.metric) if one]
    found: pa.Table = visit.lake.series(
        matchers, start=isoformat(window.start), end=isoformat(window.end)
    ).to_arrow()
    return found


async def _metric_tags(serving: Serving, request: Request) -> Response:
    question, window = await _asked(serving, request)
    names = await serving.query(
        request, lambda visit: _series(visit, question, window).schema.names
    )
    return answer({"tags": sorted(name for name in names if name != "__name__")})


async def _tags(table: str, serving: Serving, request: Request) -> Response:
    question, window = await _asked(serving, request)

    def work(visit: Visit) -> list[str]:
        selected = select(visit, table, question.q, window)
        names = tag_columns(selected.schema)
        counts = ", ".join(f'count("{name}") AS "{name}"' for name in names)
        result = selected.ask(counts)
        found = result.to_arrow().to_pylist()[0]
        visit.account.add(result.stats)
        return sorted(SHOWN.get(name, name) for name, count in found.items() if count)

    return answer({"tags": await serving.query(request, work)})


async def _log_series(serving: Serving, request: Request) -> Response:
    question, window = await _asked(serving, request)

    def work(visit: Visit) -> list[dict[str, str]]:
        selected = select(visit, "logs", question.q, window)
        columns = [
            name for name in ("resource_service_name", "level") if name in selected.schema.names
        ]
        named = ", ".join(columns)
        result = selected.ask(f"DISTINCT {named}", f"ORDER BY {named} LIMIT {_MOST_SERIES}")
        rows = result.to_arrow().to_pylist()
        visit.account.add(result.stats)
        return [
            {SHOWN.get(name, name): value for name, value in row.items() if value is not None}
            for row in rows
        ]

    return answer({"status": "success", "data": await serving.query(request, work)})


async def _validate(read: Callable[[str], object], serving: Serving, request: Request) -> Response:
    question, _ = await _asked(serving, request)
    serving.visit(request)
    try:
        read(question.q)
    except LakerunnerError as error:
        return answer({"valid": False, "error": str(error)})
    return answer({"valid": True})


# What is streamed.


async def _metrics(serving: Serving, request: Request) -> Response:
    question, window = await _asked(serving, request)
    if question.summary:
        raise HTTPException(422, "summary is not answered here: ask for it in PromQL")

    def rows(visit: Visit) -> Iterator[Any]:
        visit.account.query = question.q
        result = visit.lake.promql(
            question.q, start=isoformat(window.start), end=isoformat(window.end),
            step=question.step or window.step_seconds(), timeout=visit.seconds,
        )  # fmt: skip
        table = result.to_arrow()
        visit.account.add(result.stats)
        if "histogram" in table.schema.names:
            table = table.drop_columns(["histogram"])
        table = table.filter(pc.fill_null(pc.is_finite(table["value"]), fill_value=False))
        tags = metric_objects(table)
        milliseconds = table["timestamp"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64())
        names = label_names(table)
        label = table["__name__"] if "__name__" in names else pa.array([question.q] * len(tags))
        yield pc.binary_join_element_wise(
            '{"tags":', tags,
            ',"value":', table["value"].cast(pa.string()),
            ',"timestamp":', milliseconds.cast(pa.string()),
            ',"label":', json_values(_whole(label)), "}", "",
        )  # fmt: skip

    return _events(serving, request, rows)


async def _metric_values(serving: Serving, request: Request) -> Response:
    tag = form_of(request, (_TAG,)).needed("tagName")
    question, window = await _asked(serving, request)

    def rows(visit: Visit) -> Iterator[Any]:
        table = _series(visit, question, window)
        wanted = re.sub(r"[^a-zA-Z0-9_]", "_", tag)
        name = next((one for one in (tag, wanted) if one in table.schema.names), None)
        if name is not None:
            yield value_objects(pc.unique(table[name].drop_null()).sort())

    return _events(serving, request, rows)


async def _values(table: str, serving: Serving, request: Request) -> Response:
    tag = form_of(request, (_TAG,)).needed("tagName")
    question, window = await _asked(serving, request)

    def rows(visit: Visit) -> Iterator[Any]:
        selected = select(visit, table, question.q, window)
        column = column_of(tag, tag_columns(selected.schema))
        if column is None:
            return
        result = selected.ask(f'DISTINCT "{column}" AS value', "ORDER BY value")
        for batch in result:
            yield value_objects(text(batch["value"]).drop_null())
        visit.account.add(result.stats)

    return _events(serving, request, rows)


async def _rows(table: str, serving: Serving, request: Request) -> Response:
    question, window = await _asked(serving, request)

    def rows(visit: Visit) -> Iterator[Any]:
        selected = select(visit, table, question.q, window)
        columns = tag_columns(selected.schema)
        if question.fields:
            wanted = [column_of(one, columns) for one in question.fields]
            columns = [one for one in columns if one in wanted]
        order = "ORDER BY timestamp DESC" if question.reverse else "ORDER BY timestamp"
        limit = f"LIMIT {question.limit}" if question.limit > 0 else ""
        named = ", ".join(["timestamp", *(f'"{one}"' for one in columns)])
        result = selected.ask(named, f"{order} {limit}")
        for batch in result:
            yield row_objects(batch, columns)
        visit.account.add(result.stats)

    return _events(serving, request, rows)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _events(serving: Serving, request: Request, rows: Callable[[Visit], Iterator[Any]]) -> Response:
    """Rows as events, while they are found.

    Args:
        serving: Has the threads.
        request: What is answered.
        rows: Finds them: Arrow arrays of JSON texts.
    """
    visit = serving.visit(request)

    def work(pipe: Pipe) -> None:
        status = b"ok"
        try:
            for found in rows(visit):
                framed = pc.binary_join_element_wise(
                    'data: {"type":"result","data":', found, "}\n\n", ""
                )
                pipe.write(b"".join(_whole(framed).cast(pa.binary()).to_pylist()))
        except LakerunnerError as error:
            if not pipe.pushed:
                raise
            serving.log.warning("a query failed in the middle: %s", error)
            status = b"error"
        pipe.write(b'data: {"type":"done","data":{"status":"%s"}}\n\n' % status)

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return Streamed(
        serving, visit, request, work, EVENTS, headers, lambda error: _failure(error, serving)
    )
