"""Types by name, and the type several of them are read as."""

from __future__ import annotations

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given

from lakerunner.schema.arrays import TYPES, common_type, compact_strings, type_name
from lakerunner.schema.tables import TABLES, TableSpec

_NAMES = st.sampled_from(sorted(TYPES))


@given(st.lists(_NAMES, min_size=1), st.lists(_NAMES, min_size=1))
def test_the_common_type_needs_no_order(first: list[str], second: list[str]) -> None:
    assert common_type([*first, *second]) == common_type([*second, *first])
    assert common_type(first * 2) == common_type(first)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["int32", "int64"], "int64"),
        (["int64", "uint64"], "double"),
        (["int32", "double"], "double"),
        (["bool", "int64"], "string"),
        (["timestamp", "int64"], "string"),
        (["timestamp"], "timestamp"),
        (["double", "string"], "string"),
    ],
)
def test_common_types(names: list[str], wanted: str) -> None:
    assert common_type(names) == wanted


@pytest.mark.parametrize("name", sorted(TYPES))
def test_names_come_back(name: str) -> None:
    assert type_name(TYPES[name]) == name


@pytest.mark.parametrize("spec", TABLES.values(), ids=TABLES)
def test_tables_have_unique_columns_and_can_be_sorted(spec: TableSpec) -> None:
    names = spec.schema.names
    assert len(set(names)) == len(names)
    assert set(spec.sort) | set(spec.ids) <= set(names)


def test_only_repeating_text_is_encoded() -> None:
    assert pa.types.is_dictionary(compact_strings(pa.array(["a", "b"] * 9000)).type)
    assert pa.types.is_string(compact_strings(pa.array([str(n) for n in range(20_000)])).type)
    assert compact_strings(pa.array([1, 1])).type == pa.int64()
    assert len(compact_strings(pa.array([], pa.string()))) == 0


@given(st.lists(st.none() | st.sampled_from(["a", "b", ""])))
def test_encoding_changes_no_value(values: list[str | None]) -> None:
    assert compact_strings(pa.array(values, pa.string())).to_pylist() == values
