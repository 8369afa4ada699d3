"""The query engine: a query in, in SQL or otherwise, and a result or an explanation out."""

from __future__ import annotations

from functools import partial
from time import time_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from lakerunner.compute.hazards import is_heavy_text
from lakerunner.discretion import Discretion
from lakerunner.errors import ConfigurationError
from lakerunner.limits import INLINE_PAIRS
from lakerunner.model.config import read_config
from lakerunner.model.predicate import EVERYTHING
from lakerunner.model.profile import check_organization
from lakerunner.model.times import TimeRange
from lakerunner.policies.retention import read_retention
from lakerunner.query.backing import Backing
from lakerunner.query.cursor import query_digest, read_cursor
from lakerunner.query.discovery import Discovery
from lakerunner.query.explanation import Explanation
from lakerunner.query.fanout import FanOut
from lakerunner.query.hiding import Hiding, hiding, read_condition, with_deletions
from lakerunner.query.plan import Planner
from lakerunner.query.promql import answering
from lakerunner.query.promql.grid import read_grid
from lakerunner.query.promql.source import reader_of
from lakerunner.query.result import Result
from lakerunner.query.scan import ScanQuery
from lakerunner.query.sql.query import read_sql
from lakerunner.query.traces.trace import Trace, find_trace
from lakerunner.schema.tables import TABLES, table_spec
from lakerunner.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from lakerunner.catalog.base import Catalog
    from lakerunner.compute.segment_files import SegmentFiles
    from lakerunner.compute.turns import Allowance
    from lakerunner.compute.wire import QuerySession
    from lakerunner.model.commit import ColumnSummary, Snapshot
    from lakerunner.model.config import Config
    from lakerunner.model.predicate import Predicate
    from lakerunner.model.times import TimeLike
    from lakerunner.query.cursor import Position
    from lakerunner.query.drafts import Drafts
    from lakerunner.query.plan import QueryPlan
    from lakerunner.query.promql.answering import SampleResult
    from lakerunner.query.promql.grid import StepLike
    from lakerunner.query.promql.source import Reader
    from lakerunner.query.query import Query
    from lakerunner.query.result import TableResult
    from lakerunner.query.sql.params import Params
    from lakerunner.store.base import ObjectStore


_ALL_TIME = TimeRange()
_NOW: Mapping[str, Snapshot] = MappingProxyType({})
_TABLES = frozenset(name for spec in TABLES.values() for name in (spec.name, *spec.aliases))


class QueryEngine:
    """Answers SQL over the segments of one organization.

    Tables are `logs`, `spans` and `metrics`. A query sees the state of each table as it was when it
    was planned. It may only read, and only these tables: files, other organizations' rows and
    settings are out of its reach. May be used from several threads at once.

    Args:
        store: Where the segments are.
        catalog: Which segments there are.
        organization: Whose rows are seen.
        config: Settings; those whose names start with `query_` are used here.
        isolation: Where queries run; overrides the setting `query_isolation`.
        backing: What it shares with another engine; see `for_organization`.
        discretion: What its messages do not say.
        executor: Does parts of large queries; see `lakerunner.query.fanout`.

    Raises:
        ConfigurationError: A setting is unknown or wrong, or `organization` can be no
            organization's name.

    Example:
        >>> from lakerunner.catalog import open_catalog
        >>> from lakerunner.store import open_store
        >>> with QueryEngine(open_store("memory://"), open_catalog("memory://")) as engine:
        ...     engine.sql("SELECT count(*) AS rows FROM logs").to_arrow().to_pylist()
        [{'rows': 0}]
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        organization: str = "default",
        config: Config | Mapping[str, Any] | None = None,
        *,
        isolation: Literal["auto", "process", "thread"] | None = None,
        backing: Backing | None = None,
        discretion: Discretion | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._organization = check_organization(organization)
        self._config = read_config(config)
        self._rules = read_retention(self._config)
        if isolation is not None:
            self._config = read_config(
                {**msgspec.structs.asdict(self._config), "query_isolation": isolation}
            )
        self._backing = Backing(store, self._config) if backing is None else backing
        self._borrows = backing is not None
        self._discretion = Discretion() if discretion is None else discretion
        self._executor = executor

    def sql(
        self,
        text: str,
        *,
        params: Params | None = None,
        tables: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        timeout: float | None = None,
        time_range: TimeRange = _ALL_TIME,
    ) -> Result:
        """Plan a query. It runs when the result is consumed.

        Args:
            text: One SQL statement, in the dialect of DataFusion.
            params: Values for its placeholders: a sequence for `$1`, `$2` or `?`, a mapping for
                `$name`; see `lakerunner.query.sql.params`.
            tables: Tables of the caller by name, to be joined with those of the lake: data frames,
                or whatever else is an Arrow stream.
            limit: Rows at most.
            cursor: What `Result.cursor` said of the same query: go on behind the rows of that
                page. Rows that came since are returned if they come behind it in the order of the
                query.
            timeout: Seconds that planning and each run of it may take, its waits for other queries
                included; the time between two batches that the caller takes does not count. By
                default what the setting `query_timeout` says.
            time_range: Only rows of this time are seen, of every table of the lake.

        Raises:
            QuerySyntaxError: The text cannot be parsed, its types do not fit, or it names a table
                or a column that is not there; the message says what is.
            UnsupportedQueryError: It would do more than read, or cannot be answered, or its rows
                have no order that a cursor could go on with.
            CursorError: The cursor is none, or of another query.
            ConfigurationError: The limit is negative, or the timeout not above 0.
            QueryTimeoutError: Planning took longer than it may.
            QueryBusyError: Too many queries are running.
            QueryLimitError: It needs more memory than it may have already while it is planned.
            ForkedProcessError: This process was forked from one that had run queries.
            CatalogUnavailableError: The catalog cannot be read.
        """
        if limit is not None and limit < 0:
            raise ConfigurationError("limit must not be negative", setting="limit")
        query = read_sql(text, params, now_ns=time_ns(), limit=limit, tables=tables)
        query.times = time_range
        identity = query_digest(self._organization, query.text, query.values)
        after = None if cursor is None else read_cursor(cursor, identity)
        return self._result(query, timeout, after, identity)

    def outline(self, text: str) -> QueryPlan:
        """Plan SQL and do not run it: which segments of which state it needs.

        Raises:
            QueryError: As for `sql`.
            CatalogUnavailableError: The catalog cannot be read.
        """
        query = read_sql(text, now_ns=time_ns())
        query.whole = True
        allowance = self._backing.allowance(self._organization, None, query.text)
        with self._discretion.applied():
            return self._plan(query, allowance)[0]

    def scan(
        self,
        table: str,
        columns: Sequence[str],
        where: Predicate = EVERYTHING,
        time_range: TimeRange = _ALL_TIME,
        *,
        order: Sequence[str] = (),
        descending: bool = False,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Read columns of a table, pruned as any query is; see `lakerunner.query.scan.ScanQuery`.

        Raises:
            ConfigurationError: There is no such table.
            QueryError: As for `sql`.
            CatalogUnavailableError: The catalog cannot be read.

        Example:
            >>> from lakerunner.catalog import open_catalog
            >>> from lakerunner.store import open_store
            >>> with QueryEngine(open_store("memory://"), open_catalog("memory://")) as engine:
            ...     engine.scan("logs", ["body"], order=["timestamp"]).to_arrow().num_rows
            0
        """
        query = ScanQuery(
            table, columns, where, time_range, order=order, descending=descending, limit=limit
        )
        return self.run(query, timeout=timeout)

    def run(
        self,
        query: Query,
        *,
        timeout: float | None = None,
        after: Position | None = None,
        identity: str = "",
        states: Mapping[str, Snapshot] = _NOW,
    ) -> Result:
        """Plan a query of any language. It runs when the result is consumed.

        Args:
            query: What a front end made.
            timeout: As for `sql`.
            after: Only rows behind this place, for a query of first rows in an order of time.
            identity: Whose cursors say such places.
            states: By table, the state that it sees, for several queries that must see the same;
                otherwise it is that of now.

        Raises:
            QueryError: As for `sql`.
            CatalogUnavailableError: The catalog cannot be read.
        """
        return self._result(query, timeout, after, identity, states)

    def _result(
        self,
        query: Query,
        timeout: float | None = None,
        after: Position | None = None,
        identity: str = "",
        states: Mapping[str, Snapshot] = _NOW,
    ) -> Result:
        if timeout is not None and not timeout > 0:
            raise ConfigurationError("timeout must be more than 0 seconds", setting="timeout")
        allowance = self._backing.allowance(self._organization, timeout, query.text)
        with self._discretion.applied():
            plan, _, files = self._plan(query, allowance, after, states)
            plan = self._spread(plan, query)
        # Of a query whose rows go to the caller; what languages read inside is not returned.
        most = self._config.query_max_rows if identity else None
        return Result(plan, files, allowance, self._discretion, identity, most)

    def _spread(self, plan: QueryPlan, query: Query) -> QueryPlan:
        where = self._store, self._config, self._backing.session
        return plan if self._executor is None else FanOut(self._executor, *where).over(plan, query)

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

        Times are taken to the millisecond. See the reference page on PromQL for how
        OpenTelemetry's metrics are called and what differs.

        Args:
            text: The expression.
            time: Evaluate at this time only; now if there is no range either.
            start: Evaluate from here …
            end: … to here, both included …
            step: … every so often: seconds, a `timedelta` or text such as `"30s"`.
            lookback: How old a sample may be that an instant selector still sees; 5 minutes.
            timeout: Seconds that all of it may take; by default what `query_timeout` says.

        Returns:
            One row for each sample; see `SampleResult`.

        Raises:
            QuerySyntaxError: The text cannot be read; the message begins with line and column.
            ConfigurationError: The times contradict each other, or a step is not above 0.
            QueryExecutionError: It cannot be evaluated, as where many series match many.
            QueryLimitError: It has too many steps, or reads too many samples.
        """
        grid = read_grid(time, start, end, step, lookback, time_ns())
        return answering.answer(text, grid, self._metrics(timeout, text))

    def explain_promql(
        self,
        text: str,
        *,
        time: TimeLike | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        step: StepLike | None = None,
    ) -> Explanation:
        """Say which segments the selectors of a PromQL expression read, and why; see `promql`."""
        grid = read_grid(time, start, end, step, None, time_ns())
        return answering.explain(text, grid, self._metrics())

    def trace(self, trace_id: str, time_range: TimeRange = _ALL_TIME) -> Trace:
        """All spans of a trace that begin in a time range, in tree order; see `Trace`.

        Args:
            trace_id: As hex digits, upper or lower case.
            time_range: Where to look; the narrower, the less is looked at.

        Raises:
            ConfigurationError: The id is empty.
            QueryError: As for `sql`.
            CatalogUnavailableError: The catalog cannot be read.
        """

        def known(table: str) -> Mapping[str, ColumnSummary]:
            return self._catalog.snapshot(self._organization, table).columns

        return find_trace(trace_id, known, partial(self.scan, time_range=time_range))

    def discovery(self) -> Discovery:
        """What there is to ask about: tables, columns, services, values; see `Discovery`."""

        def hides(table: str, snapshot: Snapshot) -> Hiding:
            expired = hiding(self._organization, self._rules, [table])[table]
            place = self._catalog, self._organization, table
            return with_deletions(expired, *place, snapshot.sequence)

        return Discovery(self._catalog, self._organization, self.run, hides)

    def metrics(self, time_range: TimeRange = _ALL_TIME) -> TableResult:
        """The metrics there are: names in PromQL and as sent, types, units, descriptions."""
        return answering.describe_metrics(self._metrics(), time_range)

    def series(
        self,
        matchers: Sequence[str] = (),
        time_range: TimeRange = _ALL_TIME,
        *,
        bounds: bool = True,
    ) -> TableResult:
        """The series of metrics that there are, by their labels in PromQL; see `find_series`."""
        return answering.find_series(matchers, time_range, self._metrics(), bounds=bounds)

    def exemplars(self, text: str, time_range: TimeRange = _ALL_TIME) -> TableResult:
        """The exemplars of the series of a PromQL expression; see `find_exemplars`."""
        return answering.find_exemplars(text, time_range, self._metrics())

    def _metrics(self, timeout: float | None = None, text: str = "") -> Reader:
        return reader_of(
            *(self._catalog, self._organization, self._config),
            lambda query, states: self.run(query, timeout=timeout, states=states),
            lambda query, states: self._explain(query, states=states),
            self._backing.allowance(self._organization, timeout, text),
            self._backing.streams,
        )

    def explain(
        self,
        query: str | Query,
        *,
        params: Params | None = None,
        analyze: bool = False,
        time_range: TimeRange = _ALL_TIME,
    ) -> Explanation:
        """Say how a query would be answered: every segment, kept or dropped and why, and the plan.

        Opens the footers of the segments that are kept, and nothing else. Unlike `sql` it looks at
        every segment in the catalog, also at those that lie outside the query's time range.

        Args:
            query: SQL text, or what a front end made.
            params: Values for the placeholders of a text.
            analyze: Run it, too: `Explanation.actual` says what it took. Its rows are not kept.
            time_range: As for `sql`.

        Raises:
            QueryError: As for `sql`, or the file of a segment is missing.
            CatalogUnavailableError: The catalog cannot be read.
        """
        with self._discretion.applied():
            if isinstance(query, str):
                query = read_sql(query, params, now_ns=time_ns())
                query.times = time_range
            return self._explain(query, analyze=analyze)

    def _explain(
        self, asked: Query, *, analyze: bool = False, states: Mapping[str, Snapshot] = _NOW
    ) -> Explanation:
        allowance = self._backing.allowance(self._organization, None, asked.text)
        plan, planner, files = self._plan(asked, allowance, states=states)
        plan = self._spread(plan, asked)
        verdicts = planner.verdicts(plan)
        with files.held(plan.segments):
            physical = self._discretion.kept_from(plan.physical_text())
        modes = {table.name: table.mode for table in plan.tables}
        actual = None
        if analyze:
            result = Result(plan, files, allowance, self._discretion)
            for _ in result:
                pass
            actual = result.stats
        return Explanation(asked.text, verdicts, modes, physical, actual)

    def _plan(
        self,
        query: Query,
        allowance: Allowance,
        after: Position | None = None,
        states: Mapping[str, Snapshot] = _NOW,
    ) -> tuple[QueryPlan, Planner, SegmentFiles]:
        isolation = self._config.query_isolation
        files = self._backing.files()
        heavy = is_heavy_text(query.text, query.mention.words, _TABLES)
        if isolation != "process" and not (heavy and isolation == "auto"):
            planner = self._planner(self._backing.session(), self._backing.drafts)
            with allowance.turn():
                plan = planner.plan(query, after, states)
                # A scan, or the first rows of a table, do not meet pairs of rows.
                simple = query.needs() is not None or plan.rounds is not None
                pairs = 0.0 if simple else plan.planned.pairs(plan.rows)
            if isolation != "auto" or pairs <= INLINE_PAIRS:
                allowance.left()
                brief = not (heavy or pairs or "over" in query.mention.words)
                return plan._replace(brief=brief), planner, files
        remote = self._backing.worker_session(allowance)
        planner = self._planner(remote)
        return planner.plan(query, after, states), planner, files

    def _planner(self, session: QuerySession, drafts: Drafts | None = None) -> Planner:
        files, filters = self._backing.files(), self._backing.filters
        scope = self._catalog, self._organization, self._rules
        return Planner(session, files, *scope, filters, drafts)

    def condition(self, table: str, where: str) -> dict[str, str]:
        """Read a condition that rows of a table shall be deleted by; see `query.deletable`.

        Returns:
            The types of the attributes that it speaks of, by column.

        Raises:
            QueryError: It cannot be read, or may not be used.
            ConfigurationError: There is no such table.
        """
        spec = table_spec(table)
        with self._discretion.applied():
            snapshot = self._catalog.snapshot(self._organization, spec.name)
            return read_condition(self._backing.session(), spec, snapshot, where)

    def for_organization(self, organization: str) -> QueryEngine:
        """An engine over the same lake for another organization.

        It shares memory, caches and local copies with this one, and costs next to nothing. To close
        it does nothing; it can be used until this engine is closed. Its messages do not say where
        the lake lies.

        Raises:
            ConfigurationError: `organization` can be no organization's name.
        """
        scope = Scope(self._store, self._catalog, self._organization, self._config)
        return self.within(scope.of(organization))

    def within(self, scope: Scope) -> QueryEngine:
        """The same engine within another scope of the lake.

        It shares memory, caches and local copies with this one; see `for_organization`.
        """
        return QueryEngine(
            scope.store,
            scope.catalog,
            scope.organization,
            scope.config,
            backing=self._backing,
            discretion=scope.discretion(),
            executor=self._executor,
        )

    def close(self) -> None:
        """Give memory and local copies back. Results that are not consumed yet may fail then."""
        if not self._borrows:
            self._backing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"QueryEngine({self._store!r}, {self._catalog!r}, {self._organization!r})"
