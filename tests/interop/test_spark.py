"""Views of a lake on an engine that speaks Spark Connect, and SQL that runs there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

import lakerunner
from lakerunner.errors import (
    ConfigurationError,
    QueryExecutionError,
    QuerySyntaxError,
    SnapshotExpiredError,
    UnsupportedQueryError,
)
from lakerunner.outside.reach import bucket_environment
from lakerunner.testing.servers import sail as sail_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lakerunner import Lake
    from lakerunner.testing.servers import Service

HOUR = 3600 * 10**9
QUESTIONS = [
    "SELECT count(*) AS n FROM logs",
    "SELECT level, count(*) AS n FROM logs GROUP BY level",
    (
        "SELECT resource_service_name AS s, date_trunc('minute', timestamp) AS m, count(*) AS "
        "n FROM logs GROUP BY 1, 2"
    ),
    "SELECT count(DISTINCT trace_id) AS n FROM spans",
    (
        "SELECT timestamp, body FROM logs WHERE level = 'ERROR' ORDER BY timestamp DESC, body "
        "LIMIT 5"
    ),
    (
        "SELECT resource_service_name AS s, max(duration_ns) AS m FROM spans WHERE kind = "
        "'SERVER' GROUP BY 1"
    ),
    "SELECT count(*) AS n FROM logs WHERE body LIKE '%payment%'",
    (
        "SELECT metric_name, sum(point_count) AS n, max(value_max) AS m FROM metrics_rollup "
        "WHERE resolution_ns = 60000000000 GROUP BY 1"
    ),
    (
        "SELECT count(*) AS n FROM spans s JOIN logs l ON s.span_id = l.span_id WHERE "
        "s.status_code = 'ERROR'"
    ),
    "SELECT attr_k3 AS a, attr_k449 AS b FROM logs WHERE body = 'wide'",
]


def plain(table: pa.Table) -> list[tuple[Any, ...]]:
    """Rows in an order of their own, with times to the microsecond."""
    columns = [
        pc.cast(column, pa.timestamp("us", "UTC"), safe=False)
        if pa.types.is_timestamp(column.type)
        else column
        for column in table.columns
    ]
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    return sorted(rows, key=repr)


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_engine_answers_as_we_do(shop: Lake, sail: Any, question: str) -> None:
    ours, theirs = shop.sql(question), shop.sql(question, engine=sail)
    assert plain(theirs.to_arrow()) == plain(ours.to_arrow())
    assert theirs.schema.names == ours.schema.names
    told = theirs.stats
    assert told.segments == told.pruned + told.scanned
    assert told.rows == ours.to_arrow().num_rows
    assert told.bytes_read > 0


def test_pruned_files_are_never_named(shop: Lake, sail: Any) -> None:
    question = "SELECT count(*) AS n FROM logs WHERE timestamp >= '2026-01-01T00:00:00Z'"
    ours, theirs = shop.sql(question), shop.sql(question, engine=sail)
    assert theirs.fetchall() == ours.fetchall()
    assert (theirs.stats.scanned, theirs.stats.pruned) == (ours.stats.scanned, ours.stats.pruned)
    assert theirs.stats.pruned > 0


def test_views_show_one_state_and_the_wanted_times(shop: Lake, sail: Any) -> None:
    told = shop.spark(sail, start="2026-01-01T00:00:00Z", end="2026-01-01T00:00:10.5Z", prefix="v_")
    assert sorted(told.files) == ["v_logs", "v_metrics", "v_metrics_rollup", "v_spans"]
    where = "timestamp >= '2026-01-01T00:00:00Z' AND timestamp < '2026-01-01T00:00:10.5Z'"
    for table in ("logs", "spans", "metrics", "metrics_rollup"):
        (row,) = sail.sql(f"SELECT count(*) AS n FROM v_{table}").toArrow().to_pylist()
        assert row["n"] == shop.sql(f"SELECT count(*) FROM {table} WHERE {where}").scalar()
    assert told.files["v_logs"] < len(shop.segments("logs"))


def test_views_have_every_column_with_its_type(shop: Lake, sail: Any) -> None:
    shop.spark(sail, prefix="all_")
    rows = sail.sql("SELECT * FROM all_metrics").toArrow()
    ours = shop.sql("SELECT * FROM metrics").to_arrow()
    assert set(ours.schema.names) <= set(rows.schema.names)
    assert rows.schema.field("count").type == pa.decimal128(20, 0)
    assert rows.schema.field("timestamp").type == pa.timestamp("us", "UTC")
    counts = pc.list_flatten(rows["bucket_counts"].combine_chunks()).cast(pa.uint64())
    assert pc.sum(counts) == pc.sum(pc.list_flatten(ours["bucket_counts"].combine_chunks()))
    events = "SELECT events FROM {}spans WHERE events IS NOT NULL"
    theirs = sail.sql(events.format("all_")).toArrow()["events"].combine_chunks().flatten()
    wanted = shop.sql(events.format("")).to_arrow()["events"].combine_chunks().flatten()
    assert sorted(theirs.field("name").to_pylist()) == sorted(wanted.field("name").to_pylist())


def test_columns_of_several_types_are_read_as_ours(tmp_path: Path, sail: Any) -> None:
    with lakerunner.open(tmp_path / "mixed") as lake:
        for value in ("1", "2.5", '"x"'):
            lake.ingest(f'{{"timestamp": "2026-01-01T00:00:00Z", "v": {value}}}'.encode())
        question = "SELECT attr_v FROM logs ORDER BY attr_v"
        wanted = lake.sql(question).to_arrow().to_pylist()
        assert lake.sql(question, engine=sail).to_arrow().to_pylist() == wanted


def test_texts_and_names_mean_what_they_mean_at_home(tmp_path: Path, sail: Any) -> None:
    with lakerunner.open(tmp_path / "texts") as lake:
        lake.ingest(
            rb'{"timestamp": "2026-01-01T00:00:00Z", "message": "it\'s a\\\\b \"c\""}'.replace(
                rb"\'", b"'"
            )
        )
        question = """SELECT body AS "the `body`", 'a\\b' AS b FROM logs WHERE body LIKE 'it''s%'"""
        wanted = lake.sql(question).to_arrow()
        assert lake.sql(question, engine=sail).to_arrow().to_pylist() == wanted.to_pylist()
        assert wanted.num_rows == 1


def test_nothing_is_an_answer_too(tmp_path: Path, sail: Any) -> None:
    with lakerunner.open(tmp_path / "empty") as lake:
        result = lake.sql("SELECT timestamp, body FROM logs", engine=sail)
        assert result.to_arrow().num_rows == 0
        assert result.schema.names == ["timestamp", "body"]
        lake.spark(sail, prefix="empty_")
        assert sail.sql("SELECT * FROM empty_spans").toArrow().num_rows == 0


def test_deleted_rows_are_refused_until_they_are_gone(tmp_path: Path, sail: Any) -> None:
    with lakerunner.open(tmp_path / "deleted") as lake:
        lake.ingest(
            b'{"time": "2026-01-01T00:00:00Z", "user": "x", "message": "a"}\n'
            b'{"time": "2026-01-01T00:00:00Z", "user": "y", "message": "b"}'
        )
        lake.delete("logs", where="attr_user = 'x'")
        with pytest.raises(ConfigurationError, match=r"run lake\.retain\(\) first"):
            lake.sql("SELECT body FROM logs", engine=sail)
        lake.retain()
        assert lake.sql("SELECT body FROM logs", engine=sail).fetchall() == [("b",)]


def test_expired_rows_are_not_seen(tmp_path: Path, sail: Any) -> None:
    with lakerunner.open(tmp_path / "old", config={"retention": {"logs": "1d"}}) as lake:
        lake.ingest(b'{"time": "2020-01-01T00:00:00Z", "message": "old"}')
        assert lake.sql("SELECT body FROM logs", engine=sail).fetchall() == []


def test_rows_that_expired_beside_others_are_not_seen(tmp_path: Path, sail: Any) -> None:
    now = time.time_ns()
    hour = now // HOUR * HOUR - HOUR  # the first half of the hour before this one is expired
    config = {"retention": {"logs": f"{now - hour - HOUR // 2}ns"}}
    times = {"old": hour, "new": hour + HOUR - 1}
    lines = [f'{{"timestamp": {at}, "message": "{body}"}}' for body, at in times.items()]
    with lakerunner.open(tmp_path / "half", config=config) as lake:
        lake.ingest("\n".join(lines).encode())
        assert [one.rows for one in lake.segments()] == [2]
        assert lake.sql("SELECT body FROM logs").fetchall() == [("new",)]
        assert lake.sql("SELECT body FROM logs", engine=sail).fetchall() == [("new",)]


def test_organizations_do_not_see_each_other(tmp_path: Path, sail: Any) -> None:
    with lakerunner.open(tmp_path / "two") as lake:
        lake.ingest(b'{"message": "mine"}', organization="acme")
        lake.ingest(b'{"message": "theirs"}', organization="globex")
        lake.spark(sail, organization="acme", prefix="acme_")
        assert sail.sql("SELECT body FROM acme_logs").toArrow()["body"].to_pylist() == ["mine"]
        bound = lake.for_organization("globex")
        assert bound.sql("SELECT body FROM logs", engine=sail).fetchall() == [("theirs",)]
        with pytest.raises(ConfigurationError, match="bound to"):
            bound.spark(sail, organization="acme")


def test_what_cannot_run_there_is_named(shop: Lake, sail: Any) -> None:
    with pytest.raises(UnsupportedQueryError, match="approx_percentile_cont"):
        shop.sql("SELECT approx_percentile_cont(duration_ns, 0.5) FROM spans", engine=sail)
    with pytest.raises(QuerySyntaxError):
        shop.sql("SELECT nothing_of_this FROM logs", engine=sail)
    settings: list[dict[str, Any]] = [{"params": [1]}, {"tables": {}}, {"cursor": "x"}]
    for setting in [*settings, {"timeout": 1.0}]:
        with pytest.raises(ConfigurationError, match=f"{next(iter(setting))} is not for another"):
            shop.sql("SELECT 1 FROM logs", engine=sail, **setting)
    with pytest.raises(ConfigurationError, match="no session of Spark Connect"):
        shop.sql("SELECT 1 FROM logs", engine="sc://localhost")
    with pytest.raises(UnsupportedQueryError, match="cursor"):
        _ = shop.sql("SELECT body FROM logs", engine=sail).cursor


def test_a_lake_in_memory_cannot_be_reached(sail: Any) -> None:
    lake = lakerunner.open("memory://interop")
    lake.ingest(b'{"message": "a"}')
    with pytest.raises(ConfigurationError, match="no other process sees it"):
        lake.spark(sail)


def test_files_that_are_gone_are_said(tmp_path: Path, sail: Any) -> None:
    with lakerunner.open(tmp_path / "gone") as lake:
        lake.ingest(b'{"time": "2026-01-01T00:00:00Z", "message": "a"}')
        (segment,) = lake.segments()
        result = lake.sql("SELECT body FROM logs", engine=sail)
        lake.store.delete(segment.key)
        with pytest.raises(QueryExecutionError, match="its file is missing"):
            result.to_arrow()


def test_a_snapshot_that_expired_is_said(tmp_path: Path, sail: Any) -> None:
    config = {"removed_grace_ns": 1}
    with lakerunner.open(tmp_path / "expired", config=config) as lake:
        for body in (b"a", b"b"):
            lake.ingest(b'{"time": "2026-01-01T00:00:00Z", "message": "' + body + b'"}')
        result = lake.sql("SELECT body FROM logs", engine=sail)
        lake.compact()
        lake.maintain()
        with pytest.raises(SnapshotExpiredError, match="ask again"):
            result.to_arrow()


def counted(lake: Lake, environment: Mapping[str, str] | None) -> Any:
    """How many rows an engine sees that has only this in its environment."""
    with sail_server(environment) as url:
        session = SparkSession.builder.remote(url).create()
        try:
            return lake.sql("SELECT count(*) AS n FROM logs", engine=session).scalar()
        finally:
            session.stop()


def test_a_bucket_is_read_with_the_options_of_the_lake(seaweed: Service) -> None:
    url = "s3://lake/for-sail"
    with lakerunner.open(url, storage_options=seaweed.storage_options) as lake:
        lake.ingest([{"time": "2026-01-01T00:00:00Z", "message": "a"}])
        told = bucket_environment(lake.store)
        assert told["AWS_ENDPOINT"] == seaweed.endpoint
        assert counted(lake, told) == 1
        nowhere = {**told, "AWS_ENDPOINT": "http://127.0.0.1:9"}
        with pytest.raises(QueryExecutionError, match=f"{url} at {seaweed.endpoint}: .*refused"):
            counted(lake, nowhere)


def test_a_session_that_dies_is_said(tmp_path: Path) -> None:
    from pyspark.sql.connect.client.retries import DefaultPolicy  # noqa: PLC0415 - it warns

    text = "SELECT body FROM logs"
    with lakerunner.open(tmp_path) as lake:
        lake.ingest([{"time": "2026-01-01T00:00:00Z", "message": "a"}])
        with sail_server() as url:
            session = SparkSession.builder.remote(url).create()
            # By itself the client goes on trying for ten minutes.
            session.client.set_retry_policies([DefaultPolicy(max_retries=1)])
            result = lake.sql(text, engine=session)
        with pytest.raises(QueryExecutionError, match="the engine failed"):
            result.to_arrow()
        with pytest.raises(QueryExecutionError, match="the engine failed"):
            lake.sql(text, engine=session)
        with pytest.raises(QueryExecutionError, match="the engine failed"):
            lake.spark(session)
