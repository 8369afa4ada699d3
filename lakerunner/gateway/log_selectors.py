"""Selectors of logs and spans as LogQL writes them, as a condition in SQL.

Matchers in braces, and filters on the text of the line behind them:
`{service_name="web", level!="DEBUG"} |= "timeout" !~ "retry [0-9]+"`. A label that a row does not
have is as one that is empty, and patterns of labels match the whole value, as Prometheus has it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import QuerySyntaxError, UnsupportedQueryError
from lakerunner.model.times import NANOS, isoformat
from lakerunner.query.promql.parser import parse
from lakerunner.query.promql.selectors import regex_fault
from lakerunner.query.promql.syntax import Matcher, Selector
from lakerunner.query.writing import json_values, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.gateway.serving import Visit
    from lakerunner.query import Result

_STRING = r'"(?:\\.|[^"\\\n])*"|`[^`]*`'
_BRACES = re.compile(rf"\s*(\{{(?:[^\"`{{}}]|{_STRING})*\}})\s*")
_FILTER = re.compile(rf"(\|=|!=|\|~|!~)\s*({_STRING})\s*")
_STAGE = re.compile(r"\|\s*[a-z_]|\|>|!>")
_AGGREGATE = re.compile(r"\s*[a-z_]+\s*(?:(?:by|without)\s*\([^)]*\)\s*)?\(")
_OUTSIDE = re.compile(r"[^a-z0-9]")
_NAMED = {
    "log_level": "level",
    "log_message": "body",
    "message": "body",
    "span_name": "name",
    "service_name": "resource_service_name",
}
_STEPS = ((65, 10), (12 * 60, 60), (24 * 60, 300), (3 * 24 * 60, 1200))  # minutes, seconds
_LONGEST_STEP = 3600
LINES = {"logs": "body", "spans": "name"}
"""The column of each table that filters of lines look at."""

SHOWN = {"body": "log_message", "level": "log_level", "name": "span_name"}
"""Columns that are tags under another name."""

_NO_TAGS = ("organization", "timestamp", "timestamp_raw", "timestamp_source")
_PREFIXES = ("", "attr_", "resource_", "scope_")


class LineFilter(NamedTuple):
    """What a line has to contain, or not: `op` is `|=`, `!=`, `|~` or `!~`."""

    op: str
    text: str


class LogSelector(NamedTuple):
    """What is selected.

    Attributes:
        matchers: Conditions on labels.
        filters: Conditions on the line.
    """

    matchers: tuple[Matcher, ...] = ()
    filters: tuple[LineFilter, ...] = ()


class Condition(NamedTuple):
    """A condition in SQL.

    Attributes:
        text: With placeholders.
        values: Theirs, by name.
    """

    text: str
    values: dict[str, Any]


def read_selector(text: str) -> LogSelector:
    """Read a selector.

    Raises:
        QuerySyntaxError: It is none.
        UnsupportedQueryError: It goes on with what is not selecting: parsers, aggregations.

    Example:
        >>> read_selector('{level="ERROR"} |= "out of stock"').filters
        (LineFilter(op='|=', text='out of stock'),)
    """
    braces = _BRACES.match(text)
    if braces is None:
        if _AGGREGATE.match(text):
            raise UnsupportedQueryError(
                "aggregations of logs are asked for in SQL here: count them by /v1/sql", query=text
            )
        raise QuerySyntaxError("a selector begins with matchers in braces", query=text)
    selector = parse(braces[1])
    if not isinstance(selector, Selector):
        raise QuerySyntaxError("this is no selector", query=text)
    filters, place = [], braces.end()
    while found := _FILTER.match(text, place):
        filters.append(LineFilter(found[1], _unquoted(found[2], text)))
        place = found.end()
    if place < len(text):
        if _STAGE.match(text, place):
            raise UnsupportedQueryError(
                f"a selector here ends with filters of lines; {text[place:]!r} is none", query=text
            )
        raise QuerySyntaxError(f"unexpected {text[place : place + 20]!r}", query=text)
    for one in filters:
        fault = regex_fault(one.text) if one.op in ("|~", "!~") else ""
        if fault:
            raise QuerySyntaxError(f"error parsing regexp: {fault}", query=text)
    return LogSelector(selector.matchers, tuple(filters))


def _unquoted(quoted: str, text: str) -> str:
    # As the value of a matcher, so that one reader knows all escapes; the other one is for strings
    # that are empty, as a selector has to have one condition that is not.
    selector = parse(f'{{line={quoted},also="x"}}')
    if not isinstance(selector, Selector):
        raise QuerySyntaxError("this is no string", query=text)
    return selector.matchers[0].value


def column_of(label: str, columns: Sequence[str]) -> str | None:
    """The column of a label, whether it is written with dots or without a prefix; None for none.

    Example:
        >>> column_of("http.route", ["body", "attr_http_route"])
        'attr_http_route'
    """
    plain = _OUTSIDE.sub("_", label.lower())
    names = (_NAMED.get(plain, plain), *(before + plain for before in _PREFIXES))
    return next((name for name in names if name in columns), None)


def condition_of(selector: LogSelector, schema: Any, line: str) -> Condition:
    """A selector as a condition.

    Args:
        selector: What is selected.
        schema: Of the table, as Arrow has it.
        line: Which column filters of lines look at.
    """
    texts, values = ["true"], dict[str, Any]()
    for place, matcher in enumerate(selector.matchers):
        column = column_of(matcher.name, schema.names)
        if column is None:
            texts.append("true" if _holds_for_nothing(matcher) else "false")
            continue
        texts.append(_matched(matcher, _text(column, schema), f"$m{place}"))
        pattern = matcher.op in ("=~", "!~")
        values[f"m{place}"] = f"^(?s:{matcher.value})$" if pattern else matcher.value
    for place, one in enumerate(selector.filters):
        name = f"$f{place}"
        found = (
            f"contains({_text(line, schema)}, {name})"
            if one.op in ("|=", "!=")
            else f"regexp_like({_text(line, schema)}, {name})"
        )
        texts.append(found if one.op[0] == "|" else f"NOT coalesce({found}, false)")
        values[f"f{place}"] = one.text
    return Condition(" AND ".join(texts), values)


def _text(column: str, schema: Any) -> str:
    named = f'"{column}"'
    return named if schema.field(column).type == pa.string() else f"CAST({named} AS VARCHAR)"


def _matched(matcher: Matcher, text: str, name: str) -> str:
    match matcher.op:
        case "=":
            return f"{text} = {name}" if matcher.value else f"coalesce({text}, '') = {name}"
        case "!=":
            return f"coalesce({text}, '') <> {name}"
        case "=~":
            return f"regexp_like(coalesce({text}, ''), {name})"
    return f"NOT regexp_like(coalesce({text}, ''), {name})"


def _holds_for_nothing(matcher: Matcher) -> bool:
    """Whether a row without the label meets a condition on it."""
    if matcher.op in ("=", "!="):
        return (matcher.value == "") == (matcher.op == "=")
    pattern = f"^(?s:{matcher.value})$"
    found = bool(pc.match_substring_regex(pa.array([""]), pattern)[0].as_py())
    return found == (matcher.op == "=~")


class Window(NamedTuple):
    """A time range, in nanoseconds since the epoch; its end is not in it."""

    start: int
    end: int

    def step_seconds(self) -> int:
        """How often to evaluate over so long a time.

        Example:
            >>> Window(0, 3600 * 10**9).step_seconds(), Window(0, 90 * 3600 * 10**9).step_seconds()
            (10, 3600)
        """
        minutes = (self.end - self.start) / (60 * NANOS)
        return next((step for most, step in _STEPS if minutes <= most), _LONGEST_STEP)


class Selected(NamedTuple):
    """Rows of a table that a question selects: what is behind `FROM`."""

    visit: Visit
    schema: Any
    clause: str
    settings: dict[str, Any]

    def ask(self, columns: str, rest: str = "") -> Result:
        """Ask for columns of them."""
        sql = f"SELECT {columns} {self.clause} {rest}"
        self.visit.account.query = sql
        return self.visit.lake.sql(sql, timeout=self.visit.seconds, **self.settings)


def select(visit: Visit, table: str, text: str, window: Window) -> Selected:
    """The rows of a table that a selector selects; all of them, if it is empty.

    Raises:
        QuerySyntaxError: It is none.
        UnsupportedQueryError: It does more than select.
    """
    selector = read_selector(text) if text.strip() else LogSelector()
    schema = visit.lake.sql(f"SELECT * FROM {table}").schema  # noqa: S608 - one of ours
    condition = condition_of(selector, schema, LINES[table])
    times = {"start": isoformat(window.start), "end": isoformat(window.end)}
    clause = f"FROM {table} WHERE {condition.text}"
    return Selected(visit, schema, clause, {"params": condition.values, **times})


def tag_columns(schema: Any) -> list[str]:
    """The columns of a table that are shown as tags."""
    return [
        field.name
        for field in schema
        if field.name not in _NO_TAGS and not pa.types.is_nested(field.type)
    ]


def row_objects(batch: Any, columns: list[str]) -> Any:
    """Rows as JSON: their times, and tags as text, without those that are NULL."""
    nanoseconds = batch["timestamp"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    milliseconds = pc.divide(nanoseconds, NANOS // 1000)
    parts: list[Any] = []
    for name in columns:
        head = f',"{SHOWN.get(name, name)}":'
        shown = pc.binary_join_element_wise(head, json_values(text(batch[name])), "")
        parts.append(pc.if_else(pc.is_valid(batch[name]), shown, ""))
    inside = pc.binary_join_element_wise(*parts, "") if parts else pa.array([""] * len(batch))
    return pc.binary_join_element_wise(
        '{"timestamp":', milliseconds.cast(pa.string()),
        ',"timestamp_ns":', nanoseconds.cast(pa.string()),
        ',"tags":{', pc.utf8_slice_codeunits(inside, 1), "}}", "",
    )  # fmt: skip


def value_objects(values: Any) -> Any:
    """Values as JSON."""
    return pc.binary_join_element_wise('{"value":', json_values(values), "}", "")
