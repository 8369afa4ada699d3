"""What the fields of records become: table columns, times, attributes, and nothing lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.errors import ConfigurationError, CorruptObjectError
from lakerunner.formats.records.adopt import adopt, signal_of
from lakerunner.formats.records.json_lines import read_json_lines
from lakerunner.formats.records.lines import Records
from lakerunner.formats.records.parquet import read_parquet
from lakerunner.limits import ATTRIBUTE_COLUMNS
from lakerunner.model.profile import SourceMapping, read_mapping
from lakerunner.model.signal import Signal
from lakerunner.model.times import to_nanoseconds
from lakerunner.schema.attribute import OVERFLOW, field_key

if TYPE_CHECKING:
    from collections.abc import Callable

    Rows = Callable[..., list[dict[str, Any]]]

TIME = "2026-11-21T10:00:00Z"
NS = to_nanoseconds(TIME, now_ns=0)
TIME_KEYS = ["timestamp", "time", "datetime", "date", "publish_time", "event_timestamp", "ts"]
TIME_KEYS += ["created_at", "updated_at", "@timestamp", "eventtime", "event_time", "_time"]
TIME_KEYS += ["timeUnixNano", "Timestamp"]
BODY_KEYS = ["message", "msg", "body", "log", "log_message", "text", "content", "event", "raw"]
BODY_KEYS += ["data"]


def times(rows: list[dict[str, Any]]) -> list[int]:
    return [row["timestamp"].value for row in rows]


@pytest.mark.parametrize(
    "key",
    [
        "timestamp",
        "time",
        "datetime",
        "date",
        "publish_time",
        "event_timestamp",
        "created_at",
        "updated_at",
        "@timestamp",
        "ts",
        "eventtime",
        "event_time",
        "_time",
        "timeUnixNano",
        "Timestamp",
    ],
)
def test_the_names_of_times(rows_of: Rows, key: str) -> None:
    (row,) = rows_of({key: TIME, "message": "m"})
    assert row["timestamp"].value == NS
    assert row["timestamp_source"] == "time"
    assert set(row) == {"timestamp", "timestamp_source", "body"}


@pytest.mark.parametrize(
    "key",
    ["message", "msg", "body", "log", "log_message", "text", "content", "event", "raw", "data"],
)
def test_the_names_of_bodies(rows_of: Rows, key: str) -> None:
    (row,) = rows_of({key: "hello", "ts": TIME}, signal="logs")
    assert row["body"] == "hello"


def test_of_several_candidates_each_row_takes_its_first_and_keeps_the_rest(rows_of: Rows) -> None:
    rows = rows_of(
        {"message": "a", "log": "b", "time": "soon", "ts": TIME},
        {"log": "c", "time": TIME, "ts": "later"},
    )
    assert [row["body"] for row in rows] == ["a", "c"]
    assert times(rows) == [NS, NS]
    assert rows[0]["attr_log"] == "b"
    assert rows[0]["attr_time"] == "soon"
    assert rows[1]["attr_ts"] == "later"


def test_a_row_without_a_time_has_that_of_its_object(rows_of: Rows) -> None:
    (row,) = rows_of({"message": "m"})
    assert row["timestamp"].value == 1_700_000_000_000_000_000
    assert row["timestamp_source"] == "object"


def test_a_date_and_a_clock_are_put_together(rows_of: Rows) -> None:
    rows = rows_of({"date": "2026-11-21", "time": "10:00:00", "c-ip": "::1"}, signal="logs")
    assert times(rows) == [NS]
    assert rows[0]["attr_c_ip"] == "::1"


@pytest.mark.parametrize(
    ("record", "level"),
    [
        ({"level": "warning"}, "WARN"),
        ({"severity": "ERR"}, "ERROR"),
        ({"lvl": 50}, "ERROR"),
        ({"level": 10}, "TRACE"),
        ({"severity_number": 9}, "INFO"),
        ({"log": {"level": "fatal"}}, "FATAL"),
    ],
)
def test_levels(rows_of: Rows, record: dict[str, Any], level: str) -> None:
    assert rows_of({**record, "message": "m"})[0]["level"] == level


def test_objects_are_taken_apart_and_scalars_keep_their_type(rows_of: Rows) -> None:
    record = {"message": "m", "http": {"status": 200, "ok": True}, "took": 0.5, "tags": ["a", 1]}
    (row,) = rows_of(record)
    assert row["attr_http_status"] == 200
    assert row["attr_http_ok"] is True
    assert row["attr_took"] == 0.5
    assert json.loads(row["attr_tags"]) == ["a", 1]


def test_resource_and_scope_attributes_are_told_by_their_prefix(rows_of: Rows) -> None:
    (row,) = rows_of(
        {
            "body": "m",
            "resource": {"attributes": {"service.name": "cart", "host.name": "h"}},
            "scope": {"name": "lib", "version": "1"},
            "attributes": {"user": 7},
            "resource_zone": "z",
        }
    )
    assert row["resource_service_name"] == "cart"
    assert row["resource_host_name"] == "h"
    assert row["resource_zone"] == "z"
    assert (row["scope_name"], row["scope_version"]) == ("lib", "1")
    assert row["attr_user"] == 7


@pytest.mark.parametrize("key", ["service", "service.name", "service_name", "serviceName"])
def test_the_service_is_known_by_several_names(rows_of: Rows, key: str) -> None:
    assert rows_of({key: "cart", "message": "m"})[0]["resource_service_name"] == "cart"


def test_keys_that_fold_to_one_name_both_survive(rows_of: Rows) -> None:
    (row,) = rows_of({"message": "m", "a": {"b": 1}, "a.b": 2, "A_b": 3})
    assert sorted(value for name, value in row.items() if name.startswith("attr_a_b")) == [1, 2, 3]


def test_ids_are_lower_case_hex(rows_of: Rows) -> None:
    uuid = "D4CDA95B-652F-4A15-92B4-49D5929FDA1B"
    (row,) = rows_of({"message": "m", "traceId": uuid, "span.id": "6E0C63257DE34C92"})
    assert row["trace_id"] == "d4cda95b652f4a1592b449d5929fda1b"
    assert row["span_id"] == "6e0c63257de34c92"


SPAN = {"trace_id": "0a", "span_id": "0b", "name": "GET /", "start_time": TIME}


def test_spans(rows_of: Rows) -> None:
    rows = rows_of(
        {
            **SPAN,
            "endTime": "2026-11-21T10:00:01Z",
            "kind": "SPAN_KIND_SERVER",
            "status": {"code": 2},
        },
        {**SPAN, "duration_ms": 1.5, "kind": 3, "status_code": "STATUS_CODE_OK"},
        {**SPAN, "duration_ns": 17, "kind": "client"},
    )
    assert [row["duration_ns"] for row in rows] == [10**9, 1_500_000, 17]
    assert [row["end_timestamp"].value - NS for row in rows] == [10**9, 1_500_000, 17]
    assert [row["kind"] for row in rows] == ["SERVER", "CLIENT", "CLIENT"]
    assert [row["status_code"] for row in rows] == ["ERROR", "OK", "UNSET"]
    assert times(rows) == [NS] * 3
    assert all(isinstance(row["fingerprint"], int) for row in rows)


def test_events_of_spans(rows_of: Rows) -> None:
    event = {"timestamp": TIME, "name": "e", "attributes": "{}"}
    (row,) = rows_of({**SPAN, "duration_ns": 1, "events": [event]}, signal="spans")
    assert row["events"][0]["name"] == "e" or json.loads(row["attr_events"]) == [event]


def test_a_span_without_a_start_begins_at_its_end(rows_of: Rows) -> None:
    (row,) = rows_of({"trace_id": "0a", "span_id": "0b", "name": "n", "end": TIME}, signal="spans")
    assert row["timestamp"].value == row["end_timestamp"].value == NS
    assert row["timestamp_source"] == "end"
    assert "duration_ns" not in row


def test_metrics(rows_of: Rows) -> None:
    rows = rows_of(
        {"metric": "up", "value": 2**60 + 1, "ts": TIME, "job": "a"},
        {"metric": "up", "value": 3, "ts": TIME, "job": "b", "type": "Counter", "unit": "1"},
    )
    assert [row["value_int"] for row in rows] == [2**60 + 1, 3]
    assert [row["value"] for row in rows] == [2.0**60, 3.0]
    assert [row["metric_type"] for row in rows] == ["gauge", "sum"]
    assert rows[0]["series_id"] != rows[1]["series_id"]


def test_histograms(rows_of: Rows) -> None:
    (row,) = rows_of(
        {
            "metric_name": "lat",
            "bucket_counts": [1, 2, 3],
            "explicit_bounds": [0.5, 1],
            "count": 6,
            "sum": 4.5,
            "temporality": "AGGREGATION_TEMPORALITY_DELTA",
        }
    )
    assert row["metric_type"] == "histogram"
    assert row["bucket_counts"] == [1, 2, 3]
    assert row["explicit_bounds"] == [0.5, 1.0]
    assert (row["count"], row["sum"], row["temporality"]) == (6, 4.5, "delta")
    assert "value" not in row


@pytest.mark.parametrize("signal", ["spans", "metrics"])
def test_a_table_without_its_key_field_is_refused_with_advice(rows_of: Rows, signal: str) -> None:
    with pytest.raises(CorruptObjectError, match="mapping="):
        rows_of({"message": "m"}, signal=signal)


def test_a_mapping_says_which_field_is_which(rows_of: Rows) -> None:
    (row,) = rows_of(
        {
            "wann": "21.11.2026 11:00:00",
            "was": "m",
            "wer": {"name": "u"},
            "svc": "s",
            "weg": 1,
            "message": 2,
        },
        columns={"timestamp": "wann", "body": "was"},
        attributes={"svc": "resource.service.name", "wer": "user"},
        constants={"resource.region": "eu", "n": 5, "ok": True},
        drop=["weg"],
        timestamp_format="%d.%m.%Y %H:%M:%S",
        timezone="Europe/Berlin",
    )
    assert row == {
        "timestamp": row["timestamp"],
        "timestamp_source": "time",
        "body": "m",
        "resource_service_name": "s",
        "attr_user_name": "u",
        "resource_region": "eu",
        "attr_n": 5,
        "attr_ok": True,
        "attr_message": 2,
    }
    assert row["timestamp"].value == NS


def test_records_inside_of_an_object(rows_of: Rows) -> None:
    rows = rows_of(
        {"Records": [{"eventTime": TIME, "eventName": "Put"}, {"eventTime": TIME}], "account": "x"},
        {"Records": [], "account": "y"},
        rows="Records",
        columns={"body": "eventName"},
    )
    assert [row.get("body") for row in rows] == ["Put", None]
    assert [row["attr_account"] for row in rows] == ["x", "x"]


@pytest.mark.parametrize(
    "mapping",
    [
        {"colums": {}},
        {"timezone": "Mars/Olympus"},
        {"signal": "profiles"},
        {"timestamp_unit": "minutes"},
        {"columns": {"body": 5}},
    ],
)
def test_a_wrong_mapping_is_refused(mapping: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="mapping"):
        read_mapping(mapping)


def test_fields_beyond_the_cap_stay_reachable(rows_of: Rows) -> None:
    record = {f"key{number:04}": number for number in range(ATTRIBUTE_COLUMNS + 5)}
    (row,) = rows_of({"message": "m", **record})
    overflow = dict(row[OVERFLOW])
    columns = {name: value for name, value in row.items() if name.startswith("attr_key")}
    assert len(columns) == ATTRIBUTE_COLUMNS
    assert columns | {name: int(value) for name, value in overflow.items()} == {
        f"attr_{key}": value for key, value in record.items()
    }


ARROW = {
    "string": pa.array(["x"]),
    "large": pa.array(["x"], pa.large_string()),
    "dictionary": pa.array(["x"]).dictionary_encode(),
    "int8": pa.array([1], pa.int8()),
    "uint64": pa.array([2**64 - 1], pa.uint64()),
    "half": pa.array([0.5], pa.float32()),
    "bytes": pa.array([b"\x00"]),
    "seconds": pa.array([NS // 10**9], pa.timestamp("s")),
    "day": pa.array([0], pa.date32()),
    "far": pa.array([2**40], pa.timestamp("s")),
    "nothing": pa.nulls(1),
    "map": pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64())),
}


def test_every_arrow_type_becomes_an_attribute() -> None:
    records = Records(pa.table({"message": ["m"], **ARROW}), np.zeros(1, np.int32))
    (row,) = adopt([records], Signal.LOGS, [0]).table.to_pylist()
    assert row["attr_string"] == row["attr_large"] == row["attr_dictionary"] == "x"
    assert row["attr_int8"] == 1
    assert row["attr_uint64"] == str(2**64 - 1)
    assert row["attr_half"] == 0.5
    assert row["attr_bytes"] == "AA=="
    assert row["attr_seconds"].value == NS
    assert row["attr_day"] == "1970-01-01"
    assert row["attr_far"] == 2**40
    assert "attr_nothing" not in row
    assert (row["attr_map_k"], row["attr_map_k_2"]) == (1, 2)


def test_rows_of_a_lake_can_be_taken_again() -> None:
    field = pa.field("attr_http_method", pa.string(), metadata={b"lakerunner.key": b"http.method"})
    table = pa.table([pa.array(["GET"])], schema=pa.schema([field]))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    records = read_parquet([sink.getvalue().to_pybytes()])
    made = adopt([records], Signal.LOGS, [0]).table
    assert field_key(made.schema.field("attr_http_method")) == "http.method"


values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
keys = st.text("abcxyz._", min_size=1, max_size=5)


@given(st.lists(st.dictionaries(keys, values, max_size=5), min_size=1, max_size=5))
def test_no_value_is_lost(objects: list[dict[str, Any]]) -> None:
    payload = "\n".join(json.dumps(item) for item in objects).encode()
    table = adopt([read_json_lines([payload])], Signal.LOGS, [0]).table
    assert table.num_rows == len(objects)
    for item, row in zip(objects, table.to_pylist(), strict=True):
        sent = sorted(as_text(value) for value in item.values() if value not in {None, ""})
        kept = [value for name, value in row.items() if not name.startswith("timestamp")]
        kept_texts = sorted(as_text(value) for value in kept if value not in {None, ""})
        assert kept_texts == sent


def as_text(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(
    ("names", "signal"),
    [
        ("metric_name value", Signal.METRICS),
        ("name value time", Signal.METRICS),
        ("name value", None),
        ("trace_id span_id name start_time duration_ms", Signal.SPANS),
        ("trace_id span_id message", Signal.LOGS),
        ("level x", Signal.LOGS),
        ("a b", None),
    ],
)
def test_field_names_tell_the_signal(names: str, signal: Signal | None) -> None:
    table = pa.table({name: ["x"] for name in names.split()})
    assert signal_of(table, None) is signal
    assert signal_of(table, SourceMapping(signal=Signal.SPANS)) is Signal.SPANS
