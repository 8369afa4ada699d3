"""What an optimized plan asks of each table: condition, columns, and what becomes of the rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from datafusion import SessionContext, col, lit

from lakerunner.compute.expressions import kind_of, operands_of
from lakerunner.compute.mended_plan import PatchedPlan
from lakerunner.compute.predicates import PredicateReader
from lakerunner.compute.table import READ_OPTIONS, ScanMode
from lakerunner.compute.wire import read_fields
from lakerunner.model.predicate import EVERYTHING, And, Predicate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from datafusion import DataFrame, Expr, LogicalPlan

    from lakerunner.compute.table import Table
    from lakerunner.compute.wire import Field


class Scan(msgspec.Struct, frozen=True):
    """One reading of one table.

    Attributes:
        table: Its name.
        predicate: True for every row that the query can need from this scan.
        columns: Columns that are read, those of the predicate included.
        filtered: Those of the columns that the predicate speaks of.
        limited: The query stops after some rows of it, or keeps only the first by some order.
        aggregated: Rows are folded into groups before they are returned.
    """

    table: str
    predicate: Predicate = EVERYTHING
    columns: tuple[str, ...] = ()
    filtered: tuple[str, ...] = ()
    limited: bool = False
    aggregated: bool = False


class _Place(msgspec.Struct, frozen=True):
    """Where a node stands in the plan: what happens above it.

    Attributes:
        alias: Name of the innermost table or subquery it belongs to.
        condition: Of a filter right above it. A scan was offered it, but may have declined.
    """

    alias: str = ""
    limited: bool = False
    aggregated: bool = False
    condition: Any = None


# Nodes that pass rows on one by one: a limit above them is a limit below them.
_TRANSPARENT = frozenset({"Projection", "SubqueryAlias", "Filter", "Union"})
_UNNAMED = "?table?"
_SCAN_LINE = re.compile(r"^\s*TableScan: (\S+)", re.MULTILINE)
_MAX_DEPTH = 100
"""Expressions are not looked into any deeper: each look copies them."""


def find_scans(
    plan: LogicalPlan, tables: Sequence[Table], computed: Mapping[str, Mapping[str, str]]
) -> list[Scan]:
    """All scans in an optimized plan.

    Args:
        plan: The plan.
        tables: The tables it was made from.
        computed: By table, the names of computed columns by the text of their expression.

    Returns:
        One entry for each scan that DataFusion itself shows. Where one of them stands at a place
        that cannot be looked into, every table is said to be needed whole.
    """
    readers = {table.name: PredicateReader(table, computed.get(table.name, {})) for table in tables}
    known = {*readers, _UNNAMED}
    shown = sum(name in known for name in _SCAN_LINE.findall(plan.display_indent()))
    found = list(_walk(plan, _Place(), readers))
    if len(found) != shown or any(scan.table not in readers for scan in found):
        return [Scan(table.name, columns=tuple(table.schema.names)) for table in tables]
    return found


def _walk(
    plan: LogicalPlan, place: _Place, readers: Mapping[str, PredicateReader]
) -> Iterator[Scan]:
    node = plan.to_variant()
    kind = type(node).__name__
    if kind == "TableScan":
        if node.table_name() in readers or node.table_name() == _UNNAMED:
            yield _scan(node, place, readers)
        return
    below = _below(kind, node, place)
    for child in plan.inputs():
        yield from _walk(child, below, readers)


def _below(kind: str, node: Any, place: _Place) -> _Place:
    alias = node.alias() if kind == "SubqueryAlias" else place.alias
    if kind == "Aggregate":
        return _Place(alias, limited=False, aggregated=True)
    if kind == "Limit":
        return _Place(alias, limited=True, aggregated=place.aggregated)
    if kind == "Sort":
        top = node.get_fetch_val() is not None
        return _Place(alias, limited=top, aggregated=place.aggregated)
    condition = node.predicate() if kind == "Filter" else None
    limited = place.limited and kind in _TRANSPARENT
    return _Place(alias, limited, place.aggregated, condition)


def _scan(node: Any, place: _Place, readers: Mapping[str, PredicateReader]) -> Scan:
    name = node.table_name()
    table = name if name in readers else place.alias
    if table not in readers:
        return Scan(table)
    filters = [*node.filters(), *([] if place.condition is None else [place.condition])]
    parts = dict.fromkeys(readers[table].read(expression) for expression in filters)
    filtered = {column for expression in filters for column in _columns(expression)}
    return Scan(
        table,
        And(tuple(parts)),
        tuple(column for _, column in node.projection()),
        tuple(sorted(filtered)),
        limited=place.limited or node.fetch() is not None,
        aggregated=place.aggregated,
    )


def _columns(expression: Expr, depth: int = 0) -> Iterator[str]:
    if kind_of(expression) == "Column":
        yield expression.to_variant().name()
    for operand in operands_of(expression) if depth < _MAX_DEPTH else ():
        yield from _columns(operand, depth + 1)


# The sure road: a union of one scan per file, from public calls alone.


class FileUnion:
    """Scans a list of files as the union of single scans.

    Each scan keeps its pushdown and pruning. Planning takes several times as long as by
    `PatchedPlan`, and top-k does not read the files in the order of their statistics.

    Args:
        context: The session that runs the scans.
        readers: A session by scan mode, whose settings the scans shall have.
        placeholder: A Parquet file without rows.
    """

    def __init__(
        self,
        context: SessionContext,
        readers: Mapping[ScanMode, SessionContext],
        placeholder: Path,
    ) -> None:
        self._context = context
        self._readers = readers
        self._placeholder = placeholder.as_uri()

    def frame(self, name: str, schema: Any, files: Sequence[str], mode: ScanMode) -> DataFrame:
        """Describe the scan; see `FileScan.frame`."""
        reader = self._readers[mode]
        frames = [
            reader.read_parquet(file, schema=schema, **READ_OPTIONS)
            for file in files or [self._placeholder]
        ]
        # Pairs of pairs: a chain as deep as the list is long could exhaust the planner's stack.
        while len(frames) > 1:
            pairs = zip(frames[::2], frames[1::2], strict=False)
            frames = [left.union(right) for left, right in pairs] + frames[len(frames) // 2 * 2 :]
        # The alias names the table in the plan, where the other road has it in the scan itself.
        plan = frames[0].alias(name).logical_plan()
        return self._context.create_dataframe_from_logical_plan(plan)


# The contract of a scan over an explicit list of files, and which of its two roads is taken.


class FileScan(Protocol):
    """A way to scan exactly the given Parquet files as one table."""

    def frame(self, name: str, schema: Any, files: Sequence[str], mode: ScanMode) -> DataFrame:
        """Describe the scan; nothing is read yet.

        Args:
            name: The table's name, for plans and messages.
            schema: Arrow schema under which every file is read.
            files: URLs of the files; none makes an empty table.
            mode: How filters are treated.
        """


def choose_file_scan(
    context: SessionContext, readers: Mapping[ScanMode, SessionContext], directory: Path
) -> FileScan:
    """The fast road if it works with the installed DataFusion, or else the sure one.

    The fast road depends on how DataFusion serialises a plan. Before it is taken, two small files
    are scanned by it and the answer and the physical plan are looked at.

    Args:
        context: The session that runs queries.
        readers: A session by scan mode, whose settings the scans shall have.
        directory: An empty directory that outlives the scans.
    """
    files = [_write_probe(directory / f"{number}.parquet", number) for number in (1, 2)]
    empty = directory / "empty.parquet"
    pq.write_table(pa.table({"number": pa.array([], pa.int64())}), empty)
    patched = PatchedPlan(context, readers, empty)
    return patched if _works(patched, files) else FileUnion(context, readers, empty)


def _write_probe(path: Path, number: int) -> str:
    """A file of two rows, declared as sorted by a column that is read as another type."""
    words = pa.array(["a", "b"]).dictionary_encode()
    order = [pq.SortingColumn(0, nulls_first=False)]
    table = pa.table({"word": words, "number": [number, number]})
    pq.write_table(table, path, sorting_columns=order)
    return path.as_uri()


def _works(scan: FileScan, files: Sequence[str]) -> bool:
    """Whether a scan reads all its files, no others, and takes filters and no order from them."""
    schema = pa.schema(
        [("word", pa.string_view()), ("number", pa.int64()), ("absent", pa.string_view())]
    )
    try:
        for mode in ScanMode:
            frame = scan.frame("probe", schema, files, mode)
            found = frame.sort(col("word").sort(), col("number").sort()).to_arrow_table()
            one = scan.frame("probe", schema, files[1:], mode).filter(col("number") > lit(1))
            plan = one.execution_plan().display_indent()
            if (
                found["word"].to_pylist() != ["a", "a", "b", "b"]
                or found["number"].to_pylist() != [1, 2, 1, 2]
                or found["absent"].null_count != found.num_rows
                or one.count() != 2  # noqa: PLR2004 - the rows of one file
                or scan.frame("probe", schema, [], mode).count() != 0
                or "predicate=number@1 > 1" not in plan
                or ("FilterExec" in plan) is not (mode is ScanMode.SWEEP)
            ):
                return False
    except Exception:  # noqa: BLE001 - whatever breaks it, the other road is there
        return False
    return True


# Which files a physical scan was made of, read from its serialised form.

# Field numbers in `datafusion.proto`: ParquetScanExecNode, FileScanExecConf, FileGroup and
# PartitionedFile.
_CONFIG, _GROUPS, _FILES = 1, 1, 1
_PATH, _SIZE = 1, 2


def scanned_files(plan: bytes) -> Mapping[str, int]:
    """Paths and sizes, in bytes, of the files of one serialised scan.

    Nothing at all where the bytes are not what this version of DataFusion makes of a scan of
    Parquet files: whoever asks must look for the files in another way then.

    Example:
        >>> scanned_files(b"not a plan")
        {}
    """
    try:
        (node,) = read_fields(plan)
        return {
            _only(file, _PATH).data.decode(): int(_only(file, _SIZE).value)
            for config in _inside(node, _CONFIG)
            for group in _inside(config, _GROUPS)
            for file in _inside(group, _FILES)
        }
    except ValueError:
        return {}


def _inside(field: Field, number: int) -> Iterator[Field]:
    return (one for one in read_fields(field.data) if one.number == number)


def _only(field: Field, number: int) -> Field:
    (found,) = _inside(field, number)
    return found
