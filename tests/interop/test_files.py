"""Engines of others read segments as they are: text, times, unsigned integers, lists, maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.errors import UnsupportedOperationException

from lakerunner.schema.attribute import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner import Lake

TABLES = ("logs", "spans", "metrics", "metrics_rollup")


def files(lake: Lake, table: str) -> list[str]:
    return [str(lake.store.local_path(one.key)) for one in lake.segments(table)]


class Facts(NamedTuple):
    """What an engine finds out about a table, by itself."""

    rows: int
    first_ns: int
    last_ns: int
    services: dict[str | None, int]


def by_lake(lake: Lake, table: str) -> Facts:
    rows = lake.sql(f"SELECT timestamp, resource_service_name FROM {table}").to_arrow()
    return facts(rows)


def facts(rows: pa.Table) -> Facts:
    times = pc.min_max(rows["timestamp"].cast(pa.int64())).as_py()
    counts = rows["resource_service_name"].cast(pa.string()).combine_chunks().value_counts()
    services = {one["values"]: one["counts"] for one in counts.to_pylist()}
    return Facts(rows.num_rows, times["min"], times["max"], services)


def duck(text: str) -> list[tuple[Any, ...]]:
    return duckdb.execute(text).fetchall()


def by_duckdb(paths: list[str]) -> Facts:
    source = f"read_parquet({paths}, union_by_name = true)"
    times = "epoch_ns(min(timestamp)), epoch_ns(max(timestamp))"
    ((rows, first_ns, last_ns),) = duck(f"SELECT count(*), {times} FROM {source}")
    counts = duck(f"SELECT resource_service_name, count(*) FROM {source} GROUP BY 1")
    return Facts(rows, first_ns, last_ns, dict(counts))


def scanned(paths: list[str]) -> pl.LazyFrame:
    return pl.scan_parquet(paths, missing_columns="insert", extra_columns="ignore")


def by_polars(paths: list[str]) -> Facts:
    rows = scanned(paths).select("timestamp", "resource_service_name").collect()
    return facts(rows.to_arrow())


def by_pyarrow(paths: list[str]) -> Facts:
    return facts(ds.dataset(paths).to_table(["timestamp", "resource_service_name"]))


def by_pandas(paths: list[str]) -> Facts:
    wanted = ["timestamp", "resource_service_name"]
    frame = pd.concat([pd.read_parquet(path).reindex(columns=wanted) for path in paths])
    assert str(frame["timestamp"].dtype) == "datetime64[ns, UTC]"
    return facts(pa.Table.from_pandas(frame, preserve_index=False))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("engine", [by_duckdb, by_polars, by_pyarrow, by_pandas])
def test_rows_times_and_texts(shop: Lake, table: str, engine: Callable[[list[str]], Facts]) -> None:
    wanted = by_lake(shop, table)
    found = engine(files(shop, table))
    assert found == wanted
    assert found.rows > 100


def test_lists_of_structs(shop: Lake) -> None:
    text = "SELECT events[1]['name'] AS event, count(*) AS n FROM spans GROUP BY 1"
    wanted = dict(shop.sql(text).fetchall())
    paths = files(shop, "spans")
    rows = duck(f"SELECT events[1].name, count(*) FROM read_parquet({paths}) GROUP BY 1")
    assert dict(rows) == wanted
    first = pl.col("events").list.first().struct.field("name").alias("event")
    counted = scanned(paths).group_by(first).len().collect()
    assert dict(counted.rows()) == wanted
    assert len(wanted) > 1


def test_unsigned_64_bit_integers(shop: Lake) -> None:
    text = "SELECT bucket_counts AS b FROM metrics WHERE bucket_counts IS NOT NULL"
    wanted = shop.sql(text).to_arrow()["b"].combine_chunks().flatten()
    paths = files(shop, "metrics")
    unnested = f"SELECT unnest(bucket_counts) AS b FROM read_parquet({paths})"
    assert duck(f"SELECT sum(b), typeof(any_value(b)) FROM ({unnested})") == [
        (pc.sum(wanted).as_py(), "UBIGINT")
    ]
    held = scanned(paths).select("bucket_counts").collect()["bucket_counts"]
    found = held.drop_nulls().explode(empty_as_null=False)
    assert (str(found.dtype), found.sum()) == ("UInt64", pc.sum(wanted).as_py())


def test_maps(shop: Lake) -> None:
    text = f"SELECT {OVERFLOW} AS o FROM logs WHERE {OVERFLOW} IS NOT NULL"
    (pairs,) = shop.sql(text).to_arrow()["o"].to_pylist()
    name, value = pairs[0]
    source = f"read_parquet({files(shop, 'logs')}, union_by_name = true)"
    found = duck(f"SELECT {OVERFLOW}['{name}'] FROM {source} WHERE body = 'wide'")
    assert found == [(value,)]
    wide = next(path for path in files(shop, "logs") if OVERFLOW in pq.read_schema(path).names)
    assert pq.read_table(wide)[OVERFLOW].to_pylist() == [pairs]


@pytest.mark.parametrize("table", TABLES)
def test_footers_are_what_any_reader_of_parquet_knows(shop: Lake, table: str) -> None:
    for path in files(shop, table):
        metadata, arrow = pq.read_metadata(path), pq.read_schema(path)
        listed = {one.name for one in arrow if pa.types.is_dictionary(one.type)}
        assert "organization" in listed  # what repeats itself is a dictionary to readers of Arrow
        assert "trace_id" not in listed
        assert metadata.format_version == "2.6"
        leaves = [metadata.schema.column(place) for place in range(metadata.num_columns)]
        for leaf in leaves:
            assert leaf.physical_type in {"BOOLEAN", "INT32", "INT64", "DOUBLE", "BYTE_ARRAY"}
            if leaf.physical_type == "BYTE_ARRAY":
                assert leaf.logical_type.type == "STRING", leaf.path
        times = metadata.schema.column(metadata.schema.names.index("timestamp"))
        said = times.logical_type.to_json()
        assert '"isAdjustedToUTC":true,"timeUnit":"nanoseconds"' in said


def test_sail_needs_texts_and_times_cast(shop: Lake, sail: Any) -> None:
    frame = sail.read.parquet(*files(shop, "metrics"))
    frame.createOrReplaceTempView("raw_metrics")
    with pytest.raises(UnsupportedOperationException, match="Dictionary"):
        sail.sql("SELECT metric_type FROM raw_metrics").toArrow()
    with pytest.raises(UnsupportedOperationException, match="Nanosecond"):
        sail.sql("SELECT timestamp FROM raw_metrics").toArrow()
    text = "SELECT CAST(metric_type AS string) AS kind, count(*) AS n FROM raw_metrics GROUP BY 1"
    found = {row["kind"]: row["n"] for row in sail.sql(text).toArrow().to_pylist()}
    assert found == dict(
        shop.sql("SELECT metric_type, count(*) FROM metrics GROUP BY 1").fetchall()
    )
    cast = sail.sql("SELECT min(CAST(timestamp AS timestamp)) AS t FROM raw_metrics").toArrow()
    first = by_lake(shop, "metrics").first_ns // 1000
    assert cast["t"].cast(pa.int64()).to_pylist() == [first]
