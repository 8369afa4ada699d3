"""Segments that are written batch by batch are those that would be written at once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.errors import CommitConflictError, CommitUnknownError, SegmentError
from lakerunner.fencing import Fence
from lakerunner.limits import MIB
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.publish import (
    Origin,
    SegmentStream,
    SegmentWriter,
    make_segments,
    publish_commit,
    send_commit,
)
from lakerunner.publish.writing import Encoder, EncodingError
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import TABLES
from lakerunner.segments import codec
from lakerunner.segments.codec import FOOTER_KEY, Forecast, forecast_merge
from lakerunner.store import open_store
from lakerunner.testing.faults import Fault, FaultPlan, FaultyCatalog
from lakerunner.testing.values import make_segment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lakerunner.publish.writing import MadeSegment
    from lakerunner.segments.codec import Later

HOUR_NS = 3600 * 10**9
GROUP_ROWS = 3 * 4096  # whole pages
CONFIG = Config(attempts=2, backoff_seconds=0.001)


def rows(start: int, count: int, *, width: int = 8, nan: bool = False) -> pa.Table:
    """Log rows in their order, one a microsecond."""
    numbers = np.arange(start, start + count)
    values = numbers.astype(float)
    if nan:
        values[0] = np.nan
    services = pa.array(["api"]).take(pa.array(np.zeros(count, np.int64)))
    return pa.table(
        {
            "organization": pa.array(["acme"] * count).dictionary_encode(),
            "timestamp": pa.array(numbers * 1000).cast(TIMESTAMP),
            "resource_service_name": services.dictionary_encode(),
            "body": pa.array([f"{number:0{width}}" for number in numbers.tolist()]),
            "trace_id": pa.array([f"{number // 4:032x}" for number in numbers.tolist()]),
            "attr_value": values,
        }
    )


def made(parts: Sequence[pa.Table], forecast: Forecast | None = None) -> MadeSegment:
    """A segment of some tables."""
    stream = SegmentStream(
        parts[0].schema, TABLES["logs"], Origin("acme", "c1"), 0, HOUR_NS, forecast
    )
    for part in parts:
        stream.write(part)
    return stream.made()


def read(one: MadeSegment) -> tuple[pa.Table, Any]:
    """Rows and metadata of a segment's file."""
    data = one.file.finish(one.described)
    return pq.read_table(pa.BufferReader(data)), pq.read_metadata(pa.BufferReader(data))


def test_rows_and_statistics_are_those_of_the_whole() -> None:
    parts = [rows(0, 700), rows(700, 1), rows(701, 1299)]
    whole = pa.concat_tables(parts)
    (at_once,) = make_segments(
        whole.drop_columns(["organization"]).combine_chunks(),
        TABLES["logs"],
        Origin("acme", "c1"),
        HOUR_NS,
    )
    streamed = made(parts)
    assert streamed.described.columns == at_once.described.columns
    assert streamed.described.rows == 2000
    read_rows, metadata = read(streamed)
    plain = pa.schema([field.with_type(_plain(field.type)) for field in whole.schema])
    assert read_rows.cast(plain).equals(whole.cast(plain))
    assert metadata.num_row_groups == 1
    assert FOOTER_KEY in metadata.metadata


def _plain(dtype: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_dictionary(dtype) else dtype


def as_ingested(table: pa.Table, later: Later | None = None) -> MadeSegment:
    """The segment of a table that is there as a whole."""
    given = table.drop_columns(["organization"]).combine_chunks()
    (one,) = make_segments(given, TABLES["logs"], Origin("acme", "c1"), HOUR_NS, later=later)
    return one


def test_what_is_encoded_in_another_thread_is_the_same_file() -> None:
    table = rows(0, 3 * GROUP_ROWS)
    plain = as_ingested(table)
    begun = threading.active_count()
    with Encoder(10**9) as encoder:
        beside = as_ingested(table, encoder.begin)
        encoder.make_room(10**9)
        assert threading.active_count() == begun + 1
    described = make_segment("s")
    assert beside.file.finish(described).equals(plain.file.finish(described))
    assert beside.described.filters == plain.described.filters


def test_few_rows_begin_no_thread() -> None:
    begun = threading.active_count()
    with Encoder(10**9) as encoder:
        as_ingested(rows(0, 10), encoder.begin)
        assert threading.active_count() == begun


def test_no_more_rows_wait_than_there_is_room_for() -> None:
    gate = threading.Event()

    def encode() -> None:
        gate.wait()

    with Encoder(100 * MIB) as encoder:
        first = encoder.begin(encode, 30 * MIB)
        encoder.make_room(40 * MIB)  # there is as much
        opener = threading.Timer(0.05, gate.set)
        opener.start()
        encoder.make_room(41 * MIB)  # there is not
        assert gate.is_set()
        first()


def test_what_cannot_be_encoded_is_told_to_whoever_waits() -> None:
    def fail() -> None:
        raise pa.ArrowInvalid("no")

    with Encoder(100 * MIB) as encoder:
        wait = encoder.begin(fail, 60 * MIB)
        with pytest.raises(EncodingError) as raised:
            wait()
    assert isinstance(raised.value.__cause__, pa.ArrowInvalid)


def test_row_groups_are_full_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "ROW_GROUP_ROWS", GROUP_ROWS)
    step = GROUP_ROWS // 3
    _, metadata = read(made([rows(n * step, step) for n in range(7)]))
    groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert groups == [GROUP_ROWS, GROUP_ROWS, 7 * step - 2 * GROUP_ROWS]


def test_wide_rows_make_small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "ROW_GROUP_BYTES", 8 * 1024 * 1024)
    before = pa.total_allocated_bytes()
    stream = SegmentStream(rows(0, 1).schema, TABLES["logs"], Origin("acme", "c1"), 0, HOUR_NS)
    held = 0
    for number in range(24):
        stream.write(rows(number * 2048, 2048, width=2000))
        held = max(held, pa.total_allocated_bytes() - before)
    assert stream.rows == 24 * 2048  # 100 MB
    assert held < 32 * 1024 * 1024
    _, metadata = read(stream.made())
    assert metadata.num_row_groups >= 12


def test_columns_that_a_batch_lacks_are_null() -> None:
    whole = rows(0, 10)
    first = whole.slice(0, 5).drop_columns(["trace_id", "attr_value"])
    stream = SegmentStream(whole.schema, TABLES["logs"], Origin("acme", "c1"), 0, HOUR_NS)
    stream.write(first)
    stream.write(whole.slice(5).to_batches()[0])
    table, _ = read(one := stream.made())
    assert table["trace_id"].null_count == one.described.columns["trace_id"].nulls == 5


def test_a_column_without_a_value_is_in_no_description() -> None:
    table = rows(0, 3)
    nothing = table.set_column(
        table.schema.get_field_index("attr_value"), "attr_value", pa.nulls(3, pa.float64())
    )
    assert "attr_value" not in made([nothing]).described.columns


def test_parquet_bounds_of_numbers_need_a_forecast() -> None:
    index = rows(0, 1).schema.get_field_index("attr_value")
    for forecast, bounded in ((None, False), (Forecast(frozenset({"attr_value"})), True)):
        _, metadata = read(made([rows(0, 10)], forecast))
        assert metadata.row_group(0).column(index).is_stats_set is bounded
    with pytest.raises(SegmentError, match="attr_value"):
        made([rows(0, 3), rows(3, 3, nan=True)], Forecast(frozenset({"attr_value"})))


def test_a_merge_is_forecast_from_statistics() -> None:
    plain, odd = (made([rows(0, 8, nan=nan)]).described for nan in (False, True))
    assert "attr_value" in forecast_merge([plain], ["trace_id"]).without_nan
    merged = forecast_merge([plain, odd], ["trace_id"])
    assert "attr_value" not in merged.without_nan
    assert merged.distinct == {"trace_id": 16}  # no fewer than there are
    assert forecast_merge([make_segment("s")], []).distinct == {}


def test_rows_outside_the_window_are_refused() -> None:
    with pytest.raises(SegmentError, match="outside the window"):
        made([rows(0, 1), rows(HOUR_NS // 1000, 1)])
    stream = SegmentStream(rows(0, 1).schema, TABLES["logs"], Origin("acme", "c1"), 0, HOUR_NS)
    with pytest.raises(SegmentError, match="needs rows"):
        stream.made()


def test_a_merge_is_published_and_queried(tmp_path: Path) -> None:
    """Two segments become one, in one commit, without their rows ever being there as a whole."""
    with lakerunner.open(tmp_path) as lake:
        for start in (0, 50):
            lake.ingest(rows(start, 50).drop_columns(["organization"]), signal="logs")
        parents = lake.segments()
        assert len(parents) == 2
        replaced = tuple(segment.id for segment in parents)
        fence = Fence(lake.store, lake.catalog)
        origin = Origin(
            "default",
            "merge-1",
            parents=replaced,
            replaces=replaced,
            level=1,
            kind="compact",
            epoch=fence.begin().epoch,
        )
        tables = [pq.read_table(tmp_path / segment.key) for segment in parents]
        schema = tables[0].schema
        stream = SegmentStream(
            schema, TABLES["logs"], origin, 0, HOUR_NS, forecast_merge(parents, ["trace_id"])
        )
        for table in tables:
            for batch in table.to_batches(max_chunksize=7):
                stream.write(batch)
        writer = SegmentWriter(lake.store, CONFIG)
        writer.add(stream.made())
        commit = Commit("merge-1", "default", time.time_ns(), writer.finish(), remove=replaced)
        publish_commit(fence, commit, CONFIG)
        (segment,) = lake.segments()
        assert (segment.level, segment.rows, segment.siblings) == (1, 100, (segment.id,))
        answer = lake.sql("SELECT count(*) AS n, sum(attr_value) AS s FROM logs").to_arrow()
        assert answer.to_pylist() == [{"n": 100, "s": 4950.0}]
        stale = Commit("merge-2", "default", time.time_ns(), remove=replaced)
        with pytest.raises(CommitConflictError):
            publish_commit(fence, stale, CONFIG)


def test_what_cannot_be_committed_is_deleted() -> None:
    store, catalog = open_store("memory://publish/old"), open_catalog("memory://")
    writer = SegmentWriter(store, CONFIG)
    writer.add(made([rows(0, 3)]))
    commit = Commit("c1", "acme", time.time_ns(), writer.finish())
    catalog.commit(Commit("c0", "acme", 0))
    catalog.condemn([], 0, floor=1)
    with pytest.raises(CommitConflictError, match="so old"):
        publish_commit(Fence(store, catalog), commit, CONFIG)
    assert not list(store.list("segments/"))
    assert not catalog.tables()


def test_a_lost_reply_is_asked_for_again() -> None:
    lost = Fault(1, "catalog.commit", after=True, error=CommitUnknownError("no reply"))
    catalog = FaultyCatalog(open_catalog("memory://"), FaultPlan(lost))
    assert send_commit(catalog, Commit("c1", "acme", 0), CONFIG) == 1
    assert send_commit(catalog, Commit("c2", "acme", 0), CONFIG) == 2
