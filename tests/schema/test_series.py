"""Series ids: known values, agreement with a plain computation, independence of layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.schema.attribute import (
    OVERFLOW,
    AttributeColumn,
    OverflowPairs,
    assign_names,
    attribute_field,
    overflow_field,
    overflow_map,
)
from lakerunner.schema.series import series_ids
from lakerunner.schema.text import double_text

_MASK = 2**64 - 1
_KEYS = ["http.method", "http_method", "service.name", "", "a", "größe"]
_SETS = st.lists(
    st.dictionaries(st.sampled_from(_KEYS), st.text(max_size=12), max_size=6), max_size=5
)


def _mix(value: int) -> int:
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _hash(text: str) -> int:
    data = text.encode()
    total = len(data) * 0x9E3779B97F4A7C15
    for position in range(0, len(data), 8):
        word = int.from_bytes(data[position : position + 8], "little")
        total += _mix(word + (position // 8 + 1) * 0x9E3779B97F4A7C15)
    return _mix(total)


def _plain(parts: list[tuple[str, str]]) -> int:
    """The id of a series by its parts: where each stands, and its text."""
    total = _mix(sum(_mix(_hash(text) + _hash(place)) for place, text in parts))
    return total - 2**64 if total >= 2**63 else total


def ids_of(table: pa.Table) -> list[int]:
    found = series_ids(table)
    assert found.type == pa.int64()
    assert found.null_count == 0
    held: list[int] = found.to_pylist()
    return held


def attributes_of(rows: list[dict[str, str]], overflowing: set[str], encode: set[str]) -> pa.Table:
    """A table of point attributes, some of them in the overflow map, some as dictionaries."""
    names = assign_names("attr_", {key for row in rows for key in row})
    fields, arrays = [], []
    for key in names.keys() - overflowing:
        values = pa.array([row.get(key) for row in rows], pa.string())
        values = values.dictionary_encode() if key in encode else values
        fields.append(attribute_field(names[key], AttributeColumn(values, key, ("string",))))
        arrays.append(values)
    pairs = [
        (row, names[key], text)
        for row, sent in enumerate(rows)
        for key, text in sent.items()
        if key in overflowing
    ]
    if pairs:
        owners, held, texts = zip(*pairs, strict=True)
        known: dict[str, tuple[str, tuple[str, ...]]] = {
            names[key]: (key, ("string",)) for key in names.keys() & overflowing
        }
        part = OverflowPairs(np.array(owners), pa.array(held), pa.array(texts), known)
        fields.append(overflow_field(OVERFLOW, known))
        arrays.append(overflow_map([part], len(rows)).values)
    fields.append(pa.field("metric_name", pa.string()))
    arrays.append(pa.array(["up"] * len(rows), pa.string()))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


@given(_SETS, st.sets(st.sampled_from(_KEYS)), st.sets(st.sampled_from(_KEYS)))
def test_equals_the_plain_computation_wherever_attributes_lie(
    rows: list[dict[str, str]], overflowing: set[str], encode: set[str]
) -> None:
    wanted = [
        _plain([("\0metric_name", "up"), *((f"attr_\0{key}", text) for key, text in row.items())])
        for row in rows
    ]
    table = attributes_of(rows, overflowing, encode)
    assert ids_of(table) == wanted
    assert ids_of(table.slice(1)) == wanted[1:]
    assert ids_of(pa.concat_tables([table.slice(0, 1), table.slice(1)])) == wanted


def test_ids_never_change() -> None:
    rows = [{"http.method": "GET"}, {}]
    table = attributes_of(rows, set(), set())
    assert ids_of(table) == [4775722781329958855, 2162988103634842930]


@given(st.integers(-(2**53), 2**53), st.sampled_from([0.5, float("nan"), 1e300]))
def test_a_number_is_the_same_in_every_column_that_can_hold_it(number: int, other: float) -> None:
    alone: Any = pa.array([number])
    text = alone.cast(pa.string())
    columns = [
        alone,
        alone.dictionary_encode(),
        pa.array([float(number), other]),
        pa.array([float(number)]).cast(pa.float64()).dictionary_encode(),
        text,
        text.cast(pa.large_string()),
        text.dictionary_encode(),
        double_text(pa.array([float(number)])),
    ]
    found = {ids_of(pa.table({"attr_a": column}))[0] for column in columns}
    # A zero that came as an integer has no sign, and neither has one here.
    assert found == {_plain([("attr_\0a", str(number))])}


@given(st.floats())
def test_a_double_is_the_same_as_its_text(number: float) -> None:
    values = pa.array([number])
    assert ids_of(pa.table({"attr_a": values})) == ids_of(pa.table({"attr_a": double_text(values)}))


@given(st.floats(allow_nan=False))
def test_text_of_doubles_reads_back(number: float) -> None:
    (text,) = double_text(pa.array([number])).to_pylist()
    assert repr(float(text)) == repr(number)


@pytest.mark.parametrize("value", [True, 5, 2.5, "x", None])
def test_where_an_attribute_stands_matters(value: Any) -> None:
    names = ("attr_a", "scope_a", "resource_a", "attr_b")
    found = {ids_of(pa.table({name: [value]}))[0] for name in names}
    assert len(found) == (1 if value is None else 4)


def test_what_is_no_identity_does_not_matter() -> None:
    identity = {"metric_name": ["up"], "unit": ["s"], "scope_name": ["lib"], "attr_a": [1]}
    more = {"value": [0.5], "description": ["text"], "temporality": ["delta"], "flags": [1]}
    assert ids_of(pa.table(identity)) == ids_of(pa.table({**more, **identity}))
    for name in identity:
        others = {key: value for key, value in identity.items() if key != name}
        assert ids_of(pa.table(others)) != ids_of(pa.table(identity))


def test_swapped_values_are_another_series() -> None:
    assert len({*ids_of(pa.table({"attr_a": ["1", "2"], "attr_b": ["2", "1"]}))}) == 2


def test_a_million_series_have_a_million_ids() -> None:
    table = pa.table(
        {"attr_a": np.arange(1_000_000) // 1000, "attr_b": np.arange(1_000_000) % 1000}
    )
    assert len(np.unique(series_ids(table).to_numpy())) == 1_000_000


def test_no_rows() -> None:
    assert ids_of(pa.table({"metric_name": pa.array([], pa.string())})) == []
    assert ids_of(attributes_of([], set(), set())) == []
