"""A few rows as text or HTML, for a person to look at."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.model.times import isoformat
from lakerunner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

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
