"""Arrow columns as text: exact, safe for a terminal, and JSON that parses back."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.query.writing import CELL_CHARACTERS, cells, flat, json_lines

UTC_NS = pa.timestamp("ns", "UTC")


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        (pa.array([1, None, -3]), ["1", "NULL", "-3"]),
        (pa.array([1.5, math.nan]), ["1.5", "nan"]),
        (pa.array([True, None]), ["true", "NULL"]),
        (pa.array([0, 1_000_000_001, 1_500_000_000], UTC_NS), [
            "1970-01-01T00:00:00Z", "1970-01-01T00:00:01.000000001Z", "1970-01-01T00:00:01.500Z",
        ]),
        (pa.array([10_000_000_000], pa.timestamp("ns")), ["1970-01-01T00:00:10"]),
        (pa.array(["a\nb\tc", "\x1b[31mred\x07", "\x9b2J"]), [
            "a\\nb\\tc", "\\x1b[31mred\\x07", "\\x9b2J",
        ]),
        (pa.array(["x", None, "x"]).dictionary_encode(), ["x", "NULL", "x"]),
        (pa.array(["view"], pa.string_view()), ["view"]),
        (pa.array([[1, 2], None]), ["[1,2]", "NULL"]),
        (pa.array([b"\x00\xff"]), ["00ff"]),
        (pa.nulls(2), ["NULL", "NULL"]),
        (pa.array([], pa.int64()), []),
    ],
)  # fmt: skip
def test_cells(column: Any, shown: list[str]) -> None:
    assert cells(column) == shown


def test_a_long_cell_is_cut_and_says_so() -> None:
    exact, longer = cells(pa.array(["é" * CELL_CHARACTERS, "é" * (CELL_CHARACTERS + 1)]))
    assert exact == "é" * CELL_CHARACTERS
    assert longer == "é" * CELL_CHARACTERS + "…"


@given(st.lists(st.text(), max_size=5))
def test_no_cell_breaks_a_line_or_moves_the_cursor(texts: list[str]) -> None:
    for cell in cells(pa.array(texts, pa.string())):
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in cell)


TABLES = st.lists(
    st.tuples(
        st.none() | st.text(),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(),
        st.none() | st.booleans(),
        st.none() | st.lists(st.integers(0, 9), max_size=3),
    ),
    max_size=20,
)


@given(TABLES, st.text())
def test_json_lines_parse_back(rows: list[tuple[Any, ...]], name: str) -> None:
    kinds = [pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.list_(pa.int8())]
    names = [f"{name}_{position}" for position in range(len(kinds))]
    columns = [pa.array([row[at] for row in rows], kind) for at, kind in enumerate(kinds)]
    batch = pa.RecordBatch.from_arrays(columns, names)
    lines = json_lines(batch).decode().split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        value = row[2]
        finite = value if value is not None and math.isfinite(value) else None
        expected = (*row[:2], finite, *row[3:])
        assert json.loads(line) == dict(zip(names, expected, strict=True))


def test_json_keeps_times_and_dictionaries() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
    batch = pa.RecordBatch.from_arrays(
        [pa.array([at], UTC_NS), pa.array(["a"]).dictionary_encode()], ["at", "name"]
    )
    assert json.loads(json_lines(batch)) == {"at": "2026-01-02T03:04:05.600Z", "name": "a"}


def test_flat_keeps_plain_columns_as_they_are() -> None:
    column = pa.array([1, 2])
    assert flat(column) is column
