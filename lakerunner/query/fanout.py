"""Whether a query is dealt out to an executor, and how: its segments, in parts of like size."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lakerunner.compute.planned import PlannedQuery
from lakerunner.compute.splitting import NoSplitError
from lakerunner.limits import FANOUT_PARTS, FANOUT_ROUNDS
from lakerunner.model.predicate import EVERYTHING, And, Opaque, Or
from lakerunner.query.parts import Home, Packed, Part, Spread
from lakerunner.query.scan import ScanQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from lakerunner.compute.wire import QuerySession
    from lakerunner.model.config import Config
    from lakerunner.model.predicate import Predicate
    from lakerunner.query.plan import QueryPlan, TablePlan
    from lakerunner.query.query import Query
    from lakerunner.store.base import ObjectStore


_FETCHED = "filtered in parts, and the rest done here"


class FanOut(NamedTuple):
    """Who does parts of queries.

    Attributes:
        executor: Runs them; its workers must be able to reach the store.
        store: Where segments lie.
        config: Settings.
        session: The session of this process, where parts are put together.
    """

    executor: Executor
    store: ObjectStore
    config: Config
    session: Callable[[], QuerySession]

    def over(self, plan: QueryPlan, query: Query) -> QueryPlan:
        """The same plan, to be run in parts if that pays, and with the reason if it does not."""
        try:
            return plan._replace(spread=self._spread(plan, query))
        except NoSplitError as error:
            return plan._replace(at_home=f"here: {error}")

    def _spread(self, plan: QueryPlan, query: Query) -> Spread:
        most = self.config.query_fanout_bytes
        size = sum(one.bytes for one in plan.segments)
        if plan.rounds is not None:
            raise NoSplitError("few segments are opened for the first rows by time")
        if any(one.counted for one in plan.tables):
            raise NoSplitError("rows are counted by what the catalog knows of them")
        if len(plan.segments) < 2:  # noqa: PLR2004 - two parts at least
            raise NoSplitError("it reads one segment at most")
        if size < most:
            raise NoSplitError(f"{size:,} bytes of segments are fewer than query_fanout_bytes")
        context = getattr(self.executor, "_mp_context", None)
        if context is not None and context.get_start_method() == "fork":
            raise NoSplitError("forked processes cannot answer queries: take spawn or forkserver")
        planned = plan.planned
        if not isinstance(planned, PlannedQuery):
            raise NoSplitError("the query has a process of its own on this machine")
        if query.mention.clock:
            raise NoSplitError("workers might have another idea of the current time")
        try:
            split = planned.split
        except NoSplitError as error:
            return self._fetching(plan, planned, query, str(error))
        if not split.merges and most and not any(map(_selects, plan.tables)):
            raise NoSplitError("to send all rows takes as long as to read them")
        parts = self._parts(query, plan.tables)
        return Spread(self.executor, planned, parts, split.how)

    def _fetching(
        self, plan: QueryPlan, planned: PlannedQuery, query: Query, reason: str
    ) -> Spread:
        """Have workers read and filter the rows, and do all else with them here."""
        if any(one.view.named for one in plan.tables):
            raise NoSplitError(f"{reason}, and attributes go by their own names")
        if self.config.query_fanout_bytes and not any(map(_selects, plan.tables)):
            raise NoSplitError(f"{reason}, and nothing is filtered before")
        parts = [
            part
            for table in plan.tables
            for part in self._parts(_scan_of(table), [table], fetches=True)
        ]
        home = Home(query, plan.tables, self.session)
        return Spread(
            self.executor,
            planned,
            parts,
            f"filtered in parts, and the rest done here, for {reason}",
            home,
        )

    def _parts(
        self, query: Query, tables: Sequence[TablePlan], *, fetches: bool = False
    ) -> list[Packed]:
        workers = getattr(self.executor, "_max_workers", None)
        size = sum(segment.bytes for table in tables for segment in table.segments)
        count = -(-size // max(self.config.query_fanout_bytes // 2, 1))
        count = min(count, FANOUT_PARTS if workers is None else FANOUT_ROUNDS * workers)
        config = msgspec.structs.replace(
            self.config, query_threads=1, query_isolation="thread", query_cache_directory=None
        )
        found = []
        for dealt in deal(tables, count):
            part = Part(self.store, config, query, dealt, fetches)
            try:
                data = pickle.dumps(part)
            except Exception as error:
                raise NoSplitError(f"it cannot be sent to a worker: {error}") from error
            found.append(Packed(data, dealt[0].name))
        return found


def deal(tables: Sequence[TablePlan], count: int) -> list[tuple[TablePlan, ...]]:
    """Deal the segments of some tables out, so that all parts have about as many bytes.

    The same segments are dealt the same way each time.

    Args:
        tables: What a query reads.
        count: Parts at most.
    """
    every = [(segment, place) for place, one in enumerate(tables) for segment in one.segments]
    heaps: list[tuple[int, list[set[str]]]] = [
        (0, [set() for _ in tables]) for _ in range(max(1, min(count, len(every))))
    ]
    for segment, place in sorted(every, key=lambda one: (-one[0].bytes, one[0].id)):
        least = min(range(len(heaps)), key=lambda number: heaps[number][0])
        size, ids = heaps[least]
        ids[place].add(segment.id)
        heaps[least] = size + segment.bytes, ids
    return [tuple(map(_with, tables, ids)) for _, ids in heaps if any(ids)]


def _with(table: TablePlan, ids: set[str]) -> TablePlan:
    segments = tuple(one for one in table.segments if one.id in ids)
    sections = {one.id: table.sections[one.id] for one in segments if one.id in table.sections}
    view = table.view._replace(named=dict(table.view.named))
    hiding = table.hiding._replace(bounds=dict(table.hiding.bounds))
    return table._replace(segments=segments, sections=sections, view=view, hiding=hiding)


def _selects(table: TablePlan) -> bool:
    """Whether a query leaves rows of a table out by more than their time."""
    return bool(table.predicates) and not any(map(_takes_all, table.predicates))


def _takes_all(predicate: Predicate) -> bool:
    if isinstance(predicate, And):
        return all(map(_takes_all, predicate.parts))
    return getattr(predicate, "column", "") == "timestamp"


def _scan_of(table: TablePlan) -> ScanQuery:
    """What reads all rows of a table that a query can need, and their columns that it reads."""
    where = Or(tuple(map(_told, table.predicates)))
    read = [name for name in table.view.schema.names if name in table.columns]
    computed = [name for name in table.view.computed if name not in read]
    # Rows are counted by a column, whichever.
    return ScanQuery(table.name, [*read, *computed] or ["timestamp"], where)


def _told(predicate: Predicate) -> Predicate:
    """The same without what there are no words for: true for more rows."""
    if isinstance(predicate, And | Or):
        return type(predicate)(tuple(map(_told, predicate.parts)))
    return EVERYTHING if isinstance(predicate, Opaque) else predicate
