"""Statistics never lie: whatever they say of a column holds for every row."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from lakerunner.limits import STAT_TEXT, STAT_VALUES
from lakerunner.schema.attribute import (
    OVERFLOW,
    AttributeColumn,
    OverflowPairs,
    attribute_field,
    overflow_field,
    overflow_map,
)
from lakerunner.schema.ids import id_filter
from lakerunner.segments.layout import lay_out
from lakerunner.segments.stats import TableStats, column_stats


@given(data=st.data())
def test_statistics_hold_for_every_row(
    log_tables: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    for window in lay_out(data.draw(log_tables), 1000, ("timestamp",)):
        stats = column_stats(window.table)
        assert stats.keys() == set(window.table.schema.names)
        for name, column in stats.items():
            values = window.table[name]
            if pa.types.is_timestamp(values.type):
                values = values.cast("int64")
            cells = [cell for cell in values.to_pylist() if cell is not None]
            assert column.nulls == len(values) - len(cells)
            if any(isinstance(cell, float) and math.isnan(cell) for cell in cells):
                assert column.min is column.max is None
            elif name != "body":
                assert column.min == min(cells)
                assert column.max == max(cells)
            if column.values is not None:
                assert list(column.values) == sorted(set(cells), key=str.encode)


@given(data=st.data())
def test_statistics_of_parts_are_those_of_the_whole(
    log_tables: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    whole = data.draw(log_tables)
    cuts = sorted(data.draw(st.lists(st.integers(0, whole.num_rows), max_size=4)))
    edges = list(zip([0, *cuts], [*cuts, whole.num_rows], strict=True))
    parts = [whole.slice(start, end - start) for start, end in edges]
    ids = ["body", "resource_service_name"]
    folded, added = TableStats(ids), TableStats(ids)
    for part in data.draw(st.permutations(parts)):
        one = TableStats(ids)
        one.add(part)
        folded.merge(one)
        added.add(part)
    expected = column_stats(whole, ids)
    assert folded.columns() == added.columns() == expected
    assert folded.rows == added.rows == whole.num_rows


def test_many_texts_in_parts_are_not_listed() -> None:
    stats = TableStats()
    for start in range(0, STAT_VALUES + 1, 5):
        texts = [f"{number:03}" for number in range(start, min(start + 5, STAT_VALUES + 1))]
        stats.add(pa.table({"attr_x": pa.array(texts).dictionary_encode()}))
    found = stats.columns()["attr_x"]
    assert (found.min, found.max, found.values) == ("000", f"{STAT_VALUES:03}", None)


def test_a_slice_of_the_overflow_is_described_by_its_own_rows() -> None:
    types: dict[str, tuple[str, tuple[str, ...]]] = {}
    types |= {"attr_a": ("a", ("string",)), "attr_b": ("b", ("string",))}
    pairs = OverflowPairs(np.array([0, 1]), pa.array(["attr_a", "attr_b"]), pa.array("xy"), types)
    schema = pa.schema([overflow_field(OVERFLOW, types)])
    table = pa.Table.from_arrays([overflow_map([pairs], 2).values], schema=schema)
    assert column_stats(table.slice(1)).keys() == {OVERFLOW, "attr_b"}


def text_stats(*texts: str) -> Any:
    encoded = pa.array(texts).dictionary_encode()
    return column_stats(pa.table({"attr_x": encoded}))["attr_x"]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=200), min_size=1, max_size=4))
def test_text_bounds_hold_by_bytes(texts: list[str]) -> None:
    stats = text_stats(*texts)
    assert stats.min.encode() <= min(text.encode() for text in texts)
    assert len(stats.min) <= STAT_TEXT
    if stats.max is not None:
        assert stats.max.encode() == max(text.encode() for text in texts)


def test_long_text_has_a_cut_lower_bound_and_no_upper_one() -> None:
    stats = text_stats("x" * (STAT_TEXT + 1), "y" * (STAT_TEXT + 1))
    assert (stats.min, stats.max, stats.values) == ("x" * STAT_TEXT, None, None)


def test_many_values_are_not_listed() -> None:
    texts = [f"{number:03}" for number in range(STAT_VALUES + 1)]
    assert text_stats(*texts[:-1]).values == tuple(texts[:-1])
    assert text_stats(*texts).values is None


def test_values_of_a_dictionary_that_no_row_uses_are_not_counted() -> None:
    unused = pa.DictionaryArray.from_arrays(pa.array([1, None]), pa.array(["a", "b", "c"]))
    stats = column_stats(pa.table({"attr_x": unused}))["attr_x"]
    assert (stats.min, stats.max, stats.values, stats.nulls) == ("b", "b", ("b",), 1)


@pytest.mark.parametrize("encode", [False, True])
def test_ids_have_a_filter(*, encode: bool) -> None:
    ids = pa.array([f"{number:032x}" for number in range(100)])
    stats = column_stats(
        pa.table({"trace_id": ids.dictionary_encode() if encode else ids, "x": ids}), ["trace_id"]
    )
    assert stats["trace_id"].filter == id_filter(ids)
    assert stats["x"].filter == ""


def test_attributes_keep_their_keys_and_types() -> None:
    column = AttributeColumn(pa.array([1.5, 2.0]), "Http.Size", ("int64", "double"))
    schema = pa.schema([attribute_field("attr_http_size", column)])
    stats = column_stats(pa.Table.from_arrays([column.values], schema=schema))["attr_http_size"]
    assert (stats.key, stats.types, stats.type) == ("Http.Size", ("int64", "double"), "double")


def test_the_overflow_is_described_by_what_it_holds() -> None:
    types: dict[str, tuple[str, tuple[str, ...]]] = {}
    types |= {"attr_n": ("N", ("int64",)), "attr_gone": ("gone", ("string",))}
    names, values = pa.array(["attr_n"]), pa.array(["7"])
    pairs = OverflowPairs(np.array([1]), names, values, types)
    schema = pa.schema([overflow_field(OVERFLOW, types)])
    stats = column_stats(pa.Table.from_arrays([overflow_map([pairs], 3).values], schema=schema))
    assert stats.keys() == {OVERFLOW, "attr_n"}
    assert stats[OVERFLOW].nulls == 2
    assert (stats["attr_n"].overflow, stats["attr_n"].type) == (True, "int64")
    assert (stats["attr_n"].min, stats["attr_n"].key) == (None, "N")
