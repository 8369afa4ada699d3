"""Times and half-open time ranges, as integer nanoseconds since the Unix epoch (UTC)."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import TypeAlias

import msgspec

from lakerunner.errors import InvalidTimeError

TimeLike: TypeAlias = "datetime | date | str | int | float"
"""What a person may write for a time: see `to_nanoseconds`."""

NANOS = 1_000_000_000
MIN_NS, MAX_NS = -(2**63), 2**63 - 1

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": NANOS,
    "m": 60 * NANOS,
    "h": 3600 * NANOS,
    "d": 86400 * NANOS,
    "w": 7 * 86400 * NANOS,
    "y": 365 * 86400 * NANOS,
}
_DURATION = re.compile(r"(?:\d+(?:ns|us|ms|[smhdwy]))+")
_DURATION_PART = re.compile(r"(\d+)(ns|us|ms|[smhdwy])")
_RELATIVE = re.compile(r"now(?:\s*([+-])\s*(\S+))?")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_FRACTION = re.compile(r"(\d{2}:\d{2}:\d{2})\.(\d{1,9})\d*")
_SECONDS_BELOW, _MILLISECONDS_BELOW, _MICROSECONDS_BELOW = 10**11, 10**14, 10**17
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TimeRange(msgspec.Struct, frozen=True):
    """A half-open range `[start_ns, end_ns)` of nanoseconds since the epoch.

    Example:
        >>> TimeRange(0, 10).overlaps(9, 20), TimeRange(0, 10).overlaps(10, 20)
        (True, False)
    """

    start_ns: int = MIN_NS
    end_ns: int = MAX_NS

    def overlaps(self, first_ns: int, last_ns: int) -> bool:
        """Whether a row with `first_ns <= timestamp <= last_ns` may lie in the range."""
        return first_ns < self.end_ns and last_ns >= self.start_ns

    def overlap(self, other: TimeRange) -> TimeRange:
        """What lies in both; may be empty."""
        return TimeRange(max(self.start_ns, other.start_ns), min(self.end_ns, other.end_ns))


def parse_duration(text: str) -> int:
    """Read a duration such as `15m` or `1h30m` as nanoseconds.

    Units are `ns`, `us`, `ms`, `s`, `m`, `h`, `d` (24 h), `w` (7 d) and `y` (365 d).

    Raises:
        InvalidTimeError: The text is not a duration.

    Example:
        >>> parse_duration("1h30m") == 5400 * NANOS
        True
    """
    if not _DURATION.fullmatch(text):
        raise InvalidTimeError(f"{text!r} is not a duration such as '15m' or '1h30m'", text=text)
    return sum(int(count) * _UNITS[unit] for count, unit in _DURATION_PART.findall(text))


def to_nanoseconds(value: TimeLike, *, now_ns: int) -> int:
    """Read what a person wrote as a time.

    Args:
        value: A `datetime` (naive means UTC), a `date` (its midnight in UTC), an RFC 3339 text,
            a text `"now"`, `"now-15m"` or `"now+1h"`, or an epoch number (int, float or text) in
            seconds, milliseconds, microseconds or nanoseconds, told apart by magnitude.
        now_ns: What `now` means, in nanoseconds since the epoch.

    Returns:
        Nanoseconds since the epoch. Texts keep all nine digits of a fraction.

    Raises:
        InvalidTimeError: The value cannot be read, or lies outside 1677-2262.

    Example:
        >>> to_nanoseconds("2026-01-01T00:00:00.000000001Z", now_ns=0)
        1767225600000000001
        >>> to_nanoseconds(1767225600, now_ns=0) == to_nanoseconds("1767225600000", now_ns=0)
        True
        >>> to_nanoseconds("now-15m", now_ns=1767225600 * NANOS) // NANOS
        1767224700
    """
    nanoseconds = _read(value, now_ns)
    if not MIN_NS <= nanoseconds <= MAX_NS:
        raise InvalidTimeError(f"{value!r} lies outside the years 1677 to 2262", value=value)
    return nanoseconds


def _read(value: TimeLike, now_ns: int) -> int:
    if isinstance(value, bool):
        raise InvalidTimeError(f"{value!r} is not a time", value=value)
    if isinstance(value, datetime):
        return _from_datetime(value)
    if isinstance(value, date):
        return _from_datetime(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if not isinstance(value, str):
        return _from_number(value)
    text = value.strip()
    if match := _RELATIVE.fullmatch(text):
        sign, duration = match.groups()
        offset = parse_duration(duration) if duration else 0
        return now_ns - offset if sign == "-" else now_ns + offset
    if _NUMBER.fullmatch(text):
        return _from_number(float(text) if "." in text else int(text))
    return _from_text(text)


def _from_datetime(value: datetime) -> int:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    nanosecond = getattr(value, "nanosecond", 0)  # pandas.Timestamp carries it
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000 + int(nanosecond)


def _from_number(value: float) -> int:
    if isinstance(value, int):
        return value * epoch_scale(abs(value))
    if not math.isfinite(value):
        raise InvalidTimeError(f"{value!r} is not a time", value=value)
    return round(value * epoch_scale(abs(value)))


def epoch_scale(magnitude: float) -> int:
    """Nanoseconds per unit of an epoch number, judged by its magnitude.

    Below 10^11 it is seconds (until the year 5138), below 10^14 milliseconds, below 10^17
    microseconds, and from there on nanoseconds (since March 1973).

    Example:
        >>> [epoch_scale(10**9), epoch_scale(10**12), epoch_scale(10**15), epoch_scale(10**18)]
        [1000000000, 1000000, 1000, 1]
    """
    if magnitude < _SECONDS_BELOW:
        return NANOS
    if magnitude < _MILLISECONDS_BELOW:
        return 10**6
    return 1000 if magnitude < _MICROSECONDS_BELOW else 1


def _from_text(text: str) -> int:
    fraction = _FRACTION.search(text)
    digits = fraction.group(2) if fraction else ""
    whole = _FRACTION.sub(r"\1", text)
    try:
        parsed = datetime.fromisoformat(whole)
    except ValueError:
        raise InvalidTimeError(
            f"{text!r} is not a time; write RFC 3339, an epoch number or 'now-15m'", text=text
        ) from None
    return _from_datetime(parsed) + int(digits.ljust(9, "0") or 0)


def read_range(start: TimeLike | None, end: TimeLike | None, *, now_ns: int) -> TimeRange:
    """From a start to an end, which is not part of it, as people write them.

    Args:
        start: As `to_nanoseconds` reads it; None is as far back as times go.
        end: Likewise; None is as far ahead.
        now_ns: What `now` means, in nanoseconds since the epoch.

    Raises:
        InvalidTimeError: One cannot be read, or the start lies after the end.

    Example:
        >>> read_range("now-1h", None, now_ns=7200 * NANOS).start_ns // NANOS
        3600
    """
    start_ns = MIN_NS if start is None else to_nanoseconds(start, now_ns=now_ns)
    end_ns = MAX_NS if end is None else to_nanoseconds(end, now_ns=now_ns)
    if start_ns > end_ns:
        raise InvalidTimeError(
            f"start {start!r} ({isoformat(start_ns)}) lies after end {end!r} "
            f"({isoformat(end_ns)}): give the earlier time as start",
            start=start_ns,
            end=end_ns,
        )
    return TimeRange(start_ns, end_ns)


def window_start(timestamp_ns: int, window_ns: int) -> int:
    """Start of the epoch-aligned window that holds a timestamp.

    Example:
        >>> window_start(-1, 3600 * NANOS) == -3600 * NANOS
        True
    """
    return timestamp_ns // window_ns * window_ns


def isoformat(timestamp_ns: int) -> str:
    """Write a time as RFC 3339 in UTC, with nanoseconds only where there are any.

    Example:
        >>> isoformat(1767225600000000001)
        '2026-01-01T00:00:00.000000001Z'
    """
    seconds, nanos = divmod(timestamp_ns, NANOS)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanos:09d}Z" if nanos else f"{text}Z"
