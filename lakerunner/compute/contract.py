"""What planning and running a query looks like, in this process or in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lakerunner.compute.execution import ScanMetrics
    from lakerunner.compute.first_rows import FirstRows
    from lakerunner.compute.scans import Scan
    from lakerunner.compute.table import Table
    from lakerunner.compute.turns import Allowance


class Run(Protocol):
    """One run of a query; `Execution` is one in this process."""

    def __iter__(self) -> Iterator[Any]:
        """Batches of `pyarrow`; to be consumed once. The work ends when the iterator is closed."""

    def metrics(self) -> ScanMetrics:
        """What the scans have read."""

    def listed(self) -> Mapping[str, int]:
        """Sizes of the files that the scans of a finished run were made of, by path."""


class Plan(Protocol):
    """A query that is understood; `PlannedQuery` is one in this process.

    Attributes:
        schema: Arrow schema of its result.
    """

    schema: Any

    def optimized(self) -> Plan:
        """The same query with all constants computed."""

    def mended(self, draft: Plan | None = None) -> Plan:
        """The same query, planned so that it is answered rightly: this is the one to run.

        What a draft of it over no files was free of need not be looked for again.
        """

    def scans(self) -> list[Scan]:
        """What it needs from each of its tables; of an optimized query only."""

    def first_rows(self) -> FirstRows | None:
        """Of which rows of one table it returns the first, if that is what it does."""

    def ranked(self) -> Plan:
        """These rows in order, with all columns below it; see `FirstRowsPlan.ranked`."""

    def whole(self) -> Plan:
        """The same without order and limit."""

    def stalls(self, rows: Mapping[str, int]) -> bool:
        """Whether other queries of this process may stand still while it runs."""

    def execute(self, allowance: Allowance | None = None) -> Run:
        """Start a run."""

    def physical_text(self) -> str:
        """The physical plan as text."""


class QuerySession(Protocol):
    """Where queries are planned; `Session` is one in this process."""

    def plan(
        self,
        text: str,
        tables: Sequence[Table],
        values: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Plan:
        """Plan one SQL query, cut off after so many rows; no file is read."""
