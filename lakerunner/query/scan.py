"""Columns of a table in order, for languages that do their own reckoning over them.

A `ScanQuery` is planned, pruned, explained and limited like any other query. It is made of values,
and what it asks DataFusion is written here alone, so no language needs to know of SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.compute.predicates import escape_like
from lakerunner.compute.scans import Scan
from lakerunner.errors import UnsupportedQueryError
from lakerunner.model.predicate import (
    EVERYTHING,
    And,
    Compare,
    Contains,
    HasWord,
    IsIn,
    Like,
    Matches,
    NotNull,
    Opaque,
    Or,
    StartsWith,
)
from lakerunner.model.times import MAX_NS, MIN_NS, TimeRange
from lakerunner.query.query import Mention, Query
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import table_spec
from lakerunner.schema.words import word_pattern

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lakerunner.compute.table import Table
    from lakerunner.compute.wire import Plan, QuerySession
    from lakerunner.model.predicate import Predicate, Value

_ALL = TimeRange()
_TIME = "arrow_cast({}, 'Timestamp(Nanosecond, Some(\"UTC\"))')"
_NOWHERE = "CAST(NULL AS VARCHAR)"


class ScanQuery(Query):
    """The rows of a table that satisfy a condition, as columns in an order.

    A column that nobody ever sent is NULL in every row, as text, and no error: languages ask for
    labels that there may be. Values are compared as what they are; a number and a text are compared
    as SQL does it.

    Args:
        table: Which table.
        columns: Names of columns, which come in this order.
        where: Rows for which this is true are wanted; without `Opaque` parts. Times in it are
            nanoseconds since the epoch.
        time_range: Of `timestamp`, half-open.
        order: Columns by which rows come, ascending, NULLs last; any of the table. None for the
            order in which they are found.
        descending: The other way round, NULLs first.
        limit: Rows at most.
        distinct: Each row once.

    Raises:
        ConfigurationError: There is no such table.
        UnsupportedQueryError: Part of `where` is `Opaque`.

    Example:
        >>> ScanQuery("logs", ["timestamp", "body"], Compare("level", "=", "ERROR")).text
        'scan of logs (timestamp, body)'
    """

    def __init__(
        self,
        table: str,
        columns: Sequence[str],
        where: Predicate = EVERYTHING,
        time_range: TimeRange = _ALL,
        *,
        order: Sequence[str] = (),
        descending: bool = False,
        limit: int | None = None,
        distinct: bool = False,
    ) -> None:
        self._table = table_spec(table)
        self._columns = tuple(dict.fromkeys(columns))
        self._where = And((where, *_within(time_range)))
        self._order = tuple(order)
        self._descending = descending
        self._limit = limit
        self._distinct = distinct
        named = {*self._columns, *self._order, *_columns_of(self._where)}
        self.text = f"scan of {table} ({', '.join(self._columns)})"
        self.mention = Mention(frozenset({table, *named}), clock=False, describes=False)

    def needs(self) -> Sequence[Scan]:
        """What it was made of."""
        filtered = _columns_of(self._where)
        columns = {*self._columns, *self._order, *filtered}
        limited = self._limit is not None
        return [
            Scan(
                *(self._table.name, self._where, (*columns,), (*sorted(filtered),)),
                limited=limited and not self._distinct,
                aggregated=self._distinct,
            )
        ]

    def build(self, session: QuerySession, tables: Sequence[Table]) -> Plan:
        """Plan it over the columns that there are."""
        (mine,) = (one for one in tables if one.name == self._table.name)
        return session.plan(self.sql({*mine.schema.names, *mine.computed}), tables)

    def sql(self, known: Collection[str]) -> str:
        """The scan as DataFusion understands it.

        Args:
            known: Columns that there are.

        Example:
            >>> ScanQuery("logs", ["body"], NotNull("body"), limit=3).sql({"body"})
            'SELECT "body" FROM "logs" WHERE ("body" IS NOT NULL AND TRUE) LIMIT 3'
        """
        said = _Text(known, {field.name for field in self._table.schema if field.type == TIMESTAMP})
        columns = [
            said.column(name) if name in known else f"{_NOWHERE} AS {_quoted(name)}"
            for name in self._columns
        ]
        text = " ".join(
            [
                *("SELECT DISTINCT" if self._distinct else "SELECT", ", ".join(columns)),
                *("FROM", _quoted(self._table.name)),
                *("WHERE", said.condition(self._where)),
            ]
        )
        if self._order:
            way = "DESC NULLS FIRST" if self._descending else "ASC NULLS LAST"
            text += f" ORDER BY {', '.join(f'{said.column(name)} {way}' for name in self._order)}"
        return text if self._limit is None else f"{text} LIMIT {self._limit}"


def _within(time_range: TimeRange) -> list[Predicate]:
    parts: list[Predicate] = []
    if time_range.start_ns > MIN_NS:
        parts.append(Compare("timestamp", ">=", time_range.start_ns))
    if time_range.end_ns < MAX_NS:
        parts.append(Compare("timestamp", "<", time_range.end_ns))
    return parts or [EVERYTHING]


def _columns_of(predicate: Predicate) -> set[str]:
    if isinstance(predicate, And | Or):
        return {name for part in predicate.parts for name in _columns_of(part)}
    if isinstance(predicate, Opaque):
        raise UnsupportedQueryError(f"a scan cannot judge {predicate.text!r}")
    return {predicate.column}


class _Text:
    """Writes conditions as SQL text.

    Args:
        known: Columns that there are.
        times: Those that are times.
    """

    def __init__(self, known: Collection[str], times: Collection[str]) -> None:
        self._known = known
        self._times = times

    def column(self, name: str) -> str:
        return _quoted(name) if name in self._known else _NOWHERE

    def condition(self, predicate: Predicate) -> str:
        if isinstance(predicate, And | Or):
            word, nothing = (" AND ", "TRUE") if isinstance(predicate, And) else (" OR ", "FALSE")
            parts = [self.condition(part) for part in predicate.parts]
            return f"({word.join(parts)})" if parts else nothing
        if isinstance(predicate, Opaque):
            raise UnsupportedQueryError(f"a scan cannot judge {predicate.text!r}")
        column = self.column(predicate.column)
        if isinstance(predicate, NotNull):
            return f"{column} IS NOT NULL"
        if isinstance(predicate, StartsWith):
            return f"{column} LIKE {_literal(escape_like(predicate.prefix) + '%')}"
        if isinstance(predicate, Contains | Like | Matches | HasWord):
            return _search(column, predicate)
        if isinstance(predicate, IsIn):
            values = [self._value(predicate.column, value) for value in predicate.values]
            return f"{column} IN ({', '.join(values)})" if values else "FALSE"
        value = self._value(predicate.column, predicate.value)
        return f"{column} {predicate.operator} {value}"

    def _value(self, column: str, value: Value) -> str:
        text = _literal(value)
        return _TIME.format(text) if column in self._times else text


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"CAST('{value!r}' AS DOUBLE)"
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


def _search(column: str, predicate: Contains | Like | Matches | HasWord) -> str:
    if isinstance(predicate, HasWord):
        pattern = word_pattern(predicate.word)
        # All of no words are in every text.
        return f"{column} IS NOT NULL" if pattern is None else f"{column} ~ {_literal(pattern)}"
    if isinstance(predicate, Contains):
        said = "NOT " if predicate.negated else ""
        return f"{said}contains({column}, {_literal(predicate.text)})"
    said = "NOT " if predicate.negated else ""
    if isinstance(predicate, Like):
        word = "ILIKE" if predicate.any_case else "LIKE"
        return f"{column} {said}{word} {_literal(predicate.pattern)}"
    operator = "!~" if predicate.negated else "~"
    return f"{column} {operator}{'*' * predicate.any_case} {_literal(predicate.pattern)}"


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
