"""The files of a lake as tables of Iceberg, read by pyiceberg, Polars, DuckDB and Sail."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyiceberg.catalog import load_catalog

import lakerunner
from lakerunner.errors import ConfigurationError
from lakerunner.model.commit import Commit
from lakerunner.testing.values import make_segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner import Lake

HOUR = 3600 * 10**9


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pyiceberg warns of every column of nanoseconds, and Polars of planning by pyiceberg."""
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    logger = logging.getLogger("pyiceberg.io.pyarrow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


def catalog_of(directory: Path) -> dict[str, str]:
    directory.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{directory}/catalog.db"
    return {"type": "sql", "uri": uri, "warehouse": f"file://{directory}"}


def read(table: Any, **options: Any) -> pa.Table:
    return table.scan(**options).to_arrow_batch_reader().read_all()


def test_all_tables_are_registered_without_a_copy(shop: Lake, tmp_path: Path) -> None:
    tables = shop.iceberg(catalog_of(tmp_path))
    report = tables.sync()
    assert report.left_out == dict.fromkeys(report.added, ())
    for name, files in report.added.items():
        assert files == len(shop.segments(name))
        rows = read(tables.table(name), selected_fields=("timestamp", "resource_service_name"))
        ours = shop.sql(f"SELECT timestamp, resource_service_name FROM {name}").to_arrow()
        micros = pc.cast(ours["timestamp"], pa.timestamp("us", "UTC"), safe=False)
        assert pc.min_max(rows["timestamp"]) == pc.min_max(micros)
        assert sorted(map(str, rows["resource_service_name"].to_pylist())) == sorted(
            map(str, ours["resource_service_name"].to_pylist())
        )
    assert not list(tmp_path.rglob("*.parquet"))
    again = tables.sync()
    assert sum(again.added.values()) == sum(again.removed.values()) == 0


def test_engines_answer_as_we_do(shop: Lake, tmp_path: Path, sail: Any) -> None:
    tables = shop.iceberg(catalog_of(tmp_path), unsigned=False)  # Polars reads none
    tables.sync("spans")
    question = "SELECT kind, count(*) AS n, max(duration_ns) AS m FROM {} GROUP BY kind"
    wanted = sorted(shop.sql(question.format("spans")).fetchall())
    spans = tables.table("spans")
    frame = pl.scan_iceberg(spans).group_by("kind").agg(pl.len(), pl.col("duration_ns").max())
    assert sorted(frame.collect().rows()) == wanted
    rows = read(spans, selected_fields=("kind", "duration_ns"))
    with duckdb.connect() as duck:
        duck.register("spans", rows)
        assert sorted(duck.execute(question.format("spans")).fetchall()) == wanted
    frame = sail.read.format("iceberg").load(spans.location())
    frame.createOrReplaceTempView("iceberg_spans")
    found = sail.sql(question.format("iceberg_spans")).toArrow().to_pylist()
    assert sorted(tuple(row.values()) for row in found) == wanted


def test_unsigned_integers_lists_and_maps(shop: Lake, tmp_path: Path) -> None:
    tables = shop.iceberg(catalog_of(tmp_path))
    tables.sync("metrics", "logs", "spans")
    counts = read(tables.table("metrics"), selected_fields=("bucket_counts",))["bucket_counts"]
    ours = shop.sql("SELECT bucket_counts FROM metrics").to_arrow()["bucket_counts"]
    assert pc.sum(pc.list_flatten(counts)).as_py() == pc.sum(pc.list_flatten(ours)).as_py()
    wide = read(tables.table("logs"), row_filter="body = 'wide'")
    assert wide["attribute_overflow"].to_pylist()[0][0][0].startswith("attr_k")
    events = read(tables.table("spans"), selected_fields=("events",))["events"]
    assert any(one and one[0]["name"] for one in events.to_pylist())
    left = shop.iceberg(catalog_of(tmp_path), namespace="plain", unsigned=False).sync("metrics")
    assert "bucket_counts" in left.left_out["metrics"]


def test_hours_and_bounds_prune(shop: Lake, tmp_path: Path) -> None:
    tables = shop.iceberg(catalog_of(tmp_path))
    tables.sync("spans")
    scan = tables.table("spans").scan(row_filter="timestamp >= '2026-01-01T00:00:00+00:00'")
    assert 0 < len(list(scan.plan_files())) < len(shop.segments("spans"))
    assert tables.table("spans").spec().fields[0].name == "timestamp_hour"
    where = "timestamp >= '2026-01-01T00:00:00Z'"
    assert (
        scan.to_arrow_batch_reader().read_all().num_rows
        == shop.sql(f"SELECT count(*) FROM spans WHERE {where}").scalar()
    )


def put(lake: Lake, body: str, **more: Any) -> None:
    extra = "".join(f', "{name}": {value}' for name, value in more.items())
    lake.ingest(f'{{"time": "2026-01-01T00:00:00Z", "message": "{body}"{extra}}}'.encode())


def bodies(table: Any) -> list[str]:
    return sorted(read(table)["body"].to_pylist())


def test_it_follows_commits_merges_and_deletions(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        tables = lake.iceberg(catalog_of(tmp_path / "iceberg"))
        put(lake, "a")
        assert tables.sync().added["logs"] == 1
        put(lake, "b", user='"x"')
        other = lake.iceberg(catalog_of(tmp_path / "iceberg"))  # another process, say
        assert other.sync().added["logs"] == 1
        assert bodies(tables.table("logs")) == ["a", "b"]
        lake.compact()
        report = tables.sync()
        assert (report.added["logs"], report.removed["logs"]) == (1, 2)
        lake.delete("logs", where="attr_user = 'x'")
        with pytest.raises(ConfigurationError, match=r"run lake\.retain\(\) first"):
            tables.sync()
        lake.retain()
        report = tables.sync()
        assert bodies(tables.table("logs")) == ["a"]
        current = tables.table("logs").current_snapshot()
        assert current is not None
        assert current.summary is not None
        told = current.summary.additional_properties["lakerunner.snapshot"]
        assert told == str(report.snapshot)
        assert lake.at(told).sql("SELECT body FROM logs").fetchall() == [("a",)]


def test_a_column_of_several_types_is_left_out(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        tables = lake.iceberg(catalog_of(tmp_path / "iceberg"))
        put(lake, "a", v=1)
        tables.sync()
        assert read(tables.table("logs"))["attr_v"].to_pylist() == [1]
        put(lake, "b", v='"x"')
        assert tables.sync().left_out["logs"] == ("attr_v",)
        table = read(tables.table("logs"))
        assert "attr_v" not in table.schema.names
        assert sorted(table["body"].to_pylist()) == ["a", "b"]


def test_tables_of_others_are_left_alone(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "one") as one, lakerunner.open(tmp_path / "two") as two:
        put(one, "a")
        put(two, "b")
        one.iceberg(catalog_of(tmp_path / "iceberg")).sync()
        with pytest.raises(ConfigurationError, match="name another namespace"):
            two.iceberg(catalog_of(tmp_path / "iceberg")).sync()
        two.iceberg(load_catalog("x", **catalog_of(tmp_path / "iceberg")), namespace="two").sync()
        with pytest.raises(ConfigurationError, match="not registered yet"):
            two.iceberg(catalog_of(tmp_path / "iceberg"), namespace="three").table("logs")


def test_organizations_have_tables_of_their_own(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.ingest(b'{"message": "mine"}', organization="acme")
        lake.ingest(b'{"message": "theirs"}', organization="globex")
        tables = lake.for_organization("acme").iceberg(catalog_of(tmp_path / "iceberg"))
        assert tables.namespace == "acme"
        tables.sync()
        assert bodies(tables.table("logs")) == ["mine"]


def test_a_removal_rewrites_one_manifest_of_many(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        whose = lake.organization
        segments = [
            make_segment(
                f"s{place:05}", place * HOUR // 10, place * HOUR // 10 + 9, organization=whose
            )
            for place in range(1200)
        ]
        lake.catalog.commit(Commit("c1", whose, 1, add=tuple(segments)))
        tables = lake.iceberg(catalog_of(tmp_path / "iceberg"))
        assert tables.sync().added["logs"] == 1200
        before = tables.table("logs").current_snapshot()
        assert before is not None
        manifests = {one.manifest_path for one in before.manifests(tables.table("logs").io)}
        lake.catalog.commit(Commit("c2", whose, 2, remove=(segments[0].id,)))
        assert tables.sync().removed["logs"] == 1
        after = tables.table("logs").current_snapshot()
        assert after is not None
        kept = {one.manifest_path for one in after.manifests(tables.table("logs").io)}
        assert len(manifests) == 3
        assert len(manifests & kept) == 2
