"""Read a column of times, whatever its type: timestamps, dates, epoch numbers, or text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.schema.timestamps import LAYOUTS, layout_of_format, localise, read_zones, to_utc

if TYPE_CHECKING:
    from collections.abc import Callable

_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MAGNITUDES = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))  # as model.times.epoch_scale
_LIMIT = 2**63 - 1
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_EPOCH_NUMBERS = {
    r"^\s*[+-]?(?:\d{9,18}|[0-8]\d{18})\s*$": pa.int64(),
    r"^\s*[+-]?\d{9,18}\.\d+\s*$": pa.float64(),
}
_FIRST_YEAR, _LAST_YEAR = 1677, 2262  # what nanoseconds hold, the two themselves in part only
_CENTURY_TURN = 69  # of years with two digits, as POSIX has it
_DAY_NS = 86_400 * 10**9
_LAST_DAY, _LAST_HOUR, _LAST_MINUTE, _LEAP_SECOND, _NOON = 366, 24, 59, 60, 12


class TimeReading(msgspec.Struct, frozen=True):
    """How to read times, where the usual ways do not do.

    Attributes:
        format: A `strptime` format; None tries the usual layouts.
        unit: Unit of epoch numbers (`s`, `ms`, `us`, `ns`); None tells it by magnitude.
        timezone: IANA name of the zone of times that carry none.
    """

    format: str | None = None
    unit: str | None = None
    timezone: str = "UTC"


class ParsedTimes(NamedTuple):
    """Times of a column.

    Attributes:
        nanoseconds: int64, since the epoch; 0 where `usable` is false.
        usable: bool; false where there is no time, or none that can be read.
    """

    nanoseconds: Any
    usable: Any


USUAL = TimeReading()


def parse_times(
    values: Any,
    near_ns: Any,
    how: TimeReading = USUAL,
    day_first: Callable[[], Any] | None = None,
) -> ParsedTimes:
    """Read a column as times.

    Text is tried as RFC 3339 first, then in the layouts of `time_layouts`, each value by itself.
    Epoch numbers (as numbers or as text) are seconds, milliseconds, microseconds or nanoseconds,
    told apart by magnitude; zero is no time. Doubles in seconds are rounded to microseconds, as
    they hold no more. A year that is not said is the one that brings the time next to `near_ns`.
    Numbers of day and month with slashes are month first, unless `day_first` says otherwise. A time
    of a zone that is not known, or that is not one, is no time.

    Args:
        values: Arrow array of any type.
        near_ns: int64 per row: about when the row was written.
        how: How to read it.
        day_first: Tells of each row whether the day comes before the month; called only if there
            are such numbers. Unless given, one of them that can only be day first tells it of all.

    Example:
        >>> times = pa.array(["2026-11-21T10:00:00Z", "1763719200", "soon"])
        >>> parse_times(times, np.zeros(3, np.int64)).nanoseconds.tolist()
        [1795255200000000000, 1763719200000000000, 0]
    """
    plain = _plain(values)
    if pa.types.is_timestamp(plain.type):
        return _from_timestamps(plain, how)
    if pa.types.is_integer(plain.type):
        return _from_integers(plain, how)
    if pa.types.is_floating(plain.type):
        return _from_doubles(plain, how)
    if pa.types.is_string(plain.type):
        return _from_text(plain, near_ns, how, day_first)
    return _nothing(len(values))


def _plain(values: Any) -> Any:
    """The same values in one of few types."""
    dtype = values.type
    if pa.types.is_dictionary(dtype):
        return _plain(values.cast(dtype.value_type))
    if pa.types.is_date(dtype):
        return values.cast(pa.timestamp("ms"))
    if pa.types.is_decimal(dtype):
        return values.cast(pa.float64())
    if pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return values.cast(pa.string())
    return values


def _nothing(rows: int) -> ParsedTimes:
    return ParsedTimes(np.zeros(rows, np.int64), np.zeros(rows, bool))


def _numbers(values: Any, dtype: Any) -> tuple[Any, Any]:
    """Numbers as numpy, and which are there."""
    present = np.asarray(values.is_valid())
    return pc.fill_null(values, 0).to_numpy(zero_copy_only=False).astype(dtype), present


def _scaled(count: Any, scale: Any, present: Any) -> ParsedTimes:
    """Multiply, leaving out what does not fit 64 bits."""
    usable = present & (np.abs(count.astype(np.float64)) * scale < _LIMIT)
    return ParsedTimes(np.where(usable, count, 0) * np.where(usable, scale, 1), usable)


def _from_timestamps(values: Any, how: TimeReading) -> ParsedTimes:
    if values.type.tz is None and how.timezone != "UTC":
        values = localise(values, how.timezone)
    count, present = _numbers(values.cast(pa.int64()), np.int64)
    scale = np.full(len(count), _PER_UNIT[values.type.unit], np.int64)
    return _scaled(count, scale, present)


def _scale(magnitude: Any, how: TimeReading) -> Any:
    if how.unit is not None:
        return np.full(len(magnitude), _PER_UNIT[how.unit], np.int64)
    bounds, scales = zip(*_MAGNITUDES, strict=True)
    return np.array([*scales, 1], np.int64)[np.searchsorted(bounds, magnitude, "right")]


def _from_integers(values: Any, how: TimeReading) -> ParsedTimes:
    if pa.types.is_uint64(values.type):
        fits = pc.less_equal(values, pa.scalar(_LIMIT, pa.uint64()))
        values = pc.if_else(fits, values, pa.scalar(None, pa.uint64()))
    count, present = _numbers(values, np.int64)
    return _scaled(count, _scale(np.abs(count), how), present & (count != 0))


def _from_doubles(values: Any, how: TimeReading) -> ParsedTimes:
    number, present = _numbers(values.cast(pa.float64()), np.float64)
    usable = present & np.isfinite(number) & (number != 0)
    number = np.where(usable, number, 0)
    scale = _scale(np.abs(number), how)
    usable &= np.abs(number) * scale < _LIMIT
    whole = np.floor(np.where(usable, number, 0))
    # A double of this size holds a few digits behind the point; microseconds are what is meant.
    step = np.minimum(scale, 10**6)
    fraction = np.rint((np.where(usable, number, 0) - whole) * step) * (scale // step)
    return ParsedTimes(whole.astype(np.int64) * scale + fraction.astype(np.int64), usable)


def _from_text(
    values: Any, near_ns: Any, how: TimeReading, day_first: Callable[[], Any] | None
) -> ParsedTimes:
    if how.format is None:
        whole = _cast(values, how)
        if whole is not None:
            return whole
    result = _nothing(len(values))
    if how.format is None or how.unit is not None:
        for pattern, dtype in _EPOCH_NUMBERS.items():
            rows = pc.indices_nonzero(pc.match_substring_regex(values, pattern)).to_numpy()
            text = pc.utf8_trim_whitespace(values.take(pa.array(rows)))
            # Fourteen digits that begin like a year are a date written without separators.
            rest = ~np.asarray(pc.match_substring_regex(text, r"^(?:19|20)\d{12}$"))
            numbers = text.filter(pa.array(rest)).cast(dtype)
            _fill(result, rows[rest], parse_times(numbers, near_ns, how))
    layouts = LAYOUTS if how.format is None else (layout_of_format(how.format),)
    for layout in layouts:
        left = np.flatnonzero(~result.usable)
        if not len(left):
            break
        subset = values.take(pa.array(left))
        parts = pc.extract_regex(pc.utf8_trim_whitespace(subset), f"^(?:{layout})$")
        matched = np.flatnonzero(np.asarray(parts.is_valid()))
        if not len(matched):
            continue
        rows = left[matched]
        order = None if day_first is None or "?P<one>" not in layout else day_first()[rows]
        read = _from_parts(parts.take(pa.array(matched)), near_ns[rows], how, order)
        _fill(result, rows, read)
    return result


def _cast(values: Any, how: TimeReading) -> ParsedTimes | None:
    """The common case, at the speed of Arrow: all RFC 3339 with a zone, or all without one."""
    for dtype in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):
        try:
            return _from_timestamps(values.cast(dtype), how)
        except pa.ArrowInvalid:
            continue
    return None


def _fill(result: ParsedTimes, rows: Any, read: ParsedTimes) -> None:
    """Enter times that were read of some rows."""
    result.nanoseconds[rows[read.usable]] = read.nanoseconds[read.usable]
    result.usable[rows[read.usable]] = True


def _from_parts(parts: Any, near_ns: Any, how: TimeReading, day_first: Any) -> ParsedTimes:
    """Put times together from the groups of a layout, and leave out those that are no time."""
    names = {field.name for field in parts.type}

    def number(name: str, default: int) -> Any:
        if name not in names:
            return np.full(len(parts), default, np.int64)
        text = parts.field(name)
        text = pc.if_else(pc.equal(text, ""), str(default), text)
        return text.cast(pa.int64()).to_numpy(zero_copy_only=False)

    if "epoch" in names:
        nanoseconds = number("epoch", 0) * 10**9 + _fraction(parts, names)
        return ParsedTimes(nanoseconds, np.ones(len(parts), bool))
    month, day = _month_and_day(parts, number, names, day_first)
    usable = (month >= 1) & (month <= len(_MONTHS))
    hour, usable = _hour(parts, number("h", 0), names, usable)
    minute, second = number("mi", 0), number("s", 0)
    usable &= (hour <= _LAST_HOUR) & (minute <= _LAST_MINUTE) & (second <= _LEAP_SECOND)
    year = _century(number("yy", 0)) if "yy" in names else number("y", 0)
    said = "y" in names or "yy" in names
    if not said:
        year = _year_of(near_ns)
    days, fits = _days(year, month, day, number("j", 0) if "j" in names else None)
    usable &= fits
    clock_ns = ((hour * 60 + minute) * 60 + second) * 10**9 + _fraction(parts, names)
    nanoseconds = np.where(usable, days, 0) * _DAY_NS + clock_ns
    if not said:
        # A line of December, read in January, is of last year: no line comes a day from the future.
        late = nanoseconds > near_ns + _DAY_NS
        earlier, _ = _days(year - 1, month, day, None)
        nanoseconds = np.where(late & usable, earlier * _DAY_NS + clock_ns, nanoseconds)
    zone = parts.field("z") if "z" in names else pa.array([""] * len(parts))
    zones = read_zones(zone)
    usable &= zones.known
    return ParsedTimes(np.where(usable, to_utc(nanoseconds, zones, how.timezone), 0), usable)


def _month_and_day(parts: Any, number: Any, names: set[str], day_first: Any) -> tuple[Any, Any]:
    if "one" in names:
        one, two = number("one", 0), number("two", 0)
        turned = _is_day_first(one, two) if day_first is None else day_first
        return np.where(turned, two, one), np.where(turned, one, two)
    if "mon" in names:
        encoded = pc.utf8_slice_codeunits(pc.utf8_lower(parts.field("mon")), 0, 3)
        month = pc.index_in(encoded, pa.array(_MONTHS))
        month = pc.fill_null(month, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    else:
        month = number("mo", 1)
    return month, number("d", 1)


def _is_day_first(one: Any, two: Any) -> bool:
    """Whether two numbers are day and month, as some can only be that and none the other way."""
    months = len(_MONTHS)
    day_first = (one > months) & (two <= months)
    return bool(day_first.any() and not ((two > months) & (one <= months)).any())


def _hour(parts: Any, hour: Any, names: set[str], usable: Any) -> tuple[Any, Any]:
    if "p" not in names:
        return hour, usable
    half = pc.utf8_lower(parts.field("p"))
    said = np.asarray(pc.not_equal(half, ""))
    afternoon = np.asarray(pc.equal(half, "pm"))
    usable = usable & (~said | ((hour >= 1) & (hour <= _NOON)))
    return np.where(said, hour % _NOON + np.where(afternoon, _NOON, 0), hour), usable


def _fraction(parts: Any, names: set[str]) -> Any:
    """Nanoseconds of a written fraction; digits past the ninth are dropped."""
    if "f" not in names:
        return 0
    text = pc.utf8_rpad(pc.utf8_slice_codeunits(parts.field("f"), 0, 9), 9, "0")
    return text.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _century(two_digits: Any) -> Any:
    return two_digits + np.where(two_digits < _CENTURY_TURN, 2000, 1900)


def _year_of(times_ns: Any) -> Any:
    return times_ns.astype("datetime64[ns]").astype("datetime64[Y]").astype(np.int64) + 1970


def _days(year: Any, month: Any, day: Any, day_of_year: Any) -> tuple[Any, Any]:
    """Days since the epoch, and which exist."""
    if day_of_year is not None:
        first = (year - 1970).astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
        return first + day_of_year - 1, (day_of_year >= 1) & (day_of_year <= _LAST_DAY)
    months = (year - 1970) * 12 + np.clip(month, 1, len(_MONTHS)) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - first
    exists = (day >= 1) & (day <= length) & (year > _FIRST_YEAR) & (year < _LAST_YEAR)
    return first + day - 1, exists
