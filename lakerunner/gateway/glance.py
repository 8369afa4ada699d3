"""A lake at a glance: the page at `/`, its `/v1/status`, and gauges of the lake in `/metrics`."""

from __future__ import annotations

import hashlib
import threading
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from lakerunner.errors import LakerunnerError
from lakerunner.gateway.openapi import DescribedRoute, Operation
from lakerunner.model.times import NANOS, isoformat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from lakerunner.gateway.serving import Serving, Visit
    from lakerunner.intake.settings import WriterReport
    from lakerunner.intake.writer import Writer
    from lakerunner.status import LakeStatus, TableStatus

_FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_HEADERS = {
    # Nothing but its own files, nothing inline, nobody's frame; and text can never become HTML.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
_FRESH_SECONDS = 10.0


class _File:
    """One file of the page, read once."""

    def __init__(self, name: str, media_type: str) -> None:
        self._data = files("lakerunner.gateway").joinpath("page", name).read_bytes()
        tag = hashlib.sha256(self._data).hexdigest()[:32]
        self._headers = {**_HEADERS, "etag": f'"{tag}"'}
        self._media_type = media_type

    async def get(self, request: Request) -> Response:
        """The file, unless the client has it."""
        known = request.headers.get("if-none-match", "")
        if self._headers["etag"] in known:
            return Response(None, 304, self._headers)
        return Response(self._data, 200, self._headers, self._media_type)


def glance_routes(serving: Serving, writer: Writer | None) -> list[Route]:
    """The page, its files, and `/v1/status`.

    Args:
        serving: The lake; what it is like is told in `/metrics`, too.
        writer: Takes what is received; None if nothing is.
    """
    serving.telemetry.watch(Gauges(serving.lake.status).values)

    async def status(request: Request) -> Response:
        def work(visit: Visit) -> dict[str, Any]:
            organization = visit.caller.organization
            intake = None if writer is None else _intake(writer.report(), organization)
            return {"organization": organization, **_said(visit.lake.status()), "intake": intake}

        found = await serving.query(request, work)
        headers = {"cache-control": "no-store"}
        return Response(msgspec.json.encode(found), 200, headers, "application/json")

    page = {name: _File(name, media_type) for name, media_type in _FILES.items()}
    return [
        Route("/", page.pop("index.html").get, include_in_schema=False),
        *(Route(f"/page/{name}", one.get, include_in_schema=False) for name, one in page.items()),
        DescribedRoute("/v1/status", status, Operation("How the lake is doing.")),
    ]


def _said(status: LakeStatus) -> dict[str, Any]:
    return {
        "sequence": status.sequence,
        "tables": [
            {
                "table": one.table,
                "rows": one.rows,
                "bytes": one.bytes,
                "segments": one.segments,
                "unmerged": one.unmerged,
                "start": isoformat(one.first_ns),
                "end": isoformat(one.last_ns),
                "written": isoformat(one.written_ns) if one.written_ns else None,
                "delay_seconds": one.delay_ns / NANOS if one.written_ns else None,
            }
            for one in status.tables
        ],
        "set_aside": {
            "objects": sum(one.objects for one in status.set_aside),
            "rows": sum(one.rows for one in status.set_aside),
            "reason": status.set_aside[-1].reason if status.set_aside else None,
        },
        "setbacks": [
            {"task": one.task, "code": one.code, "reason": one.reason, "attempts": one.attempts}
            for one in status.setbacks
        ],
    }


def _intake(report: WriterReport, organization: str) -> dict[str, Any]:
    """What waits here of one organization; `oldest_seconds` is that of all."""
    waiting = sum(one.waiting for one in report.organizations if one.organization == organization)
    return {"waiting": waiting, "oldest_seconds": report.oldest_seconds}


class Gauges:
    """What `/metrics` says of a lake: looked at every ten seconds at most. Safe across threads.

    Args:
        status: Looks at the lake.

    Example:
        >>> import lakerunner
        >>> lake = lakerunner.open("memory://doc/gauges")
        >>> lake.ingest(b'{"message": "hello"}').rows
        1
        >>> Gauges(lake.status).values()['lake_rows{organization="default",table="logs"}']
        1.0
    """

    def __init__(self, status: Any) -> None:
        self._status = status
        self._lock = threading.Lock()
        self._values: dict[str, float] = {}
        self._looked = -_FRESH_SECONDS

    def values(self) -> dict[str, float]:
        """Values by the rest of their names, with labels; `lake_up` is 0 if it cannot be seen."""
        with self._lock:
            if time.monotonic() - self._looked >= _FRESH_SECONDS:
                try:
                    self._values = dict(_gauges(self._status()))
                except LakerunnerError:
                    self._values = {"lake_up": 0.0}
                self._looked = time.monotonic()
            return self._values


def _gauges(status: LakeStatus) -> Iterator[tuple[str, float]]:
    yield "lake_up", 1.0
    yield "lake_commits_total", float(status.sequence)
    yield "lake_tasks_put_off", float(len(status.setbacks))
    for table in status.tables:
        labels = f'{{organization="{table.organization}",table="{table.table}"}}'
        for name, value in _table_gauges(table):
            yield f"lake_{name}{labels}", value
    for aside in status.set_aside:
        labels = f'{{organization="{aside.organization}"}}'
        yield f"lake_set_aside_objects{labels}", float(aside.objects)
        yield f"lake_set_aside_rows{labels}", float(aside.rows)


def _table_gauges(table: TableStatus) -> Iterator[tuple[str, float]]:
    yield "rows", float(table.rows)
    yield "bytes", float(table.bytes)
    yield "segments", float(table.segments)
    yield "unmerged_segments", float(table.unmerged)
    yield "newest_row_timestamp_seconds", table.last_ns / NANOS
    if table.written_ns:
        yield "written_timestamp_seconds", table.written_ns / NANOS
        yield "delay_seconds", table.delay_ns / NANOS
