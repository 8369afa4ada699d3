"""Columns of every Arrow type, also those that hardly anybody writes."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.records.parquet import parquet_sample, read_parquet
from lakerunner.formats.table import FORMATS
from lakerunner.model.signal import Signal
from lakerunner.schema.tables import TABLE_OF


def stream_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def union(mode: str) -> Any:
    codes = pa.array([0, 1, 0], pa.int8())
    if mode == "sparse":
        children = [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]
        return pa.UnionArray.from_sparse(codes, children)
    offsets = pa.array([0, 0, 1], pa.int32())
    return pa.UnionArray.from_dense(codes, offsets, [pa.array([1, 3]), pa.array(["b"])])


def runs() -> Any:
    return pa.RunEndEncodedArray.from_arrays(pa.array([1, 3], pa.int32()), pa.array(["a", None]))


UUID = pa.array([b"0123456789abcdef", None, b"0123456789abcdef"], pa.binary(16))
BROKEN = pa.array([b"a\xff", None, b"b"]).view(pa.string())
LONG = "x" * 20
INTERVAL = {"months": 1, "days": 2, "nanoseconds": 3}
THREE = pa.array([0, 1, 2, 3], pa.int32())

EXOTIC: dict[str, tuple[Any, list[Any]]] = {
    "sparse union": (union("sparse"), ["1", "b", "3"]),
    "dense union": (union("dense"), ["1", "b", "3"]),
    "runs": (runs(), ["a", None, None]),
    "list of runs": (pa.ListArray.from_arrays(THREE, runs()), [["a"], [None], [None]]),
    "interval": (
        pa.array([(1, 2, 3), None, (0, 0, 0)], pa.month_day_nano_interval()),
        [INTERVAL, None, dict.fromkeys(INTERVAL, 0)],
    ),
    "list view": (pa.array([[1], None, [2, 3]], pa.list_view(pa.int8())), [[1], None, [2, 3]]),
    "large list view": (pa.array([[1], None, []], pa.large_list_view(pa.int8())), [[1], None, []]),
    "fixed list": (
        pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
        [[1, 2], None, [3, 4]],
    ),
    "uuid": (pa.ExtensionArray.from_storage(pa.uuid(), UUID), UUID.to_pylist()),
    "tensor": (
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int32(), [1]),
            pa.array([[1], [2], [3]], pa.list_(pa.int32(), 1)),
        ),
        [[1], [2], [3]],
    ),
    "text that is no UTF-8": (BROKEN, ["a\ufffd", None, "b"]),
    "list of it": (
        pa.ListArray.from_arrays(THREE, BROKEN),
        [["a\ufffd"], [None], ["b"]],
    ),
    "dictionary of numbers": (pa.array([5, None, 5]).dictionary_encode(), [5, None, 5]),
    "dictionary with a NULL": (
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), pa.array(["x", None])),
        ["x", None, "x"],
    ),
    "views": (pa.array([LONG, None, "y"], pa.string_view()), [LONG, None, "y"]),
    "half": (pa.array(np.array([1, 2, 3], np.float16)), [1.0, 2.0, 3.0]),
    "decimal256": (
        pa.array([Decimal("1.50"), None, None], pa.decimal256(50, 2)),
        [Decimal("1.50"), None, None],
    ),
    "time": (pa.array([1, None, 2], pa.time32("s")), [dt.time(0, 0, 1), None, dt.time(0, 0, 2)]),
    "null list": (pa.array([[None], None, []], pa.list_(pa.null())), [[None], None, []]),
    "large map": (
        pa.array([[("k", "a")], None, []], pa.map_(pa.large_string(), pa.large_string())),
        [[("k", "a")], None, []],
    ),
    "empty objects": (pa.array([{}, None, {}], pa.struct([])), [{}, None, {}]),
}


@pytest.mark.parametrize("kind", EXOTIC)
def test_values_of_every_type_are_read(kind: str) -> None:
    values, expected = EXOTIC[kind]
    payload = stream_of(pa.table({"a": values}))
    table = read_parquet([payload]).table
    table.validate(full=True)
    assert table["a"].to_pylist() == expected
    assert parquet_sample(payload).column_names == ["a"]


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("kind", EXOTIC)
def test_every_type_may_stand_under_the_name_of_any_column(kind: str, signal: Signal) -> None:
    values, _ = EXOTIC[kind]
    sent = len(values) - values.null_count
    known = {"metric_name": ["m"] * 3, "trace_id": ["0a"] * 3}
    for name in TABLE_OF[signal].schema.names:
        columns = {**known, name: values}
        try:
            made = FORMATS["arrow"].decode([stream_of(pa.table(columns))], signal, [0]).table
        except CorruptObjectError as error:
            assert "no column is" in str(error)  # noqa: PT017 - most raise nothing
            continue
        made.validate(full=True)
        assert made.num_rows == 3
        if pa.types.is_string(values.type) and sent == 3:
            assert name in made.column_names


def test_an_unknown_time_zone_changes_no_time() -> None:
    values = pa.array([1, None], pa.timestamp("s", "Mars/Olympus"))
    table = read_parquet([stream_of(pa.table({"a": values}))]).table
    assert table["a"].cast(pa.int64()).to_pylist() == [1, None]
    assert table.schema.field("a").type.tz == "UTC"


def test_offsets_that_point_nowhere_are_refused() -> None:
    data = stream_of(pa.table({"a": ["x", "yz"]}))
    good, bad = (np.array([0, middle, 3], np.int32).tobytes() for middle in (1, 9999))
    assert data.count(good) == 1
    with pytest.raises(CorruptObjectError):
        read_parquet([data.replace(good, bad)])
