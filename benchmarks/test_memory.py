"""Peak memory of an ingesting process for objects that are extreme in one way.

Each object goes through a process of its own with the default setting, 512 MiB. In a test run the
objects are a fraction of their size; `python benchmarks/test_memory.py` writes the table of
docs/benchmarks.md with whole ones.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lakerunner.limits import MEMORY_BYTES, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NOW_NS = 1767225600 * 10**9

# `ru_maxrss` is no use here: it counts what the parent held when it started the process.
PROGRAM = """
import json, sys, time
import lakerunner

begun = time.perf_counter()
with lakerunner.open(sys.argv[1]) as lake:
    report = lake.ingest(sys.argv[2])
seconds = time.perf_counter() - begun
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
reasons = [rejection.reason for rejection in report.rejected]
print(json.dumps({"rows": report.rows, "peak": peak, "reasons": reasons, "seconds": seconds}))
"""


class Case(NamedTuple):
    """An object.

    Attributes:
        name: Its name in a bucket.
        what: What is odd about it, for the table.
        write: Makes its bytes, in blocks, for a size.
        small: The size in a test run.
        whole: The size for the table.
        rows: Rows it must give, by size.
        reason: What a rejection must say; empty if there is none.
    """

    name: str
    what: str
    write: Callable[[int], Iterable[bytes]]
    small: int
    whole: int
    rows: Callable[[int], int]
    reason: str = ""


def zipped_zeros(mebibytes: int) -> Iterable[bytes]:
    return [gzip.compress(bytes(mebibytes * MIB), 9)]


def distinct_keys(count: int) -> Iterable[bytes]:
    return (b'{"message":"m","k%d":%d}\n' % (number, number) for number in range(count))


def one_object(count: int) -> Iterable[bytes]:
    yield b'{"message":"m"'
    yield from (b',"key%d":%d' % (number, number) for number in range(count))
    yield b"}\n"


def long_line(megabytes: int) -> Iterable[bytes]:
    yield b'{"message":"before"}\n{"message":"'
    yield from repeat(b"abcdefghij" * 100_000, megabytes)
    yield b'"}\n{"message":"after"}\n'


def broken_lines(count: int) -> Iterable[bytes]:
    yield b'{"message":"before"}\n'
    yield from (b"{broken line %d %s\n" % (number, b"x" * 80) for number in range(count))
    yield b'{"message":"after"}\n'


def array(count: int) -> Iterable[bytes]:
    yield b"["
    yield from (b'{"message":"user %d came","n":%d},\n' % (n, n) for n in range(count - 1))
    yield b'{"message":"z"}]'


def wide_csv(rows: int) -> Iterable[bytes]:
    yield ",".join(["time", "message", *(f"c{n}" for n in range(5000))]).encode() + b"\n"
    for row in range(rows):
        values = ",".join(str(row * n % 997) for n in range(5000))
        yield f"2026-01-01T00:00:00Z,m,{values}\n".encode()


def tiny_points(copies: int) -> Iterable[bytes]:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    for number in range(20_000):
        metric.gauge.data_points.add(time_unix_nano=NOW_NS + number, as_double=1.5)
    return repeat(request.SerializeToString(), copies)


def empty_records(count: int) -> Iterable[bytes]:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.extend([LogRecord()] * count)
    return [request.SerializeToString()]


def long_record(megabytes: int) -> Iterable[bytes]:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for body in ("before", "y" * megabytes * 10**6, "after"):
        scope.log_records.add(time_unix_nano=NOW_NS).body.string_value = body
    return [request.SerializeToString()]


def one_resource(records: int) -> Iterable[bytes]:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for number in range(records):
        record = scope.log_records.add(time_unix_nano=NOW_NS + number)
        record.body.string_value = "x" * 80 + str(number)
    return [request.SerializeToString()]


def _parquet(table: pa.Table, **options: Any) -> Iterable[bytes]:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return [sink.getvalue().to_pybytes()]


def long_words(rows: int) -> Iterable[bytes]:
    """A text that stands once in the file, and in each row."""
    word = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["word " * 20_000])
    return _parquet(pa.table({"message": word}), store_schema=False)


def empty_columns(rows: int) -> Iterable[bytes]:
    nothing = pa.nulls(rows, pa.int64())
    columns = {f"c{number}": nothing for number in range(400)}
    return _parquet(pa.table({"message": pa.array(["m"] * rows), **columns}))


def one_group(megabytes: int) -> Iterable[bytes]:
    """Text that is compressed well, in one group of rows."""
    text = pa.array([f"{n:06d}" + "abcdefghij" * 99 for n in range(megabytes * 1000)])
    return _parquet(
        pa.table({"message": text}),
        compression="zstd",
        use_dictionary=False,
        row_group_size=megabytes * 1000,
    )


def long_lists(rows: int) -> Iterable[bytes]:
    zeros = pa.ListArray.from_arrays(
        pa.array(np.arange(rows + 1, dtype=np.int32) * 20_000),
        pa.array(np.zeros(rows * 20_000, np.int64)),
    )
    return _parquet(pa.table({"message": pa.array(["m"] * rows), "sizes": zeros}))


def none(_size: int) -> int:
    return 0


def same(size: int) -> int:
    return size


CASES = (
    Case(
        "text.log", "text without a newline, MiB",
        lambda size: repeat(b"word 12345 abc; " * 65_536, size), 64, 1024, none,
        "a record of more than",
    ),
    Case("short.log", "lines of one character", lambda n: repeat(b"a\n", n), 10**6, 10**7, same),
    Case(
        "keys.jsonl", "JSON lines, each with a key of its own", distinct_keys, 50_000, 10**6, same
    ),
    Case("zeros.log.gz", "zeros in gzip, MiB", zipped_zeros, 256, 2048, none, "compressed"),
    Case("zeros.json.gz", "the same, named JSON", zipped_zeros, 256, 2048, none, "compressed"),
    Case("zeros.csv.gz", "the same, named CSV", zipped_zeros, 256, 2048, none, "header"),
    Case(
        "line.jsonl", "a JSON line between two, MB", long_line, 60, 300, lambda _: 2,
        "line 2: a record of more than",
    ),
    Case(
        "broken.jsonl", "broken JSON lines between two", broken_lines, 400_000, 10**6,
        lambda _: 2, "lines 2, 3",
    ),
    Case("array.json", "a JSON array of elements", array, 300_000, 6 * 10**6, same),
    Case("wide.csv", "rows of a CSV of 5,002 columns", wide_csv, 700, 4000, same),
    Case("object.json", "keys of one JSON object", one_object, 50_000, 500_000, lambda _: 1),
    Case(
        "metrics.binpb", "requests of 20,000 points of 20 bytes", tiny_points, 50, 250,
        lambda size: 20_000 * size,
    ),
    Case(
        "logs_empty.binpb", "log records of two bytes in one resource", empty_records, 10**6, 10**7,
        same,
    ),
    Case("logs.binpb", "log records in one resource", one_resource, 100_000, 400_000, same),
    Case(
        "record.binpb", "a log record between two, MB", long_record, 40, 40, lambda _: 2,
        "1 record: a record of more than",
    ),
    Case("words.parquet", "Parquet: rows of one text of 100 kB", long_words, 500, 20_000, same),
    Case(
        "empty.parquet", "Parquet: rows of 400 empty columns", empty_columns, 50_000, 10**6, same
    ),
    Case(
        "group.parquet", "Parquet: one group of rows, MB of text", one_group, 100, 1500,
        lambda size: size * 1000,
    ),
    Case(
        "lists.parquet", "Parquet: rows of a list of 20,000 zeros", long_lists, 200, 5000, same
    ),
    Case(
        "resource.binpb", "a resource with one log record, MB", long_record, 80, 300, none,
        "the records of one resource take more than",
    ),
)  # fmt: skip


def measured(case: Case, size: int, folder: Path) -> dict[str, Any]:
    """Ingest an object in a process of its own."""
    raw = folder / case.name
    with raw.open("wb") as file:
        file.writelines(case.write(size))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder / "lake", raw],
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "bytes": raw.stat().st_size}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_odd_object_stays_within_the_memory(case: Case, tmp_path: Path) -> None:
    found = measured(case, case.small, tmp_path)
    assert found["rows"] == case.rows(case.small)
    assert len(found["reasons"]) == bool(case.reason)
    assert all(case.reason in reason for reason in found["reasons"])
    assert found["peak"] <= MEMORY_BYTES


def table() -> str:
    """Peaks of whole objects, as Markdown."""
    rows = [
        ["object", "size", "bytes", "peak, MiB", "seconds", "rows", "set aside"],
        ["---"] * 7,
    ]
    for case in CASES:
        with TemporaryDirectory() as folder:
            found = measured(case, case.whole, Path(folder))
        numbers = [f"{found['bytes']:,}", f"{found['peak'] // MIB}", f"{found['seconds']:.1f}"]
        aside = next(iter(found["reasons"]), "").partition(",")[0]
        rows.append([case.what, f"{case.whole:,}", *numbers, f"{found['rows']:,}", aside])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
