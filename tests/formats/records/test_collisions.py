"""Fields that get in each other's way, and values that fit no column: all of them are kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from lakerunner.errors import ConfigurationError, CorruptObjectError
from lakerunner.formats.records.adopt import adopt
from lakerunner.formats.records.json_lines import read_json_lines
from lakerunner.formats.records.lines import Records
from lakerunner.formats.table import FORMATS
from lakerunner.model.profile import SourceMapping
from lakerunner.model.signal import Signal
from lakerunner.model.times import to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    Rows = Callable[..., list[dict[str, Any]]]

TIME = "2026-11-21T10:00:00Z"
NS = to_nanoseconds(TIME, now_ns=0)
SPAN = {"trace_id": "0a", "span_id": "0b", "name": "GET /", "start_time": TIME}


def test_objects_without_the_list_are_records_themselves(rows_of: Rows) -> None:
    rows = rows_of(
        {"all": [{"a": 1}, {"a": 2}], "a": 3, "a#2": 4}, {"message": "m"}, rows="all", signal="logs"
    )
    assert [row.get("attr_a") for row in rows] == [1, 2, None]
    assert sorted(value for name, value in rows[0].items() if name.startswith("attr")) == [1, 3, 4]
    assert rows[2]["body"] == "m"


def test_a_payload_without_any_list_is_refused_whatever_its_neighbours() -> None:
    mapped = FORMATS["json"].mapped(SourceMapping(rows="all"))
    with pytest.raises(CorruptObjectError, match="'all'"):
        mapped.decode([b'{"all": [{"a": 1}]}', b'{"b": 1}'], Signal.LOGS, [0, 0])


@pytest.mark.parametrize(
    ("signal", "good"), [("spans", b'{"trace_id": "0a"}'), ("metrics", b'{"metric": "m"}')]
)
def test_a_payload_without_the_key_field_is_refused_whatever_its_neighbours(
    signal: str, good: bytes
) -> None:
    with pytest.raises(CorruptObjectError, match="mapping="):
        adopt([read_json_lines([good, b'{"message": "m"}'])], Signal(signal), [0, 0])
    assert adopt([read_json_lines([good, b""])], Signal(signal), [0, 0]).rows.tolist() == [1, 0]


def test_a_name_that_is_given_twice_loses_nothing(rows_of: Rows) -> None:
    (row,) = rows_of({"a": 1, "b": 2, "x": 3}, attributes={"a": "x", "b": "x"}, signal="logs")
    assert sorted(value for name, value in row.items() if name.startswith("attr_x")) == [1, 2, 3]
    (row,) = rows_of({"service_name": "a", "resource.service.name": "b", "message": "m"})
    assert row["resource_service_name"] == "a"
    assert row["resource_service_name_2"] == "b"
    (row,) = rows_of({"ddsource": "x", "hostname": "a", "host": "b", "message": "m"})
    assert (row["resource_host_name"], row["resource_host_name_2"]) == ("a", "b")


def test_a_constant_keeps_what_was_sent_beside_it(rows_of: Rows) -> None:
    constants = {"env": "said", "resource.service.name": "said"}
    (row,) = rows_of({"env": "sent", "service_name": "sent", "message": "m"}, constants=constants)
    assert (row["attr_env"], row["attr_env_2"]) == ("said", "sent")
    assert (row["resource_service_name"], row["attr_service_name"]) == ("said", "sent")


def test_an_object_may_fill_a_column_as_a_whole(rows_of: Rows) -> None:
    (row,) = rows_of({"a": {"b": 1}}, columns={"body": "a"}, signal="logs")
    assert json.loads(row["body"]) == {"b": 1}


def test_a_column_that_no_table_has_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="bodyy"):
        FORMATS["json"].mapped(SourceMapping(columns={"bodyy": "a"}))


def test_a_date_or_a_clock_alone_is_kept(rows_of: Rows) -> None:
    rows = rows_of(
        {"date": "2026-11-21", "time": "10:00:00"},
        {"time": "11:00:00"},
        {"date": "2026-99-99", "time": "12:00:00"},
        {"date": "2026-11-21", "date time": "kept", "time": "10:00:00"},
        signal="logs",
    )
    assert rows[0]["timestamp"].value == rows[3]["timestamp"].value == NS
    assert rows[1]["attr_time"] == "11:00:00"
    assert (rows[2]["attr_date"], rows[2]["attr_time"]) == ("2026-99-99", "12:00:00")
    assert "kept" in rows[3].values()


def test_durations_that_do_not_fit_are_kept(rows_of: Rows) -> None:
    rows = rows_of(
        {**SPAN, "duration_seconds": 1e300},
        {**SPAN, "duration_seconds": 10**11},
        {**SPAN, "duration_seconds": 9 * 10**9},
        {**SPAN, "duration_seconds": 1.5},
    )
    assert [row.get("duration_ns") for row in rows] == [None, None, 9 * 10**18, 1_500_000_000]
    assert [row.get("attr_duration_seconds") for row in rows] == [1e300, 1e11, None, None]
    assert [row.get("end_timestamp") is None for row in rows] == [True, True, True, False]


def test_a_duration_whose_type_says_its_unit_needs_no_name_that_does() -> None:
    columns = {"trace_id": ["0a"], "name": ["n"], "duration": pa.array([5], pa.duration("ms"))}
    records = Records(pa.table(columns), np.zeros(1, np.int32))
    assert adopt([records], Signal.SPANS, [0]).table["duration_ns"].to_pylist() == [5_000_000]


def test_numbers_that_a_double_cannot_hold_are_kept(rows_of: Rows) -> None:
    (row,) = rows_of({"metric": "m", "sum": 2**53 + 1, "value": 2**53 + 1})
    assert (row["attr_sum"], row["value_int"]) == (2**53 + 1, 2**53 + 1)
    assert "sum" not in row
    assert "attr_value" not in row


def test_a_type_that_is_no_type_of_metric_is_an_attribute(rows_of: Rows) -> None:
    (row,) = rows_of({"metric": "m", "value": 1, "type": "disk"})
    assert (row["metric_type"], row["attr_type"]) == ("gauge", "disk")


def test_ids_that_are_no_hex_stay_as_they_are(rows_of: Rows) -> None:
    (row,) = rows_of({"message": "m", "trace_id": "My-Trace", "span_id": "7uGbfsPBsXQ="})
    assert (row["trace_id"], row["span_id"]) == ("My-Trace", "eee19b7ec3c1b174")
