"""Parquet files of every shape: what was written is read, whole or cut."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.records.parquet import read_parquet, split_parquet

NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)


def written(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def parts_of(data: bytes, limit: int, size: int = 1000) -> list[bytes]:
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    return [part.data for part in split_parquet(iter(blocks), limit)]


EVERYTHING = pa.table(
    {
        "s": pa.array([NOON.replace(tzinfo=None), None], pa.timestamp("s")),
        "ms": pa.array([NOON, None], pa.timestamp("ms", "UTC")),
        "us": pa.array([NOON, None], pa.timestamp("us", "Europe/Zurich")),
        "ns": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns", "UTC")),
        "text": pa.array(["a", None]).dictionary_encode(),
        "large": pa.array(["b", None], pa.large_string()),
        "view": pa.array(["c", None], pa.string_view()),
        "bytes": pa.array([b"d", None], pa.large_binary()),
        "fixed": pa.array([b"0123456789abcdef", None], pa.binary(16)),
        "decimal": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
        "date": pa.array([dt.date(2024, 1, 1), None]),
        "unsigned": pa.array([2**64 - 1, None], pa.uint64()),
        "small": pa.array([-7, None], pa.int8()),
        "single": pa.array([0.5, None], pa.float32()),
        "nested": pa.array(
            [{"a": ["x"], "m": [("k", 1)]}, None],
            pa.struct(
                [("a", pa.large_list(pa.large_string())), ("m", pa.map_(pa.string(), pa.int32()))]
            ),
        ),
        "nothing": pa.nulls(2),
    }
)


def test_every_type_is_read() -> None:
    records = read_parquet([written(EVERYTHING)])
    records.table.validate(full=True)
    assert records.table.to_pylist() == EVERYTHING.to_pylist()
    types = dict(zip(records.table.column_names, map(str, records.table.schema.types), strict=True))
    assert types["ns"] == "timestamp[ns, tz=UTC]"
    assert types["us"] == "timestamp[us, tz=Europe/Zurich]"
    assert types["text"] == types["large"] == types["view"] == "string"
    assert (types["small"], types["unsigned"], types["single"]) == ("int64", "uint64", "double")
    assert types["nested"] == "struct<a: list<element: string>, m: map<string, int64>>" or (
        "list<item: string>" in types["nested"]
    )


@given(st.integers(0, 400), st.integers(1, 5000), st.integers(1, 100))
def test_parts_hold_the_same_rows(rows: int, limit: int, group: int) -> None:
    table = pa.table({"n": range(rows), "text": [f"text {n % 7}" for n in range(rows)]})
    parts = parts_of(written(table, row_group_size=group), limit)
    records = read_parquet(parts)
    assert records.table["n"].to_pylist() == list(range(rows))
    assert records.table.column_names == ["n", "text"]
    assert len(records.payload) == rows


def test_parts_are_small_even_if_the_file_is_smaller() -> None:
    text = ["a long text that stands in every row " * 20] * 50_000
    data = written(pa.table({"text": text}))
    assert len(data) < 50_000
    parts = parts_of(data, 1_000_000)
    assert max(map(len, parts)) < 2_000_000
    assert sum(len(read_parquet([part]).payload) for part in parts) == 50_000


def test_files_with_different_columns_meet() -> None:
    tables = [
        pa.table({"a": [1, 2], "o": [{"x": 1}, None]}),
        pa.table({"b": ["x"], "a": [0.5], "o": [{"x": "t", "y": True}]}),
        pa.table({"a": pa.nulls(1)}),
    ]
    records = read_parquet([written(table) for table in tables])
    assert records.table.to_pydict() == {
        "a": [1.0, 2.0, 0.5, None],
        "o": [{"x": "1", "y": None}, None, {"x": "t", "y": True}, None],
        "b": [None, None, "x", None],
    }
    assert records.payload.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ([2**53 + 1], [0.5], [str(2**53 + 1), "0.5"]),
        ([1], ["x"], ["1", "x"]),
        ([True], [1], ["true", "1"]),
        ([[1]], ["x"], ["[1]", "x"]),
        (pa.array([2**64 - 1], pa.uint64()), [-1], [str(2**64 - 1), "-1"]),
        (pa.array([1], pa.uint64()), [-1], [1, -1]),
        ([], [], []),
    ],
)
def test_types_that_do_not_fit(first: Any, second: Any, together: Any) -> None:
    files = [written(pa.table({"a": values})) for values in (first, second)]
    assert read_parquet(files).table["a"].to_pylist() == together


def test_times_of_several_units_meet_in_the_finest() -> None:
    units = [pa.timestamp(unit, "UTC") for unit in ("s", "ms", "ns")]
    files = [written(pa.table({"t": pa.array([NOON], unit)})) for unit in units]
    assert (
        read_parquet(files).table["t"].cast("int64").to_pylist()
        == [int(NOON.timestamp()) * 10**9] * 3
    )


def test_columns_of_one_name_are_told_apart() -> None:
    table = pa.table([[1], [2], [3]], names=["a", "a", "a#2"])
    assert read_parquet([written(table)]).table.to_pydict() == {"a": [1], "a#3": [2], "a#2": [3]}


@pytest.mark.parametrize("cut", [0, 4, 100, -1, -9])
@pytest.mark.parametrize("limit", [10, 10**6])
def test_broken_files_are_refused(cut: int, limit: int) -> None:
    data = written(EVERYTHING)[:cut]
    with pytest.raises(CorruptObjectError):
        read_parquet(parts_of(data, limit) or [b""])


def test_flipped_bytes_raise_nothing_else() -> None:
    data = written(pa.table({"a": [f"text {n}" for n in range(500)]}), write_page_checksum=True)
    for place in range(4, len(data), 97):
        broken = bytearray(data)
        broken[place] ^= 0x55
        try:
            read_parquet(parts_of(bytes(broken), 10**6))
        except CorruptObjectError:
            continue
