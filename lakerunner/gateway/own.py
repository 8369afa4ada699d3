"""lakerunner's own HTTP API: SQL in, rows out, and what a lake is made of."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from lakerunner.errors import ConfigurationError, UnsupportedQueryError
from lakerunner.gateway.answers import (
    ROWS,
    SUFFIXES,
    Pipe,
    Streamed,
    encoding_of,
    media_type_of,
    send_result,
)
from lakerunner.gateway.envelope import cached, known_answer, tag_of
from lakerunner.gateway.forms import (
    END,
    FORMAT,
    LIMIT,
    SPAN,
    START,
    Kind,
    Parameter,
    body_of,
    form_of,
)
from lakerunner.gateway.openapi import JSON, TEXT, DescribedRoute, Operation
from lakerunner.model.times import isoformat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from lakerunner.gateway.forms import Form
    from lakerunner.gateway.serving import Serving, Visit
    from lakerunner.lake import Lake
    from lakerunner.query import Result

_VALUES = 1000

CURSOR_HEADER = "x-lakerunner-cursor"
"""Says where the rows of a page end."""


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query as a client sends it.

    Attributes:
        query: SQL, or PromQL where `language` says so.
        params: Values for the placeholders of SQL: a list, or by name.
        language: `sql` or `promql`.
        timeout: Seconds that it may take.
        limit: Rows at most. Then the header `x-lakerunner-cursor` says where they end, if they are
            in an order of time.
        cursor: Where a page of the same query ended.
        format: `arrow`, `json`, `csv` or `parquet`; else `Accept` says which.
        time: When PromQL is evaluated.
        start: From when on.
        end: Until when.
        step: How often.
    """

    query: str
    params: dict[str, Any] | list[Any] | None = None
    language: str = "sql"
    timeout: float | None = None
    limit: int | None = None
    cursor: str | None = None
    format: str = ""
    time: str | float | None = None
    start: str | float | None = None
    end: str | float | None = None
    step: str | float | None = None


_QUESTION = (
    Parameter("query", about="SQL, or PromQL where language says so.", required=True),
    Parameter("language", about="sql or promql."),
    Parameter("timeout", Kind.SECONDS, "What it may take."),
    LIMIT,
    Parameter("cursor", about="Where a page of the same query ended."),
    FORMAT,
    Parameter("time", about="When PromQL is evaluated."),
    Parameter("start", about="From when on."),
    Parameter("end", about="Until when."),
    Parameter("step", about="How often."),
)
_ASKED = msgspec.json.Decoder(Asked)


async def asked(request: Request, most_bytes: int) -> Asked:
    """Read a query: JSON, or SQL as the body or as the parameter `query`.

    Raises:
        ConfigurationError: It is none of these, or a member is unknown or of a wrong type.
    """
    found = form_of(request, _QUESTION)
    body = await body_of(request, most_bytes) if request.method == "POST" else b""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON:
        try:
            return _ASKED.decode(body)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"the body: {error}") from error
    try:
        text = body.decode() or found.needed("query")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the body is not UTF-8: {error}") from error
    return Asked(
        text,
        language=found.text("language") or "sql",
        timeout=found.seconds("timeout"),
        limit=found.limit() or None,
        cursor=found.text("cursor") or None,
        format=found.text("format"),
        time=found.text("time") or None,
        start=found.text("start") or None,
        end=found.text("end") or None,
        step=found.text("step") or None,
    )


def answer(visit: Visit, question: Asked) -> Result:
    """Ask a lake.

    Raises:
        ConfigurationError: There is no such language.
        QueryError: The query cannot be answered.
    """
    lake, seconds = visit.lake, visit.seconds
    visit.account.query = question.query
    if question.timeout is not None:
        seconds = min(question.timeout, seconds)
    match question.language:
        case "sql":
            return lake.sql(
                question.query,
                params=question.params,
                limit=question.limit,
                cursor=question.cursor,
                timeout=seconds,
            )
        case "promql":
            return lake.promql(
                question.query,
                time=question.time,
                start=question.start,
                end=question.end,
                step=question.step,
                timeout=seconds,
            )
    raise ConfigurationError(f"no such language: {question.language!r}; there are sql and promql")


def own_routes(serving: Serving) -> list[DescribedRoute]:
    """The routes below `/v1`."""

    def asking(
        path: str, about: str, endpoint: Callable[[Serving, Request], Awaitable[Response]],
        answers: tuple[str, ...] = ROWS,
    ) -> DescribedRoute:  # fmt: skip
        """What takes a query."""
        told = Operation(about, _QUESTION, Asked, (TEXT,), answers)
        return DescribedRoute(path, partial(endpoint, serving), told, ("GET", "POST"))

    rows = partial(_rows_route, serving)
    segments = Operation("Segments of a table.", _SEGMENTS)
    return [
        asking("/v1/sql", "Rows of a query.", _sql),
        asking("/v1/export", "Rows of a query, as a file.", _export),
        asking("/v1/explain", "What a query would read, and why.", _explain, (TEXT,)),
        DescribedRoute("/v1/segments", partial(_segments, serving), segments),
        rows("/v1/tables", "Tables.", lambda lake, _form, _parts: lake.tables()),
        rows(
            "/v1/tables/{table}",
            "Columns of a table.",
            lambda lake, _form, parts: lake.describe(parts["table"]),
        ),
        rows(
            "/v1/attributes/{table}",
            "Attributes of a table.",
            lambda lake, _form, parts: lake.attributes(parts["table"]),
        ),
        rows(
            "/v1/services",
            "Services.",
            lambda lake, form, _parts: lake.services(*form.span()),
            *SPAN,
        ),
        rows("/v1/values/{column:path}", "Values of a column.", _values, _PREFIX, LIMIT, *SPAN),
        rows("/v1/metrics", "Metrics.", lambda lake, form, _: lake.metrics(*form.span()), *SPAN),
        rows("/v1/series", "Series of metrics.", _series, _MATCH, *SPAN),
        rows("/v1/trace/{trace_id}", "A trace in tree order.", _trace, _LOGS, *SPAN),
    ]


def _rows_route(
    serving: Serving,
    path: str,
    about: str,
    ask: Callable[[Lake, Form, dict[str, str]], Result],
    *parameters: Parameter,
) -> DescribedRoute:
    """A call of `Lake` that returns rows."""
    declared = (*parameters, FORMAT)

    async def endpoint(request: Request) -> Response:
        form, visit, headers = form_of(request, declared), serving.visit(request), None
        if START not in parameters:  # those that reckon with the time of day change with it
            now = await serving.thread(visit.lake.snapshot)
            state, accepted = [now.sequence, now.incarnation], request.headers.get("accept", "")
            tag = tag_of(str(state), visit.caller.organization, str(request.url), accepted)
            if known := known_answer(request, tag):
                return known
            headers = cached(tag)
        return _sent(
            serving,
            request,
            form.text("format"),
            lambda visit: ask(visit.lake, form, request.path_params),
            headers,
            visit=visit,
        )

    return DescribedRoute(path, endpoint, Operation(about, declared, answers=ROWS))


_PREFIX = Parameter("prefix", about="What they begin with.")
_MATCH = Parameter("match", about="Selectors of PromQL; series meet one of them.", several=True)
_LOGS = Parameter("logs", about="Any text: the logs of the trace instead of its spans.")
_SEGMENTS = (Parameter("table", about="logs, if nothing is said."), START, END, LIMIT)


def _values(lake: Lake, form: Form, parts: dict[str, str]) -> Result:
    start, end = form.span()
    prefix = form.text("prefix") or None
    limit = form.limit() or _VALUES
    return lake.values(parts["column"], prefix=prefix, limit=limit, start=start, end=end)


def _series(lake: Lake, form: Form, _: dict[str, str]) -> Result:
    start, end = form.span()
    return lake.series(form.texts("match"), start=start, end=end)


def _trace(lake: Lake, form: Form, parts: dict[str, str]) -> Result:
    start, end = form.span()
    trace = lake.trace(parts["trace_id"], start=start, end=end)
    return trace.logs() if form.text("logs") else trace


async def _sql(serving: Serving, request: Request) -> Response:
    return await _streamed(serving, request, {})


async def _export(serving: Serving, request: Request) -> Response:
    """As `/v1/sql`, as a file to be saved."""
    return await _streamed(serving, request, {"content-disposition": "attachment"})


async def _streamed(serving: Serving, request: Request, headers: dict[str, str]) -> Response:
    question = await asked(request, serving.settings.body_bytes)
    return _sent(
        serving,
        request,
        question.format,
        lambda visit: answer(visit, question),
        headers,
        paged=question.limit is not None,
    )


def _sent(
    serving: Serving,
    request: Request,
    form: str,
    ask: Callable[[Visit], Result],
    headers: dict[str, str] | None = None,
    *,
    paged: bool = False,
    visit: Visit | None = None,
) -> Response:
    """The rows of a result, as the request wants them, while they are found."""
    visit = visit or serving.visit(request)
    media_type = media_type_of(request, form)
    encoding = encoding_of(request, media_type)
    headers = dict(headers or {})
    if encoding:
        headers["content-encoding"] = encoding
    if "content-disposition" in headers:
        headers["content-disposition"] += f'; filename="rows.{SUFFIXES[media_type]}"'
    headers = {"cache-control": "no-store", **headers, "vary": "Accept, Accept-Encoding"}

    def work(pipe: Pipe) -> None:
        result = ask(visit)
        if paged:
            with suppress(UnsupportedQueryError):  # rows without an order that could be gone on
                pipe.headers[CURSOR_HEADER] = result.cursor
        try:
            send_result(result, pipe, media_type, encoding, serving.settings.quotas.rows)
        finally:
            visit.account.add(result.stats)

    return Streamed(serving, visit, request, work, media_type, headers)


async def _explain(serving: Serving, request: Request) -> Response:
    question = await asked(request, serving.settings.body_bytes)
    times = {
        name: value
        for name in ("time", "start", "end", "step")
        if (value := getattr(question, name)) is not None
    }

    def work(visit: Visit) -> str:
        found = visit.lake.explain(
            question.query, language=question.language, params=question.params, **times
        )
        return str(found)

    text = await serving.query(request, work)
    return Response(text, media_type="text/plain")


async def _segments(serving: Serving, request: Request) -> Response:
    form = form_of(request, _SEGMENTS)

    def work(visit: Visit) -> list[dict[str, Any]]:
        segments = visit.lake.segments(
            form.text("table") or "logs", form.time("start"), form.time("end")
        )
        limit = form.limit() or len(segments)
        return [
            {
                "id": one.id,
                "key": one.key,
                "rows": one.rows,
                "bytes": one.bytes,
                "start": isoformat(one.min_timestamp_ns),
                "end": isoformat(one.max_timestamp_ns),
                "level": one.level,
                "resolution_ns": one.resolution_ns,
            }
            for one in segments[:limit]
        ]

    return _json(await serving.query(request, work))


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type=JSON)
