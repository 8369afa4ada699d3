"""What an error about a query says beside what is wrong: which names there are, how to write it."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from lakerunner.query.query import read_own_name
from lakerunner.query.sql.foreign import EQUIVALENTS
from lakerunner.query.sql.tokens import Kind, tokens
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakerunner.errors import QueryError
    from lakerunner.model.commit import Snapshot

_TIME_AND_NUMBER = re.compile(r"Timestamp\([^)]*\).{1,8}U?(?:Int|Float)\d+|Int64 .{1,4} Timestamp")
_OTHER_NAMES = {
    "message": "body",
    "msg": "body",
    "log": "body",
    "line": "body",
    "text": "body",
    "severity": "level",
    "loglevel": "level",
    "log_level": "level",
    "service": "resource_service_name",
    "servicename": "resource_service_name",
    "service_name": "resource_service_name",
    "app": "resource_service_name",
    "ts": "timestamp",
    "time": "timestamp",
    "_time": "timestamp",
    "eventtime": "timestamp",
    "start_time": "timestamp",
    "end_time": "end_timestamp",
    "duration": "duration_ns",
    "duration_ms": "duration_ns / 1e6",
    "traceid": "trace_id",
    "spanid": "span_id",
    "parent_id": "parent_span_id",
    "parentspanid": "parent_span_id",
    "span_name": "name",
    "spanname": "name",
    "operation": "name",
    "status": "status_code",
    "span_kind": "kind",
    "metric": "metric_name",
    "host": "resource_host_name",
    "hostname": "resource_host_name",
    "tenant": "organization",
}
"""Columns by names that they have elsewhere."""


def explained(error: QueryError, snapshots: Mapping[str, Snapshot]) -> QueryError:
    """Add to an error what helps to mend the query."""
    hint = _hint(error, snapshots)
    return type(error)(f"{error.message}{hint}", **error.context) if hint else error


def _hint(error: QueryError, snapshots: Mapping[str, Snapshot]) -> str:
    context = error.context
    if "table" in context:
        return _table_hint(str(context["table"]))
    if isinstance(function := context.get("function"), str):
        equivalent = EQUIVALENTS.get(function.lower())
        return f"; write {equivalent}" if equivalent else ""
    if isinstance(column := context.get("column"), str):
        if "did you mean" in error.message:
            return ""
        field = str(context.get("field", column)).replace('"', "")
        return _column_hint(column, field, str(context.get("query", "")), snapshots)
    if _TIME_AND_NUMBER.search(error.message):
        return (
            "; a number is no time: write '2026-01-31T12:00:00Z', now() - interval '15 minutes', "
            "or to_timestamp_seconds(1767225600), to_timestamp_millis(…), to_timestamp_nanos(…)"
        )
    return ""


def _table_hint(table: str) -> str:
    close = get_close_matches(table.lower(), TABLES, n=1, cutoff=0.6)
    return f"; the tables are {', '.join(TABLES)}" + (
        f" (did you mean {close[0]}?)" if close else ""
    )


def _column_hint(column: str, field: str, query: str, snapshots: Mapping[str, Snapshot]) -> str:
    known = {name for table in snapshots for name in TABLES[table].schema.names}
    known |= {name for snapshot in snapshots.values() for name in snapshot.columns}
    own = read_own_name(column)
    folded = [one for one in own.columns if one in known]
    if field != column and not known.isdisjoint(read_own_name(field).columns):
        return f'; did you mean "{field}", in double quotes?'
    wanted = _OTHER_NAMES.get(column.lower())
    close = [wanted] if wanted is not None and wanted.partition(" ")[0] in known else []
    close += [one for one in folded if one not in close]
    near = get_close_matches(column, sorted(known), n=3, cutoff=0.6)
    ending = own.columns[0].removeprefix("attr_")
    near += get_close_matches(f"attr_{ending}", sorted(known), n=2, cutoff=0.8)
    near += sorted(name for name in known if name.endswith((f"_{column}", f"_{ending}")))[:3]
    close += [one for one in dict.fromkeys(near) if one not in close]
    hint = f"; did you mean {', '.join(close[:5])}?" if close else ""
    if own.name != own.key:
        return f"{hint or '; nobody sent that attribute'}"
    if _is_quoted(column, query) and not folded:
        hint = f"; double quotes are for names: a text is written '{column}'{hint}"
    return hint


def _is_quoted(column: str, query: str) -> bool:
    return any(one.kind is Kind.QUOTED and one.name == column for one in tokens(query))
