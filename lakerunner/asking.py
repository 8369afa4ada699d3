"""What a lake answers: SQL, PromQL, traces, and what there is to ask about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.catalog.past import open_past, present
from lakerunner.errors import ConfigurationError
from lakerunner.outside.reach import file_urls
from lakerunner.outside.spark import register_views, run_on
from lakerunner.scope import Closable, time_range

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pyiceberg.catalog import Catalog as IcebergCatalog

    from lakerunner.discretion import Discretion
    from lakerunner.model.commit import LakeSnapshot
    from lakerunner.model.times import TimeLike
    from lakerunner.outside.iceberg import IcebergTables
    from lakerunner.outside.spark import SparkViews
    from lakerunner.query import Explanation, QueryEngine, Result
    from lakerunner.query.promql.answering import SampleResult
    from lakerunner.query.promql.grid import StepLike
    from lakerunner.query.sql.params import Params
    from lakerunner.query.tail import Tail
    from lakerunner.query.traces import Trace
    from lakerunner.scope import Scope


class Asking(Closable):
    """The part of a `Lake` that answers questions. Safe across threads."""

    _discretion: Discretion
    _queries: QueryEngine
    _scope: Scope

    def sql(  # noqa: PLR0913 - the settings of the call, by keyword
        self,
        text: str,
        *,
        params: Params | None = None,
        tables: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        engine: Any = None,
    ) -> Result:
        """Ask in SQL. The query is planned now, and runs when its result is consumed.

        Args:
            text: One SQL statement that reads, in the dialect of DataFusion; the tables are `logs`,
                `spans`, `metrics` and `metrics_rollup`.
            params: Values for its placeholders: a sequence for `$1` or `?`, a mapping for `$name`.
            tables: Tables of the caller by name, to be joined with those of the lake: data frames,
                or whatever else is an Arrow stream. Nothing is found by the name of a variable.
            limit: Rows at most.
            cursor: Where a page of the same query ended: go on behind it; see `Result.cursor`.
            timeout: Seconds that planning and each run may take; else the setting `query_timeout`.
            start: Only rows of the lake's tables from then on …
            end: … and before then, as if each of them had a condition on `timestamp`.
            engine: A session of Spark Connect that answers it instead, from the files that are left
                by what the catalog knows of them; with it only `limit` may be given.

        Returns:
            Rows that are found while they are read, in no particular order unless it is asked for.

        Raises:
            QueryError: It cannot be parsed, names what is not there, would do more than read, or
                takes too long; see `QueryEngine.sql`.
            InvalidTimeError: `start` or `end` cannot be read, or `start` lies after `end`.
            ConfigurationError: The limit is negative, or the timeout not above 0.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/params")
            >>> _ = lake.ingest(b'{"message": "hello"}')
            >>> lake.sql("SELECT body FROM logs WHERE body = $1", params=["hello"]).scalar()
            'hello'
        """
        self._require_open("sql")
        settings = {"params": params, "tables": tables, "cursor": cursor, "timeout": timeout}
        if engine is not None:
            return self._sql_elsewhere(
                engine, text, limit, {**settings, "start": start, "end": end}
            )
        times = time_range(start, end)
        return self._queries.sql(text, limit=limit, time_range=times, **settings)  # type: ignore[arg-type] # each is what it is called

    def _sql_elsewhere(
        self, engine: Any, text: str, limit: int | None, given: Mapping[str, Any]
    ) -> Result:
        for name, value in given.items():
            if value is not None:
                raise ConfigurationError(f"{name} is not for another engine", setting=name)
        with self._discretion.applied():
            plan = self._queries.outline(text)
            return run_on(self._scope, engine, text, plan, limit=limit)

    def spark(
        self,
        session: Any,
        *,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        organization: str | None = None,
        prefix: str = "",
    ) -> SparkViews:
        """Register `logs`, `spans`, `metrics` and `metrics_rollup` as views of a Spark session.

        They show the lake as it is now, however it goes on, and read only files that may hold rows
        of the given times. Names and types are those of our SQL; times have microseconds, unsigned
        64-bit integers are decimals, and an attribute that lies in the overflow map of some file
        is read from there. Nothing of other organizations is named to the engine.

        Args:
            session: Of Spark Connect.
            start: Only rows from then on …
            end: … and before then.
            organization: Whose; by default the lake's own.
            prefix: Before the names of the views.

        Returns:
            The state of the lake they show, and the files and rows of each.

        Raises:
            InvalidTimeError: `start` or `end` cannot be read.
            ConfigurationError: The session is none, or the lake lies where no other process can
                read it, or rows are to be deleted and not gone yet: run `retain` first.
            QueryExecutionError: The engine cannot be reached, or cannot reach the files.
        """
        wanted = time_range(start, end)
        self._require_open("spark")
        scope = self._scope if organization is None else self._scope.of(organization)
        with scope.discretion().applied():
            owner = scope.organization if scope.bound else None
            snapshot = present(scope.catalog, owner)
            past = scope.over(open_past(scope.catalog, snapshot, owner))
            return register_views(past, session, wanted, snapshot, prefix)

    def iceberg(
        self,
        catalog: IcebergCatalog | Mapping[str, str],
        *,
        namespace: str | None = None,
        unsigned: bool = True,
    ) -> IcebergTables:
        """The tables of this lake in a catalog of Iceberg; `sync` brings them up to date.

        The files are the same: only metadata is written, and by this lake alone. Readers may do
        with the tables as they like, but not write to them. Times have microseconds there.

        Args:
            catalog: Of pyiceberg, or the properties of one.
            namespace: Where the tables are made; by default it is called as the organization.
            unsigned: Register unsigned 64-bit integers as `long`. Polars reads no table that has
                any; without them, histograms have no counts.

        Raises:
            MissingExtraError: pyiceberg is not installed.
            ConfigurationError: The lake lies in the memory of this process.
        """
        from lakerunner.outside.iceberg import IcebergTables  # noqa: PLC0415 - optional

        self._require_open("iceberg")
        scope = self._scope
        file_urls(scope.store, ())

        def state() -> tuple[LakeSnapshot, Scope]:
            snapshot = present(scope.catalog)
            return snapshot, scope.over(open_past(scope.catalog, snapshot))

        owner = f"{scope.store.url} {scope.organization}"
        name = scope.organization if namespace is None else namespace
        return IcebergTables(catalog, name, owner, state, unsigned=unsigned)

    def promql(
        self,
        text: str,
        *,
        time: TimeLike | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        step: StepLike | None = None,
        lookback: StepLike | None = None,
        timeout: float | None = None,
    ) -> SampleResult:
        """Evaluate a PromQL expression over the metrics, as Prometheus 3 does.

        Times are taken to the millisecond. The reference page on PromQL says how OpenTelemetry's
        metrics are called.

        Args:
            text: The expression.
            time: Evaluate at this time only; now if there is no range either.
            start: Evaluate from here …
            end: … to here, both included …
            step: … every so often: seconds, a `timedelta` or text such as `"30s"`.
            lookback: How old a sample may be that an instant selector still sees; 5 minutes.
            timeout: Seconds that each scan of the metrics may take.

        Returns:
            One row for each sample: a column for each label, `__name__` first, then `timestamp`,
            `value`, and `histogram` where a sample is one; see `SampleResult`.

        Raises:
            QuerySyntaxError: The text cannot be read; the message begins with line and column.
            ConfigurationError: The times contradict each other, or a step is not above 0.
            QueryExecutionError: It cannot be evaluated, as where many series match many.
            QueryLimitError: It has too many steps, or reads too many samples.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/promql")
            >>> lake.promql("1 + 1", time=0).to_arrow()["value"].to_pylist()
            [2.0]
        """
        self._require_open("promql")
        return self._queries.promql(
            text, time=time, start=start, end=end, step=step, lookback=lookback, timeout=timeout
        )

    def explain(
        self,
        text: str,
        *,
        language: str = "sql",
        params: Params | None = None,
        analyze: bool = False,
        time: TimeLike | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        step: StepLike | None = None,
    ) -> Explanation:
        """Say which segments a query would read, and why, without reading rows.

        Of each segment it says which filter keeps or drops it; of each table how it is scanned; and
        it has the engine's plan. It prints as text, and shows itself as a table in a notebook.

        Args:
            text: The query.
            language: `sql` or `promql`.
            params: Values for the placeholders of SQL.
            analyze: Run the SQL, too, and say what it took beside what was planned.
            time: When PromQL is evaluated; see `promql`.
            start: From when on, as for `sql` or `promql` …
            end: … until when.
            step: How often PromQL is evaluated.

        Returns:
            Verdicts on all live segments of the tables that the query names, and the plan.

        Raises:
            QueryError: It cannot be parsed, names what is not there, or would do more than read.
            InvalidTimeError: `start` or `end` cannot be read, or `start` lies after `end`.
            ConfigurationError: There is no such language.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/explain")
            >>> _ = lake.ingest(b'{"time": "2026-01-01T00:00:00Z", "message": "hello"}')
            >>> found = lake.explain("SELECT body FROM logs", start="2026-01-02")
            >>> len(found.kept), len(found.dropped)
            (0, 1)
        """
        self._require_open("explain")
        if analyze and language != "sql":
            raise ConfigurationError("analyze is for SQL", setting="analyze")
        if language == "promql":
            return self._queries.explain_promql(text, time=time, start=start, end=end, step=step)
        if language != "sql":
            raise ConfigurationError(
                f"no such language: {language!r}; there are sql and promql", language=language
            )
        return self._queries.explain(
            text, params=params, analyze=analyze, time_range=time_range(start, end)
        )

    def trace(
        self, trace_id: str, *, start: TimeLike | None = None, end: TimeLike | None = None
    ) -> Trace:
        """All spans of a trace, in tree order: a `Result` that prints as a waterfall.

        Segments that cannot have the trace are left out by what the catalog knows, so no time is
        needed; to give one spares looking at what the catalog knows of the others.

        Args:
            trace_id: As hex digits, upper or lower case.
            start: Only spans, and logs, from then on …
            end: … and before then.

        Returns:
            The spans, with a column `depth`, and their logs by `Trace.logs`.

        Raises:
            InvalidTimeError: `start` or `end` cannot be read, or `start` lies after `end`.
            ConfigurationError: The id is empty.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/trace")
            >>> lake.trace("d4cda95b652f4a1592b449d5929fda1b")
            no span of trace d4cda95b652f4a1592b449d5929fda1b
        """
        self._require_open("trace")
        return self._queries.trace(trace_id, time_range(start, end))

    def tail(
        self,
        table: str = "logs",
        where: str = "",
        *,
        columns: Sequence[str] = (),
        since: TimeLike | None = "now-1h",
    ) -> Tail:
        r"""New rows as they are committed, each once, whatever is merged or rewritten meanwhile.

        Args:
            table: Which.
            where: A condition in SQL that rows must meet.
            columns: Which columns; all of them if none is named.
            since: Rows of before this time are not shown, whenever they come; None for all.

        Returns:
            What yields pages of rows, each with a cursor that it can be gone on from, in another
            process too. Nothing is read before it is asked for.

        Raises:
            ConfigurationError: There is no such table.
            QueryError: The condition cannot be read, or may not be used.
            InvalidTimeError: `since` cannot be read.

        Example:
            >>> import lakerunner
            >>> lake = lakerunner.open("memory://doc/tail")
            >>> tail = lake.tail("logs", "body LIKE 'h%'", columns=["body"], since=None)
            >>> place = tail.start()
            >>> _ = lake.ingest(b'{"message": "hello"}\n{"message": "bye"}')
            >>> tail.next(place).rows.to_pylist()
            [{'body': 'hello'}]
        """
        from lakerunner.query.tail import Tail  # noqa: PLC0415 - of use to few

        self._require_open("tail")
        bounds = time_range(since, None)
        return Tail(self._scope, self._queries, table, where, columns, bounds.start_ns)
