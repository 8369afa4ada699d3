"""JSON text of nested columns: what it says equals what the column holds."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.schema.text import json_text

MAP = pa.map_(pa.string(), pa.int64())
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)


def column(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | values, min_size=1, max_size=5)


objects = st.fixed_dictionaries(
    {
        "a": st.none() | st.integers(-(2**53), 2**53),
        'b "quoted"': st.none() | st.text(),
        "c": st.none()
        | st.lists(st.none() | st.fixed_dictionaries({"d": st.none() | st.booleans()})),
    }
)


def without_nulls(value: Any) -> Any:
    """Objects without their NULL fields, as the text has them."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@given(column(objects), st.data())
def test_objects_read_back(values: list[Any], data: st.DataObject) -> None:
    array = pa.array(values)
    start = data.draw(st.integers(0, len(values)))
    read = [
        None if text is None else json.loads(text)
        for text in json_text(array.slice(start)).to_pylist()
    ]
    assert read == [without_nulls(value) for value in values[start:]]


@given(
    st.one_of(
        *(column(kind) for kind in (st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans()))
    )
)
def test_scalars_read_back(values: list[Any]) -> None:
    read = [
        None if text is None else json.loads(text)
        for text in json_text(pa.array(values)).to_pylist()
    ]
    assert read == values


@given(column(st.floats(allow_nan=False, allow_infinity=False)))
def test_doubles_read_back_exactly(values: list[Any]) -> None:
    read = [
        None if text is None else float(text)
        for text in json_text(pa.array(values, pa.float64())).to_pylist()
    ]
    assert read == values


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (pa.array([{}, None], pa.struct([])), ["{}", None]),
        (pa.array([[("k", 1), ("é", None)], None, []], MAP), ['{"k":1,"é":null}', None, "{}"]),
        (pa.array([[(1, "x")]], pa.map_(pa.int64(), pa.string())), ['{"1":"x"}']),
        (pa.array([[1, 2]], pa.list_(pa.int64(), 2)), ["[1,2]"]),
        (pa.array([[1]], pa.large_list(pa.int64())), ["[1]"]),
        (pa.array([b"\x00\xff"]), ['"AP8="']),
        (pa.array([b"\x00\xff"], pa.binary(2)), ['"AP8="']),
        (pa.array([float("nan"), float("-inf")]), ['"NaN"', '"-Infinity"']),
        (pa.array([MIDNIGHT], pa.timestamp("s", "UTC")), ['"2026-01-02T00:00:00Z"']),
        (pa.array([datetime(2026, 1, 2)], pa.timestamp("ms")), ['"2026-01-02T00:00:00.000Z"']),  # noqa: DTZ001 - Arrow's naive type
        (pa.array([date(2026, 1, 2)]), ['"2026-01-02"']),
        (pa.array([Decimal("1.50")]), ['"1.50"']),
        (pa.array(["x", None, "x"]).dictionary_encode(), ['"x"', None, '"x"']),
    ],
)  # fmt: skip
def test_other_types(array: Any, text: list[str | None]) -> None:
    assert json_text(array).to_pylist() == text
