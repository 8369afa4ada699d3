"""Which columns a query sees, as which types, and from where."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lakerunner.model.commit import ColumnSummary, Snapshot
from lakerunner.query.sql.query import read_sql
from lakerunner.query.views import WITNESS, View, table_view, without_witness
from lakerunner.schema.tables import TABLES, TableSpec

Columns = dict[str, tuple[str, int, int]]
"""Types, segments where it is a column, and segments where it overflowed, by name."""


def view(text: str, columns: Columns, *, every: bool = False) -> View:
    summaries = {
        name: ColumnSummary(tuple(types.split()), physical, overflow)
        for name, (types, physical, overflow) in columns.items()
    }
    snapshot = Snapshot(sequence=1, segments=2, rows=3, bytes=4, columns=summaries)
    return table_view(TABLES["logs"], snapshot, read_sql(text).mention, every=every)


@pytest.mark.parametrize("spec", TABLES.values(), ids=TABLES)
def test_canonical_columns_are_always_there(spec: TableSpec) -> None:
    empty = Snapshot(0, 0, 0, 0, {})
    found = table_view(spec, empty, read_sql("SELECT 1").mention, every=True)
    assert set(found.schema.names) == set(spec.schema.names)
    assert found.schema.names[-1] == "attribute_overflow"
    assert not found.computed


def test_only_attributes_that_are_mentioned_are_there() -> None:
    columns: Columns = {f"attr_{n}": ("int64", 1, 0) for n in range(5000)}
    found = view("SELECT attr_7 FROM logs WHERE attr_42 > 1", columns)
    extra = set(found.schema.names) - set(TABLES["logs"].schema.names)
    assert extra == {"attr_7", "attr_42", WITNESS}
    assert WITNESS not in without_witness(found).schema.names


def test_every_attribute_that_is_a_column_belongs_to_a_star() -> None:
    columns = {"attr_b": ("int64", 1, 0), "attr_a": ("string", 2, 3), "attr_deep": ("string", 0, 9)}
    found = view("SELECT * FROM logs", columns, every=True)
    names = found.schema.names
    assert names[-3:] == ["attr_a", "attr_b", "attribute_overflow"]
    assert set(found.computed) == {"attr_a"}
    assert WITNESS not in names


@pytest.mark.parametrize(
    ("types", "read"),
    [
        ("int64", pa.int64()),
        ("string", pa.string_view()),
        ("double int64", pa.float64()),
        ("bool int64", pa.string_view()),
        ("bool", pa.bool_()),
    ],
)
def test_types_are_common_to_all_segments(types: str, read: pa.DataType) -> None:
    found = view("SELECT attr_x FROM logs", {"attr_x": (types, 2, 0)})
    assert found.schema.field("attr_x").type == read
    assert not found.computed


def test_overflow_is_looked_up_only_where_there_is_any() -> None:
    columns = {
        "attr_x": ("int64", 1, 1),
        "attr_y": ("int64", 0, 1),
        "attr_z": ("int64", 1, 0),
        "attr_s": ("int64 string", 0, 2),
    }
    found = view("SELECT attr_x, attr_y, attr_z, attr_s FROM logs", columns)
    looked_up = "map_extract(attribute_overflow, '{}')[1]".format
    assert found.computed == {
        "attr_x": f"coalesce(\"attr_x\", arrow_cast({looked_up('attr_x')}, 'Int64'))",
        "attr_y": f"arrow_cast({looked_up('attr_y')}, 'Int64')",
        "attr_s": looked_up("attr_s"),
    }
    assert {"attr_x", "attr_z"} <= set(found.schema.names)
    assert not {"attr_y", "attr_s"} & set(found.schema.names)
