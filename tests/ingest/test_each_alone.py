"""Objects of all formats in one batch: the rows are those of each object taken alone."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import settings
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import lakerunner
from lakerunner.limits import MEMORY_FLOOR_BYTES, MIB
from lakerunner.model.config import Config
from lakerunner.schema.attribute import OVERFLOW
from tests.formats.records.test_mixes import POINTS, SHAPES, SPANS, WRITERS

if TYPE_CHECKING:
    from pathlib import Path

BATCHES = 600 if settings().max_examples >= 1000 else 12
TIME = 1_790_078_400_000_000_000
KEYS = ("a.b", "a_b", "A.B", "http.method", "http_method", "x", "service.name", "service_name", "")
SENT: tuple[Any, ...] = (1, 2, "s", 1.5, True, None, [1, "a"], b"\x01", 2**53 + 1, "1", 2.0, "")
ODD: tuple[Any, ...] = (
    *("x", "none", "info", "5", "2026-01-01", "", 0, 1, 7, 1.5, 2.0, True, None, 1e300, {}, []),
    *([1, 2.5], {"x": 1}, {"name": "shop"}, {"level": "warn"}, "[1, 2]", "[1.5, 2]", '["a"'),
    *("01/02/2026 10:00:00", "13/02/2026 10:00:00"),
)
LINES = (
    b"2026-01-01T00:00:00Z ERROR it failed\n",
    b"plain line\n",
    b"13/02/2026 10:00:00 x\n",
    b"  at x.y(z.java:3)\n",
    b'127.0.0.1 - - [21/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "curl"\n',
    b'<34>1 2026-01-01T00:00:00Z h app 1 ID [a@1 x="2"] msg\n',
    b"2026-01-01T00:00:00Z stdout F line\n",
)


def _fill(place: Any, value: Any) -> None:
    fields = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
    if isinstance(value, list):
        for each in value:
            _fill(place.array_value.values.add(), each)
    elif value is not None:
        setattr(place, fields.get(type(value), "bytes_value"), value)


def _attributes(dice: random.Random, owner: Any) -> None:
    for _ in range(dice.randrange(4)):
        _fill(owner.attributes.add(key=dice.choice(KEYS)).value, dice.choice(SENT))


def _request(dice: random.Random) -> Any:
    kind = dice.randrange(3)
    request: Any
    if kind == 0:
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        scope = resource.scope_logs.add()
        records = [scope.log_records.add(time_unix_nano=TIME + n) for n in range(2)]
        for record in records:
            _fill(record.body, dice.choice(SENT))
    elif kind == 1:
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        scope = resource.scope_spans.add()
        records = [scope.spans.add(name="GET", start_time_unix_nano=TIME)]
    else:
        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        scope = resource.scope_metrics.add()
        points = scope.metrics.add(name="g").gauge.data_points
        histogram = scope.metrics.add(name="h").histogram.data_points.add(
            time_unix_nano=TIME, count=3, sum=6, bucket_counts=[1, 2]
        )
        histogram.explicit_bounds.append(dice.choice([1.0, float("inf")]))
        records = [points.add(time_unix_nano=TIME, as_int=4), histogram]
    for owner in (resource.resource, scope.scope, *records):
        _attributes(dice, owner)
    return request


def _records(dice: random.Random) -> list[dict[str, Any]]:
    known = dice.choice((SHAPES, SHAPES, POINTS, SPANS))
    names = sorted({name for one in (*SHAPES, *POINTS, *SPANS) for name in one})
    found = []
    for _ in range(dice.randrange(1, 4)):
        one = {name: v for name, v in dice.choice(known).items() if dice.random() < 0.85}
        for _ in range(dice.choice((0, 0, 1, 2))):
            one[dice.choice(names)] = dice.choice(ODD)
        found.append(one)
    return found


def _file(dice: random.Random) -> tuple[str, bytes]:
    """A suffix, and what is in a file of it."""
    kind = dice.choice(("records", "records", "protobuf", "otlp", "text", "between"))
    if kind == "protobuf":
        return "binpb", _request(dice).SerializeToString()
    if kind == "otlp":
        documents = [MessageToJson(_request(dice), indent=None) for _ in range(dice.choice((1, 2)))]
        return "otlp.json", "".join(f"{one}\n" for one in documents).encode()
    if kind == "text":
        return "log", b"".join(dice.choice(LINES) for _ in range(dice.randrange(1, 4)))
    if kind == "between":
        lines = WRITERS["json"](_records(dice)).splitlines(keepends=True)
        lines.insert(dice.randrange(len(lines) + 1), b"a banner of 13/02/2026 10:00:00\n")
        return "json", b"".join(lines)
    name = dice.choice(("json", *WRITERS))
    return name, WRITERS[name](_records(dice))


def _written(value: Any) -> str:
    """A value as it reads under any type: numbers by what they are worth."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)
    try:
        return repr(float(value))
    except (TypeError, ValueError):
        return str(value)


def _rows(lake: lakerunner.Lake) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for table in ("logs", "spans", "metrics"):
        for row in lake.sql(f"SELECT * FROM {table}").to_arrow().to_pylist():
            spilled = dict(row.pop(OVERFLOW, None) or ())
            values = {name: _written(v) for name, v in {**row, **spilled}.items() if v is not None}
            found[table, tuple(sorted(values.items()))] += 1
    return found


def check(folder: Path, files: list[tuple[str, bytes]]) -> None:
    """Ingest files together and one by one: all tables hold the same rows, in all columns."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    paths = [raw / f"{number:03}.{suffix}" for number, (suffix, _) in enumerate(files)]
    for path, (_, data) in zip(paths, files, strict=True):
        path.write_bytes(data)
        os.utime(path, (TIME // 10**9, TIME // 10**9))
    together, alone = (lakerunner.open(folder / name) for name in ("together", "alone"))
    report = together.ingest(f"{raw}/", workers=1)
    reports = [alone.ingest(path) for path in paths]
    assert report.rows == sum(each.rows for each in reports)
    assert _rows(together) == _rows(alone)
    said = sorted((one.source.key, one.reason) for one in report.rejected)
    assert said == sorted((one.source.key, one.reason) for each in reports for one in each.rejected)


@pytest.mark.parametrize("seed", range(BATCHES))
def test_files_of_all_formats_land_in_a_batch_as_they_do_alone(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - noise, not a secret
    check(tmp_path, [_file(dice) for _ in range(dice.randrange(2, 7))])


def _many_attributes(prefix: str) -> bytes:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=TIME)
    for number in range(700):
        _fill(record.attributes.add(key=f"{prefix}{number}").value, number)
    return request.SerializeToString()


def test_attributes_beyond_the_cap_are_those_of_each_object(tmp_path: Path) -> None:
    check(tmp_path, [("binpb", _many_attributes(prefix)) for prefix in "ab"])


RIVALS = ("a;b", "a:b", "a b", "c")
PARTS = Config(memory_bytes=MEMORY_FLOOR_BYTES + 32 * MIB)  # of four mebibytes


def _large(dice: random.Random, suffix: str) -> bytes:
    """Eight mebibytes of records; those of each third have other keys."""
    keys = dice.sample(RIVALS, len(RIVALS))
    thirds = keys[:2], keys[1:3], keys[3:]
    request = ExportLogsServiceRequest()
    lines = []
    for number in range(21):
        held = {key: number for key in thirds[number // 7] if dice.random() < 0.7}
        body, time_ns = f"{number}".zfill(400_000), TIME + number
        lines.append(json.dumps({"time": time_ns, "message": body, **held}) + "\n")
        records = request.resource_logs.add().scope_logs.add().log_records
        record = records.add(time_unix_nano=time_ns)
        record.body.string_value = body
        for key, value in held.items():
            record.attributes.add(key=key).value.int_value = value
    return request.SerializeToString() if suffix == "binpb" else "".join(lines).encode()


@pytest.mark.parametrize("suffix", ["binpb", "json"])
@pytest.mark.parametrize("seed", range(50 if BATCHES > 100 else 2))
def test_keys_as_they_were_sent_tell_the_same_however_an_object_is_cut(
    tmp_path: Path, seed: int, suffix: str
) -> None:
    """A part names keys that fold to one name for itself: another has other names for them."""
    path = tmp_path / f"large.{suffix}"
    path.write_bytes(_large(random.Random(seed), suffix))  # noqa: S311 - noise, not a secret
    asked = ", ".join(f'"{key}"' for key in RIVALS)
    found = []
    for config in (None, PARTS):
        with lakerunner.open(tmp_path / f"lake-{config is None}", config=config) as lake:
            report = lake.ingest(path)
            rows = lake.sql(f"SELECT timestamp, length(body) AS n, {asked} FROM logs ORDER BY 1")
            found.append((report.rows, rows.to_arrow().to_pylist()))
            several = report.segments > 1
    assert several
    assert found[0] == found[1]
