"""A planned query: what it scans, what it returns, and how it is run."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.compute.execution import Execution, as_schema, plain_schema
from lakerunner.compute.failures import (
    cast_bounds_fault,
    planning_failures,
    quantified_fault,
)
from lakerunner.compute.first_rows import FirstRowsPlan, find_first_rows
from lakerunner.compute.hazards import find_hazards, pairs
from lakerunner.compute.mended_plan import PlanMender, without_dynamic_filters
from lakerunner.compute.scans import find_scans
from lakerunner.compute.splitting import NoSplitError, Split
from lakerunner.compute.tallies import sums_tallies, tallied_column
from lakerunner.errors import UnsupportedQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from datafusion import DataFrame, LogicalPlan, SessionContext

    from lakerunner.compute.first_rows import FirstRows
    from lakerunner.compute.scans import Scan
    from lakerunner.compute.table import Table
    from lakerunner.compute.turns import Allowance
    from lakerunner.compute.wire import Plan


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
        self._is_whole = False
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
        mended = self._planned(frame, dynamic=not hazards.dynamic)
        mended._is_whole = not hazards.by_part  # noqa: SLF001 - another query, of this class
        return mended

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

    @cached_property
    def split(self) -> Split:
        """The query in two: what is done with some files at a time, and with what that found.

        Raises:
            NoSplitError: It cannot be done in parts.
        """
        if self._is_whole:  # over some of the files it would be mended otherwise, or not at all
            raise NoSplitError("it is planned in a way that keeps the engine from going wrong")
        with planning_failures(self.text):
            plan = self._frame.optimized_logical_plan()
            return Split(self._context, plan, {table.name for table in self._tables})

    def execute_part(self, allowance: Allowance | None = None) -> Execution:
        """Start what is done with some files; columns have the types that the engine reckons in."""
        with planning_failures(self.text):
            frame = self.split.part()
        return Execution(frame, frame.schema(), self.text, allowance)

    def execute_whole(self, rows: pa.Table, allowance: Allowance | None = None) -> Execution:
        """Start what is done with the rows of all parts."""
        with planning_failures(self.text):
            frame = self.split.whole(rows)
        return Execution(frame, self.schema, self.text, allowance, self._places)

    def shown(self, batch: Any) -> Any:
        """A batch of a part as the query returns it, where no more is done with it."""
        return as_schema(batch if self._places is None else batch.select(self._places), self.schema)

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
