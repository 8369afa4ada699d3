"""Which format and which signal an object has."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.errors import ConfigurationError, CorruptObjectError, UnknownFormatError
from lakerunner.formats.detect import (
    choose_format,
    choose_signal,
    formats_by_name,
    signal_by_name,
)
from lakerunner.formats.table import FORMATS
from lakerunner.model.signal import Signal

OTLP = FORMATS["otlp-protobuf"]


def logs(**record: object) -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(**record)
    return bytes(request.SerializeToString())


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("raw/logs_1.binpb", ("otlp-protobuf",)),
        ("raw/logs_1.BINPB.GZ", ("otlp-protobuf",)),
        ("raw/logs.1.pb.zst", ("otlp-protobuf",)),
        ("raw/logs.json.gz", ("otlp-json", "json")),
        ("raw/logs.csv", ("otlp-json", "json", "csv")),
        ("logs.txt", ("otlp-json", "json", "w3c", "logfmt", "text")),
        ("raw.binpb/logs", ()),
        ("logs.xyz", ()),
        ("logs.gz", ()),
        ("", ()),
    ],
)
def test_formats_by_name(key: str, names: tuple[str, ...]) -> None:
    assert formats_by_name(key) == names


CONTENT = {
    "otlp-json": b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {}}]}]}]}',
    "json": b'{"message": "m"}\n{"message": "n"}\n',
    "logfmt": b'level=info msg="a b" n=1\nlevel=warn msg=c n=2\n',
    "csv": b"time,level,message\n2026-11-21,info,a\n2026-11-21,warn,b\n",
    "tsv": b"time\tlevel\tmessage\n2026-11-21\tinfo\ta\n",
    "text": b"Nov 21 10:00:00 host sshd[1]: Failed password\n127.0.0.1 - - GET /\n",
}


@pytest.mark.parametrize("name", CONTENT)
def test_content_tells_where_the_name_is_silent(name: str) -> None:
    assert choose_format("object", CONTENT[name]).name == name


@pytest.mark.parametrize("suffix", ["log", "txt"])
@pytest.mark.parametrize("name", ["otlp-json", "json", "logfmt", "text"])
def test_text_files_may_hold_several_formats(suffix: str, name: str) -> None:
    assert choose_format(f"a.{suffix}", CONTENT[name]).name == name


def test_a_json_array_and_a_pretty_document_are_json() -> None:
    assert choose_format("a.json", b'[\n  {"message": "m"}\n]').name == "json"
    assert choose_format("object", b'{\n  "message": "m"\n}').name == "json"
    assert choose_format("a.json", b"").name == "json"


@pytest.mark.parametrize(
    ("content_type", "name"),
    [
        ("application/x-protobuf", "otlp-protobuf"),
        ("application/json; charset=utf-8", "json"),
        ("text/csv", "csv"),
    ],
)
def test_the_media_type_counts_where_the_name_is_silent(content_type: str, name: str) -> None:
    assert choose_format("object", b"", content_type=content_type).name == name
    assert choose_format("object.parquet", b"", content_type=content_type).name == "parquet"


@pytest.mark.parametrize(
    ("key", "signal"),
    [
        ("raw/traces_1.binpb", Signal.SPANS),
        ("metrics/logs_1.binpb", Signal.LOGS),
        ("traces/2026/01.binpb", Signal.SPANS),
        ("catalogs/dialog.binpb", None),
        ("", None),
    ],
)
def test_signal_by_name(key: str, signal: Signal | None) -> None:
    assert signal_by_name(key) is signal


def test_the_format_is_told_by_the_content_where_the_name_is_silent() -> None:
    assert choose_format("object", logs(time_unix_nano=1)) is OTLP
    with pytest.raises(UnknownFormatError):
        choose_format("object", bytes(range(32)))
    with pytest.raises(UnknownFormatError):
        choose_format("object", b"")


def test_a_named_format_is_taken_without_looking() -> None:
    assert choose_format("object", b"hello", "otlp-protobuf") is OTLP
    with pytest.raises(ConfigurationError, match="otlp-protobuf"):
        choose_format("object", b"hello", "otlp")


def test_content_decides_the_signal_before_the_name() -> None:
    payload = logs(time_unix_nano=1)
    assert choose_signal(OTLP, "metrics_1.binpb", payload) is Signal.LOGS
    assert choose_signal(OTLP, "k", payload, Signal.LOGS) is Signal.LOGS
    with pytest.raises(CorruptObjectError, match="logs"):
        choose_signal(OTLP, "k", payload, Signal.SPANS)


def test_the_name_decides_where_the_content_is_silent() -> None:
    assert choose_signal(OTLP, "metrics_1.binpb", logs()) is Signal.METRICS
    assert choose_signal(OTLP, "metrics_1.binpb", b"", Signal.LOGS) is Signal.LOGS
    with pytest.raises(UnknownFormatError):
        choose_signal(OTLP, "k", b"")


def test_names_of_fields_are_hints_that_the_user_overrules() -> None:
    csv = FORMATS["csv"]
    payload = b"metric,value\nup,1\n"
    assert choose_signal(csv, "logs/a.csv", payload) is Signal.METRICS
    assert choose_signal(csv, "logs/a.csv", payload, Signal.LOGS) is Signal.LOGS
    assert choose_signal(csv, "traces/a.csv", b"a,b\n1,2\n") is Signal.SPANS
    assert choose_signal(csv, "a.csv", b"a,b\n1,2\n") is Signal.LOGS
    assert choose_signal(csv, "a.csv", b"") is Signal.LOGS
