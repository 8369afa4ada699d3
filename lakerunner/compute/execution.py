"""One run of a planned query: batches as they come, and what the scans have read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa

from lakerunner.compute.failures import running_failures
from lakerunner.compute.scans import scanned_files
from lakerunner.compute.turns import (
    Allowance,
    Pull,
    check_cancelled,
    drive,
    refuse_stopped,
)
from lakerunner.errors import UnsupportedQueryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping

    from datafusion import DataFrame, ExecutionPlan


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
                        yield as_schema(kept, self.schema)
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


def as_schema(batch: Any, schema: Any) -> Any:
    """A batch with the names and types of a schema."""
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    if not columns:  # a batch of no columns has rows only in its own count
        return batch
    return pa.RecordBatch.from_arrays(columns, schema=schema)
