"""Input that is broken, odd or gone: it is set aside, and its neighbours land."""

from __future__ import annotations

import gzip
import random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.errors import (
    CorruptObjectError,
    ObjectDeniedError,
    ObjectNotFoundError,
    StoreUnavailableError,
    UnknownFormatError,
)
from lakerunner.generate import logs_request
from lakerunner.ingest import reading
from lakerunner.limits import ATTRIBUTE_COLUMNS, LISTED_ATTEMPTS, MEMORY_FLOOR_BYTES, MIB
from lakerunner.model.config import Config
from lakerunner.testing.faults import Fault, FaultPlan, FaultyStore

if TYPE_CHECKING:
    from tests.ingest.conftest import Bucket, Refusing

SMALL = Config(memory_bytes=MEMORY_FLOOR_BYTES + 32 * MIB, backoff_seconds=0)
NOISE = random.Random(7).randbytes(4000)  # noqa: S311 - noise, not a secret
FIELD_OF_2_GIB = b"\x0a\x80\x80\x80\x80\x08"

BAD: dict[str, tuple[str, bytes, str]] = {
    "cut gzip": ("bad.binpb.gz", gzip.compress(logs_request(50))[:-200], "corrupt_object"),
    "cut gzip trailer": ("bad.binpb.gz", gzip.compress(logs_request(50))[:-4], "corrupt_object"),
    "gzip checksum": (
        "bad.binpb.gz",
        gzip.compress(logs_request(50))[:-8] + bytes(8),
        "corrupt_object",
    ),
    "cut zstd": (
        "bad.binpb.zst",
        zstandard.ZstdCompressor().compress(logs_request(50))[:-200],
        "corrupt_object",
    ),
    "noise by name": ("bad.binpb", NOISE, "corrupt_object"),
    "json by name": ("bad.binpb", b'{"resourceLogs": []}', "corrupt_object"),
    "cut protobuf": ("bad.binpb", logs_request(50)[:-7], "corrupt_object"),
    "noise of no name": ("bad.dat", NOISE, "unknown_format"),
    "broken Parquet": ("bad.parquet", b"PAR1" + bytes(50) + b"PAR1", "corrupt_object"),
    "request without a record": ("bad.binpb", b"\x0a\x00", "unknown_format"),
    "bomb": (
        "bad.binpb.gz",
        gzip.compress(FIELD_OF_2_GIB + bytes(80 * MIB), 1),
        "object_too_large",
    ),
    "zeros": ("bad.binpb.gz", gzip.compress(bytes(80 * MIB), 1), "corrupt_object"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_object_is_set_aside_and_its_neighbours_land(disk: Bucket, case: str) -> None:
    name, data, code = BAD[case]
    disk.put("a.binpb.gz", "one", "two")
    disk.put("z.binpb", "three")
    disk.store.put(name, data)
    report = disk.lake.ingest(disk.url)
    assert (report.objects, report.rows, report.failed) == (2, 3, ())
    assert disk.bodies() == ["one", "three", "two"]
    (rejection,) = disk.lake.rejected()
    assert rejection == report.rejected[0]
    assert (rejection.source.key.rpartition("/")[2], rejection.code) == (name, code)
    assert len(rejection.reason) > 10
    assert len(disk.segment_objects()) == len(disk.lake.segments())

    again = disk.lake.ingest(disk.url)
    assert (again.objects, again.skipped, again.rejected) == (0, 3, ())
    retried = disk.lake.retry_rejected()
    assert (retried.objects, [r.code for r in retried.rejected]) == (0, [code])
    assert disk.reasons() == {name: code}

    disk.put(name, "mended")
    assert disk.lake.retry_rejected(signal="logs", format="otlp-protobuf").rows == 1
    assert disk.bodies() == ["mended", "one", "three", "two"]


def test_one_corrupt_object_among_fifty(bucket: Bucket) -> None:
    for number in range(51):
        bucket.put(f"logs_{number:02d}.binpb.gz", f"{number:02d}a", f"{number:02d}b")
    bucket.store.put("logs_25.binpb.gz", gzip.compress(bucket.request("x" * 300)[:-9]))
    report = bucket.lake.ingest(bucket.url)
    assert (report.objects, report.rows, report.segments) == (50, 100, 1)
    assert bucket.reasons() == {"logs_25.binpb.gz": "corrupt_object"}
    expected = [f"{n:02d}{part}" for n in range(51) if n != 25 for part in "ab"]
    assert bucket.bodies() == expected


def test_an_object_that_becomes_readable_is_retried(bucket: Bucket) -> None:
    bucket.store.put("raw.dat", NOISE)
    bucket.lake.ingest(bucket.url)
    bucket.put("raw.dat", "now it is good")
    report = bucket.lake.retry_rejected()
    assert (report.objects, report.rejected) == (1, ())
    assert bucket.bodies() == ["now it is good"]
    assert not bucket.lake.rejected()  # the version that was set aside is no more
    assert bucket.lake.ingest(bucket.url).objects == 0


def test_an_object_of_unknown_signal_is_retried_with_its_signal(bucket: Bucket) -> None:
    bucket.store.put("x.dat", b"\x0a\x00")
    assert bucket.lake.ingest(bucket.url).rejected[0].code == "unknown_format"
    report = bucket.lake.retry_rejected(signal="logs", format="otlp-protobuf")
    assert (report.objects, report.rows) == (1, 0)
    assert not bucket.lake.rejected()


def test_an_empty_object_with_a_telling_name_holds_no_rows(bucket: Bucket) -> None:
    bucket.store.put("logs_1.binpb", b"")
    bucket.store.put("logs_2.binpb.gz", gzip.compress(b""))
    report = bucket.lake.ingest(bucket.url)
    assert (report.objects, report.rows, report.segments, report.rejected) == (2, 0, 0, ())
    assert bucket.lake.ingest(bucket.url).skipped == 2


def test_an_object_that_is_deleted_before_it_is_read(
    bucket: Bucket, refusing: type[Refusing]
) -> None:
    bucket.put("a.binpb", "kept")
    bucket.put("b.binpb", "deleted")
    ingestor = bucket.ingestor(
        lambda store: refusing(store, "raw/b.binpb", None, lambda: bucket.store.delete("b.binpb"))
    )
    report = ingestor.ingest(bucket.url)
    assert (report.rows, [r.code for r in report.rejected]) == (1, ["object_not_found"])
    assert bucket.reasons() == {"b.binpb": "object_not_found"}
    assert bucket.lake.retry_rejected().objects == 0
    bucket.put("b.binpb", "back")
    assert bucket.lake.retry_rejected().rows == 1
    assert bucket.bodies() == ["back", "kept"]


def test_not_found_is_set_aside(disk: Bucket) -> None:
    disk.put("a.binpb", "one")
    fault = Fault(1, "store.get", error=ObjectNotFoundError("gone"), times=LISTED_ATTEMPTS)
    plan = FaultPlan(fault)
    report = disk.ingestor(lambda store: FaultyStore(store, plan), config=SMALL).ingest(disk.url)
    assert [r.reason for r in report.rejected] == ["gone"]
    assert disk.lake.retry_rejected().rows == 1
    assert not disk.lake.rejected()


def test_a_listed_object_that_is_away_for_a_moment_is_taken(disk: Bucket) -> None:
    """Its producer deletes it and puts it again: in S3, the same bytes are the same version."""
    disk.put("a.binpb", "one")
    away = ObjectNotFoundError("404")
    plan = FaultPlan(Fault(1, "store.get", error=away, times=LISTED_ATTEMPTS - 1))
    report = disk.ingestor(lambda store: FaultyStore(store, plan), config=SMALL).ingest(disk.url)
    assert (report.rows, report.rejected) == (1, ())


@pytest.mark.parametrize("error", [ObjectDeniedError("403"), StoreUnavailableError("503")])
def test_what_cannot_be_read_for_now_is_taken_next_time(
    bucket: Bucket, refusing: type[Refusing], error: Any
) -> None:
    bucket.put("a.binpb", "readable")
    bucket.put("b.binpb", "refused")
    ingestor = bucket.ingestor(lambda store: refusing(store, "b.binpb", error), config=SMALL)
    report = ingestor.ingest(bucket.url)
    assert (report.rows, report.rejected) == (1, ())
    assert [(f.code, f.reason) for f in report.failed] == [(error.code, error.message)]
    assert not bucket.lake.rejected()
    assert bucket.lake.ingest(bucket.url).rows == 1
    assert bucket.bodies() == ["readable", "refused"]


def test_a_failing_read_is_tried_again(disk: Bucket) -> None:
    disk.put("a.binpb", "one")
    fault = Fault(call=1, name="store.get", error=StoreUnavailableError("503"), times=4)
    plan = FaultPlan(fault)
    report = disk.ingestor(lambda store: FaultyStore(store, plan), config=SMALL).ingest(disk.url)
    assert (report.rows, report.failed) == (1, ())
    assert plan.calls.count("store.get") == 5


def test_an_object_overwritten_between_list_and_get_is_known_as_what_was_read(
    bucket: Bucket, refusing: type[Refusing]
) -> None:
    bucket.put("a.binpb", "listed version")

    def overwrite() -> None:
        bucket.put("a.binpb", "version", "that was read")

    ingestor = bucket.ingestor(lambda store: refusing(store, "a.binpb", None, overwrite))
    assert ingestor.ingest(bucket.url).rows == 2
    assert bucket.bodies() == ["that was read", "version"]
    again = bucket.lake.ingest(bucket.url)
    assert (again.objects, again.skipped) == (0, 1)
    assert bucket.bodies() == ["that was read", "version"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_object_overwritten_while_it_is_read_is_taken_next_time(
    disk: Bucket, refusing: type[Refusing], monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(reading, "_WHOLE_BYTES", 4096)
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 4096)
    key = f"a.binpb{suffix}"
    bodies = [NOISE[n : n + 500].hex() for n in range(0, 3000, 20)]
    disk.put(key, *bodies)

    def nothing() -> None:
        """Leave the first read alone."""

    def overwrite() -> None:
        disk.put(key, *bodies, "one more")

    ingestor = disk.ingestor(
        lambda store: refusing(store, key, None, nothing, overwrite), config=SMALL
    )
    report = ingestor.ingest(disk.url)
    assert (report.rows, report.rejected) == (0, ())
    assert [f.code for f in report.failed] == ["store_unavailable"]
    assert disk.lake.ingest(disk.url).rows == 151


def record_times(bucket: Bucket, *times: tuple[int, int]) -> list[dict[str, Any]]:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for number, (time, observed) in enumerate(times):
        record = records.add(time_unix_nano=time, observed_time_unix_nano=observed)
        record.body.string_value = str(number)
    bucket.store.put("logs.binpb", request.SerializeToString())
    assert bucket.lake.ingest(bucket.url).rows == len(times)
    return bucket.rows(
        "SELECT cast(timestamp AS bigint) AS at, timestamp_source AS source,"
        " timestamp_raw AS raw FROM logs ORDER BY cast(body AS int)"
    )


def test_odd_timestamps_land_and_say_where_they_come_from(bucket: Bucket) -> None:
    noon, year_2200 = bucket.noon, 7_258_118_400 * 10**9
    minus_one = 2**64 - 1
    found = record_times(
        bucket,
        (noon, noon),
        (0, noon + 1),
        (0, 0),
        (minus_one, noon + 2),
        (minus_one, 0),
        (year_2200, noon),
        (noon // 10**6, noon),
        (noon // 10**3, noon),
        (noon // 10**9, noon),
        (noon * 1000 % 2**63 + 2**63, noon + 3),
    )
    modified = next(iter(bucket.store.list())).modified_ns
    assert [(row["at"], row["source"], row["raw"]) for row in found] == [
        (noon, "time", None),
        (noon + 1, "observed", None),
        (modified, "object", None),
        (noon + 2, "observed", minus_one),
        (modified, "object", minus_one),
        (year_2200, "time", None),
        (noon, "milliseconds", noon // 10**6),
        (noon, "microseconds", noon // 10**3),
        (noon, "seconds", noon // 10**9),
        (noon + 3, "observed", noon * 1000 % 2**63 + 2**63),
    ]


def test_text_that_is_not_utf8_is_repaired(bucket: Bucket) -> None:
    data = bucket.request("before XYZ after", "fine")
    bucket.store.put("a.binpb", data.replace(b"XYZ", b"\xff\xc3\xfe"))
    bucket.put("b.binpb", "größe")
    report = bucket.lake.ingest(bucket.url)
    assert (report.rows, report.rejected) == (3, ())
    assert bucket.bodies() == ["before \ufffd\ufffd\ufffd after", "fine", "größe"]


def test_five_thousand_keys_are_all_reachable_by_name(bucket: Bucket) -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for number in range(5000):
        record = records.add(time_unix_nano=bucket.noon + number)
        attribute = record.attributes.add(key=f"key.{number}")
        attribute.value.string_value = f"value {number}"
        record.attributes.add(key="common").value.int_value = number
    bucket.store.put("logs.binpb", request.SerializeToString())
    bucket.put("other.binpb", "a neighbour")
    assert bucket.lake.ingest(bucket.url).rows == 5001
    (segment,) = bucket.lake.segments()
    columns = segment.columns
    attributes = [name for name in columns if name.startswith("attr_")]
    assert len(attributes) == 5001
    assert sum(not columns[name].overflow for name in attributes) <= ATTRIBUTE_COLUMNS
    in_map = [name for name in attributes if columns[name].overflow]
    assert in_map
    own = next(name for name in attributes if name != "attr_common")
    for name in (own, in_map[0], in_map[-1]):
        number = int(name.rpartition("_")[2])
        found = bucket.rows(f"SELECT attr_common, {name} AS v FROM logs WHERE {name} IS NOT NULL")
        assert found == [{"attr_common": number, "v": f"value {number}"}]


def test_two_keys_that_fold_to_one_name_both_survive(bucket: Bucket) -> None:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.time_unix_nano = bucket.noon
    for key, value in (("http.method", "GET"), ("http_method", "POST"), ("HTTP.Method", "PUT")):
        record.attributes.add(key=key).value.string_value = value
    bucket.store.put("logs.binpb", request.SerializeToString())
    bucket.lake.ingest(bucket.url)
    (segment,) = bucket.lake.segments()
    names = {stats.key: name for name, stats in segment.columns.items() if stats.key}
    assert sorted(names) == ["HTTP.Method", "http.method", "http_method"]
    assert "attr_http_method" in names.values()
    (row,) = bucket.rows(f"SELECT {', '.join(names.values())} FROM logs")
    assert {key: row[name] for key, name in names.items()} == {
        "http.method": "GET",
        "http_method": "POST",
        "HTTP.Method": "PUT",
    }


@pytest.mark.parametrize(
    ("data", "kind"),
    [(NOISE, UnknownFormatError), (BAD["cut gzip"][1], CorruptObjectError)],
)
def test_bad_bytes_are_an_error_of_their_kind(bucket: Bucket, data: bytes, kind: Any) -> None:
    with pytest.raises(kind):
        bucket.lake.ingest(data)
    with pytest.raises(CorruptObjectError):
        bucket.lake.ingest(data, format="otlp-protobuf", signal="logs")
    bucket.lake.ingest(bucket.request("good"))
    assert bucket.bodies() == ["good"]
    assert not bucket.lake.rejected()


def test_an_object_that_parquet_refuses_is_set_aside_alone(
    disk: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are encoded in another thread, where nobody knows whose they are."""
    write = pq.ParquetWriter.write_table

    def refusing(self: pq.ParquetWriter, table: pa.Table, *args: Any, **options: Any) -> None:
        if pc.any(pc.equal(table["body"], "poison")).as_py():
            raise pa.ArrowInvalid("it cannot be written")
        write(self, table, *args, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", refusing)
    many = [f"{number:0400}" for number in range(8000)]
    disk.put("logs_1.binpb", *many)
    disk.put("logs_2.binpb", "poison")
    disk.put("logs_3.binpb", "good")
    report = disk.lake.ingest(disk.url)
    assert report.rows == len(many) + 1
    (refused,) = report.rejected
    assert refused.source.key.endswith("raw/logs_2.binpb")
    assert "ArrowInvalid: it cannot be written" in refused.reason
    assert len(disk.segment_objects()) == len(disk.lake.segments())
