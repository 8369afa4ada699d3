"""What a query asks a bucket for, counted between DataFusion, the store and a real service."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from lakerunner.catalog import open_catalog
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.publish import Origin, SegmentWriter, make_segments
from lakerunner.query import QueryEngine
from lakerunner.schema.tables import TABLES
from lakerunner.store import open_store
from lakerunner.testing.servers import Proxy, seaweedfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.model.segment import Segment
    from lakerunner.query.result import Result

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9
SEGMENTS, ROWS = 4, 130_000
"""Each segment has two sections of token filters, and one row group: of each of these, a scan asks
for its columns anew."""


def hour_of_logs(number: int) -> pa.Table:
    rng = np.random.default_rng(number)
    ids = [f"{number * ROWS + n:032x}" for n in range(ROWS)]
    service = rng.integers(0, 5, ROWS)
    return pa.table(
        {
            "timestamp": pa.array(START + number * HOUR + rng.integers(0, HOUR, ROWS)).cast(
                pa.timestamp("ns", "UTC")
            ),
            "level": pa.array(["INFO", "ERROR"]).dictionary_encode().take(pa.array(service // 4)),
            "body": [f"request {number}x{n} done" for n in range(ROWS)],
            "trace_id": ids,
            "resource_service_name": pa.array([f"service-{n}" for n in range(5)])
            .dictionary_encode()
            .take(pa.array(service)),
            "attr_size": pa.array(rng.integers(0, 10**9, ROWS)),
        }
    )


class Bucket(NamedTuple):
    """A lake in a bucket, behind a proxy."""

    proxy: Proxy
    options: dict[str, object]
    catalog: Any
    segments: tuple[Segment, ...]

    def engine(self, **settings: Any) -> QueryEngine:
        store = open_store("s3://lake/requests", self.options)
        return QueryEngine(store, self.catalog, config=Config(**settings))

    def gets(self) -> Counter[str]:
        """GET requests since the last time, by the end of the key."""
        asked = (one for one in self.proxy.reset() if one.method == "GET")
        return Counter(one.path.rpartition("/")[2] for one in asked)


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with seaweedfs() as server, Proxy(server.endpoint, keep_host=True) as proxy:
        options = {**server.storage_options, "endpoint_url": proxy.url}
        store, catalog = open_store("s3://lake/requests", options), open_catalog("memory://")
        writer = SegmentWriter(store, Config())
        for number in range(SEGMENTS):
            rows = hour_of_logs(number)
            for made in make_segments(rows, TABLES["logs"], Origin("default", "c"), HOUR):
                writer.add(made)
        segments = writer.finish()
        catalog.commit(Commit("c", "default", 0, add=segments))
        store.close()
        yield Bucket(proxy, options, catalog, tuple(segments))


LAST = "timestamp >= '2026-09-21T18:00:00Z'"
SHAPES = {
    # text, segments that are opened, reads of a filter by segment, and of columns of one: those
    # that lie more than a megabyte apart are asked for each by itself, at the same time
    "count": ("SELECT count(*) AS n FROM logs", SEGMENTS, 0, 1),
    "groups": ("SELECT resource_service_name, count(*) FROM logs GROUP BY 1", 0, 0, 0),
    "an hour": (f"SELECT count(*) FROM logs WHERE level = 'ERROR' AND {LAST}", 1, 0, 2),
    "a trace": (f"SELECT * FROM logs WHERE trace_id = '{3 * ROWS + 7:032x}'", 1, 1, 1),
    "a word": ("SELECT * FROM logs WHERE search('3x70000')", 1, 1, 1),
    "an absent word": ("SELECT * FROM logs WHERE body LIKE '%zebra%'", 0, 1, 1),
    "a substring": ("SELECT count(*) FROM logs WHERE body LIKE '%1234%'", SEGMENTS, 1, 1),
    "newest": (
        "SELECT * FROM logs WHERE level = 'ERROR' ORDER BY timestamp DESC LIMIT 10",
        1,
        0,
        1,
    ),
    "all": ("SELECT * FROM logs", SEGMENTS, 0, 1),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_requests_of_a_query(bucket: Bucket, shape: str) -> None:
    text, opened, filters, columns = SHAPES[shape]
    with bucket.engine() as engine:
        bucket.proxy.reset()
        first = engine.sql(text)
        rows = first.to_arrow().num_rows
        asked = bucket.gets()
        # A footer and columns of what is opened; of what is not, a piece of a filter at most.
        most = (1 + columns) * opened + filters * SEGMENTS
        assert sum(asked.values()) <= most
        again: Result = engine.sql(text)
        assert again.to_arrow().num_rows == rows
        # Footers and filters are known by now.
        asked = bucket.gets()
        assert sum(asked.values()) <= columns * opened
        assert len(asked) <= opened
        assert (again.stats.filter_bytes, again.stats.scanned) == (0, first.stats.scanned)
        assert (first.stats.filter_bytes > 0) is bool(filters)


def test_what_the_catalog_leaves_out_is_not_asked_for(bucket: Bucket) -> None:
    with bucket.engine() as engine:
        bucket.proxy.reset()
        for condition in (LAST, "level = 'ERROR' AND " + LAST, "level = 'FATAL'"):
            engine.sql(f"SELECT * FROM logs WHERE {condition}").to_arrow()
        last = max(bucket.segments, key=lambda one: one.min_timestamp_ns)
        assert set(bucket.gets()) == {last.key.rpartition("/")[2]}


def test_small_segments_are_read_from_the_disk_beside_large_ones_from_the_bucket(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "SELECT resource_service_name, count(*) AS n, sum(attr_size) AS s FROM logs GROUP BY 1"
    with bucket.engine() as engine:
        expected = engine.sql(text + " ORDER BY 1").to_arrow()
    hot = sorted(one.bytes for one in bucket.segments)[1]
    monkeypatch.setattr("lakerunner.compute.segment_files.HOT_SEGMENT_BYTES", hot)
    copied = {one.key.rpartition("/")[2] for one in bucket.segments if one.bytes <= hot}
    with bucket.engine(query_cache_directory=str(tmp_path)) as engine:
        bucket.proxy.reset()
        assert engine.sql(text + " ORDER BY 1").to_arrow() == expected
        asked = bucket.gets()
        assert 0 < len(copied) < SEGMENTS == len(asked)
        assert all(asked[name] == 1 for name in copied)
        assert engine.sql(text + " ORDER BY 1").to_arrow() == expected
        assert copied.isdisjoint(bucket.gets())
        newest = "SELECT timestamp FROM logs ORDER BY timestamp DESC LIMIT 5"
        rows = engine.sql(newest).to_arrow()
    with bucket.engine() as engine:
        assert engine.sql(newest).to_arrow() == rows
