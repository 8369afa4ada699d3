"""Files of every format, mutated at random: no exception leaves a batch, and neighbours land."""

from __future__ import annotations

import gzip
import io
import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from google.protobuf.json_format import MessageToJson
from hypothesis import settings
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import lakerunner
from lakerunner.formats.base import Part
from lakerunner.formats.records.formats import RecordFormat
from lakerunner.formats.records.text import read_text
from lakerunner.formats.table import FORMATS
from lakerunner.generate import logs_request
from lakerunner.model.config import Config

if TYPE_CHECKING:
    from pathlib import Path

NIGHT = settings().max_examples >= 1000
ROUNDS = 40 if NIGHT else 2  # of each file
MUTANTS = 40  # in one batch
TIME = 1_790_078_400_000_000_000


def _records() -> list[dict[str, Any]]:
    return [
        {
            "time": f"2026-09-22T12:00:{second:02}Z",
            "level": "error",
            "message": f'line {second} says "hé"',
            "service": {"name": "shop"},
            "http": {"status": 500, "sizes": [1, 2.5, None], "path": "/a"},
            "took": 1.5,
            "ok": True,
            "none": None,
        }
        for second in range(8)
    ]


def _json_lines() -> bytes:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in _records()).encode()


def _delimited(mark: str) -> bytes:
    rows = [
        ["time", "level", "message", "took"],
        *(
            [one["time"], "info", f'"a{mark} b {n}"', str(n / 2)]
            for n, one in enumerate(_records())
        ),
    ]
    return "".join(mark.join(row) + "\n" for row in rows).encode()


def _logfmt() -> bytes:
    return "".join(
        f'time={one["time"]} level=info msg="it \\"is\\" up" took={n}ms n={n}\n'
        for n, one in enumerate(_records())
    ).encode()


def _text() -> bytes:
    lines = [
        f"{one['time']} ERROR [main] it failed\n  at a.b(c.java:{n})\n"
        for n, one in enumerate(_records())
    ]
    return "".join(lines).encode()


def _parquet(**options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_records()), sink, **options)
    return sink.getvalue()


def _spans() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(1, 6):
        span = scope.spans.add(
            name="GET", trace_id=bytes([number]) * 16, span_id=bytes([number]) * 8
        )
        span.start_time_unix_nano, span.end_time_unix_nano = TIME, TIME + number
        span.attributes.add(key="http.method").value.string_value = "GET"
        span.events.add(name="retry", time_unix_nano=TIME)
    return request


def _points() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    gauge = metrics.add(name="queue.length").gauge.data_points.add(time_unix_nano=TIME, as_int=4)
    gauge.attributes.add(key="queue").value.string_value = "orders"
    histogram = metrics.add(name="latency").histogram
    histogram.data_points.add(
        time_unix_nano=TIME, count=3, sum=6, bucket_counts=[1, 2, 0], explicit_bounds=[1, 2]
    )
    return request


def _otlp_json(request: Any) -> bytes:
    return (MessageToJson(request, indent=None) + "\n").encode() * 3


LOGS = logs_request(6)
FILES: dict[str, bytes] = {
    "a.json": _json_lines(),
    "array.json": json.dumps(_records(), indent=1).encode(),
    "logs.otlp.json": _otlp_json(ExportLogsServiceRequest.FromString(LOGS)),
    "spans.jsonl": _otlp_json(_spans()),
    "metrics.jsonl": _otlp_json(_points()),
    "logs.binpb": LOGS,
    "spans.binpb": _spans().SerializeToString(),
    "metrics.binpb": _points().SerializeToString(),
    "a.csv": _delimited(","),
    "a.tsv": _delimited("\t"),
    "a.logfmt": _logfmt(),
    "a.log": _text(),
    "a.parquet": _parquet(),
    "b.parquet": _parquet(compression="none", use_dictionary=False),
    "a.json.gz": gzip.compress(_json_lines()),
    "a.log.zst": zstandard.ZstdCompressor().compress(_text()),
    "unnamed": _json_lines(),
}


def _mutated(data: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, or a piece taken out, doubled, moved or made noise."""
    found = data
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        if not found:
            break
        start, other = dice.randrange(len(found)), dice.randrange(len(found) + 1)
        end = min(len(found), start + dice.choice((1, 1, 2, 4, 16, 64, 400)))
        piece = found[start:end]
        found = dice.choice(
            (
                found[:start] + dice.randbytes(1) + found[start + 1 :],
                found[:start] + bytes([found[start] ^ 1 << dice.randrange(8)]) + found[start + 1 :],
                found[:start] + found[end:],
                found[:start],
                found[:start] + dice.randbytes(len(piece)) + found[end:],
                found[:start] + bytes(len(piece)) + found[end:],
                found[:other] + piece + found[other:],
                found[:other] + dice.choice(NOISES) + found[other:],
            )
        )
    return found


NOISES = (
    *(
        b"\xe9",
        b"\xff\xfe",
        b"\0",
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\n",
        b"\r",
        b",",
        b"null",
    ),
    *(b"1e999", b"-", b"9" * 25, b"\\ud800", b'"a":{"a":1},', b"NaN", b"\t", b"=", b"\xef\xbb\xbf"),
    *(b"2262-12-31T00:00:00Z", b"0001-01-01", b"{}\n", b"[]\n", b"\x80" * 12, b'"": 0,'),
)


@pytest.mark.parametrize("name", FILES)
def test_no_exception_leaves_a_batch_and_neighbours_land(tmp_path: Path, name: str) -> None:
    seed = random.SystemRandom().randrange(2**32) if NIGHT else 1
    for turn in range(ROUNDS):
        _check_batch(tmp_path / str(turn), name, f"{seed}-{turn}-{name}")


def _check_batch(folder: Path, name: str, seed: str) -> None:
    dice = random.Random(seed)  # noqa: S311 - noise, not a secret
    raw = folder / "raw"
    raw.mkdir(parents=True)
    for number in range(MUTANTS):
        (raw / f"{number:03}-{name}").write_bytes(_mutated(FILES[name], dice))
    (raw / f"000-good-{name}").write_bytes(FILES[name])
    (raw / f"999-good-{name}").write_bytes(FILES[name])
    lake = lakerunner.open(folder / "lake", config=Config(workers=1))
    report = lake.ingest(f"{raw}/")
    whole = [rejection for rejection in report.rejected if rejection.rows is None]
    assert report.objects + len(whole) == MUTANTS + 2, seed
    assert report.failed == (), seed
    assert not [one for one in whole if "-good-" in one.source.key], seed
    assert [one.reason for one in whole if one.code == "decoder_failed"] == [], seed


def _sample(payload: bytes) -> pa.Table:
    del payload
    return pa.table({"message": [""]})


def test_a_decoder_that_fails_takes_its_object_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(payloads: Any) -> Any:
        if any(b"poison" in payload for payload in payloads):
            raise ZeroDivisionError("as none should")
        return read_text(payloads)

    def split(blocks: Any, limit: int, longest: int) -> Any:
        del limit, longest
        yield Part(b"".join(blocks))

    broken = RecordFormat("broken", split, read, bool, _sample)
    monkeypatch.setitem(FORMATS, "broken", broken)
    raw = tmp_path / "raw"
    raw.mkdir()
    for key, text in {"a": "one\n", "b": "poison\n", "c": "two\n"}.items():
        (raw / key).write_text(text)
    lake = lakerunner.open(tmp_path / "lake")
    report = lake.ingest(f"{raw}/", format="broken")
    assert (report.objects, report.rows) == (2, 2)
    (rejection,) = lake.rejected()
    assert rejection.source.key.endswith("b")
    assert rejection.code == "decoder_failed"
    assert rejection.reason == "a decoder failed with ZeroDivisionError: as none should"
    assert lake.retry_rejected(format="text").rows == 1


def test_objects_that_cannot_be_decoded_together_land_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(payloads: Any) -> Any:
        if len(payloads) > 1:
            raise ZeroDivisionError("only together")
        return read_text(payloads)

    text = FORMATS["text"]
    broken = RecordFormat("broken", text.split, read, bool, _sample)
    monkeypatch.setitem(FORMATS, "broken", broken)
    raw = tmp_path / "raw"
    raw.mkdir()
    for key in "abc":
        (raw / key).write_text(f"{key}\n")
    lake = lakerunner.open(tmp_path / "lake")
    report = lake.ingest(f"{raw}/", format="broken")
    assert (report.objects, report.rows, report.rejected) == (3, 3, ())


@pytest.mark.parametrize("name", ["a.json", "a.log", "unnamed"])
@pytest.mark.parametrize("content", [b'{"caf\xe9":"x"}\n', b'{"m\xe9":"x"}\n{"message":"ok"}\n'])
def test_bytes_that_are_no_utf_8_are_repaired_in_keys_too(
    tmp_path: Path, name: str, content: bytes
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / f"a-bad-{name}").write_bytes(content)
    (raw / f"z-good-{name}").write_text('{"message":"good"}\n')
    lake = lakerunner.open(tmp_path / "lake")
    report = lake.ingest(f"{raw}/")
    assert (report.objects, report.rejected) == (2, ())
    names = lake.sql("SELECT * FROM logs").to_arrow().column_names
    assert np.isin(["attr_caf_", "attr_m_"], names).any()


def test_bytes_that_are_no_utf_8_are_repaired_in_keys_of_otlp_json(tmp_path: Path) -> None:
    line = '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"%s"}%s}]}]}]}\n'
    (tmp_path / "logs.json").write_bytes(
        (line % ("a", ',"caf~":1')).encode().replace(b"~", b"\xe9")
        + (line % ("b", ',"attributes":[{"key":"k~","value":{"intValue":1}}]'))
        .encode()
        .replace(b"~", b"\xe9")
    )
    lake = lakerunner.open(tmp_path / "lake")
    report = lake.ingest(tmp_path / "logs.json")
    assert (report.rows, report.rejected) == (2, ())
    found = lake.sql("SELECT body, attr_k_ FROM logs ORDER BY body").to_arrow().to_pylist()
    assert found == [{"body": "a", "attr_k_": None}, {"body": "b", "attr_k_": 1}]
