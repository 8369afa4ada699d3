"""The answer to a query: Arrow batches, and what it took to find them."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Never

import msgspec
import pyarrow as pa

from lakerunner.discretion import Discretion
from lakerunner.errors import (
    ConfigurationError,
    MissingExtraError,
    QueryLimitError,
    UnsupportedQueryError,
)
from lakerunner.limits import BRIEF_BYTES, BRIEF_ROWS
from lakerunner.query.cursor import write_cursor
from lakerunner.query.explanation import QueryStats, html_table, text_table
from lakerunner.query.newest import FirstRowsRun
from lakerunner.query.plan import NO_CURSOR
from lakerunner.query.plotting import draw
from lakerunner.query.writing import Form, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import altair as alt
    import pandas as pd
    import polars as pl

    from lakerunner.compute.segment_files import SegmentFiles
    from lakerunner.compute.turns import Allowance
    from lakerunner.compute.wire import Runs
    from lakerunner.model.report import Progress
    from lakerunner.model.segment import Segment
    from lakerunner.query.plan import QueryPlan
    from lakerunner.query.writing import Target

_SHOWN_ROWS = 20


class Result:
    """The answer to one query.

    It runs when it is consumed, and again each time it is consumed by iteration or as an Arrow
    stream, always over the same segments and with the same idea of the current time. `to_arrow`
    keeps what it returns, and everything after it uses that. Rows come in no particular order
    unless the query asks for one. To be used by one thread at a time.

    Attributes:
        schema: The `pyarrow.Schema` of the rows.

    Example:
        >>> from lakerunner.catalog import open_catalog
        >>> from lakerunner.store import open_store
        >>> from lakerunner.query import QueryEngine
        >>> with QueryEngine(open_store("memory://"), open_catalog("memory://")) as engine:
        ...     print(engine.sql("SELECT 'a' AS name, TIMESTAMP '2026-01-01' AS at"))
        name  at
        a     2026-01-01 00:00:00
        1 row
    """

    def __init__(
        self,
        plan: QueryPlan,
        files: SegmentFiles,
        allowance: Allowance,
        discretion: Discretion | None = None,
        identity: str = "",
        most_rows: int | None = None,
    ) -> None:
        self._plan = plan
        self._identity = identity
        self._most_rows = most_rows
        self._discretion = Discretion() if discretion is None else discretion
        self._allowance = allowance
        self._files = files
        self._table: Any = None
        self._preview: tuple[Any, bool] | None = None
        self.schema: Any = plan.schema
        self._ended: FirstRowsRun | None = None
        total = sum(table.snapshot.segments for table in plan.tables)
        scanned = len(plan.segments)
        self._stats = QueryStats(
            segments=total,
            pruned=total - scanned,
            scanned=scanned,
            filter_bytes=sum(table.filter_bytes for table in plan.tables),
            planning_seconds=plan.seconds,
            rounded=plan.rounded,
        )

    @property
    def stats(self) -> QueryStats:
        """What the query took up to now; what was read is that of the last run."""
        return self._stats

    def __iter__(self) -> Iterator[Any]:
        """Batches (`pyarrow.RecordBatch`) as they are found: the answer is never held as a whole.

        Raises:
            QueryExecutionError: The query failed while it ran.
            QueryTimeoutError: It took longer than it may.
            QueryBusyError: Too many queries are running.
            SegmentDamagedError: A segment is not as it was written.
            StoreUnavailableError: A segment could not be copied from the store.
        """
        return iter(self._table.to_batches()) if self._table is not None else self._run()

    @property
    def cursor(self) -> str:
        """Where the answer ends, as text: give it back with the same query to go on behind it.

        It goes on behind the last row whatever was committed or compacted since: see
        `lakerunner.query.cursor`. Of an answer without rows it is where the query began, so that
        asking for the oldest rows again and again returns each new row once. The query runs if it
        has not yet.

        Raises:
            UnsupportedQueryError: The rows have no order that could be gone on with.
        """
        if self._plan.rounds is None:
            raise UnsupportedQueryError(NO_CURSOR)
        self.to_arrow()
        ending = None if self._ended is None else self._ended.ending
        if ending is None:
            raise UnsupportedQueryError(NO_CURSOR)
        return write_cursor(self._identity, ending)

    def _run(self) -> Generator[Any]:
        self._begin()
        allowance, rounds = self._allowance.again(), self._plan.rounds
        with self._discretion.applied():
            if rounds is None:
                spread = self._plan.spread
                # Who does a part of it looks after the segments of that part.
                runs = self._plan.planned if spread is None else spread
                segments = self._plan.segments if spread is None else ()
                yield from self._timed(self._read(runs, segments, allowance))
                return
            run = FirstRowsRun(rounds, lambda plan, segments: self._read(plan, segments, allowance))
            with closing(self._timed(iter(run))) as batches:
                yield from batches
            self._ended = run
            total = self._stats.segments
            self._stats = msgspec.structs.replace(
                self._stats, scanned=run.opened, pruned=total - run.opened
            )

    def _begin(self) -> None:
        self._stats = msgspec.structs.replace(
            self._stats, bytes_read=0, rows_scanned=0, rows=0, execution_seconds=0.0
        )

    def _timed(self, batches: Iterator[Any]) -> Generator[Any]:
        """The same, counted as they come."""
        rows, seconds = 0, 0.0
        try:
            while True:
                started = time.perf_counter()
                batch = next(batches, None)
                seconds += time.perf_counter() - started
                if batch is None:
                    break
                rows += batch.num_rows
                self._check_rows(rows)
                yield batch
        finally:
            self._stats = msgspec.structs.replace(self._stats, rows=rows, execution_seconds=seconds)
            if isinstance(batches, Generator):
                batches.close()

    def _check_rows(self, rows: int) -> None:
        if self._most_rows is not None and rows > self._most_rows:
            raise QueryLimitError(
                f"the query returns more than the {self._most_rows:,} rows it may: add a LIMIT, or "
                "raise query_max_rows",
                limit="query_max_rows",
            )

    def _read(
        self, plan: Runs, segments: Sequence[Segment], allowance: Allowance
    ) -> Generator[Any]:
        """Run a plan over some segments."""
        with self._files.held(segments, self._plan.columns) as held:
            execution = plan.execute(allowance, brief=self._is_brief(segments))
            held.listed = execution.listed
            try:
                yield from execution
            finally:
                read = execution.metrics()
                self._stats = msgspec.structs.replace(
                    self._stats,
                    bytes_read=self._stats.bytes_read + read.bytes,
                    rows_scanned=self._stats.rows_scanned + read.rows,
                )

    def _is_brief(self, segments: Sequence[Segment]) -> bool:
        return (
            self._plan.brief
            and self._files.native is None
            and sum(one.rows for one in segments) <= BRIEF_ROWS
            and sum(one.bytes for one in segments) <= BRIEF_BYTES
        )

    def __len__(self) -> int:
        """Rows, where all of them are there: after `to_arrow`, and of what languages reckon.

        Raises:
            TypeError: The rows are still to be found; it says what to call.
        """
        if self._table is None:
            raise TypeError(
                "the rows of this result are found while they are read: take "
                "result.to_arrow() first, or ask for count(*)"
            )
        return int(self._table.num_rows)

    def __bool__(self) -> bool:
        """Whether there is a row; no more is read than it takes to know."""
        return bool(self.head(1).num_rows)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows as an Arrow C stream, for anything that reads one; found as they are read."""
        reader = pa.RecordBatchReader.from_batches(self.schema, iter(self))
        return reader.__arrow_c_stream__(requested_schema)

    def __array__(self, *_: object, **__: object) -> Never:
        """Refused: `pandas.DataFrame(result)` and NumPy would take batches for values.

        The constructor of pandas takes dictionaries, arrays and lists, and has no door for tables
        of others. `pandas.DataFrame.from_arrow(result)` is one, and `df` gives the same.

        Raises:
            TypeError: Always; it says what to call.
        """
        raise TypeError(
            "a result is a table and no array: take result.df() for pandas, or "
            "pandas.DataFrame.from_arrow(result); polars.DataFrame(result) for Polars; or one "
            "column, as in result.arrow()['body'].to_numpy()"
        )

    def to_arrow(self) -> Any:
        """All rows as one `pyarrow.Table`. Text is `string`, times are `timestamp[ns, UTC]`.

        Raises:
            QueryExecutionError: The query failed while it ran.
            StoreUnavailableError: A segment could not be copied from the store.
        """
        if self._table is None:
            self._table = pa.Table.from_batches(list(self._run()), self.schema)
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a pandas data frame.

        Raises:
            MissingExtraError: pandas is not installed.
            QueryExecutionError: The query failed while it ran.
        """
        try:
            import pandas as pd  # noqa: F401, PLC0415 - optional, and slow to load
        except ImportError as error:
            raise _missing("pandas") from error
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def to_polars(self) -> pl.DataFrame:
        """All rows as a Polars data frame.

        Raises:
            MissingExtraError: Polars is not installed.
            QueryExecutionError: The query failed while it ran.
        """
        try:
            import polars as pl  # noqa: PLC0415 - optional, and slow to load
        except ImportError as error:
            raise _missing("polars") from error
        return pl.DataFrame(self.to_arrow())

    def arrow(self) -> Any:
        """All rows as one `pyarrow.Table`; the same as `to_arrow`."""
        return self.to_arrow()

    def df(self) -> pd.DataFrame:
        """All rows as a pandas data frame; the same as `to_pandas`."""
        return self.to_pandas()

    def pl(self) -> pl.DataFrame:
        """All rows as a Polars data frame; the same as `to_polars`."""
        return self.to_polars()

    def plot(self, *, x: str | None = None, y: str | None = None) -> alt.Chart:
        """The answer as a picture, which a notebook shows: an Altair chart to go on with.

        Lines over time where there is a column of times, one for each series that the texts of a
        row tell apart; otherwise bars, and a heat map where two columns of texts have a number. See
        `lakerunner.query.plotting.picture_of`. `.save("rows.png")` of what is returned writes it to
        a file, without a browser.

        Args:
            x: The column along which it is drawn; chosen if not given.
            y: The column of numbers that is drawn, chosen if not given; or one of texts, which then
                run upwards in a heat map.

        Raises:
            MissingExtraError: Altair is not installed.
            ConfigurationError: There is nothing to draw.
            QueryExecutionError: The query failed while it ran.
        """
        return draw(self.to_arrow(), x=x, y=y)

    def head(self, n: int = 10) -> Any:
        """The first rows as a `pyarrow.Table`; no more is read than they need.

        Args:
            n: Rows at most.

        Raises:
            ConfigurationError: `n` is negative.
        """
        if n < 0:
            raise ConfigurationError("head() takes no negative number of rows", setting="n")
        if self._table is not None:
            return self._table.slice(0, n)
        taken: list[Any] = []
        rows = 0
        with closing(self._run()) as batches:
            while rows < n and (batch := next(batches, None)) is not None:
                taken.append(batch)
                rows += batch.num_rows
        return pa.Table.from_batches(taken, self.schema).slice(0, n)

    def to_pylist(self) -> list[dict[str, Any]]:
        """All rows as dictionaries, for small answers. Times are `pandas.Timestamp` if need be."""
        rows: list[dict[str, Any]] = self.to_arrow().to_pylist()
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows as tuples, for small answers."""
        columns = [column.to_pylist() for column in self.to_arrow().columns]
        return list(zip(*columns, strict=True)) if columns else [()] * self.to_arrow().num_rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """The first row as a tuple; None if there is none. No more is read than it needs."""
        first = self.head(1)
        return tuple(column[0].as_py() for column in first.columns) if first.num_rows else None

    def scalar(self) -> Any:
        """The only value of an answer of one row and one column, as a Python value.

        Raises:
            ConfigurationError: There are more rows or columns, or none.

        Example:
            >>> from lakerunner.catalog import open_catalog
            >>> from lakerunner.query import QueryEngine
            >>> from lakerunner.store import open_store
            >>> with QueryEngine(open_store("memory://"), open_catalog("memory://")) as engine:
            ...     engine.sql("SELECT count(*) FROM logs").scalar()
            0
        """
        first = self.head(2)
        if first.num_rows != 1 or first.num_columns != 1:
            rows = "more rows" if first.num_rows > 1 else f"{first.num_rows} rows"
            raise ConfigurationError(
                f"scalar() is for one row of one column; there are {rows} of "
                f"{first.num_columns} columns: take to_pylist()"
            )
        return first.column(0)[0].as_py()

    def to_csv(
        self, path: Target, *, compression: str | None = None, progress: Progress | None = None
    ) -> int:
        """Write all rows as CSV with a line of names; see `lakerunner.query.writing.write_rows`.

        Args:
            path: A path, or something with a `write` for bytes.
            compression: `gzip`, `zstd`, `bz2`, `lz4` or `none`; told from the path if not said.
            progress: Called after each batch.

        Returns:
            Rows written.

        Raises:
            ConfigurationError: There is no such compression, or the path cannot be written.
            QueryExecutionError: The query failed while it ran; the path is as it was.
        """
        return self._write(path, Form.CSV, compression, progress)

    def to_json(
        self, path: Target, *, compression: str | None = None, progress: Progress | None = None
    ) -> int:
        """Write all rows as JSON lines, one object a row; else as `to_csv`."""
        return self._write(path, Form.JSON, compression, progress)

    def to_parquet(
        self, path: Target, *, compression: str | None = None, progress: Progress | None = None
    ) -> int:
        """Write all rows as one Parquet file, compressed with `zstd` if not said; see `to_csv`."""
        return self._write(path, Form.PARQUET, compression, progress)

    def _write(
        self, path: Target, form: Form, compression: str | None, progress: Progress | None
    ) -> int:
        batches = iter(self)
        try:
            return write_rows(
                batches, self.schema, path, form, compression=compression, progress=progress
            )
        finally:
            if isinstance(batches, Generator):  # what is left of the work ends with the file
                batches.close()

    def _first_rows(self) -> tuple[Any, bool]:
        """The first rows as a table, and whether there are more."""
        if self._table is not None:
            return self._table.slice(0, _SHOWN_ROWS), self._table.num_rows > _SHOWN_ROWS
        if self._preview is None:
            batches: list[Any] = []
            rows = 0
            for batch in self._run():
                batches.append(batch)
                rows += batch.num_rows
                if rows > _SHOWN_ROWS:
                    break
            table = pa.Table.from_batches(batches, self.schema)
            # A copy, so that the batches it was cut from can go.
            first = table.take(pa.array(range(min(rows, _SHOWN_ROWS)), pa.int64()))
            self._preview = first, rows > _SHOWN_ROWS
        return self._preview

    def _count(self, shown: int, *, more: bool) -> str:
        if self._table is not None:
            shown, more = self._table.num_rows, False
        count = f"first {shown:,} rows" if more else f"{shown:,} row{'' if shown == 1 else 's'}"
        return "; ".join(filter(None, [count, self._stats.remarks]))

    def __repr__(self) -> str:
        table, more = self._first_rows()
        return f"{text_table(table)}\n{self._count(table.num_rows, more=more)}"

    def _repr_html_(self) -> str:
        table, more = self._first_rows()
        return html_table(table, caption=self._count(table.num_rows, more=more))


class TableResult(Result):
    """An answer that is there as a whole, as languages give it that reckon by themselves.

    Args:
        table: The rows.
        stats: What it took to find them.
    """

    def __init__(self, table: pa.Table, stats: QueryStats) -> None:  # there is no plan to run
        self._table = table
        self._preview = None
        self._stats = stats
        self.schema = table.schema


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(
        f"to_{package}() needs {package}: pip install {package}", missing=package
    )
