"""The long-lived DataFusion session: its settings, its caches, and the planning of SQL text."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import weakref
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from datafusion import (
    DataFrame,
    LogicalPlan,
    RuntimeEnvBuilder,
    SessionConfig,
    SessionContext,
    SQLOptions,
    col,
    lit,
)

from lakerunner.compute.failures import planning_failures, running_failures
from lakerunner.compute.hidden import marked, with_reads, without
from lakerunner.compute.json_functions import json_functions
from lakerunner.compute.mended_plan import check_engine
from lakerunner.compute.metric_functions import (
    bucket_aggregates,
    counter_functions,
    histogram_functions,
    sketch_aggregates,
    sketch_functions,
)
from lakerunner.compute.native_stores import NativeStore, NotNativeError, native_store
from lakerunner.compute.planned import PlannedQuery
from lakerunner.compute.scans import choose_file_scan
from lakerunner.compute.table import NAMED_FIRST, NAMED_LAST, ScanMode
from lakerunner.compute.tallies import with_tally
from lakerunner.compute.turns import mark_threads, refuse_fork
from lakerunner.limits import FOOTER_CACHE_BYTES, MIB, QUERY_MEMORY_BYTES
from lakerunner.model.times import MAX_NS, MIN_NS
from lakerunner.registry import split_scheme
from lakerunner.schema.arrays import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from datafusion import Expr

    from lakerunner.compute.hidden import Hidden
    from lakerunner.compute.scans import FileScan
    from lakerunner.compute.table import Recast, Table

_LOG = logging.getLogger(__name__)

# Read-only: no DDL, no DML or COPY, no SET or transactions.
_READ_ONLY = (
    SQLOptions()
    .with_allow_ddl(allow=False)
    .with_allow_dml(allow=False)
    .with_allow_statements(allow=False)
)

_SETTINGS = {
    # Bounds of files decide which of them top-k opens first; without them it is 10 times slower.
    "datafusion.execution.collect_statistics": "true",
    "datafusion.optimizer.enable_dynamic_filter_pushdown": "true",
    # Not those of aggregates: with max() of a boolean known, rows that min() needs were skipped.
    "datafusion.optimizer.enable_aggregate_dynamic_filter_pushdown": "false",
    # DISTINCT or GROUP BY with ORDER BY and LIMIT: it panics on floats.
    "datafusion.optimizer.enable_topk_aggregation": "false",
    "datafusion.execution.parquet.pruning": "true",
    "datafusion.execution.parquet.enable_page_index": "true",
    "datafusion.execution.parquet.bloom_filter_on_read": "true",
    # Subqueries become joins. Left as expressions, their scans could not be looked at.
    "datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery": "false",
    # A sort is one sort. Sorted in parts, each part takes its share of the memory, and nothing is
    # left for the merge of them, which cannot spill: at 128 MiB, 6 of 7 sorts of a million rows
    # failed. They are as fast as one, for scans and spills stay parallel.
    "datafusion.optimizer.repartition_sorts": "false",
    "datafusion.catalog.information_schema": "false",
    "datafusion.catalog.create_default_catalog_and_schema": "true",
}
_MODE_SETTINGS = {
    ScanMode.NEEDLE: {
        "datafusion.execution.parquet.pushdown_filters": "true",
        "datafusion.execution.parquet.reorder_filters": "true",
    },
    ScanMode.SWEEP: {"datafusion.execution.parquet.pushdown_filters": "false"},
}
# They live in the runtime, where only SQL reaches them. The defaults thrash at 10,000 files.
_CACHES = {
    "metadata_cache_limit": 1,
    "file_statistics_cache_limit": 4,
    "list_files_cache_limit": 16,
}
"""Setting of each cache, and which part of the bytes for all of them it takes: one by so many."""
_WITHOUT_CLIENT = {"file", "memory"}
_MERGE_BYTES, _MERGE_PART = 10 * MIB, 16
"""Memory that a sort keeps for the merge of what it has spilled: so many bytes, or one part of so
many of all its memory if that is less."""
_FILE_FUNCTIONS = ("input_file_name", "file_row_index")


class Session:
    """Plans SQL over explicit lists of files, in one tuned DataFusion session.

    May be used from several threads at once; queries with different files under the same table name
    do not see each other's.

    Args:
        memory_bytes: What the operators of all running queries may hold together, in bytes. Sorts
            and aggregations beyond it spill into `directory`.
        threads: Partitions that a query is split into; 0 means one per core.
        cache_bytes: Footers that are kept between queries.

    Attributes:
        directory: A private directory of this session, removed by `close`.

    Example:
        >>> session = Session()
        >>> session.plan("SELECT 1 AS one", []).execute().read_all().to_pylist()
        [{'one': 1}]
        >>> session.close()
    """

    def __init__(
        self,
        *,
        memory_bytes: int = QUERY_MEMORY_BYTES,
        threads: int = 0,
        cache_bytes: int = FOOTER_CACHE_BYTES,
    ) -> None:
        refuse_fork()
        mark_threads()
        self.directory = Path(tempfile.mkdtemp(prefix="lakerunner-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        self._lock = threading.Lock()
        spill, probes = self.directory / "spill", self.directory / "probes"
        spill.mkdir()
        probes.mkdir()
        runtime = RuntimeEnvBuilder().with_fair_spill_pool(memory_bytes).with_temp_file_path(spill)
        partitions = threads or os.cpu_count() or 1
        config = _config(ScanMode.SWEEP, partitions).set(
            "datafusion.execution.sort_spill_reservation_bytes",
            str(min(memory_bytes // _MERGE_PART, _MERGE_BYTES)),
        )
        self._context = SessionContext(config, runtime)
        for name, part in _CACHES.items():
            size = cache_bytes // part // 1024
            self._context.sql(f"SET datafusion.runtime.{name} = '{size}K'").collect()
        for function in json_functions():
            self._context.register_udf(function)
        for function in (*histogram_functions(), *sketch_functions()):
            self._context.register_udf(function)
        for aggregate in (*bucket_aggregates(), *sketch_aggregates()):
            self._context.register_udaf(aggregate)
        for window in counter_functions():
            self._context.register_udwf(window)
        for name in _FILE_FUNCTIONS:
            self._context.deregister_udf(name)
        self._readers = {mode: SessionContext(_config(mode, partitions)) for mode in ScanMode}
        self.file_scan: FileScan = choose_file_scan(self._context, self._readers, probes)
        check_engine(self, probes)

    def register(self, native: NativeStore) -> None:
        """Let DataFusion read a bucket by itself."""
        for context in (self._context, *self._readers.values()):
            context.register_object_store(native.scheme, native.client, native.bucket)

    def plan(
        self,
        text: str,
        tables: Sequence[Table],
        values: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> PlannedQuery:
        """Plan one SQL query; no file is read.

        Args:
            text: One statement, which may only read.
            tables: What it may read.
            values: What its placeholders stand for, by name without the `$`. An array is a table
                `"$name"` of one column, `value`; a table is a table of that name.
            limit: Rows at most.

        Raises:
            QuerySyntaxError: It cannot be parsed, does not fit the types of its columns, or names
                a column (`context["column"]`) or a table (`context["table"]`) that is not there.
            UnsupportedQueryError: It would do more than read, or DataFusion cannot do it.
            ForkedProcessError: This process was forked from one that had run queries.
        """
        refuse_fork()
        with planning_failures(text):
            frames = {table.name: self._frame(table) for table in tables}
            aliases = {one: frames[table.name] for table in tables for one in table.aliases}
            scalars, lists = _split(values or {})
            with self._registered(frames | aliases, lists):
                frame = self._context.sql_with_options(text, _READ_ONLY, scalars)
            if limit is not None:
                frame = frame.limit(limit)
            computed = {
                table.name: _computed_texts(frames[table.name])
                for table in tables
                if table.computed
            }
            places = _shown_places if any(table.named for table in tables) else None
            return PlannedQuery(self._context, frame, text, tables, computed, places)

    def marks(self, files: Sequence[str], schema: Any, hidden: Sequence[Hidden]) -> PlannedQuery:
        """For each row of a file, which conditions are true: boolean columns.

        They come in the order of the file if the session has one thread.

        Args:
            files: Its URL; nothing to try the conditions.
            schema: Canonical columns that conditions may speak of.
            hidden: The conditions; the columns come in their order.

        Raises:
            QuerySyntaxError: A condition cannot be read.
        """
        refuse_fork()
        text = "; ".join(one.condition for one in hidden)
        with planning_failures(text):
            read = with_reads(schema, hidden)
            frame = marked(self.file_scan.frame("rows", read, files, ScanMode.SWEEP), hidden)
            return PlannedQuery(self._context, frame, text, [], {})

    def thawed(self, frozen: bytes, text: str, tables: Sequence[Table]) -> PlannedQuery:
        """A query from what `PlannedQuery.frozen` made of it, here or in another process.

        Raises:
            QueryExecutionError: It cannot be read.
        """
        refuse_fork()
        with running_failures(text):
            plan = LogicalPlan.from_bytes(self._context, frozen)
            frame = self._context.create_dataframe_from_logical_plan(plan)
        places = _shown_places if any(table.named for table in tables) else None
        return PlannedQuery(self._context, frame, text, tables, {}, places)

    def _frame(self, table: Table) -> DataFrame:
        if table.tally is None:
            return self._rows(table)
        some = self._rows(table) if table.files or table.recast else None
        return with_tally(self._context, some, table)

    def _rows(self, table: Table) -> DataFrame:
        frames = [
            _with_named(self._recast(table, recast), table, recast.named) for recast in table.recast
        ]
        if table.files or not frames:
            scan = self._scanned(table, table.schema, table.files)
            if table.within:
                scan = scan.filter(scan.parse_sql_expr(table.within))
            frames.insert(0, _with_named(scan, table, table.named_from))
        frame = reduce(DataFrame.union, frames)
        if not table.computed:
            return frame
        selected = {name: _column(name) for name in table.schema.names}
        for name in sorted(table.computed):
            selected[name] = frame.parse_sql_expr(table.computed[name]).alias(name)
        return frame.select(*selected.values(), *map(_column, table.named))

    def _scanned(self, table: Table, schema: Any, files: Sequence[str]) -> DataFrame:
        frame = self.file_scan.frame(table.name, schema, files, table.mode)
        bounds = []
        if table.times.start_ns > MIN_NS:
            bounds.append(_column("timestamp") >= lit(pa.scalar(table.times.start_ns, TIMESTAMP)))
        if table.times.end_ns < MAX_NS:
            bounds.append(_column("timestamp") < lit(pa.scalar(table.times.end_ns, TIMESTAMP)))
        return frame.filter(*bounds) if bounds else frame

    def _recast(self, table: Table, recast: Recast) -> DataFrame:
        own = pa.schema(
            [one.with_type(recast.types.get(one.name, one.type)) for one in table.schema]
        )
        read = with_reads(own, recast.hidden)
        frame = without(self._scanned(table, read, recast.files), recast.hidden)
        columns = [_column(name) for name in own.names]
        for index, field in enumerate(table.schema):
            if field.name in recast.types:
                columns[index] = columns[index].try_cast(field.type).alias(field.name)
        return frame.select(*columns)

    @contextmanager
    def _registered(self, frames: dict[str, DataFrame], lists: dict[str, Any]) -> Iterator[None]:
        # A plan keeps the tables it was made from, so names are needed for this moment only.
        with self._lock:
            try:
                for name, frame in frames.items():
                    self._context.register_view(name, frame)
                for name, rows in lists.items():
                    self._context.from_arrow(rows, name=name)
                yield
            finally:
                for name in (*frames, *lists):
                    self._context.deregister_table(name)

    def close(self) -> None:
        """Remove the session's files. Queries that still run may fail."""
        self._remove()


def _shown_places(names: list[str]) -> list[int] | None:
    """Which columns of a result are shown: not those that only a `*` brought along.

    Example:
        >>> _shown_places(["body", NAMED_FIRST, "http.route", NAMED_LAST, "n"])
        [0, 4]
        >>> _shown_places(["http.route"])
    """
    if NAMED_FIRST not in names:
        return None
    places, inside = [], False
    for place, name in enumerate(names):
        inside = name == NAMED_FIRST or (inside and name != NAMED_LAST)
        if not inside and name != NAMED_LAST:
            places.append(place)
    return places


def _split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values that are bound as scalars, and those that are read as tables."""
    scalars: dict[str, Any] = {}
    lists: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, pa.Array):
            lists[f"${name}"] = pa.table({"value": value})
        elif isinstance(value, pa.Table):
            lists[name] = value
        else:
            scalars[name] = value
    return scalars, lists


def _column(name: str) -> Expr:
    escaped = name.replace('"', '""')
    return col(f'"{escaped}"')


def _with_named(frame: DataFrame, table: Table, named_from: Mapping[str, str]) -> DataFrame:
    """Add the columns that these files have under another name, each as the table's type."""
    if not table.named:
        return frame
    columns = [_column(name) for name in table.schema.names]
    for name, dtype in table.named.items():
        column = frame.parse_sql_expr(named_from.get(name, "NULL"))
        if frame.select(column.alias(name)).schema().field(name).type != dtype:
            # Not a plain cast: one that is pushed into a scan would cast bounds of files too.
            column = column.try_cast(dtype)
        columns.append(column.alias(name))
    return frame.select(*columns)


def find_native(
    url: str, storage_options: Mapping[str, object], directory: Path
) -> NativeStore | None:
    """How DataFusion can read the bucket of a store by itself.

    Args:
        url: Where the store is rooted.
        storage_options: Its options, in fsspec's words.
        directory: A private directory, for a moment.

    Returns:
        Its client, and how the objects are named; None if DataFusion cannot read it, with a line in
        the log that says why, unless the store is none of a service.
    """
    try:
        return native_store(url, storage_options, directory)
    except NotNativeError as error:
        level = logging.DEBUG if split_scheme(url)[0] in _WITHOUT_CLIENT else logging.WARNING
        _LOG.log(level, "segments of %s are copied before they are read: %s", url, error)
        return None


def _config(mode: ScanMode, partitions: int) -> SessionConfig:
    config = SessionConfig().with_target_partitions(partitions)
    for name, value in {**_SETTINGS, **_MODE_SETTINGS[mode]}.items():
        config = config.set(name, value)
    return config


def _computed_texts(frame: DataFrame) -> dict[str, str]:
    """Names of computed columns by their expression, as the optimizer writes it in a filter."""
    node = frame.optimized_logical_plan().to_variant()
    aliased = [one.to_variant() for one in node.projections() if one.variant_name() == "Alias"]
    return {str(one.expr()): one.alias() for one in aliased}
