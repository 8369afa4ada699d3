"""Ingestion from end to end: what a source names is taken, once, into segments of one window."""

from __future__ import annotations

import gzip
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from lakerunner.catalog import open_catalog
from lakerunner.errors import (
    ConfigurationError,
    CorruptObjectError,
    ObjectNotFoundError,
    ReadOnlyError,
)
from lakerunner.generate import TelemetryConfig, generate_objects, logs_request
from lakerunner.ingest import Ingestor
from lakerunner.ingest.inputs import find_inputs
from lakerunner.model.config import Config
from lakerunner.model.signal import Signal
from lakerunner.store import ObjectMeta, ObjectStore, open_store
from lakerunner.store.counting import CountingStore, Counts, WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lakerunner
    from lakerunner.model.report import ProgressEvent
    from tests.ingest.conftest import Bucket

HOUR = 3600 * 10**9


class WithMarker(WrapperStore):
    """Lists an empty object whose key ends at `/`, as consoles of object stores make them."""

    def __init__(self, inner: ObjectStore, marker: ObjectMeta) -> None:
        super().__init__(inner)
        self.marker = marker

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        yield self.marker
        yield from super().list(prefix, start_after=start_after)


def test_a_prefix(bucket: Bucket) -> None:
    bucket.put("a/1.binpb.gz", "one")
    bucket.put("b/2.binpb", "two")
    report = bucket.lake.ingest(bucket.url)
    assert (report.objects, report.rows, report.segments, report.skipped) == (2, 2, 1, 0)
    assert report.bytes_read == sum(meta.size for meta in bucket.store.list())
    assert report.bytes_written == sum(s.bytes for s in bucket.lake.segments()) > 0
    assert report.seconds > 0
    assert bucket.bodies() == ["one", "two"]


def test_an_object_and_its_neighbour_of_a_longer_name(bucket: Bucket) -> None:
    bucket.put("a.binpb", "one")
    bucket.put("a.binpb.2.binpb", "two")
    assert bucket.lake.ingest(f"{bucket.url}a.binpb").objects == 1
    assert bucket.bodies() == ["one"]


def test_a_folder_without_its_slash(bucket: Bucket) -> None:
    bucket.put("day/1.binpb", "one")
    bucket.put("day/2.binpb", "two")
    bucket.put("day-after/3.binpb", "three")
    assert bucket.lake.ingest(f"{bucket.url}day").objects == 2
    assert bucket.bodies() == ["one", "two"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.binpb", ["top"]),
        ("*/*.binpb", ["a1", "b1"]),
        ("**/*.binpb", ["a1", "b1", "deep", "top"]),
        ("[!b]/**", ["a1", "deep"]),
        ("?/1.*", ["a1", "b1"]),
        ("none/*", []),
    ],
)
def test_a_glob(bucket: Bucket, pattern: str, expected: list[str]) -> None:
    for key, body in (("top", "top"), ("a/1", "a1"), ("b/1", "b1"), ("a/x/2", "deep")):
        bucket.put(f"{key}.binpb", body)
    assert bucket.lake.ingest(bucket.url + pattern).rows == len(expected)
    assert bucket.bodies() == expected


def test_a_path(disk: Bucket) -> None:
    disk.put("a.binpb", "one")
    assert disk.lake.ingest(Path(disk.root, "raw", "a.binpb")).rows == 1
    assert disk.lake.ingest(Path(disk.root, "raw")).skipped == 1
    assert disk.lake.ingest(f"file://{disk.url}").skipped == 1


def test_a_source_that_is_not_there(bucket: Bucket) -> None:
    with pytest.raises(ObjectNotFoundError):
        bucket.lake.ingest(f"{bucket.url}nothing.binpb")
    assert bucket.lake.ingest(f"{bucket.url}nothing/").objects == 0


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_bytes_are_taken_each_time(bucket: Bucket, pack: type[bytes]) -> None:
    data = pack(bucket.request("one", "two"))
    seen: list[ProgressEvent] = []
    assert bucket.lake.ingest(data, progress=seen.append).rows == 2
    assert bucket.lake.ingest(memoryview(data).tobytes()).rows == 2
    assert bucket.bodies() == ["one", "one", "two", "two"]
    assert [event.rows for event in seen] == [2]


def test_the_same_objects_are_taken_once(bucket: Bucket) -> None:
    for number in range(5):
        bucket.put(f"{number}.binpb", f"same{number}", "same")
    assert bucket.lake.ingest(bucket.url).rows == 10
    before = bucket.bodies()
    again = bucket.lake.ingest(bucket.url)
    assert (again.objects, again.rows, again.skipped, again.segments) == (0, 0, 5, 0)
    bucket.put("5.binpb", "new")
    assert bucket.lake.ingest(bucket.url).rows == 1
    assert bucket.bodies() == sorted([*before, "new"])


def test_equal_content_under_two_names_is_two_objects(bucket: Bucket) -> None:
    bucket.put("a.binpb", "same")
    bucket.put("b.binpb", "same")
    assert bucket.lake.ingest(bucket.url).rows == 2


def test_a_new_version_of_an_object_is_taken_again(bucket: Bucket) -> None:
    bucket.put("a.binpb", "first")
    bucket.lake.ingest(bucket.url)
    bucket.put("a.binpb", "second version")
    assert bucket.lake.ingest(bucket.url).rows == 1
    assert bucket.bodies() == ["first", "second version"]
    assert bucket.lake.ingest(bucket.url).skipped == 1


def test_the_lake_is_no_input(bucket: Bucket) -> None:
    bucket.put("a.binpb", "one")
    for _ in range(2):
        bucket.lake.ingest(f"{bucket.root}/")
    assert bucket.lake.ingest(f"{bucket.root}/**").skipped == 1
    assert bucket.bodies() == ["one"]
    assert not bucket.lake.rejected()
    for inside in ("lake", "lake/", "lake/segments/", "lake/**"):
        with pytest.raises(ConfigurationError, match="inside the lake"):
            bucket.lake.ingest(f"{bucket.root}/{inside}")


def test_a_lake_that_is_a_whole_bucket_leaves_room_for_input() -> None:
    open_store("memory://raw-beside-segments").put("a.binpb", logs_request(10))
    found = find_inputs("memory://raw-beside-segments/", "memory://", {})
    assert [item.key for item in found.objects] == ["raw-beside-segments/a.binpb"]
    with pytest.raises(ConfigurationError, match="inside the lake"):
        find_inputs("memory://segments/", "memory://", {})


def test_directory_markers_are_no_input(disk: Bucket) -> None:
    disk.put("folder/a.binpb", "one")
    marker = ObjectMeta(disk.url.lstrip("/") + "folder/", 0, "etag", 0)
    report = disk.ingestor(lambda store: WithMarker(store, marker)).ingest(disk.url)
    assert (report.objects, report.rejected) == (1, ())


def test_signal_and_format_are_taken_at_their_word(bucket: Bucket) -> None:
    bucket.put("x.dat", "one")
    assert bucket.lake.ingest(bucket.url, signal="logs", format="otlp-protobuf").rows == 1
    with pytest.raises(ConfigurationError, match="no format 'xls'"):
        bucket.lake.ingest(bucket.request("two"), format="xls")
    with pytest.raises(ValueError, match="nonsense"):
        bucket.lake.ingest(bucket.url, signal="nonsense")


def test_a_signal_that_the_content_contradicts(bucket: Bucket) -> None:
    bucket.put("logs.binpb", "one")
    report = bucket.lake.ingest(bucket.url, signal=Signal.METRICS)
    assert [(r.code, r.reason) for r in report.rejected] == [
        ("corrupt_object", "it holds logs, not metrics")
    ]
    with pytest.raises(CorruptObjectError, match="it holds logs, not spans"):
        bucket.lake.ingest(bucket.request("two"), signal="spans")
    assert bucket.lake.retry_rejected().rows == 1


def test_the_content_decides_where_the_name_is_wrong(bucket: Bucket) -> None:
    bucket.put("metrics/traces_1.binpb", "a log record")
    assert bucket.lake.ingest(bucket.url).rows == 1
    assert bucket.bodies() == ["a log record"]


def test_organizations_do_not_see_each_other(bucket: Bucket) -> None:
    bucket.put("a.binpb", "of acme")
    bucket.put("b.binpb", "of default")
    with bucket.open(organization="acme") as acme:
        acme.ingest(f"{bucket.url}a.binpb")
        assert bucket.lake.ingest(f"{bucket.url}b.binpb").rows == 1
        bucket.lake.ingest(bucket.request("for acme"), organization="acme")
        assert bucket.bodies(acme) == ["for acme", "of acme"]
        assert bucket.bodies() == ["of default"]
        everything = "SELECT DISTINCT organization FROM logs WHERE organization <> ''"
        assert bucket.rows(everything) == [{"organization": "default"}]
        bucket.store.put("c.dat", b"\xff" * 20)
        acme.ingest(f"{bucket.url}c.dat")
        assert len(acme.rejected()) == 1
        assert not bucket.lake.rejected()


@pytest.mark.parametrize(
    "name", ["../x", "", "a/b", "..", ".hidden", "a..b", "x" * 129, "a\n", "é"]
)
def test_what_cannot_name_an_organization(disk: Bucket, name: str) -> None:
    disk.put("a.binpb", "one")
    with pytest.raises(ConfigurationError, match="organization"):
        disk.lake.ingest(disk.url, organization=name)
    with pytest.raises(ConfigurationError, match="organization"):
        disk.open(organization=name)
    assert not disk.segment_objects()


def test_read_only(bucket: Bucket) -> None:
    bucket.put("a.binpb", "one")
    bucket.lake.ingest(bucket.url)
    with bucket.open(read_only=True) as lake:
        for write in (lambda: lake.ingest(bucket.url), lake.retry_rejected, lake.collect_orphans):
            with pytest.raises(ReadOnlyError):
                write()
        assert bucket.bodies(lake) == ["one"]


def test_two_ingestors_at_once_take_each_object_once(bucket: Bucket) -> None:
    expected = []
    for number in range(60):
        bodies = [f"{number:02d}-{part}" for part in range(5)]
        bucket.put(f"{number:02d}.binpb.gz", *bodies)
        expected += bodies
    with ThreadPoolExecutor(2) as pool:
        sources = [bucket.url, f"{bucket.url}**"]
        ingestors = [
            bucket.ingestor(lambda store: store, config=Config(batch_objects=size))
            for size in (7, 11)
        ]
        reports = list(pool.map(Ingestor.ingest, ingestors, sources))
    assert bucket.bodies() == expected
    assert sum(report.rows for report in reports) == 300
    assert sum(report.objects for report in reports) == 60
    assert sum(report.objects + report.skipped for report in reports) == 120
    assert not any(report.failed or report.rejected for report in reports)
    assert len(bucket.segment_objects()) == len(bucket.lake.segments())


@pytest.mark.parametrize("workers", [1, 3])
def test_progress(disk: Bucket, workers: int) -> None:
    for number in range(10):
        disk.put(f"{number}.binpb", "x", "y")
    seen: list[ProgressEvent] = []
    with disk.open(config=Config(batch_objects=3, workers=workers)) as lake:
        report = lake.ingest(disk.url, progress=seen.append)
    assert [event.stage for event in seen] == ["ingest"] * 4
    assert [event.done for event in seen][-1] == seen[-1].total == 10
    stored = sum(meta.size for meta in disk.store.list())
    assert (seen[-1].rows, seen[-1].bytes) == (report.rows, report.bytes_read) == (20, stored)
    assert all(a.done < b.done and a.rows < b.rows for a, b in pairwise(seen))


def test_progress_that_raises_ends_the_ingest_between_batches(disk: Bucket) -> None:
    for number in range(6):
        disk.put(f"{number}.binpb", f"{number}")

    def stop(event: ProgressEvent) -> None:
        if event.done == 4:
            raise KeyboardInterrupt

    with disk.open(config=Config(batch_objects=2)) as lake, pytest.raises(KeyboardInterrupt):
        lake.ingest(disk.url, progress=stop)
    assert disk.bodies() == ["0", "1", "2", "3"]
    assert disk.lake.ingest(disk.url).rows == 2


def test_requests_are_counted_exactly(disk: Bucket) -> None:
    for number in range(20):
        start_ns = disk.noon + number % 2 * HOUR
        disk.put(f"{number:02d}.binpb.gz", "x", "y", start_ns=start_ns)
    lake_store = CountingStore(open_store(f"{disk.root}/counted"))
    opened: list[CountingStore] = []

    def wrap(store: lakerunner.ObjectStore) -> CountingStore:
        opened.append(CountingStore(store))
        return opened[-1]

    catalog = open_catalog("memory://")
    ingestor = Ingestor(
        lake_store,
        catalog,
        config=Config(batch_objects=10),
        open_bucket=lambda url, options: wrap(open_store(url, options)),
    )
    report = ingestor.ingest(disk.url)
    assert (report.objects, report.rows, report.segments) == (20, 40, 4)
    # Beside the segments: the identity of the lake, how far its catalog has come, and what was
    # taken of the files of each batch.
    counts = lake_store.reset()
    assert counts._replace(bytes_written=0) == Counts(put=8, list=4)
    assert counts.bytes_written < report.bytes_written + 200 + 20 * 400
    (raw,) = opened
    assert raw.counts == Counts(get=20, list=1, bytes_read=report.bytes_read)

    assert ingestor.ingest(disk.url).skipped == 20
    assert lake_store.reset() == Counts(list=1)
    assert opened[-1].counts == Counts(list=1)

    disk.put("one.binpb", "z")
    ingestor.ingest(f"{disk.url}one.binpb")
    assert opened[-1].counts[:5] == (1, 0, 1, 0, 0)


def test_small_objects_share_a_segment_and_windows_do_not(bucket: Bucket) -> None:
    bucket.put("a.binpb", "11:59:59", "12:00:00", start_ns=bucket.noon - 10**9)
    bucket.put("b.binpb", "12:30:00", start_ns=bucket.noon + HOUR // 2)
    report = bucket.lake.ingest(bucket.url)
    assert report.segments == 2
    first, second = bucket.lake.segments()
    assert (first.rows, second.rows) == (1, 2)
    assert (first.window_start_ns, second.window_start_ns) == (bucket.noon - HOUR, bucket.noon)
    assert first.max_timestamp_ns == bucket.noon - 10**9
    assert second.min_timestamp_ns == bucket.noon
    assert [s.rows for s in bucket.lake.segments("logs", bucket.noon)] == [2]
    assert [s.rows for s in bucket.lake.segments("logs", end=bucket.noon)] == [1]
    assert not bucket.lake.segments("metrics")


def test_windows_of_another_length(bucket: Bucket) -> None:
    bucket.put("a.binpb", *"abcdef", start_ns=bucket.noon)
    with bucket.open(config={"window_ns": 2 * 10**9}) as lake:
        assert lake.ingest(bucket.url).segments == 3
        assert {segment.rows for segment in lake.segments()} == {2}


def test_a_process_pool(disk: Bucket) -> None:
    config = TelemetryConfig(rate=500, duration_s=16, records_per_object=1000)
    for key, data in generate_objects(config):
        disk.store.put(key, data)
    disk.store.put("bad.binpb", b"\xff" * 99)
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(2, mp_context=spawn) as pool,
        disk.open(executor=pool, config=Config(batch_objects=3)) as lake,
    ):
        report = lake.ingest(disk.url)
        assert (report.objects, report.rows) == (8, 8000)
        assert [r.code for r in report.rejected] == ["corrupt_object"]
        assert lake.ingest(disk.url).skipped == 9
        assert lake.ingest(disk.request("bytes too")).rows == 1
    counted = "SELECT count(*) AS n, count(DISTINCT organization) AS o FROM logs"
    assert disk.rows(counted) == [{"n": 8001, "o": 1}]
