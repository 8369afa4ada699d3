"""Objects that real collectors wrote."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.model.signal import Signal
from lakerunner.schema.attribute import field_types

if TYPE_CHECKING:
    from pathlib import Path


def table(telemetry: Path, name: str) -> Any:
    payload = gzip.decompress((telemetry / "otlp" / "logs" / name).read_bytes())
    decoder = OtlpProtobuf()
    assert decoder.signal(payload) is Signal.LOGS
    return decoder.decode([payload], Signal.LOGS, [0]).table


def test_a_shop_with_traces(telemetry: Path) -> None:
    logs = table(telemetry, "otel-logs.binpb.gz")
    assert logs.num_rows == 525
    traces = logs["trace_id"].drop_null()
    assert len(traces) == 523
    assert {len(trace) for trace in traces.to_pylist()} == {32}
    assert logs["timestamp_source"].to_pylist().count("observed") == 36
    assert logs["severity_text"].null_count == 436


def test_nested_attributes_are_json(telemetry: Path) -> None:
    logs = table(telemetry, "logs_122666952.binpb.gz")
    assert logs.num_rows == 1775
    nested = [field.name for field in logs.schema if {"map", "array"} & {*field_types(field)}]
    assert nested
    for name in nested:
        types = set(field_types(logs.schema.field(name)))
        read = [json.loads(text) for text in logs[name].drop_null().to_pylist()]
        assert read
        if types <= {"map", "array"}:
            assert {type(value) for value in read} <= {dict, list}


@pytest.mark.parametrize(
    ("kind", "signal"), [("metrics", Signal.METRICS), ("traces", Signal.SPANS)]
)
def test_other_signals_are_recognised(telemetry: Path, kind: str, signal: Signal) -> None:
    files = sorted((telemetry / "otlp" / kind).glob("*.binpb.gz"))
    assert files
    for path in files:
        assert OtlpProtobuf().signal(gzip.decompress(path.read_bytes())) is signal
