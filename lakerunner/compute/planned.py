"""A planned query: what it scans, what it returns, and its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.compute.execution import Execution, plain_schema
from lakerunner.compute.failures import planning_failures
from lakerunner.compute.faults import cast_bounds_fault, quantified_fault
from lakerunner.compute.scans import find_scans
from lakerunner.errors import UnsupportedQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from datafusion import DataFrame, LogicalPlan, SessionContext

    from lakerunner.compute.scans import Scan
    from lakerunner.compute.table import Table
    from lakerunner.compute.turns import Allowance


class PlannedQuery:
    """A query that is understood and not yet run. It may be run any number of times.

    Args:
        context: The session it was planned in.
        frame: The plan.
        text: The query.
        tables: What it reads.
        computed: By table, the names of computed columns by the text of their expression.
        places: Which columns of the plan are returned, given their names; None means all.

    Attributes:
        schema: Arrow schema of its result.
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
    ) -> None:
        self._context = context
        self._frame = frame
        self._tables = tables
        self._computed = computed
        self.text = text
        self._choose = places
        schema = frame.schema()
        self._places = places(schema.names) if places is not None else None
        if self._places is not None:
            schema = pa.schema([schema.field(place) for place in self._places])
        self.schema: Any = plain_schema(schema)

    def optimized(self) -> PlannedQuery:
        """The same query with all constants computed: the clock stands still from here on.

        Raises:
            QuerySyntaxError: The types in the query do not fit.
            QueryExecutionError: A constant cannot be computed.
            UnsupportedQueryError: DataFusion is known to answer it wrongly; the message says how to
                put it.
        """
        with planning_failures(self.text):
            parsed = self._frame.logical_plan()
            plan = self._frame.optimized_logical_plan()
            fault = quantified_fault(parsed) or cast_bounds_fault(plan, self._tables)
            if fault is not None:
                raise UnsupportedQueryError(fault, query=self.text)
            frame = self._context.create_dataframe_from_logical_plan(plan)
        return PlannedQuery(
            self._context, frame, self.text, self._tables, self._computed, self._choose
        )

    def scans(self) -> list[Scan]:
        """What the query needs from each of its tables, one scan for each time one is read.

        Of an optimized query only; filters are not yet at the scans of any other.
        """
        with planning_failures(self.text):
            return find_scans(self._frame.logical_plan(), self._tables, self._computed)

    def execute(self, allowance: Allowance | None = None) -> Execution:
        """Start a run. Nothing is read before the first batch is asked for.

        Args:
            allowance: Turns and time of this run; None for no limits.
        """
        return Execution(self._copy(), self.schema, self.text, allowance, self._places)

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
        return self._context.create_dataframe_from_logical_plan(plan)
