"""A planned query: what it scans, what it returns, and its runs."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa

from lakerunner.compute.failures import (
    cast_bounds_fault,
    planning_failures,
    quantified_fault,
    running_failures,
)
from lakerunner.compute.first_rows import FirstRowsPlan, find_first_rows
from lakerunner.compute.hazards import find_hazards, pairs
from lakerunner.compute.mended_plan import PlanMender, without_dynamic_filters
from lakerunner.compute.scans import find_scans, scanned_files
from lakerunner.compute.tallies import sums_tallies, tallied_column
from lakerunner.compute.turns import (
    Allowance,
    Pull,
    check_cancelled,
    drive,
    refuse_stopped,
)
from lakerunner.errors import UnsupportedQueryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence

    from datafusion import DataFrame, ExecutionPlan, LogicalPlan, SessionContext

    from lakerunner.compute.first_rows import FirstRows
    from lakerunner.compute.scans import Scan
    from lakerunner.compute.table import Table
    from lakerunner.compute.wire import Plan

# One run of a planned query: batches as they come, and what the scans have read.


class ScanMetrics(NamedTuple):
    """What the scans of a run have read, exactly, if the run was consumed to its end.

    Attributes:
        bytes: Bytes read from files, without those of footers that were in the cache.
        rows: Rows for which a filter was evaluated or a value decoded.
    """

    bytes: int
    rows: int


class Execution:
    """A stream of batches. To stop early, close its iterator or drop it: the work ends then.

    It also ends when whoever waits for a batch is interrupted, and when its time is over.

    Args:
        frame: What runs; it is used for this run alone.
        schema: Arrow schema of the batches.
        text: The query, for messages.
        allowance: Turns and time of this run; None for no limits.
        places: Which columns of the plan the batches have; None means all.
        brief: So little is to be done that whoever asks does it.
    """

    def __init__(
        self,
        frame: DataFrame,
        schema: Any,
        text: str,
        allowance: Allowance | None = None,
        places: list[int] | None = None,
        *,
        brief: bool = False,
    ) -> None:
        self._frame = frame
        self._brief = brief
        self._places = places
        self._text = text
        self._allowance = Allowance("", text=text) if allowance is None else allowance
        self.schema = schema

    def __iter__(self) -> Generator[Any]:
        """Batches of `pyarrow`, in order; to be consumed once, by one thread.

        Raises:
            QueryExecutionError: The query failed.
            QueryTimeoutError: Its time is over.
            QueryLimitError: It has read more than it may.
            QueryBusyError: It waited too long for a turn among others.
            ForkedProcessError: This process was forked from one that had run queries.
        """
        with running_failures(self._text):
            pull = Pull(self._frame.execute_stream)

            counts = self._allowance.counts_bytes

            def watch() -> None:
                refuse_stopped(self._text)
                if counts and pull.started:  # before, to ask for its plan would make another
                    self._allowance.read(self.metrics().bytes)

            try:
                while not pull.ended:
                    for batch in self._now(pull, watch) if self._brief else self._turn(pull, watch):
                        kept = batch if self._places is None else batch.select(self._places)
                        yield _as_schema(kept, self.schema)
                if counts:
                    self._allowance.read(self.metrics().bytes, ended=True)
            finally:
                pull.drop()

    def _now(self, pull: Pull, watch: Callable[[], None]) -> list[Any]:
        with self._allowance.turn():
            check_cancelled()
            watch()
            found = pull.now()
            self._allowance.left()
            return found

    def _turn(
        self, work: Callable[[], Awaitable[Any]], watch: Callable[[], None] | None = None
    ) -> Any:
        with self._allowance.turn() as seconds:
            try:
                return drive(work, seconds, watch)
            except TimeoutError as error:
                raise self._allowance.expired() from error

    def read_all(self) -> Any:
        """All batches as one `pyarrow.Table`.

        Raises:
            QueryExecutionError: The query failed.
        """
        return pa.Table.from_batches(list(self), self.schema)

    def metrics(self) -> ScanMetrics:
        """What the scans have read up to now."""
        read = rows = 0
        with running_failures(self._text):
            for node in _walk(self._frame.execution_plan()):
                counted = node.metrics()
                if counted is None or not node.display().startswith("DataSourceExec"):
                    continue
                read += counted.sum_by_name("bytes_scanned") or 0
                # Rows that a pushed filter rejects are not among those a scan puts out.
                rows += counted.sum_by_name("pushdown_rows_pruned") or 0
                rows += counted.output_rows or 0
        return ScanMetrics(read, rows)

    def listed(self) -> Mapping[str, int]:
        """Sizes of the files that the scans of a finished run were made of, by path.

        A file that is not among them was missing, or was not needed: for a count that statistics
        tell, say, or behind a limit.
        """
        files: dict[str, int] = {}
        with running_failures(self._text):
            for node in _walk(self._frame.execution_plan()):
                if node.display().startswith("DataSourceExec"):
                    files |= scanned_files(node.to_bytes())
        return files


def _walk(plan: ExecutionPlan) -> Iterator[ExecutionPlan]:
    yield plan
    for child in plan.children():
        yield from _walk(child)


_OFFSET = re.compile(r"[+-]\d\d:?\d\d")
_PLAIN = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


def plain_schema(schema: Any) -> Any:
    """A schema as results have it: text is `string`, and every column may be NULL.

    Example:
        >>> plain_schema(pa.schema([pa.field("a", pa.string_view(), nullable=False)]))
        a: string
    """
    return pa.schema([pa.field(field.name, _plain_type(field.type)) for field in schema])


def _plain_type(dtype: Any) -> Any:
    # Views and dictionaries are what DataFusion is fastest with. Much of what reads Arrow knows no
    # views, and whether a column of a result is a dictionary would depend on how it was computed.
    if dtype in _PLAIN:
        return _PLAIN[dtype]
    if pa.types.is_timestamp(dtype) and dtype.tz is not None:
        _check_zone(dtype.tz)
    if pa.types.is_dictionary(dtype):
        return _plain_type(dtype.value_type)
    if pa.types.is_map(dtype):
        return pa.map_(_plain_type(dtype.key_type), _plain_type(dtype.item_type))
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        make = pa.list_ if pa.types.is_list(dtype) else pa.large_list
        return make(_plain_field(dtype.value_field))
    if pa.types.is_struct(dtype):
        return pa.struct([_plain_field(field) for field in dtype])
    return dtype


def _check_zone(name: str) -> None:
    # DataFusion takes any text for a zone where it computes nothing by it; no value could be shown.
    if _OFFSET.fullmatch(name):
        return
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise UnsupportedQueryError(f"there is no time zone {name!r}") from error


def _plain_field(field: Any) -> Any:
    return pa.field(field.name, _plain_type(field.type))


def _as_schema(batch: Any, schema: Any) -> Any:
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    if not columns:  # a batch of no columns has rows only in its own count
        return batch
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class PlannedQuery:
    """A query that is understood and not yet run. It may be run any number of times.

    Args:
        context: The session it was planned in.
        frame: The plan.
        text: The query.
        tables: What it reads.
        computed: By table, the names of computed columns by the text of their expression.
        places: Which columns of the plan are returned, given their names; None means all.
        dynamic: Whether operators may push down filters that they make as they run.
        schema: Arrow schema of the plan, if it is not what the frame says.

    Attributes:
        text: The query.
    """

    def __init__(
        self,
        context: SessionContext,
        frame: DataFrame,
        text: str,
        tables: Sequence[Table],
        computed: Mapping[str, Mapping[str, str]],
        places: Callable[[list[str]], list[int] | None] | None = None,
        *,
        dynamic: bool = True,
        schema: Any = None,
    ) -> None:
        self._context = context
        self._optimum: LogicalPlan | None = None
        self._known: Any = None  # the schema of that
        self._frame = frame
        self._dynamic = dynamic
        self._tables = tables
        self._computed = computed
        self.text = text
        self._choose = places
        self._given = schema

    @cached_property
    def _places(self) -> list[int] | None:
        return None if self._choose is None else self._choose(self._whole_schema.names)

    @cached_property
    def _whole_schema(self) -> Any:
        return self._frame.schema() if self._given is None else self._given

    @cached_property
    def schema(self) -> Any:
        """Arrow schema of its result.

        Raises:
            UnsupportedQueryError: A column has a time zone that there is not.
        """
        whole = self._whole_schema
        if self._places is not None:
            whole = pa.schema([whole.field(place) for place in self._places])
        return plain_schema(whole)

    def optimized(self) -> PlannedQuery:
        """The same query with all constants computed: the clock stands still from here on.

        Raises:
            QuerySyntaxError: The types in the query do not fit.
            QueryExecutionError: A constant cannot be computed.
            UnsupportedQueryError: DataFusion is known to answer it wrongly; the message says how to
                put it.
        """
        plan = self._optimized_plan()
        query = self._planned(self._context.create_dataframe_from_logical_plan(plan))
        query._optimum = plan  # noqa: SLF001 - another query, of this class
        return query

    def _planned(
        self, frame: DataFrame, *, dynamic: bool = True, schema: Any = None
    ) -> PlannedQuery:
        return PlannedQuery(
            *(self._context, frame, self.text, self._tables, self._computed, self._choose),
            dynamic=dynamic and self._dynamic,
            schema=schema,
        )

    def _optimized_plan(self) -> LogicalPlan:
        with planning_failures(self.text):
            if self._optimum is not None:
                return self._optimum
            parsed = self._frame.logical_plan()
            plan = self._frame.optimized_logical_plan()
            fault = quantified_fault(parsed) or cast_bounds_fault(plan, self._tables)
        if fault is not None:
            raise UnsupportedQueryError(fault, query=self.text)
        self._optimum = plan
        return plan

    def mended(self, draft: Plan | None = None) -> PlannedQuery:
        """The same query, planned so that DataFusion answers it rightly: this is the one to run.

        Args:
            draft: The same text over the same tables without their files, if it was optimized.
                What it is free of is not looked for again: no optimizer knows what is in files.

        Raises:
            UnsupportedQueryError: It cannot be planned so.
            QueryExecutionError: A constant cannot be computed.
        """
        sound = draft is not None and self._is_sound_as(draft)
        plan = self._optimized_plan()
        with planning_failures(self.text):
            hazards = None if sound else find_hazards(plan, self._tables, self._schema_of)
        if not hazards:
            # Not before it is optimized does a plan know the types of its result: of a union of
            # integers and floats it says that they are integers.
            known = self._schema_of(plan) if self._known is None else self._known
            same = self._planned(self._frame, schema=known)
            same._optimum = plan  # noqa: SLF001 - another query, of this class
            return same
        try:
            plan = PlanMender(self._context).mend(plan, hazards, self.text)
        except Exception as error:
            raise UnsupportedQueryError(_REFUSAL, query=self.text, detail=str(error)) from error
        frame = self._context.create_dataframe_from_logical_plan(plan)
        return self._planned(frame, dynamic=not hazards.dynamic)

    def _is_sound_as(self, draft: Plan) -> bool:
        """Whether a draft is free of hazards, and so is this; its optimized plan is ours then."""
        if not isinstance(draft, PlannedQuery) or any(one.recast for one in self._tables):
            return False
        if not draft._is_sound:  # noqa: SLF001 - another query, of this class
            return False
        self._optimum = draft._optimum  # noqa: SLF001 - as above
        self._known = draft._known  # noqa: SLF001 - as above
        return True

    @cached_property
    def _is_sound(self) -> bool:
        """Whether it has no hazards: asked of drafts, which are planned once for many queries."""
        plan = self._optimized_plan()
        self._known = self._schema_of(plan)
        return not find_hazards(plan, self._tables, self._schema_of)

    def _schema_of(self, plan: LogicalPlan) -> Any:
        return self._context.create_dataframe_from_logical_plan(plan).schema()

    def scans(self) -> list[Scan]:
        """What the query needs from each of its tables, one scan for each time one is read.

        Of an optimized query only; filters are not yet at the scans of any other.
        """
        with planning_failures(self.text):
            return find_scans(self._frame.logical_plan(), self._tables, self._computed)

    def tallied(self) -> str | None:
        """By the values of which column it counts all rows of a table, if it does nothing else."""
        plan = self._optimized_plan()
        with planning_failures(self.text):
            return tallied_column(plan)

    def summed(self, draft: Plan, column: str) -> PlannedQuery | None:
        """The same query with the names of a draft, if it sums a tally by a column.

        Args:
            draft: The query that counts.
            column: By whose values.
        """
        plan = self._optimized_plan()
        with planning_failures(self.text):
            if not sums_tallies(plan, column) or self.schema.types != draft.schema.types:
                return None
        same = self._planned(self._frame, schema=draft.schema)
        same._optimum = plan  # noqa: SLF001 - another query, of this class
        return same

    def first_rows(self) -> FirstRows | None:
        """Of which rows of one table it returns the first; None if that is not what it does.

        Raises:
            QueryExecutionError: A constant cannot be computed.
            UnsupportedQueryError: DataFusion is known to answer it wrongly.
        """
        if self._first is None:
            return None
        first, shown = self._first.first, self._places
        if shown is None:
            return first
        return first._replace(places=tuple(first.places[place] for place in shown))

    def ranked(self) -> PlannedQuery:
        """The first rows in order; see `FirstRowsPlan.ranked`."""
        return self._below(FirstRowsPlan.ranked)

    def whole(self) -> PlannedQuery:
        """All rows of which it returns the first; see `FirstRowsPlan.whole`."""
        return self._below(FirstRowsPlan.whole)

    @cached_property
    def _first(self) -> FirstRowsPlan | None:
        plan = self._optimized_plan()
        with planning_failures(self.text):
            return find_first_rows(self._context, plan)

    def _below(self, part: Callable[[FirstRowsPlan], DataFrame]) -> PlannedQuery:
        if self._first is None:
            raise UnsupportedQueryError("the query returns no first rows", query=self.text)
        with planning_failures(self.text):
            frame = part(self._first)
        ordered = self._first.first.ordered
        choose = None if ordered else self._choose
        return PlannedQuery(
            *(self._context, frame, self.text, self._tables, self._computed, choose)
        )

    def pairs(self, rows: Mapping[str, int]) -> float:
        """How many pairs of rows its joins may meet: for so long other queries may stand still.

        Args:
            rows: Rows by table.
        """
        with planning_failures(self.text):
            plan = self._optimum or self._frame.optimized_logical_plan()
            return pairs(plan, rows)

    def execute(self, allowance: Allowance | None = None, *, brief: bool = False) -> Execution:
        """Start a run. Nothing is read before the first batch is asked for.

        Args:
            allowance: Turns and time of this run; None for no limits.
            brief: It will take so little that no other thread need wait for it: it is not looked at
                while it works.
        """
        return Execution(self._copy(), self.schema, self.text, allowance, self._places, brief=brief)

    def frozen(self) -> bytes | None:
        """The plan as bytes for `Session.thawed`; None where DataFusion cannot write it."""
        try:
            data: bytes = self._frame.logical_plan().to_bytes()
        except Exception:  # noqa: BLE001 - whatever it has no words for
            return None
        return data

    def physical_text(self) -> str:
        """The physical plan as text. Opens the files, for their statistics.

        Raises:
            QueryExecutionError: The plan cannot be made.
        """
        with planning_failures(self.text):
            return self._copy().execution_plan().display_indent()

    def _copy(self) -> DataFrame:
        # A frame remembers its last run, so each run has one of its own.
        plan: LogicalPlan = self._frame.logical_plan()
        if self._dynamic:
            return self._context.create_dataframe_from_logical_plan(plan)
        # A frame keeps the settings of the moment. Another that is made meanwhile has them too,
        # which can only make it slower.
        with without_dynamic_filters(self._context):
            return self._context.create_dataframe_from_logical_plan(plan)


_REFUSAL = (
    "the query cannot be answered rightly as it is put: give columns of one name on both sides of "
    "a join other names in a subquery, and take min() and max() of numbers that are not NaN"
)
