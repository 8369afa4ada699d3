"""Times as people write them: every layout, every type, and agreement with datetime."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.errors import ConfigurationError
from lakerunner.model.times import to_nanoseconds
from lakerunner.schema.time_columns import TimeReading, parse_times

NOW = to_nanoseconds("2026-11-21T12:00:00Z", now_ns=0)
MOMENT = to_nanoseconds("2026-11-21T10:00:05Z", now_ns=0)

LAYOUTS = {
    "2026-11-21T10:00:05Z": 0,
    "2026-11-21 10:00:05": 0,
    "2026-11-21T11:00:05+01:00": 0,
    "2026-11-21 11:00:05 +0100": 0,
    "2026-11-21T12:00:05+02": 0,
    "2026-11-21T08:30:05-0130": 0,
    "2026-11-21 10:00:05,123": 123_000_000,
    "2026-11-21T10:00:05.123456789Z": 123_456_789,
    "2026-11-21T10:00:05.1234567891Z": 123_456_789,
    "2026/11/21 10:00:05": 0,
    "2026-11-21 10:00:05 UTC": 0,
    "20261121T100005Z": 0,
    "20261121100005": 0,
    "21/Nov/2026:11:00:05 +0100": 0,
    "[21/Nov/2026:10:00:05 +0000]": 0,
    "Sat, 21 Nov 2026 10:00:05 GMT": 0,
    "21-Nov-2026 10:00:05.25": 250_000_000,
    "Sat Nov 21 10:00:05 2026": 0,
    "Sat Nov 21 10:00:05 UTC 2026": 0,
    "Nov 21, 2026 10:00:05 AM": 0,
    "Nov 21 10:00:05": 0,
    "11/21/2026 10:00:05 AM": 0,
    "1795255205": 0,
    "1795255205.5": 500_000_000,
    "1795255205123": 123_000_000,
    "1795255205123456": 123_456_000,
    " 1795255205123456789 ": 123_456_789,
}


def parse(
    values: list[object], how: TimeReading | None = None, **kinds: pa.DataType
) -> list[int | None]:
    array = pa.array(values, **kinds)
    read = parse_times(array, np.full(len(array), NOW), how or TimeReading())
    return [int(ns) if ok else None for ns, ok in zip(read.nanoseconds, read.usable, strict=True)]


@pytest.mark.parametrize("text", LAYOUTS)
def test_a_layout_alone(text: str) -> None:
    assert parse([text]) == [MOMENT + LAYOUTS[text]]


def test_all_layouts_in_one_column_with_things_that_are_no_time() -> None:
    noise = ["", None, "soon", "2026-13-01T00:00:00Z", "2026-02-30 00:00:00", "12:61:00", "0"]
    noise += ["9999-01-01T00:00:00Z", "Foo 21 10:00:05", "13/45/2026 10:00:00"]
    expected = [MOMENT + extra for extra in LAYOUTS.values()] + [None] * len(noise)
    assert parse([*LAYOUTS, *noise]) == expected


def test_hours_of_a_half_day() -> None:
    texts = [
        f"11/21/2026 {clock}"
        for clock in ("12:00:00 AM", "12:00:00 PM", "01:00:00 pm", "13:00:00 PM")
    ]
    midnight = to_nanoseconds("2026-11-21", now_ns=0)
    hour = 3600 * 10**9
    assert parse(list(texts)) == [midnight, midnight + 12 * hour, midnight + 13 * hour, None]


def test_a_year_that_is_not_said_is_the_last_one_that_was() -> None:
    read = parse_times(
        pa.array(["Dec 31 23:59:59", "Jan  1 00:00:01"]),
        np.full(2, to_nanoseconds("2026-01-01T00:00:30Z", now_ns=0)),
    )
    assert read.nanoseconds.tolist() == [
        to_nanoseconds(text, now_ns=0) for text in ("2025-12-31T23:59:59Z", "2026-01-01T00:00:01Z")
    ]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_arrow_timestamps(unit: str, zone: str | None) -> None:
    moment = datetime(2026, 11, 21, 10, 0, 5, tzinfo=UTC)
    dtype = pa.timestamp(unit, zone)
    value = moment if zone else moment.replace(tzinfo=None)
    assert parse([value, None], type=dtype) == [MOMENT, None]


def test_timestamps_that_do_not_fit_nanoseconds_are_none() -> None:
    assert parse([datetime(9999, 1, 1), datetime(2026, 11, 21)], type=pa.timestamp("us")) == [  # noqa: DTZ001 - Arrow's naive type
        None,
        to_nanoseconds("2026-11-21", now_ns=0),
    ]


def test_numbers() -> None:
    assert parse([MOMENT, MOMENT // 10**3, MOMENT // 10**6, MOMENT // 10**9, 0, None]) == [
        *[MOMENT] * 4,
        None,
        None,
    ]
    assert parse([2**64 - 1, MOMENT], type=pa.uint64()) == [None, MOMENT]
    assert parse([1795255205.123456, float("nan"), float("inf"), -0.0]) == [
        MOMENT + 123_456_000,
        None,
        None,
        None,
    ]
    assert parse([Decimal("1795255205.25")]) == [MOMENT + 250_000_000]
    assert parse([True]) == [None]
    assert parse([[1]]) == [None]


def test_a_unit_and_a_zone_may_be_given() -> None:
    assert parse([MOMENT // 10**9], TimeReading(unit="s")) == [MOMENT]
    assert parse([5, -5], TimeReading(unit="s")) == [5 * 10**9, -5 * 10**9]
    berlin = TimeReading(timezone="Europe/Berlin")
    assert parse(["2026-11-21 11:00:05", "2026-11-21T10:00:05Z"], berlin) == [MOMENT, MOMENT]
    assert parse(["2026-11-21 11:00:05"], berlin) == [MOMENT]


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("21.11.2026 10:00:05", "%d.%m.%Y %H:%M:%S"),
        ("26-325 10h00 05.000", "%y-%j %Hh%M %S.%f"),
        ("11/21/26 10:00:05", "%D %T"),
        ("1795255205", "%s"),
        ("[21-November-2026|10:00:05 AM +0000]", "[%d-%B-%Y|%I:%M:%S %p %z]"),
    ],
)
def test_a_format_of_ones_own(text: str, format: str) -> None:  # noqa: A002 - what it is called
    assert parse([text, "2026-11-21T10:00:05Z"], TimeReading(format=format)) == [MOMENT, None]


@pytest.mark.parametrize("format", ["%Q", "%Y %Y", "100%"])
def test_a_format_that_cannot_be(format: str) -> None:  # noqa: A002 - what it is called
    with pytest.raises(ConfigurationError, match="timestamp_format"):
        parse(["2026", "x"], TimeReading(format=format))


@given(
    st.lists(st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)), min_size=1),  # noqa: DTZ001 - drawn without zone
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(
        ["%Y-%m-%dT%H:%M:%S.%f%z", "%d/%b/%Y:%H:%M:%S.%f %z", "%a, %d %b %Y %H:%M:%S.%f %z"]
    ),
    st.booleans(),
)
def test_agrees_with_datetime(
    moments: list[datetime], offset: int, layout: str, mixed: bool
) -> None:
    aware = [moment.replace(tzinfo=timezone(timedelta(minutes=offset))) for moment in moments]
    texts: list[object] = [moment.strftime(layout) for moment in aware]
    # strftime does not pad a year below 1000, and none is drawn.
    expected: list[int | None] = [to_nanoseconds(moment, now_ns=0) for moment in aware]
    if mixed:
        texts.append("no time")
        expected.append(None)
    assert parse(texts) == expected


# Arrow's zone rules end with the year 2037.
@given(st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1)))  # noqa: DTZ001 - drawn without zone
def test_agrees_with_the_zone_database(moment: datetime) -> None:
    zone = ZoneInfo("America/New_York")
    local = moment.replace(tzinfo=zone, microsecond=0)
    if local.astimezone(UTC).astimezone(zone) != local:
        return  # a time that the clock skipped
    expected = to_nanoseconds(local, now_ns=time.time_ns())
    how = TimeReading(timezone="America/New_York")
    assert parse([local.strftime("%Y-%m-%d %H:%M:%S"), "x"], how) == [expected, None]


ZONES = {
    "2026-11-21 02:00:05 PST": 0,
    "2026-11-21 02:00:05.123 PST": 123_000_000,
    "2026-11-21T11:00:05CET": 0,
    "2026-11-21 05:00:05 America/New_York": 0,
    "2026-11-21 11:00:05 Europe/Berlin": 0,
    "2026-11-21 07:00:05 America/Argentina/Buenos_Aires": 0,
    "2026-11-21T11:00:05+01:00[Europe/Paris]": 0,
    "Sat Nov 21 2026 11:00:05 GMT+0100 (Central European Standard Time)": 0,
    "Sat, 21 Nov 2026 05:00:05 EST": 0,
    "Sat, 21 Nov 2026 05:00:05 -0500 (EST)": 0,
    "Sat Nov 21 03:00:05 MST 2026": 0,
    "11/21/2026 04:00:05 AM CST": 0,
    "Nov 21 11:00:05 CET": 0,
    "2026-11-21 19:30:05 ACST": 0,
}


def test_zones_are_honoured() -> None:
    assert parse(list(ZONES)) == [MOMENT + extra for extra in ZONES.values()]
    for text, extra in ZONES.items():
        assert parse([text]) == [MOMENT + extra], text


def test_a_zone_follows_its_summer_time() -> None:
    summer = to_nanoseconds("2026-07-01T10:00:00Z", now_ns=0)
    texts = ["12:00:00 Europe/Berlin", "12:00:00 CEST", "06:00:00 America/New_York", "06:00:00 EDT"]
    assert parse([f"2026-07-01 {text}" for text in texts]) == [summer] * 4


def test_a_zone_that_is_not_known_makes_no_time() -> None:
    texts = ["IST", "AST", "XYZ", "Europe/Atlantis", "Mars/Olympus", "+01:00 and so on"]
    assert parse([f"2026-11-21 10:00:05 {text}" for text in texts]) == [None] * len(texts)


def test_a_zone_that_is_written_wins_over_one_that_is_given() -> None:
    texts = ["2026-11-21 11:00:05", "2026-11-21 02:00:05 PST", "2026-11-21 19:00:05 Asia/Tokyo"]
    assert parse(list(texts), TimeReading(timezone="Europe/Berlin")) == [MOMENT] * 3


def _days(texts: list[str], turned: list[bool] | None = None) -> list[str | None]:
    near = np.full(len(texts), NOW)
    if turned is None:
        read = parse_times(pa.array(texts), near)
    else:
        read = parse_times(pa.array(texts), near, day_first=lambda: np.array(turned))
    return [
        str(np.datetime64(int(ns), "ns"))[:10] if ok else None
        for ns, ok in zip(read.nanoseconds, read.usable, strict=True)
    ]


def test_day_and_month_are_in_one_order_unless_each_is_told() -> None:
    texts = ["01/02/2026 10:00:00", "13/02/2026 10:00:00"]
    assert _days(texts) == ["2026-02-01", "2026-02-13"]
    assert _days(texts[::-1]) == ["2026-02-13", "2026-02-01"]
    assert _days(texts[:1]) == ["2026-01-02"]
    turned = [False, True, True]
    assert _days([texts[0], *texts], turned) == ["2026-01-02", "2026-02-01", "2026-02-13"]


def test_an_object_with_days_in_both_orders_has_the_month_first() -> None:
    texts = ["13/02/2026 10:00:00", "01/02/2026 10:00:00", "02/13/2026 10:00:00"]
    assert _days(texts) == [None, "2026-01-02", "2026-02-13"]
