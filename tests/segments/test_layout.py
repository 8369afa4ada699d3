"""Windows and order."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given

from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.segments.layout import lay_out

WINDOW = 1000
ORDERS = [
    (),
    ("timestamp",),
    ("resource_service_name", "timestamp"),
    ("attr_bool", "resource_service_name", "missing", "attr_int"),
    ("body", "timestamp_raw"),
]


def sort_key(row: dict[str, Any], order: tuple[str, ...]) -> list[Any]:
    """What a row sorts by: NULLs last, text by its bytes, and then its place in the input."""
    cells = [row.get(name) for name in order]
    cells = [cell.encode() if isinstance(cell, str) else cell for cell in cells]
    return [(cell is None, 0 if cell is None else cell) for cell in cells]


def rows(table: pa.Table) -> list[dict[str, Any]]:
    names = [name for name in table.schema.names if name != "timestamp"]
    table = table.set_column(
        table.schema.names.index("timestamp"), "timestamp", table["timestamp"].cast("int64")
    )
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in table.select(["timestamp", *names]).to_pylist()
    ]


@given(data=st.data(), order=st.sampled_from(ORDERS))
def test_windows_are_sorted_whole_and_stable(
    log_tables: st.SearchStrategy[Any], data: st.DataObject, order: tuple[str, ...]
) -> None:
    table = data.draw(log_tables)
    windows = list(lay_out(table, WINDOW, order))
    starts = [window.start_ns for window in windows]
    assert starts == sorted(set(starts))
    found = []
    for window in windows:
        assert window.start_ns % WINDOW == 0
        held = rows(window.table)
        assert all(window.start_ns <= row["timestamp"] < window.start_ns + WINDOW for row in held)
        keys = [(sort_key(row, order), row["position"]) for row in held]
        assert keys == sorted(keys)  # the position breaks ties: the sort is stable
        assert window.sort == tuple(name for name in order if name in window.table.schema.names)
        for name in window.table.schema.names:
            column = window.table[name]
            assert column.num_chunks == 1
            assert column.null_count < len(column)
        found.extend(held)
    assert repr(sorted(found, key=lambda row: row["position"])) == repr(rows(table))


def test_field_metadata_stays() -> None:
    field = pa.field("attr_x", pa.int64(), metadata={b"lakerunner.key": b"x"})
    schema = pa.schema([("timestamp", TIMESTAMP), field])
    table = pa.table([pa.array([1, 2000]).cast(TIMESTAMP), pa.array([1, 2])], schema=schema)
    for window in lay_out(table, WINDOW, ("timestamp",)):
        assert window.table.schema.field("attr_x").metadata == field.metadata


def test_an_empty_table_has_no_windows() -> None:
    table = pa.table({"timestamp": pa.array([], TIMESTAMP)})
    assert list(lay_out(table, WINDOW, ("timestamp",))) == []


@pytest.mark.parametrize("time", [-(2**63) + 3600 * 10**9, 2**63 - 1, -1, 0])
def test_far_times_have_a_window(time: int) -> None:
    table = pa.table({"timestamp": pa.array([time], pa.int64()).cast(TIMESTAMP)})
    (window,) = lay_out(table, 3600 * 10**9, ())
    assert window.start_ns <= time < window.start_ns + 3600 * 10**9
