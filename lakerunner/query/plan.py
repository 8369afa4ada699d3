"""From a query to the segments it needs: planned over no files, pruned, planned over the rest."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from lakerunner.compute.table import ScanMode, Table, Tally
from lakerunner.errors import (
    QueryError,
    QueryExecutionError,
    QuerySyntaxError,
    UnsupportedQueryError,
)
from lakerunner.limits import CLOCK_SLACK_NS, ROUND_ROWS
from lakerunner.model.times import TimeRange
from lakerunner.query.drafts import draft
from lakerunner.query.explanation import SegmentVerdict
from lakerunner.query.hiding import SEEN, Hiding, hiding, with_deletions
from lakerunner.query.newest import Rounds, begin, beyond, in_order
from lakerunner.query.prune import (
    Verdict,
    inexact_column,
    judge,
    may_match,
    rounded_columns,
    tally,
)
from lakerunner.query.query import refuse_unsent, with_own_columns
from lakerunner.query.scan_mode import choose_mode, hull, mode_at_distance, share, time_range, widen
from lakerunner.query.token_filters import Sought, rows_condition, wanted_sections
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lakerunner.catalog.base import Catalog
    from lakerunner.compute.first_rows import FirstRows
    from lakerunner.compute.scans import Scan
    from lakerunner.compute.segment_files import SegmentFiles
    from lakerunner.compute.wire import Plan, QuerySession, Runs
    from lakerunner.model.commit import Snapshot
    from lakerunner.model.predicate import Predicate
    from lakerunner.model.segment import Segment
    from lakerunner.policies.retention import RetentionRules
    from lakerunner.query.cursor import Position
    from lakerunner.query.drafts import Draft, Drafts
    from lakerunner.query.query import Mention, OwnColumn, Query
    from lakerunner.query.token_filters import FilterReader
    from lakerunner.query.views import View

_ATTEMPTS = 5

NO_CURSOR = (
    "a cursor goes on with the rows of one table in order of time: the query needs ORDER BY "
    "timestamp, or timestamp DESC, with nothing else in it, a LIMIT (or limit=), and no OFFSET"
)


class TablePlan(NamedTuple):
    """One table of a planned query.

    Attributes:
        name: Which.
        snapshot: Its state that the query sees.
        view: Its columns.
        predicates: One for each scan of it; a row is needed if any is true.
        segments: What is left of it, by (min timestamp, id).
        mode: How it is scanned.
        own: Attributes that the query calls by their own names.
        doubles: Columns that are read as doubles, though some segments have integers.
        columns: What is read of its files.
        hiding: What is not seen of its rows.
        sections: By segment, what its token filter says; see `query.token_filters`.
        filter_bytes: What was read of filters.
        counted: Ids of segments whose rows are counted by what the catalog knows of them.
    """

    name: str
    snapshot: Snapshot
    view: View
    predicates: tuple[Predicate, ...] = ()
    segments: tuple[Segment, ...] = ()
    mode: ScanMode = ScanMode.SWEEP
    own: tuple[OwnColumn, ...] = ()
    doubles: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()
    hiding: Hiding = SEEN
    sections: Mapping[str, int] = MappingProxyType({})
    filter_bytes: int = 0
    counted: frozenset[str] = frozenset()

    def verdict(self, segment: Segment) -> Verdict:
        """Whether the query needs a segment, and why."""
        verdict = self.described_verdict(segment)
        if segment.id in self.counted:
            return Verdict(keep=False, reason="the catalog knows how many rows have which value")
        if verdict.keep and self.sections.get(segment.id) == 0:
            return Verdict(keep=False, reason="its token filter excludes what is looked for")
        return verdict

    def needed(self, segments: Iterable[Segment]) -> tuple[Segment, ...]:
        """Those that the query needs as far as their descriptions say; see `described_verdict`."""
        if self.hiding.bounds:
            segments = [one for one in segments if not self.hiding.reason(one)]
        described = ((one, with_own_columns(one, self.own)) for one in segments)
        return tuple(
            one
            for one, known in described
            if any(may_match(predicate, known) for predicate in self.predicates)
        )

    def described_verdict(self, segment: Segment) -> Verdict:
        """Whether it does as far as the description of the segment says, and why."""
        if reason := self.hiding.reason(segment):
            return Verdict(keep=False, reason=reason)
        segment = with_own_columns(segment, self.own)
        verdicts = [judge(predicate, segment) for predicate in self.predicates]
        kept = next((one for one in verdicts if one.keep), None)
        if kept is not None:
            return kept
        reasons = dict.fromkeys(one.reason for one in verdicts)
        return Verdict(keep=False, reason=" and ".join(reasons) or "the query reads no row of it")


class QueryPlan(NamedTuple):
    """A query that is ready to run.

    Attributes:
        planned: The plan over the files.
        tables: What it reads.
        seconds: How long planning took.
        rounds: How it is answered from some of the segments, if it can be; `planned` is then the
            first of the plans.
        brief: It makes no more of its rows than there are, so over few files it is soon done.
        spread: The same in parts, for others to do; it is what runs, if there is any.
        at_home: Why there is none.
    """

    planned: Plan
    tables: tuple[TablePlan, ...]
    seconds: float
    rounds: Rounds | None = None
    brief: bool = False
    spread: Runs | None = None
    at_home: str = ""

    @property
    def schema(self) -> Any:
        """Arrow schema of its result."""
        return self.planned.schema if self.rounds is None else self.rounds.schema

    def physical_text(self) -> str:
        """The physical plan, below a line that says where it runs if there is a choice."""
        where = str(self.spread) if self.spread is not None else self.at_home
        return "\n".join(filter(None, [where, self.planned.physical_text()]))

    @property
    def columns(self) -> dict[str, frozenset[str]]:
        """What is read of the files of each table."""
        return {table.name: table.columns for table in self.tables}

    @property
    def rounded(self) -> tuple[str, ...]:
        """Columns of which integers may be read as the double next to them, by name."""
        found = (rounded_columns(one.columns, one.doubles, one.segments) for one in self.tables)
        return tuple(sorted(set().union(*found)))

    @property
    def segments(self) -> list[Segment]:
        """All segments it reads."""
        return [segment for table in self.tables for segment in table.segments]

    @property
    def rows(self) -> Mapping[str, int]:
        """Rows of the segments it reads, by table."""
        return {one.name: sum(part.rows for part in one.segments) for one in self.tables}


class Planner:
    """Plans queries for one organization. May be used from several threads at once.

    Args:
        session: Where queries are planned and run.
        files: Where their segments are.
        catalog: Which segments there are.
        organization: Whose rows are seen; no others ever are.
        rules: How long rows are kept: older ones are not seen, whether they are gone or not.
        filters: Reads the token filters of their segments.
        drafts: Those of the session, if it keeps any.
    """

    def __init__(
        self,
        session: QuerySession,
        files: SegmentFiles,
        catalog: Catalog,
        organization: str,
        rules: RetentionRules,
        filters: FilterReader,
        drafts: Drafts | None = None,
    ) -> None:
        self._session = session
        self._filters = filters
        self._files = files
        self._catalog = catalog
        self._organization = organization
        self._rules = rules
        self._draft = draft if drafts is None else drafts.of

    def plan(
        self, query: Query, after: Position | None, states: Mapping[str, Snapshot]
    ) -> QueryPlan:
        """Find out what a query needs, and plan it over just that.

        Args:
            query: What is asked.
            after: Only rows behind this place, in the order of a query for first rows.
            states: By table, the state that it sees; where it is not told, that of now.

        Raises:
            QuerySyntaxError: It cannot be parsed, or names what is not there.
            UnsupportedQueryError: It is understood and refused.
            CatalogUnavailableError: The catalog cannot be read.
        """
        started = time.perf_counter()
        snapshots = {
            name: states.get(name) or self._catalog.snapshot(self._organization, name)
            for name, spec in TABLES.items()
            if not query.mention.words.isdisjoint((name, *spec.aliases))
        }
        try:
            plan = self._plan_named(query, snapshots, after)
        except QueryError as error:
            raise query.explained(error, snapshots) from error
        return plan._replace(seconds=time.perf_counter() - started)

    def _plan_named(
        self, query: Query, snapshots: Mapping[str, Snapshot], after: Position | None
    ) -> QueryPlan:
        """Plan with what the query defines itself first: an attribute must not come in between."""
        mention = query.mention
        names = tuple(name for name in mention.names if name not in mention.aliases)
        try:
            return self._plan(query, mention._replace(names=names), snapshots, after)
        except QuerySyntaxError as error:
            if error.context.get("column") not in mention.aliases:
                raise
            return self._plan(query, mention, snapshots, after)

    def _plan(
        self,
        query: Query,
        mention: Mention,
        snapshots: Mapping[str, Snapshot],
        after: Position | None,
    ) -> QueryPlan:
        known = query.needs() is not None
        drafted = self._draft(query, mention, snapshots, self._session)
        views, scans, first, looked, _ = drafted
        slack_ns = CLOCK_SLACK_NS if mention.clock else 0
        expired = hiding(self._organization, self._rules, snapshots)
        hidden = {name: one._replace(wanted=query.times) for name, one in expired.items()}
        tables = tuple(
            self._prune(_unpruned(name, snapshot, views[name], hidden[name]), scans, slack_ns)
            for name, snapshot in snapshots.items()
        )
        tables = tuple(_without(one, query.without) for one in tables)
        rounds = self._rounds(query, tables, scans, first, after)
        if rounds is not None:
            return QueryPlan(rounds.plan, tables, 0.0, rounds)
        if after is not None:
            raise UnsupportedQueryError(NO_CURSOR, query=query.text)
        if looked is not None and not any(one.segments for one in tables) and not mention.clock:
            return QueryPlan(looked.mended(), tables, 0.0)
        if (tallied := self._tallied(query, tables, drafted)) is not None:
            return tallied
        for _ in range(_ATTEMPTS):
            planned = query.build(self._session, [table_of(one, self._files) for one in tables])
            if not mention.clock:
                return QueryPlan(planned if known else planned.mended(looked), tables, 0.0)
            # The clock went on since the first plan. This one is frozen; what it needs must be a
            # part of what was kept, and the slack sees to it that this is nearly always so.
            planned = planned.optimized()
            later = [self._prune(one, planned.scans(), slack_ns=0) for one in tables]
            if all(_ids(new) <= _ids(old) for old, new in zip(tables, later, strict=True)):
                return QueryPlan(planned.mended(), tables, 0.0)
            tables = tuple(map(_joined, tables, later))
        raise QueryExecutionError(
            "the time moves on faster than the query is planned", query=query.text
        )

    def _tallied(
        self, query: Query, tables: Sequence[TablePlan], drafted: Draft
    ) -> QueryPlan | None:
        """How to count rows by the values of a column without reading what the catalog knows."""
        column, looked = drafted.tallied, drafted.plan
        if column is None or looked is None or query.whole:
            return None
        (mine,) = (one for one in tables if one.name == drafted.scans[0].table)
        if column in mine.view.computed:
            return None
        whole = [one for one in mine.segments if not mine.hiding.of(one)]
        rows, counted = tally(column, whole)
        if not rows:
            return None
        rest = tuple(one for one in mine.segments if one.id not in counted)
        left = mine._replace(segments=rest, counted=counted)
        tables = tuple(left if one is mine else one for one in tables)
        given = [table_of(one, self._files) for one in tables]
        sums = Tally(column, tuple(rows.items()))
        planned = query.build(
            self._session,
            [one._replace(tally=sums) if one.name == mine.name else one for one in given],
        ).summed(looked, column)
        return None if planned is None else QueryPlan(planned, tables, 0.0)

    def _rounds(
        self,
        query: Query,
        tables: Sequence[TablePlan],
        scans: Sequence[Scan],
        first: FirstRows | None,
        after: Position | None,
    ) -> Rounds | None:
        """How to answer a query for first rows by time from some of its segments."""
        if first is None or first.rows > ROUND_ROWS:
            return None
        (mine,) = (one for one in tables if one.name == scans[0].table)
        if after is not None and not (first.ordered and first.only_time and not first.skip):
            return None
        others = [one._replace(segments=()) for one in tables if one.name != mine.name]

        def planned(segments: Sequence[Segment], times: TimeRange) -> Plan:
            table = table_of(mine._replace(segments=tuple(segments)), self._files)
            given = [table._replace(times=times), *(table_of(one, self._files) for one in others)]
            return query.build(self._session, given)

        def build(segments: Sequence[Segment], times: TimeRange, whole: bool) -> Plan:  # noqa: FBT001 - of a callable
            plan = planned(segments, times)
            return plan.whole() if whole else plan.ranked()

        segments = in_order(mine.segments, descending=first.descending or not first.ordered)
        likely = min((share(one, mine.segments) for one in mine.predicates), default=1.0)
        asked = mine.hiding.within(hull(map(time_range, mine.predicates)))
        span = beyond(after, descending=first.descending).overlap(asked)
        began, times = begin(segments, span, first, likely)
        plan = planned(began, times)
        found = plan.first_rows()
        if found is None or (found.ordered, found.only_time) != (first.ordered, first.only_time):
            return None
        ranked = plan.ranked()
        schema = ranked.schema if not found.ordered else _shown(plan.schema, ranked.schema, found)
        return Rounds(found, schema, segments, likely, build, began, times, ranked, after, span)

    def _prune(self, plan: TablePlan, scans: Sequence[Scan], slack_ns: int) -> TablePlan:
        mine = [scan for scan in scans if scan.table == plan.name]
        predicates = tuple(dict.fromkeys(widen(scan.predicate, slack_ns) for scan in mine))
        read = {column for scan in mine for column in scan.columns}
        read.update(column for own in plan.own for column in own.columns)
        columns = plan.columns | read
        plan = plan._replace(
            predicates=predicates, segments=(), mode=ScanMode.SWEEP, columns=columns
        )
        bounds = hull(map(time_range, predicates))
        if bounds.start_ns >= bounds.end_ns:
            return plan
        bounds = plan.hiding.within(bounds)
        if bounds.start_ns >= bounds.end_ns:
            return plan
        near = self._segments(plan, bounds)
        refuse_unsent(plan.own, near, lambda: self.all_segments(plan))
        _refuse_inexact(plan, near)
        kept = plan.needed(near)
        own = {one.name: one for one in plan.own}
        sought = Sought(predicates, TABLES[plan.name].texts, own)
        sections, filter_bytes = wanted_sections(sought, kept, self._filters)
        filter_bytes += plan.filter_bytes
        plan = plan._replace(sections=sections, filter_bytes=filter_bytes)
        kept = tuple(one for one in kept if sections.get(one.id) != 0)
        described = [with_own_columns(one, plan.own) for one in kept]
        plan = self._with_deletions(plan) if kept else plan
        columns |= plan.hiding.reads(kept)
        if rows_condition(kept, sections):
            columns |= {name for segment in kept for name in segment.sort}
        mode = choose_mode(mine, described)
        if mode is ScanMode.NEEDLE and all(map(self._files.is_distant, kept)):
            mode = mode_at_distance(kept, sections)
        return plan._replace(segments=kept, mode=mode, columns=columns)

    def _with_deletions(self, plan: TablePlan) -> TablePlan:
        sequence = plan.snapshot.sequence
        told = with_deletions(plan.hiding, self._catalog, self._organization, plan.name, sequence)
        return plan._replace(hiding=told)

    def _segments(self, plan: TablePlan, bounds: TimeRange) -> Sequence[Segment]:
        return self._catalog.segments(
            self._organization, plan.name, bounds, sequence=plan.snapshot.sequence
        )

    def all_segments(self, plan: TablePlan) -> Sequence[Segment]:
        """Every segment of a table that a query sees, needed or not."""
        return self._segments(plan, TimeRange())

    def verdicts(self, plan: QueryPlan) -> tuple[SegmentVerdict, ...]:
        """What became of every segment of its tables, and why."""
        found = []
        for table in plan.tables:
            kept = {segment.id for segment in table.segments}
            for segment in self.all_segments(table):
                reason = table.verdict(segment).reason
                found.append(SegmentVerdict(segment, keep=segment.id in kept, reason=reason))
        return tuple(found)


def table_of(plan: TablePlan, files: SegmentFiles) -> Table:
    """A table as it is scanned: the segments that are left of it, where they can be read.

    Args:
        plan: Of which there are any.
        files: Where its segments are.
    """
    within = rows_condition(plan.segments, plan.sections)
    return plan.view.table(plan.name, plan.segments, files, plan.mode, plan.hiding.of, within)


def _unpruned(name: str, snapshot: Snapshot, view: View, hiding: Hiding) -> TablePlan:
    doubles = frozenset(name for name, kind in view.mixed.items() if kind == "double")
    return TablePlan(name, snapshot, view, own=view.own, doubles=doubles, hiding=hiding)


def _refuse_inexact(plan: TablePlan, segments: Sequence[Segment]) -> None:
    """Look at all segments of the time range: pruning compares as doubles too."""
    doubles = plan.doubles | {
        one.name for one in plan.own if not plan.doubles.isdisjoint(one.columns)
    }
    described = (with_own_columns(one, plan.own) for one in segments)
    column = inexact_column(plan.predicates, doubles, described)
    if column is not None:
        raise UnsupportedQueryError(
            f"{column} is read as double, for some segments have fractions in it, and others "
            "integers beyond 2^53: of these a double is several at once, so a comparison with one "
            "is refused; compare with a number below 9007199254740992",
            column=column,
        )


def _shown(named: Any, typed: Any, first: FirstRows) -> Any:
    """The schema of an answer: named as the plan says it, of types that are known below it."""
    return pa.schema(
        [
            typed.field(place).with_name(name)
            for name, place in zip(named.names, first.places, strict=True)
        ]
    )


def _without(plan: TablePlan, ids: frozenset[str]) -> TablePlan:
    if not ids:
        return plan
    return plan._replace(segments=tuple(one for one in plan.segments if one.id not in ids))


def _ids(plan: TablePlan) -> set[str]:
    return {segment.id for segment in plan.segments}


def _joined(kept: TablePlan, later: TablePlan) -> TablePlan:
    by_id = {segment.id: segment for segment in (*kept.segments, *later.segments)}
    segments = sorted(by_id.values(), key=lambda one: (one.min_timestamp_ns, one.id))
    predicates = tuple(dict.fromkeys([*kept.predicates, *later.predicates]))
    # What one of both sees a reason to read is not excluded by the other.
    sections = {
        segment.id: kept.sections.get(segment.id, -1) | later.sections.get(segment.id, -1)
        for segment in segments
    }
    return kept._replace(
        segments=tuple(segments),
        predicates=predicates,
        sections=sections,
        filter_bytes=later.filter_bytes,
    )
