"""Times with the names of zones, and days before months, in objects beside each other."""

from __future__ import annotations

import numpy as np
import pytest

from lakerunner.formats.table import FORMATS
from lakerunner.model.profile import SourceMapping
from lakerunner.model.signal import Signal

OBJECT_NS = 1_790_000_000_000_000_000


def _times(name: str, *payloads: bytes) -> list[list[str]]:
    """Per payload: the times of its rows, or `object` where they have none of their own."""
    fallback = np.full(len(payloads), OBJECT_NS)
    decoded = FORMATS[name].decode(payloads, Signal.LOGS, fallback)
    table = decoded.table
    texts = [
        "object" if source == "object" else str(moment)[:19]
        for moment, source in zip(
            table["timestamp"].to_pylist(), table["timestamp_source"].to_pylist(), strict=True
        )
    ]
    ends = np.cumsum(decoded.rows).tolist()
    return [texts[end - rows : end] for end, rows in zip(ends, decoded.rows.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("line", "moment", "body"),
    [
        ("2026-01-01 02:00:00.123 PST [71] LOG:  ready", "2026-01-01 10:00:00", "[71] LOG:  ready"),
        ("2026-01-01 11:00:00 CET [71] LOG:  ready", "2026-01-01 10:00:00", "[71] LOG:  ready"),
        ("[2026-01-01 05:00:00 America/New_York] up", "2026-01-01 10:00:00", "up"),
        ("2026-01-01 10:00:00 ERROR it failed", "2026-01-01 10:00:00", "ERROR it failed"),
        ("2026-01-01 10:00:00 ESTABLISHED", "2026-01-01 10:00:00", "ESTABLISHED"),
        ("2026-01-01 10:00:00 CAT scan", "2026-01-01 10:00:00", "CAT scan"),
        ("2026-01-01 10:00:00 IST started", "object", "started"),
    ],
)
def test_a_line_with_the_name_of_a_zone(line: str, moment: str, body: str) -> None:
    assert _times("text", line.encode()) == [[moment]]
    table = FORMATS["text"].decode([line.encode()], Signal.LOGS, [OBJECT_NS]).table
    assert table["body"].to_pylist() == [body]


def test_the_zones_of_lines_are_those_of_fields() -> None:
    said = (
        "UTC GMT UT BST CET CEST EET EEST MEZ MESZ MSK SAST PKT WIB SGT HKT AWST JST KST ACST ACDT"
    )
    said += " AEST AEDT NZST NZDT NST NDT BRT ADT EST EDT CST CDT MST MDT PST PDT AKST AKDT HST"
    lines = [f"2026-01-01 02:00:00 {zone} up" for zone in said.split()]
    fields = [f'{{"time": "{line[:-3]}", "message": "up"}}' for line in lines]
    times = _times("text", "\n".join(lines).encode())
    assert times == _times("json", "\n".join(fields).encode())
    assert "object" not in times[0]


@pytest.mark.parametrize("payloads", [1, 2])
def test_days_are_in_the_order_of_their_object(payloads: int) -> None:
    days = b"time,message\n01/02/2026 10:00:00,a\n13/02/2026 10:00:00,b\n"
    months = b"time,message\n01/02/2026 10:00:00,a\n02/13/2026 10:00:00,b\n"
    expected = [
        ["2026-02-01 10:00:00", "2026-02-13 10:00:00"],
        ["2026-01-02 10:00:00", "2026-02-13 10:00:00"],
    ]
    assert _times("csv", *[days, months][:payloads]) == expected[:payloads]


@pytest.mark.parametrize("neighbour", [b"", b"when,message\n02/13/2026 10:00:00,x\n"])
def test_two_fields_of_times_are_in_one_order(neighbour: bytes) -> None:
    data = b"time,observed_timestamp,message\n01/02/2026 10:00:00,13/02/2026 10:00:00,a\n"
    payloads = [data, neighbour] if neighbour else [data]
    table = FORMATS["csv"].decode(payloads, Signal.LOGS, [OBJECT_NS] * len(payloads)).table
    assert str(table["timestamp"][0])[:10] == "2026-02-01"
    assert str(table["observed_timestamp"][0])[:10] == "2026-02-13"


def test_a_field_that_is_no_time_of_the_record_tells_the_order_too() -> None:
    data = b"time,born,message\n01/02/2026 10:00:00,31/12/1999,a\n"
    assert _times("csv", data) == [["2026-02-01 10:00:00"]]


def test_records_of_other_types_and_text_between_are_in_the_order_of_their_object() -> None:
    first = '{"time": "01/02/2026 10:00:00", "level": "info", "message": "a"}'
    other = '{"time": "13/02/2026 10:00:00", "level": 3, "message": {"a": 1}}'
    neighbour = '{"time": "01/02/2026 10:00:00", "level": {"a": 1}, "message": "b"}'
    assert _times("json", f"{first}\n{other}".encode(), neighbour.encode()) == [
        ["2026-02-01 10:00:00", "2026-02-13 10:00:00"],
        ["2026-01-02 10:00:00"],
    ]


def test_times_within_lists_are_in_the_order_of_their_object() -> None:
    span = (
        '{"trace_id": "%s", "span_id": "%s", "name": "a", "start_time": "%s",'
        ' "events": [{"name": "e", "timestamp": "01/02/2026 10:00:00"}]}'
    )
    payloads = [
        (span % ("0a" * 16, "0b" * 8, f"{date}/2026 10:00:00")).encode()
        for date in ("13/02", "02/13")
    ]
    table = FORMATS["json"].decode(payloads, Signal.SPANS, [OBJECT_NS] * 2).table
    times = [str(events[0]["timestamp"])[:10] for events in table["events"].to_pylist()]
    assert times == ["2026-02-01", "2026-01-02"]


def test_a_mapping_settles_the_order() -> None:
    mapping = SourceMapping(day_first=True)
    data = b"time,message\n01/02/2026 10:00:00,a\n"
    table = FORMATS["csv"].mapped(mapping).decode([data], Signal.LOGS, [OBJECT_NS]).table
    assert str(table["timestamp"][0])[:10] == "2026-02-01"


def test_a_date_beside_a_time_of_day_keeps_the_order_of_the_object() -> None:
    data = b"date,time,message\n01/02/2026,10:00:00,a\n13/02/2026,10:00:00,b\n"
    assert _times("csv", data) == [["2026-02-01 10:00:00", "2026-02-13 10:00:00"]]


def test_a_zone_in_a_field_is_honoured_or_the_time_is_not_taken() -> None:
    zones = ("PST", "America/Los_Angeles", "IST")
    lines = [f'{{"time": "2026-01-01 02:00:00 {zone}", "message": "m"}}' for zone in zones]
    moment = "2026-01-01 10:00:00"
    assert _times("json", "\n".join(lines).encode()) == [[moment, moment, "object"]]
