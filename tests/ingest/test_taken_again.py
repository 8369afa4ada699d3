"""Rows that came out of a lake and go into another one are the same rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakerunner

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "logs": ("otlp/logs/otel-logs.binpb.gz", "otlp-json/logs_document.json"),
    "spans": ("otlp/traces/otel-traces.binpb.gz", "otlp-json/traces_deep_nesting.jsonl"),
    "metrics": ("otlp/metrics/otel-metrics.binpb.gz", "otlp-json/metrics_all_types.jsonl"),
}


def rows_of(lake: lakerunner.Lake, signal: str) -> list[str]:
    table = lake.sql(f"SELECT * FROM {signal}").to_arrow()
    rows = ({k: v for k, v in row.items() if v is not None} for row in table.to_pylist())
    return sorted(repr(sorted(row.items())) for row in rows)


def taken_again(lake: lakerunner.Lake, signal: str, source: Any = None) -> list[str]:
    again = lakerunner.open("memory://")
    if source is None:
        source = lake.sql(f"SELECT * FROM {signal}").to_arrow()
    again.ingest(source, signal=signal)
    return rows_of(again, signal)


@pytest.mark.parametrize("signal", FILES)
def test_rows_of_a_query(telemetry: Path, signal: str) -> None:
    lake = lakerunner.open("memory://")
    for name in FILES[signal]:
        lake.ingest(telemetry / name)
    assert taken_again(lake, signal) == rows_of(lake, signal)


@pytest.mark.parametrize("signal", FILES)
def test_rows_of_a_query_as_a_file(telemetry: Path, signal: str) -> None:
    lake = lakerunner.open("memory://")
    lake.ingest(telemetry / FILES[signal][0])
    sink = pa.BufferOutputStream()
    pq.write_table(lake.sql(f"SELECT * FROM {signal}").to_arrow(), sink)
    assert taken_again(lake, signal, sink.getvalue().to_pybytes()) == rows_of(lake, signal)


def attribute(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


def odd_logs() -> dict[str, Any]:
    """Times in wrong units, keys that look like columns, and more attributes than columns."""
    keys = ["a.b", "a_b", "a.b", "attributes.x", "timestamp", "resource.z", "body", "x", "x#2", ""]
    keys += ["organization", "service", "level", "fingerprint", "timestamp_source"]
    odd = [attribute(key, stringValue=f"{place}") for place, key in enumerate(keys)]
    many = [attribute(f"key.{place}", intValue=place) for place in range(420)]
    resource = [
        attribute(key, stringValue="r") for key in ("attributes.q", "schema.url", "service")
    ]
    scope = [attribute(key, stringValue="s") for key in ("name", "version")]
    records = [
        {"timeUnixNano": "1700000000", "attributes": odd, "severityText": "30"},
        {"timeUnixNano": "1700000000000", "attributes": many, "traceId": "My-Trace"},
        {"timeUnixNano": str(2**63 + 5), "body": {"stringValue": ""}, "severityNumber": 9},
        {"observedTimeUnixNano": "1700000000000000000", "body": {"intValue": 3}, "flags": 7},
    ]
    logs = {
        "scope": {"name": "n", "attributes": scope, "droppedAttributesCount": 2},
        "schemaUrl": "u",
        "logRecords": records,
    }
    owner = {"attributes": resource, "droppedAttributesCount": 3}
    return {"resourceLogs": [{"resource": owner, "schemaUrl": "v", "scopeLogs": [logs]}]}


def test_odd_rows() -> None:
    lake = lakerunner.open("memory://")
    lake.ingest(json.dumps(odd_logs()).encode(), signal="logs")
    assert len(rows_of(lake, "logs")) == 4
    assert taken_again(lake, "logs") == rows_of(lake, "logs")


def test_a_span_that_has_no_start_gets_no_duration_the_second_time() -> None:
    span = {
        "traceId": "0a" * 16,
        "spanId": "0b" * 8,
        "name": "n",
        "endTimeUnixNano": "17" + "0" * 17,
    }
    lake = lakerunner.open("memory://")
    lake.ingest(
        json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode(),
        signal="spans",
    )
    assert taken_again(lake, "spans") == rows_of(lake, "spans")


def test_other_records_that_name_an_organization_keep_it() -> None:
    lake = lakerunner.open("memory://")
    lake.ingest(b'{"organization": "acme", "message": "m", "fingerprint": 7}\n', signal="logs")
    table = lake.sql("SELECT organization, attr_organization, attr_fingerprint FROM logs")
    assert table.to_arrow().to_pylist() == [
        {"organization": "default", "attr_organization": "acme", "attr_fingerprint": 7}
    ]
