"""What there is to ask a lake about: tables, columns, services, values, metrics, series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.scope import Closable, time_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.model.times import TimeLike
    from lakerunner.query import QueryEngine, Result
    from lakerunner.query.result import TableResult


class Discovering(Closable):
    """The part of a `Lake` that says what is in it. Safe across threads."""

    _queries: QueryEngine

    def tables(self) -> Result:
        """The tables, with their segments, rows, bytes and columns as the catalog knows them.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/tables")
            >>> _ = lake.ingest(b'{"message": "hello", "level": "warn"}')
            >>> lake.tables().head(1).select(["table", "segments", "rows"]).to_pylist()
            [{'table': 'logs', 'segments': 1, 'rows': 1}]
        """
        self._require_open("tables")
        return self._queries.discovery().tables()

    def describe(self, table: str) -> Result:
        """The columns of a table: those that it always has, then attributes.

        Args:
            table: `logs`, `spans`, `metrics` or `metrics_rollup`.

        Returns:
            `column`; `type`, under which it is read; `nulls`, rows in which it is NULL; `examples`,
            some of its values as text, where the catalog knows any; `key`, the attribute as it was
            sent; `of`, which is `resource`, `scope` or `record` of attributes; `types` that
            segments have; `segments` that have it.

        Raises:
            ConfigurationError: There is no such table.
        """
        self._require_open("describe")
        return self._queries.discovery().describe(table)

    def attributes(self, table: str) -> Result:
        """The attributes of a table, as they were sent and as SQL has them.

        Args:
            table: Which.

        Returns:
            The rows of `describe` whose `key` is not NULL, in order of their columns.

        Raises:
            ConfigurationError: There is no such table.
        """
        self._require_open("attributes")
        return self._queries.discovery().attributes(table)

    def services(self, start: TimeLike | None = None, end: TimeLike | None = None) -> Result:
        """The services that sent something in `[start, end)`.

        Args:
            start: From when on …
            end: … until when.

        Returns:
            `service`, in order, and `logs`, `spans` and `metrics`, which are true or false.

        Raises:
            InvalidTimeError: `start` or `end` cannot be read, or `start` lies after `end`.
        """
        self._require_open("services")
        return self._queries.discovery().services(time_range(start, end))

    def values(
        self,
        column: str,
        *,
        prefix: str | None = None,
        limit: int = 1000,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
    ) -> Result:
        """The distinct values of a column of any table in `[start, end)`, in order.

        They come from the catalog where it knows them, which is so of text with few values; only
        segments of which it does not, or which the time range cuts, are read.

        Args:
            column: A column, or the key of an attribute as it was sent.
            prefix: Only text that begins so.
            limit: How many at most.
            start: From when on …
            end: … until when.

        Returns:
            `value`, as text if the tables differ in its type.

        Raises:
            ConfigurationError: No table has such a column, a prefix is asked for of numbers, or the
                limit is below 1.
            InvalidTimeError: `start` or `end` cannot be read, or `start` lies after `end`.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/values")
            >>> _ = lake.ingest(b'{"message": "hello", "level": "warn"}')
            >>> lake.values("level").fetchall()
            [('WARN',)]
        """
        self._require_open("values")
        found = self._queries.discovery()
        return found.values(column, time_range(start, end), prefix, limit)

    def exemplars(
        self, text: str, *, start: TimeLike | None = None, end: TimeLike | None = None
    ) -> TableResult:
        """The exemplars of the series that a PromQL expression asks for: traces to look at.

        Args:
            text: The expression; its selectors count.
            start: From when on points are looked at.
            end: Until when; exclusive.

        Returns:
            One row each, in order of labels and time: a column for each label of the series, then
            `timestamp`, `value`, `trace_id`, `span_id`, and `attributes` as JSON.

        Raises:
            QuerySyntaxError: The text cannot be read.
            InvalidTimeError: `start` or `end` cannot be read.
        """
        self._require_open("exemplars")
        return self._queries.exemplars(text, time_range(start, end))

    def metrics(self, start: TimeLike | None = None, end: TimeLike | None = None) -> TableResult:
        """The metrics that have points in `[start, end)`.

        Args:
            start: From when on …
            end: … until when.

        Returns:
            `name` as PromQL has it, `metric_name` as it was sent, `type`, `unit`, `description`,
            `temporality` and `is_monotonic`, in order of `name`.

        Raises:
            InvalidTimeError: `start` or `end` cannot be read.
        """
        self._require_open("metrics")
        return self._queries.metrics(time_range(start, end))

    def series(
        self,
        matchers: str | Sequence[str] = (),
        *,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        bounds: bool = True,
    ) -> TableResult:
        """The series of metrics that have points in `[start, end)`.

        Args:
            matchers: A selector of PromQL, or several of which a series has to fulfil one; all
                series if there is none.
            start: From when on.
            end: Until when.
            bounds: Tell each bucket of a classic histogram and each quantile of a summary. Their
                points are read for it.

        Returns:
            One row a series, in order of labels: a column for each label, `__name__` first, NULL
            where a series lacks it.

        Raises:
            QuerySyntaxError: A text is no selector.
            InvalidTimeError: `start` or `end` cannot be read.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/series")
            >>> lake.series('up{job="api"}').to_arrow().num_rows
            0
        """
        self._require_open("series")
        wanted = (matchers,) if isinstance(matchers, str) else tuple(matchers)
        return self._queries.series(wanted, time_range(start, end), bounds=bounds)
