"""How a query would be answered, for a person to read."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from lakerunner.model.card import Report
from lakerunner.model.times import isoformat
from lakerunner.printable import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lakerunner.compute.table import ScanMode
    from lakerunner.model.segment import Segment


class SegmentVerdict(NamedTuple):
    """What became of one segment.

    Attributes:
        segment: Which.
        keep: Whether the query reads it.
        reason: Why.
    """

    segment: Segment
    keep: bool
    reason: str


class Explanation(NamedTuple):
    """How a query would be answered. `str()` of it is meant to be read.

    Attributes:
        query: The text.
        segments: Every live segment of the tables it names.
        modes: By table, how it is scanned: `needle` evaluates filters while it decodes, `sweep`
            decodes first.
        physical_plan: DataFusion's plan over the segments that are kept.
        actual: What the query took when it ran, if it did.
    """

    query: str
    segments: tuple[SegmentVerdict, ...]
    modes: Mapping[str, ScanMode]
    physical_plan: str
    actual: QueryStats | None = None

    @property
    def kept(self) -> tuple[Segment, ...]:
        """The segments the query reads."""
        return tuple(one.segment for one in self.segments if one.keep)

    @property
    def dropped(self) -> tuple[Segment, ...]:
        """The segments it does not open."""
        return tuple(one.segment for one in self.segments if not one.keep)

    def to_dict(self) -> dict[str, Any]:
        """What it says as plain values: fit for `json.dumps`."""
        return {
            "query": self.query,
            "segments": [
                {"id": one.segment.id, "key": one.segment.key, "keep": one.keep, "why": one.reason}
                for one in self.segments
            ],
            "modes": {table: str(mode) for table, mode in self.modes.items()},
            "physical_plan": self.physical_plan,
            "actual": None if self.actual is None else self.actual.to_dict(),
        }

    def __repr__(self) -> str:
        return "\n".join([f"<Explanation of {self.query!r}>", *self._totals()])

    def _totals(self) -> Iterator[str]:
        for table, mode in self.modes.items():
            mine = [one for one in self.segments if one.segment.table == table]
            kept = [one.segment for one in mine if one.keep]
            rows, total = sum(s.rows for s in kept), sum(one.segment.rows for one in mine)
            size = sum(segment.bytes for segment in kept)
            yield (
                f"{table}: {len(kept):,} of {len(mine):,} segments kept, "
                f"{rows:,} of {total:,} rows, {size:,} bytes, scanned as a {mode}"
            )
        if self.actual is not None:
            took = self.actual
            yield (
                f"actual: {took.scanned:,} segments opened, {took.rows_scanned:,} rows and "
                f"{took.bytes_read:,} bytes read, {took.filter_bytes:,} of filters, "
                f"{took.rows:,} rows returned, planned in "
                f"{took.planning_seconds:.4f} s, run in {took.execution_seconds:.4f} s"
            )

    def __str__(self) -> str:
        lines = [*self._totals(), ""] if self.modes else ["no table is read", ""]
        for segment, keep, reason in self.segments:
            word = "keep" if keep else "drop"
            lines.append(
                f"{word}  {segment.key}  {_span(segment)}  {segment.rows:,} rows: {reason}"
            )
        lines += ["", *self.physical_plan.rstrip().splitlines()]
        return printable("\n".join(lines), lines=True)

    def _repr_html_(self) -> str:
        totals = "".join(f"<p>{escape(line)}</p>" for line in self._totals())
        rows = "".join(
            f"<tr><td>{'keep' if keep else 'drop'}</td><td>{escape(printable(segment.key))}</td>"
            f"<td>{_span(segment)}</td><td>{segment.rows:,}</td><td>{escape(printable(reason))}</td></tr>"
            for segment, keep, reason in self.segments
        )
        head = "<tr><th></th><th>segment</th><th>time</th><th>rows</th><th>why</th></tr>"
        return (
            f"{totals}<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
            f"<pre>{escape(printable(self.physical_plan, lines=True))}</pre>"
        )


def _span(segment: Segment) -> str:
    return f"{isoformat(segment.min_timestamp_ns)} to {isoformat(segment.max_timestamp_ns)}"


# What a query took.


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


# A few rows as text or HTML, for a person to look at.

_CELL_CHARACTERS = 200
_TEXT_COLUMN_CHARACTERS = 60
_LINE_CHARACTERS = 160
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}


def text_table(table: Any) -> str:
    """A table as aligned text: a line of names, then a line a row.

    Where that would be too wide, each value stands on a line of its own, and NULLs are left out.

    Example:
        >>> print(text_table(pa.table({"level": ["INFO", None], "rows": [7, 12]})))
        level  rows
        INFO      7
        NULL     12
    """
    columns = []
    for field, cells in _cells(table):
        cut = [printable(_cut(cell, _TEXT_COLUMN_CHARACTERS)) for cell in [field.name, *cells]]
        width = max(map(len, cut))
        right = _is_number(field.type)
        columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cut])
    if sum(len(cells[0]) + 2 for cells in columns) > _LINE_CHARACTERS and table.num_rows:
        return _upright(columns)
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def _upright(columns: list[list[str]]) -> str:
    width = max(len(cells[0].strip()) for cells in columns)
    lines = []
    for row in range(1, len(columns[0])):
        lines.append(f"-- row {row}")
        filled = ((cells[0].strip(), cells[row].strip()) for cells in columns)
        lines += [f"{name:<{width}}  {value}" for name, value in filled if value != "NULL"]
    return "\n".join(lines)


def html_table(table: Any, caption: str) -> str:
    """A table as HTML, with types; every name and value is escaped, also what no browser shows."""
    columns = list(_cells(table))
    head = "".join(
        f"<th>{escape(printable(field.name))}<br><small>{escape(str(field.type))}</small></th>"
        for field, _ in columns
    )
    rows = zip(*(cells for _, cells in columns), strict=True)
    body = "".join(f"<tr>{_html_cells(row)}</tr>" for row in rows)
    return (
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _html_cells(row: Sequence[str]) -> str:
    return "".join(
        f"<td>{escape(printable(_cut(cell, _CELL_CHARACTERS), lines=True))}</td>" for cell in row
    )


def _cells(table: Any) -> list[tuple[Any, list[str]]]:
    return [
        (field, [cell_text(value) for value in column])
        for field, column in zip(table.schema, table.columns, strict=True)
    ]


def cell_text(value: Any) -> str:
    """One Arrow scalar for a person to read.

    Example:
        >>> cell_text(pa.scalar(1767225600000000001, pa.timestamp("ns", "UTC")))
        '2026-01-01 00:00:00.000000001'
        >>> cell_text(pa.scalar([1, None])), cell_text(pa.scalar({"a": "x"}))
        ('[1, NULL]', '{a: x}')
    """
    if not value.is_valid:
        return "NULL"
    dtype = value.type
    if pa.types.is_timestamp(dtype):
        text = isoformat(value.value * _NANOSECONDS[dtype.unit]).removesuffix("Z")
        return text.replace("T", " ")
    if pa.types.is_nested(dtype):
        return _nested_text(value)
    if pa.types.is_boolean(dtype):
        return str(value.as_py()).lower()
    return str(value.as_py())


def _nested_text(value: Any) -> str:
    if pa.types.is_map(value.type):
        entries = value.values
        pairs = [*zip(entries.field(0), entries.field(1), strict=True)]
    elif pa.types.is_struct(value.type):
        pairs = [(pa.scalar(name), value[name]) for name in value]
    else:
        return f"[{', '.join(cell_text(one) for one in value.values)}]"
    return f"{{{', '.join(f'{cell_text(name)}: {cell_text(one)}' for name, one in pairs)}}}"


def _is_number(dtype: Any) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
