"""A segment is ordinary Parquet that describes itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import hypothesis.strategies as st
import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from lakerunner.errors import SegmentError
from lakerunner.limits import SEGMENT_FORMAT_VERSION
from lakerunner.model.segment import Segment, Source, decode_segment, encode_segment
from lakerunner.schema.attribute import OVERFLOW
from lakerunner.schema.tables import OVERFLOW_TYPE, TABLES
from lakerunner.segments.codec import FOOTER_KEY, encode, order_columns, read_description
from lakerunner.segments.layout import lay_out
from lakerunner.segments.stats import column_stats
from lakerunner.testing.values import make_segment

GOLDEN = Path(__file__).with_name("golden")
ORDER = ("resource_service_name", "timestamp")


def written(table: pa.Table, **changes: Any) -> tuple[pa.Buffer, pa.Table, Segment]:
    """The first window of a table as a file, its rows, and its description."""
    window = next(lay_out(table, 10**18, ORDER))
    made = make_segment("s", 0, 1, columns=column_stats(window.table), rows=window.table.num_rows)
    segment = msgspec.structs.replace(made, sort=window.sort, bytes=0, **changes)
    return encode(window.table, segment), window.table, segment


def example() -> pa.Table:
    overflow = [[("attr_a", "1")], None, [("attr_a", "2"), ("attr_b", None)]]
    return pa.table(
        {
            "timestamp": pa.array([3, 2, 1]).cast(TABLES["logs"].schema.field("timestamp").type),
            "resource_service_name": pa.array(["b", "a", None]).dictionary_encode(),
            "body": ["x", None, "größe 🦜"],
            "attr_n": [1, None, 3],
            OVERFLOW: pa.array(overflow, OVERFLOW_TYPE),
        }
    )


@given(data=st.data())
def test_a_file_reads_back(log_tables: st.SearchStrategy[Any], data: st.DataObject) -> None:
    file, table, segment = written(data.draw(log_tables))
    read = pq.read_table(pa.BufferReader(file))
    assert read.schema.names == table.schema.names
    assert repr(read.to_pylist()) == repr(table.to_pylist())
    described = read_description(pa.BufferReader(file), key="k", size=file.size)
    assert described == msgspec.structs.replace(segment, key="k", bytes=file.size)


def test_every_reader_sees_the_same_rows(tmp_path: Path) -> None:
    file, table, _ = written(example())
    path = tmp_path / "segment.parquet"
    path.write_bytes(file)
    columns = ["resource_service_name", "body", "attr_n"]
    wanted = [tuple(row[name] for name in columns) for row in table.to_pylist()]
    assert pl.read_parquet(path, columns=columns).select(columns).rows() == wanted
    names = ", ".join(columns)
    rows = duckdb.execute(f"SELECT {names} FROM read_parquet('{path}')").fetchall()
    assert rows == wanted
    held = duckdb.execute(f"SELECT {OVERFLOW}['attr_a'] FROM read_parquet('{path}')").fetchall()
    assert held == [(None,), ("1",), ("2",)]
    assert pl.read_parquet(path).height == table.num_rows


def test_a_key_that_stands_twice_in_the_overflow_is_kept() -> None:
    # DuckDB refuses such a map and Polars reads its last value; Arrow reads both.
    pairs = [("attr_a", "1"), ("attr_a", "2")]
    table = example().slice(0, 1)
    table = table.set_column(4, OVERFLOW, pa.array([pairs], OVERFLOW_TYPE))
    file, _, _ = written(table)
    assert pq.read_table(pa.BufferReader(file))[OVERFLOW].to_pylist() == [pairs]


def test_order_and_page_index_are_declared() -> None:
    file, table, _ = written(example())
    metadata = pq.read_metadata(pa.BufferReader(file))
    group = metadata.row_group(0)
    declared = [
        (table.schema.names[column.column_index], column.descending, column.nulls_first)
        for column in group.sorting_columns
    ]
    assert declared == [(name, False, False) for name in ORDER]
    for index in range(group.num_columns):
        column = group.column(index)
        assert column.has_offset_index, column.path_in_schema
        assert column.has_column_index, column.path_in_schema
        leaf = column.path_in_schema.split(".")[0]
        few = pa.types.is_dictionary(table.schema.field(leaf).type)  # of at most 16 values here
        assert column.compression == ("UNCOMPRESSED" if few else "ZSTD")


def test_the_schema_and_its_metadata_come_back() -> None:
    field = pa.field("attr_x", pa.int64(), metadata={b"lakerunner.key": "größe".encode()})
    table = example().append_column(field, pa.array([1, 2, 3]))
    file, _, _ = written(table)
    read = pq.read_schema(pa.BufferReader(file)).field("attr_x")
    assert read.metadata[b"lakerunner.key"].decode() == "größe"
    assert read.type == pa.int64()


def test_a_newer_segment_is_refused() -> None:
    file, _, _ = written(example(), format_version=SEGMENT_FORMAT_VERSION + 1)
    with pytest.raises(SegmentError, match="upgrade") as caught:
        read_description(pa.BufferReader(file), key="k", size=1)
    assert caught.value.context["key"] == "k"


def test_the_first_version_called_a_table_by_its_signal() -> None:
    """`golden/v1.parquet` was written by the first version; new versions get files of their own."""
    data = GOLDEN.joinpath("v1.parquet").read_bytes()
    said = json.loads(pq.read_metadata(pa.BufferReader(data)).metadata[FOOTER_KEY])
    assert (said["signal"], said.get("table"), said.get("format_version")) == ("logs", None, None)
    segment = read_description(pa.BufferReader(data), key="k", size=len(data))
    assert segment == Segment(
        id="18867251edfa0000-0000000000000000",
        organization="acme",
        table="logs",
        key="k",
        window_start_ns=0,
        window_ns=3600 * 10**9,
        min_timestamp_ns=1,
        max_timestamp_ns=5,
        rows=3,
        bytes=len(data),
        sort=ORDER,
        columns=segment.columns,
        created_ns=7,
        commit_id="c1-logs",
        sources=(Source("s3://raw", "a.binpb", "e1"),),
        format_version=1,
        siblings=("18867251edfa0000-0000000000000000",),
    )
    assert segment.columns["resource_service_name"].values == ("a",)
    assert decode_segment(encode_segment(segment)) == segment


def test_what_is_no_description_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="missing required field `rows`"):
        decode_segment(
            b'{"id":"1","organization":"a","table":"logs","key":"k","window_start_ns":0,'
            b'"window_ns":1,"min_timestamp_ns":0,"max_timestamp_ns":0}'
        )


def test_fields_of_a_later_minor_change_are_passed_over() -> None:
    file, table, segment = written(example())
    description = json.loads(pq.read_metadata(pa.BufferReader(file)).metadata[FOOTER_KEY])
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        later = json.dumps(description | {"later": 1})
        writer.add_key_value_metadata({FOOTER_KEY.decode(): later})
    read = read_description(pa.BufferReader(sink.getvalue()), key=segment.key, size=0)
    assert read == segment


def test_other_files_are_no_segments() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    with pytest.raises(SegmentError, match="not a segment"):
        read_description(pa.BufferReader(sink.getvalue()), key="k", size=1)
    for data in (b"", b"PAR1", b"hello world, this is no Parquet", written(example())[0][:-9]):
        with pytest.raises(SegmentError, match="not a Parquet file"):
            read_description(pa.BufferReader(data), key="k", size=1)


def test_a_broken_description_is_refused() -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [1]}).replace_schema_metadata({FOOTER_KEY: b'{"id": 7}'})
    pq.write_table(table, sink)
    with pytest.raises(SegmentError, match="cannot be read"):
        read_description(pa.BufferReader(sink.getvalue()), key="k", size=1)


def test_columns_stand_in_documented_order() -> None:
    table = example().append_column("attr_b", pa.nulls(3))
    table = table.append_column("organization", pa.array(["o"] * 3))
    assert order_columns(table, TABLES["logs"]).schema.names == [
        "organization",
        "timestamp",
        "body",
        "resource_service_name",
        "attr_b",
        "attr_n",
        OVERFLOW,
    ]


def test_a_column_with_nan_has_no_bounds_that_would_hide_it() -> None:
    values = pa.array([1.0, float("nan"), 3.0])
    times = pa.array([1, 2, 3], pa.timestamp("ns", "UTC"))
    table = pa.table({"timestamp": times, "attr_nan": values, "attr_plain": [1.0, 2.0, 3.0]})
    data, _, _ = written(table)
    group = pq.read_metadata(pa.BufferReader(data)).row_group(0)
    bounded = {
        group.column(position).path_in_schema
        for position in range(group.num_columns)
        if group.column(position).is_stats_set
    }
    assert bounded == {"timestamp", "attr_plain"}
