"""What a person may write for a time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.errors import InvalidTimeError
from lakerunner.model.times import (
    MAX_NS,
    MIN_NS,
    NANOS,
    TimeLike,
    TimeRange,
    isoformat,
    parse_duration,
    read_range,
    to_nanoseconds,
    window_start,
)

NOW_NS = 1_767_225_600 * NANOS
MOMENT = NOW_NS + 123_456_789
BERLIN = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), NOW_NS),
        (datetime(2026, 1, 1, 1, tzinfo=BERLIN), NOW_NS),
        (datetime(2026, 1, 1), NOW_NS),  # noqa: DTZ001 - naive means UTC
        (date(2026, 1, 1), NOW_NS),
        (pd.Timestamp(MOMENT, tz="UTC"), MOMENT),
        ("2026-01-01T00:00:00Z", NOW_NS),
        ("2026-01-01T00:00:00.123456789Z", MOMENT),
        ("2026-01-01T01:00:00.1234567899+01:00", MOMENT),
        ("2026-01-01 00:00:00.5", NOW_NS + NANOS // 2),
        ("2026-01-01", NOW_NS),
        (1_767_225_600, NOW_NS),
        (1_767_225_600.5, NOW_NS + NANOS // 2),
        (1_767_225_600_000, NOW_NS),
        (1_767_225_600_000_000, NOW_NS),
        (MOMENT, MOMENT),
        (str(MOMENT), MOMENT),
        (" 1767225600 ", NOW_NS),
        ("now", NOW_NS),
        ("now-15m", NOW_NS - 900 * NANOS),
        ("now + 1h30m", NOW_NS + 5400 * NANOS),
    ],
)
def test_times_are_read(written: TimeLike, expected: int) -> None:
    assert to_nanoseconds(written, now_ns=NOW_NS) == expected


@pytest.mark.parametrize(
    "written",
    ["yesterday", "", "now-15", "now*2m", True, float("nan"), float("inf"), 10**400, "9999-01-01"],
)
def test_what_is_no_time_is_refused(written: TimeLike) -> None:
    with pytest.raises(InvalidTimeError):
        to_nanoseconds(written, now_ns=NOW_NS)


@pytest.mark.parametrize("text", ["", "m", "15", "15 m", "-15m", "1.5h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidTimeError):
        parse_duration(text)


@given(st.integers(MIN_NS, MAX_NS))
def test_a_written_time_reads_back_exactly(moment_ns: int) -> None:
    assert to_nanoseconds(isoformat(moment_ns), now_ns=0) == moment_ns


@given(st.integers(MIN_NS, MAX_NS), st.integers(1, 10**14))
def test_a_window_holds_its_time(moment_ns: int, window_ns: int) -> None:
    start = window_start(moment_ns, window_ns)
    assert start % window_ns == 0
    assert start <= moment_ns < start + window_ns


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_overlap_is_having_a_moment_in_common(a: int, b: int, first: int, last: int) -> None:
    last = max(first, last)
    common = set(range(a, b)) & set(range(first, last + 1))
    assert TimeRange(a, b).overlaps(first, last) == bool(common) or a >= b


def test_a_range_that_runs_backwards_is_refused() -> None:
    assert read_range("now-2h", "now-1h", now_ns=NANOS * 7200) == TimeRange(0, NANOS * 3600)
    assert read_range(5, 5, now_ns=0).start_ns == 5 * NANOS
    with pytest.raises(InvalidTimeError, match=r"start 'now' .* lies after end 'now-1h'"):
        read_range("now", "now-1h", now_ns=NANOS * 7200)
