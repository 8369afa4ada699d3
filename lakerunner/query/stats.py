"""What a query took."""

from __future__ import annotations

from lakerunner.model.card import Report
from lakerunner.printable import counted


class QueryStats(Report, frozen=True):
    """What a query has read, and how long it took.

    Of a result that is not consumed to its end, what was read is known only in part.

    Attributes:
        segments: Live segments of the tables that the query names.
        pruned: Segments that were dropped in the catalog, without opening them.
        scanned: Segments that were handed to the scan; `segments` is the sum of both.
        bytes_read: Bytes read from segments. Footers that were in the cache do not count, and what
            was copied from the store before it was read counts as it was read, not as copied.
        filter_bytes: Bytes of token filters that were read to choose segments. Those that were in
            the cache do not count.
        rows_scanned: Rows for which a filter was evaluated or a value was decoded. A count that
            statistics can answer scans none.
        rows: Rows returned so far.
        planning_seconds: From the text to the list of files.
        execution_seconds: Spent in waiting for batches.
        rounded: Columns that are read as doubles, for some segments have fractions in them, while
            others that were read have integers beyond 2^53: these are the nearest double.
    """

    segments: int = 0
    pruned: int = 0
    scanned: int = 0
    bytes_read: int = 0
    filter_bytes: int = 0
    rows_scanned: int = 0
    rows: int = 0
    planning_seconds: float = 0.0
    execution_seconds: float = 0.0
    rounded: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Planning and execution together."""
        return self.planning_seconds + self.execution_seconds

    def __str__(self) -> str:
        return (
            f"{counted(self.rows, 'row')} in {self.seconds:.3f} s: {self.scanned:,} of "
            f"{counted(self.segments, 'segment')} scanned, {counted(self.bytes_read, 'byte')} and "
            f"{counted(self.rows_scanned, 'row')} read"
        )

    @property
    def remarks(self) -> str:
        """What a reader of the answer should know, in a sentence; mostly nothing."""
        if not self.rounded:
            return ""
        return f"integers beyond 2^53 are rounded in {', '.join(self.rounded)}"
