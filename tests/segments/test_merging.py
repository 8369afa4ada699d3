"""A merge of sorted parts is what sorting all rows gives, whatever the types and the cuts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.errors import SegmentError
from lakerunner.segments.merging import merge_sorted, sort_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTED = pa.dictionary(pa.int32(), pa.string())
TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), st.sampled_from(["", "a", "b", "é", "\U0001f600", "\uffff"])),
    "listed": (LISTED, st.sampled_from(["x", "y", "z"])),
    "whole": (pa.int64(), st.sampled_from([-(2**63), 2**63 - 1, 0, 1])),
    "positive": (pa.uint64(), st.sampled_from([0, 2**64 - 1, 2**63, 5])),
    "real": (pa.float64(), st.sampled_from([math.nan, 0.0, -0.0, 1.5, math.inf, -math.inf])),
    "flag": (pa.bool_(), st.booleans()),
    "time": (pa.timestamp("ns", "UTC"), st.integers(0, 3)),
}


@st.composite
def parts(draw: st.DrawFn) -> tuple[list[str], list[list[pa.RecordBatch]]]:
    names = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=3, unique=True))
    sources, number = [], 0
    for _ in range(draw(st.integers(1, 4))):
        rows = draw(st.integers(0, 12))
        columns: dict[str, Any] = {}
        for name in names:
            dtype, values = TYPES[name]
            drawn = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
            plain = dtype.value_type if dtype == LISTED else dtype
            column = pa.array(drawn, plain, from_pandas=False)
            columns[name] = column.dictionary_encode() if dtype == LISTED else column
        columns["number"] = pa.array(range(number, number + rows), pa.int64())
        number += rows
        batch = pa.record_batch(columns)
        size = draw(st.integers(1, 5))
        if rows:
            batch = sort_rows([batch], names).to_batches()[0]
        sources.append([batch.slice(start, size) for start in range(0, rows, size)])
    return names, sources


@given(parts())
def test_merged_is_sorted(drawn: tuple[list[str], list[list[pa.RecordBatch]]]) -> None:
    names, sources = drawn
    merged = list(merge_sorted([iter(batches) for batches in sources], names))
    every = [batch for batches in sources for batch in batches]
    if not every:
        assert not merged
        return
    found = pa.concat_tables(merged)["number"].to_pylist()
    assert found == sort_rows(every, names)["number"].to_pylist()


def test_no_more_than_a_batch_of_each_is_drawn_ahead() -> None:
    drawn = []

    def source(name: str, *starts: int) -> Iterator[pa.RecordBatch]:
        for start in starts:
            drawn.append((name, start))
            yield pa.record_batch({"n": list(range(start, start + 3))})

    merged = merge_sorted([source("a", 0, 3, 6), source("b", 100, 103)], ["n"])
    assert next(merged)["n"].to_pylist() == [0, 1, 2]
    assert drawn == [("a", 0), ("b", 100), ("a", 3)]


def test_rows_without_an_order_follow_one_another() -> None:
    batches = [pa.record_batch({"n": [2]}), pa.record_batch({"n": [1]})]
    merged = merge_sorted([iter(batches[:1]), iter(batches[1:])], [])
    assert [one["n"].to_pylist() for one in merged] == [[2], [1]]


def test_a_source_that_is_not_sorted_is_named() -> None:
    good = iter([pa.record_batch({"n": [1, 2]})])
    bad = iter([pa.record_batch({"n": [1, 5]}), pa.record_batch({"n": [4]})])
    with pytest.raises(SegmentError) as caught:
        list(merge_sorted([good, bad], ["n"]))
    assert caught.value.context["source"] == 1
