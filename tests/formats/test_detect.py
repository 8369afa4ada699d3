"""Which format and which signal an object has."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.errors import ConfigurationError, CorruptObjectError, UnknownFormatError
from lakerunner.formats.detect import (
    FORMATS,
    choose_format,
    choose_signal,
    format_by_name,
    signal_by_name,
)
from lakerunner.model.signal import Signal

OTLP = FORMATS["otlp-protobuf"]


def logs(**record: object) -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(**record)
    return bytes(request.SerializeToString())


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("raw/logs_1.binpb", "otlp-protobuf"),
        ("raw/logs_1.BINPB.GZ", "otlp-protobuf"),
        ("raw/logs.1.pb.zst", "otlp-protobuf"),
        ("raw.binpb/logs", None),
        ("logs.txt", None),
        ("logs.gz", None),
        ("", None),
    ],
)
def test_format_by_name(key: str, name: str | None) -> None:
    assert format_by_name(key) == name


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
        choose_format("object", b"hello world")
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
