"""Objects larger than a batch: taken in parts, all of them or none, and never past the limits."""

from __future__ import annotations

import gzip
import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import lakerunner
from lakerunner.errors import ObjectTooLargeError, StoreUnavailableError
from lakerunner.formats.compression import decompress
from lakerunner.generate import logs_request
from lakerunner.limits import MEMORY_FLOOR_BYTES, MIB
from lakerunner.model.config import Config
from lakerunner.testing.faults import Fault, FaultPlan, FaultyStore

if TYPE_CHECKING:
    from tests.ingest.conftest import Bucket

SMALL = Config(memory_bytes=MEMORY_FLOOR_BYTES + 32 * MIB, backoff_seconds=0)  # parts of 4 MiB
NOISE = random.Random(7).randbytes(32)  # noqa: S311 - noise, not a secret
BOMB = gzip.compress(b"\x0a\x80\x80\x80\x80\x08" + bytes(80 * MIB), 1)  # a field of 2 GiB


def test_a_body_of_five_megabytes(bucket: Bucket) -> None:
    bucket.put("logs.binpb.gz", "x" * 5_000_000 + "END", "small")
    config = Config(memory_bytes=MEMORY_FLOOR_BYTES + 128 * MIB)
    with bucket.open(config=config) as lake:
        assert lake.ingest(bucket.url).rows == 2
        found = lake.sql("SELECT length(body) AS n FROM logs ORDER BY n").to_arrow()
    assert found["n"].to_pylist() == [5, 5_000_003]


def test_a_body_larger_than_the_memory_allows_is_set_aside_alone(bucket: Bucket) -> None:
    bucket.put("logs.binpb.gz", "before", "x" * 3_000_000, "after")
    with bucket.open(config=SMALL) as lake:  # records of at most 1.5 MiB
        report = lake.ingest(bucket.url)
        (rejection,) = lake.rejected()
    assert (report.rows, bucket.bodies()) == (2, ["after", "before"])
    assert (rejection.code, rejection.rows) == ("object_too_large", 1)
    assert "1 record: a record of more than 1," in rejection.reason
    assert "limit with this setting of memory_bytes" in rejection.reason


def test_more_output_than_the_limit_is_set_aside(
    disk: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompress, "__kwdefaults__", {"limit": 9 * MIB})
    disk.put("a.binpb.gz", "good")
    disk.store.put("bomb.binpb.gz", gzip.compress(logs_request(2000) * 12))
    with disk.open(config=SMALL) as lake:
        report = lake.ingest(disk.url)
    assert (report.rows, disk.reasons()) == (1, {"bomb.binpb.gz": "object_too_large"})
    assert len(disk.segment_objects()) == 1  # those of its first parts were deleted again


LARGE = logs_request(3000) * 8


@pytest.mark.parametrize("name", ["logs.binpb", "logs.binpb.gz"])
def test_a_large_object_is_taken_in_parts(disk: Bucket, name: str) -> None:
    disk.store.put(name, gzip.compress(LARGE, 1) if name.endswith("gz") else LARGE)
    disk.put("a.binpb", "before")
    disk.put("z.binpb", "after")
    with disk.open(config=SMALL) as lake:
        report = lake.ingest(disk.url)
        assert (report.objects, report.rows) == (3, 24_002)
        assert report.segments == len(lake.segments()) > 3
        assert lake.ingest(disk.url).skipped == 3
    assert disk.rows("SELECT count(*) AS n FROM logs") == [{"n": 24_002}]
    # Eight copies of the same 3,000 records: every record is there eight times.
    per_record = "SELECT count(*) AS n FROM logs GROUP BY timestamp, body, trace_id, span_id"
    counted = disk.rows(
        f"SELECT min(n % 8) AS low, max(n % 8) AS high FROM ({per_record} HAVING count(*) > 1)"
    )
    assert counted == [{"low": 0, "high": 0}]


def test_a_large_object_whose_last_part_is_corrupt_leaves_nothing(disk: Bucket) -> None:
    broken = LARGE + b"\x0a\x20" + NOISE
    disk.put("a.binpb", "before")
    disk.store.put("logs.binpb", broken)
    disk.put("z.binpb", "after")
    with disk.open(config=SMALL) as lake:
        report = lake.ingest(disk.url)
    assert (report.objects, report.rows) == (2, 2)
    assert disk.reasons() == {"logs.binpb": "corrupt_object"}
    assert disk.bodies() == ["after", "before"]
    assert len(disk.segment_objects()) == len(disk.lake.segments())


def test_bytes_that_are_a_bomb(bucket: Bucket) -> None:
    with pytest.raises(ObjectTooLargeError):
        bucket.lake.ingest(BOMB, format="otlp-protobuf")


def test_a_put_that_fails_is_no_fault_of_the_object_at_hand(disk: Bucket) -> None:
    disk.put("a.binpb", "waits in the batch")
    disk.put("b.binpb.gz", "x" * 5_000_000)  # fills the batch: what waits is written first
    store = disk.lake.store
    fault = Fault(call=1, name="store.put", error=StoreUnavailableError("503"), times=99)
    disk.lake.store = FaultyStore(store, FaultPlan(fault))
    with pytest.raises(StoreUnavailableError, match="503"):
        disk.ingestor(lambda raw: raw, config=SMALL).ingest(disk.url)
    assert not disk.lake.rejected()
    disk.lake.store = store
    assert disk.lake.ingest(disk.url).rows == 2


def test_an_arrow_table_that_does_not_fit_at_once_is_taken_whole() -> None:
    count = 150_000
    table = pa.table(
        {
            "timestamp": pa.array(range(count), pa.timestamp("us", "UTC")),
            "message": [f"m{number}" for number in range(count)],
            "trace_id": [f"{number + 1:032x}" for number in range(count)],
            "user": [f"u{number % 7}" for number in range(count)],
        }
    )
    with lakerunner.open("memory://", config={"memory_bytes": 256 * 2**20}) as lake:
        assert lake.ingest(table).rows == count
        found = lake.sql("SELECT count(DISTINCT body) AS n FROM logs").to_arrow()
        assert found["n"].to_pylist() == [count]


def _dated(day: str, name: str, rows: int = 20_000) -> bytes:
    """Lines of one date that may be read both ways, but for the last one."""
    when = ["01/02/2026"] * (rows - 1) + [day]
    if name == "csv":
        head, row = "time,message,end\n", "{0} 10:00:00,{1:x>60},x\n"
    else:
        head, row = "", '{{"time": "{0} 10:00:00", "message": "{1:x>60}"}}\n'
    return (head + "".join(row.format(one, n) for n, one in enumerate(when))).encode()


@pytest.mark.parametrize("name", ["csv", "json"])
@pytest.mark.parametrize(
    ("day", "first"), [("13/02/2026", "2026-02-01"), ("02/13/2026", "2026-01-02")]
)
def test_a_date_at_the_end_tells_the_order_of_all_parts(
    disk: Bucket, name: str, day: str, first: str
) -> None:
    disk.store.put(f"a.{name}", _dated(day, name))
    disk.store.put(f"b.{name}", _dated("01/02/2026", name, 10))
    with disk.open(config=SMALL) as lake:
        report = lake.ingest(disk.url)
        found = lake.sql(
            "SELECT CAST(timestamp AS TEXT) AS at, count(*) AS n FROM logs GROUP BY 1 ORDER BY 1"
        ).to_arrow()
    assert (report.objects, report.rows, report.rejected) == (2, 20_010, ())
    assert report.segments > 2
    assert len(disk.segment_objects()) == report.segments  # those read otherwise are gone
    days = dict(zip(found["at"].to_pylist(), found["n"].to_pylist(), strict=True))
    expected = {"2026-01-02T10:00:00Z": 10}
    expected[f"{first}T10:00:00Z"] = 19_999 + expected.get(f"{first}T10:00:00Z", 0)
    assert days == {**expected, "2026-02-13T10:00:00Z": 1}
