"""The log interfaces of other platforms, so that what was written for them asks a lake.

Each is one search over logs: a time range, a service, a level, a text that the body contains. They
differ in paths, names and the shape of what comes back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from starlette.responses import Response

from lakerunner.errors import ConfigurationError
from lakerunner.gateway.access import Refused
from lakerunner.gateway.answers import (
    CSV,
    NDJSON,
    Pipe,
    Streamed,
    encoding_of,
    json_list,
    send_result,
)
from lakerunner.gateway.forms import LIMIT, Kind, Parameter, body_of, form_of
from lakerunner.gateway.openapi import JSON, DescribedRoute, Operation
from lakerunner.model.times import isoformat, to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from lakerunner.gateway.serving import Serving, Visit
    from lakerunner.query import Result

_LIMIT, _MOST = 100, 10_000
_DAY = timedelta(days=1)
_COLUMNS = "timestamp, level, resource_service_name AS service, body AS message, trace_id, span_id"


class Search(NamedTuple):
    """What is looked for among the logs; what is not said does not matter.

    Attributes:
        start: From when on.
        end: Until when.
        service: Whose.
        level: Which.
        contains: What the body contains.
        trace_id: Of which trace.
    """

    start: datetime
    end: datetime
    service: str = ""
    level: str = ""
    contains: str = ""
    trace_id: str = ""

    def where(self) -> tuple[str, dict[str, Any]]:
        """The conditions in SQL, with values to be bound."""
        conditions = ["timestamp >= $start", "timestamp < $end"]
        values: dict[str, Any] = {"start": self.start, "end": self.end}
        for name, value, condition in (
            ("service", self.service, "resource_service_name = $service"),
            ("level", self.level.upper(), "level = $level"),
            ("contains", self.contains, "contains(body, $contains)"),
            ("trace_id", self.trace_id.lower(), "trace_id = $trace_id"),
        ):
            if value:
                conditions.append(condition)
                values[name] = value
        return " AND ".join(conditions), values

    def rows(self, visit: Visit, limit: int | None, cursor: str | None = None) -> Result:
        """The records, newest first."""
        where, values = self.where()
        text = f"SELECT {_COLUMNS} FROM logs WHERE {where} ORDER BY timestamp DESC"  # noqa: S608 - values are bound
        visit.account.query = text
        return visit.lake.sql(
            text, params=values, limit=limit, cursor=cursor, timeout=visit.seconds
        )

    def count(self, visit: Visit) -> int:
        """How many records there are."""
        where, values = self.where()
        text = f"SELECT count(*) FROM logs WHERE {where}"  # noqa: S608 - values are bound
        found: int = visit.lake.sql(text, params=values, timeout=visit.seconds).scalar()
        return found


class LogQuery(msgspec.Struct, frozen=True):
    """`POST /api/v1/logs`."""

    start_time: str | float | None = None
    end_time: str | float | None = None
    level: str = ""
    service: str = ""
    search: str = ""
    limit: int = _LIMIT

    def read(self) -> Search:
        """What is looked for."""
        return Search(*_span(self.start_time, self.end_time), self.service, self.level, self.search)


class EventQuery(msgspec.Struct, frozen=True):
    """`POST /v1/query`. Times are in milliseconds."""

    tenant_id: str = ""
    service: str = ""
    from_ts: float | None = None
    to_ts: float | None = None
    level: str = ""
    contains: str = ""
    limit: int = _LIMIT
    cursor: str | None = None

    def read(self) -> Search:
        """What is looked for."""
        return Search(*_span(self.from_ts, self.to_ts), self.service, self.level, self.contains)


_LOG_QUERY, _EVENT_QUERY = msgspec.json.Decoder(LogQuery), msgspec.json.Decoder(EventQuery)


_SERVICE = Parameter("service", about="Whose.")
_LEVEL = Parameter("level", about="Which.")
_EXPORTED = (
    Parameter("format", about="json or csv."),
    Parameter("start_time", about="From when on."),
    Parameter("end_time", about="Until when."),
    _SERVICE,
    _LEVEL,
    Parameter("search", about="What the message contains."),
    LIMIT,
)
_PAGES = (
    _SERVICE,
    _LEVEL,
    Parameter("from", about="From when on."),
    Parameter("to", about="Until when."),
    LIMIT,
    Parameter("page", Kind.NUMBER, "Counted from 1."),
)


def platform_routes(serving: Serving) -> list[DescribedRoute]:
    """The routes of all of them."""

    def route(
        path: str,
        endpoint: Callable[[Serving, Request], Awaitable[Response]],
        told: Operation,
        method: str = "GET",
    ) -> DescribedRoute:
        return DescribedRoute(path, partial(endpoint, serving), told, (method,))

    files = Operation("Logs as a file.", _EXPORTED, answers=(NDJSON, CSV))
    return [
        route("/api/v1/logs", _logs, Operation("Logs, and how many.", body=LogQuery), "POST"),
        route("/api/v1/logs/export", _export, files),
        route("/v1/query", _query, Operation("A page of logs.", body=EventQuery), "POST"),
        route("/query", _paged, Operation("A page of logs.", _PAGES)),
        route("/query/{trace_id}", _of_trace, Operation("The logs of a trace.")),
    ]


async def _logs(serving: Serving, request: Request) -> Response:
    asked = await _body(serving, request, _LOG_QUERY)

    def work(visit: Visit) -> bytes:
        search = asked.read()
        rows = _rows(visit, search.rows(visit, _bounded(asked.limit)))
        return b'{"logs":%s,"total":%d}' % (rows, search.count(visit))

    return Response(await serving.query(request, work), media_type=JSON)


async def _export(serving: Serving, request: Request) -> Response:
    form = form_of(request, _EXPORTED)
    name = form.text("format") or "json"
    if name not in ("json", "csv"):
        raise ConfigurationError(f"no such format: {name!r}; there are json and csv", format=name)
    span = _span(form.text("start_time") or None, form.text("end_time") or None)
    search = Search(*span, form.text("service"), form.text("level"), form.text("search"))
    visit = serving.visit(request)
    media_type = CSV if name == "csv" else NDJSON
    encoding = encoding_of(request, media_type)
    headers = {"content-disposition": f'attachment; filename="logs.{name}"'}
    if encoding:
        headers["content-encoding"] = encoding

    def work(pipe: Pipe) -> None:
        result = search.rows(visit, form.limit() or None)
        try:
            send_result(result, pipe, media_type, encoding, serving.settings.quotas.rows)
        finally:
            visit.account.add(result.stats)

    return Streamed(serving, visit, request, work, media_type, headers)


async def _query(serving: Serving, request: Request) -> Response:
    asked = await _body(serving, request, _EVENT_QUERY)

    def work(visit: Visit) -> bytes:
        if asked.tenant_id and asked.tenant_id != visit.caller.organization:
            raise Refused("this key is not for the tenant that the request names", 403)
        limit = _bounded(asked.limit)
        result = asked.read().rows(visit, limit, asked.cursor)
        items = _rows(visit, result)
        following = result.cursor if result.to_arrow().num_rows == limit else None
        stats = {
            "objects_read": result.stats.scanned,
            "events_scanned": result.stats.rows_scanned,
            "milliseconds": round(result.stats.seconds * 1000, 3),
        }
        rest = msgspec.json.encode({"next_cursor": following, "stats": stats})
        return b'{"items":%s,%s' % (items, rest[1:])

    return Response(await serving.query(request, work), media_type=JSON)


async def _paged(serving: Serving, request: Request) -> Response:
    form = form_of(request, _PAGES)
    search = Search(
        *_span(form.text("from") or None, form.text("to") or None),
        form.text("service"),
        form.text("level"),
    )
    limit, page = _bounded(form.limit() or _LIMIT), max(form.limit("page"), 1)
    if limit * page > _MOST:
        raise ConfigurationError(
            f"pages reach {_MOST:,} records; ask for a shorter time, or use cursors of /v1/sql"
        )

    def work(visit: Visit) -> bytes:
        result = search.rows(visit, limit * page)
        rows = result.to_arrow().slice(limit * (page - 1), limit)
        visit.account.add(result.stats)
        return b'{"logs":%s,"page":%d,"limit":%d}' % (json_list(rows.to_batches()), page, limit)

    return Response(await serving.query(request, work), media_type=JSON)


async def _of_trace(serving: Serving, request: Request) -> Response:
    first, last = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
    search = Search(first, last, trace_id=request.path_params["trace_id"])

    def work(visit: Visit) -> bytes:
        return b'{"logs":%s}' % _rows(visit, search.rows(visit, _MOST))

    return Response(await serving.query(request, work), media_type=JSON)


async def _body(serving: Serving, request: Request, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(await body_of(request, serving.settings.body_bytes) or b"{}")
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"the body: {error}") from error


def _span(start: str | float | None, end: str | float | None) -> tuple[datetime, datetime]:
    """A time range as people of other platforms give it; the last day if they do not."""
    now = datetime.now(UTC)
    until = now if end is None else _moment(end, now)
    begin = until - _DAY if start is None else _moment(start, now)
    if until < begin:
        raise ConfigurationError(f"the end {until} lies before the start {begin}")
    return begin, until


def _moment(value: str | float, now: datetime) -> datetime:
    nanoseconds = to_nanoseconds(value, now_ns=round(now.timestamp() * 1e6) * 1000)
    return datetime.fromisoformat(isoformat(nanoseconds // 1000 * 1000))


def _bounded(limit: int) -> int:
    if not 1 <= limit <= _MOST:
        raise ConfigurationError(f"limit must be 1 to {_MOST:,}: {limit}", setting="limit")
    return limit


def _rows(visit: Visit, result: Result) -> bytes:
    batches = result.to_arrow().to_batches()
    visit.account.add(result.stats)
    return json_list(batches)
