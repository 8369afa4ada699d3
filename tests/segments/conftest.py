"""Random tables as a decoder hands them over."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest

from lakerunner.schema.arrays import TIMESTAMP

WINDOW = 1000
_TEXT = st.text(st.characters(codec="utf-8"), max_size=4) | st.sampled_from(["a", "b", "é", "z"])
_COLUMNS = {
    "resource_service_name": (_TEXT, pa.dictionary(pa.int32(), pa.string())),
    "body": (_TEXT, pa.string()),
    "attr_int": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
    "attr_double": (st.floats(allow_nan=False) | st.just(float("nan")), pa.float64()),
    "attr_bool": (st.booleans(), pa.bool_()),
    "flags": (st.integers(0, 2**32 - 1), pa.uint32()),
    "timestamp_raw": (st.integers(0, 2**64 - 1), pa.uint64()),
}


@st.composite
def _tables(draw: st.DrawFn) -> Any:
    count = draw(st.integers(1, 30))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=count, max_size=count))

    times = column(st.integers(-3000, 3000) | st.sampled_from([0, WINDOW, WINDOW - 1, -1]))
    arrays = {"timestamp": pa.array(times, pa.int64()).cast(TIMESTAMP)}
    for name, (values, dtype) in _COLUMNS.items():
        if draw(st.booleans()):
            cells = column(st.none() | values)
            plain = pa.array(cells, pa.string() if pa.types.is_dictionary(dtype) else dtype)
            arrays[name] = plain.dictionary_encode() if pa.types.is_dictionary(dtype) else plain
    arrays["position"] = pa.array(range(count), pa.int64())
    return pa.table(arrays)


@pytest.fixture(scope="session")
def log_tables() -> st.SearchStrategy[Any]:
    """Tables of up to 30 rows over several windows; `position` numbers the rows."""
    return _tables()
