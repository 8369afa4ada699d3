"""What columns hold of fields that OTLP did not send, as `docs/reference/columns.md` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lakerunner.formats.table import FORMATS
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from google.protobuf.message import Message

TIME_NS = 10**18
ALWAYS = {"timestamp", "timestamp_source", "fingerprint", "series_id"}
COUNTED: dict[str, Any] = {"count": 0, "flags": 0}


def logs() -> Message:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    scope.log_records.add(time_unix_nano=TIME_NS)
    scope.log_records.add(time_unix_nano=TIME_NS).body.string_value = ""
    return request


def spans() -> Message:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(start_time_unix_nano=TIME_NS)
    return request


def metrics() -> Message:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        getattr(scope.metrics.add(name=kind), kind).data_points.add(time_unix_nano=TIME_NS)
    return request


LOG = {"flags": 0, "dropped_attributes_count": 0}
SPAN: dict[str, Any] = {
    **LOG,
    "kind": "UNSPECIFIED",
    "status_code": "UNSET",
    "dropped_events_count": 0,
    "dropped_links_count": 0,
}
POINTS: dict[str, dict[str, Any]] = {
    "gauge": {"flags": 0},
    "sum": {"flags": 0, "is_monotonic": False},
    "histogram": {**COUNTED, "bucket_counts": [], "explicit_bounds": []},
    "exponential_histogram": {**COUNTED, "scale": 0, "zero_count": 0, "zero_threshold": 0.0},
    "summary": {**COUNTED, "sum": 0.0, "quantiles": []},
}


def filled(request: Message, format_name: str, signal: Signal) -> list[dict[str, Any]]:
    written = request.SerializeToString()
    if format_name == "otlp-json":
        written = MessageToJson(request, indent=None).encode()
    table = FORMATS[format_name].decode([written], signal, [1]).table
    return [
        {name: value for name, value in row.items() if value is not None and name not in ALWAYS}
        for row in table.to_pylist()
    ]


@pytest.mark.parametrize("format_name", ["otlp-protobuf", "otlp-json"])
def test_fields_that_were_not_sent(format_name: str) -> None:
    assert filled(logs(), format_name, Signal.LOGS) == [LOG, {**LOG, "body": ""}]
    assert filled(spans(), format_name, Signal.SPANS) == [SPAN]
    points = filled(metrics(), format_name, Signal.METRICS)
    found = {point.pop("metric_name"): point for point in points}
    for kind, expected in POINTS.items():
        assert found[kind] == {"metric_type": kind, **expected}
