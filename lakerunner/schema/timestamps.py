"""Which time a row has: as sent, repaired, or borrowed, and where it was taken from."""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import available_timezones

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import ConfigurationError
from lakerunner.schema.arrays import TIMESTAMP


class TimeSource(IntEnum):
    """Where a row's timestamp was taken from; the lower-case name stands in `timestamp_source`.

    `TIME` is the time that was sent, in nanoseconds. `SECONDS`, `MILLISECONDS` and `MICROSECONDS`
    are the same field filled in a wrong unit and scaled up. `OBSERVED` is the observed time, used
    when no usable time was sent; `OBJECT` is the modification time of the input object, used when
    neither was. `END` is the end of a span, used when no usable start was sent.
    `NEIGHBOUR` is the time of the record before a line of text that stands among records.
    """

    TIME = 0
    SECONDS = 1
    MILLISECONDS = 2
    MICROSECONDS = 3
    OBSERVED = 4
    OBJECT = 5
    END = 6
    NEIGHBOUR = 7


SOURCE_NAMES = pa.array([source.name.lower() for source in TimeSource])

# Years 2000 to 2100. A number that is plausible in another unit lies between 1970-01-01 and
# 1970-02-18 as nanoseconds, a time no telemetry has; outside these ranges it is taken as it is.
_FIRST, _LAST = 946_684_800, 4_102_444_800
_UNITS = (
    (TimeSource.SECONDS, 1, 10**9),
    (TimeSource.MILLISECONDS, 10**3, 10**6),
    (TimeSource.MICROSECONDS, 10**6, 10**3),
)
_SIGN_BIT = np.uint64(2**63)


class ReadTimes(NamedTuple):
    """Nanoseconds, where they came from, and which are unusable.

    Attributes:
        nanoseconds: int64; 0 where `usable` is false.
        source: uint8 of `TimeSource` TIME to MICROSECONDS.
        usable: bool; false where the number is 0 (absent) or beyond the year 2262.
    """

    nanoseconds: Any
    source: Any
    usable: Any


def read_times(raw: Any) -> ReadTimes:
    """Read unsigned 64-bit time fields that should be nanoseconds since the epoch.

    Args:
        raw: uint64 array of numpy.

    Example:
        >>> times = read_times(np.array([0, 1_700_000_000_123, 2**63], np.uint64))
        >>> times.usable.tolist(), times.nanoseconds.tolist()[1]
        ([False, True, False], 1700000000123000000)
    """
    usable = (raw != 0) & (raw < _SIGN_BIT)
    nanoseconds = np.where(usable, raw, 0).astype(np.int64)
    source = np.zeros(len(raw), np.uint8)
    # Anything at or past this is nanoseconds; one comparison spares the common case the rest.
    if len(raw) and bool((nanoseconds[usable] <= _LAST * 10**6).any()):
        for unit, per_second, scale in _UNITS:
            hit = (nanoseconds >= _FIRST * per_second) & (nanoseconds <= _LAST * per_second)
            nanoseconds = np.where(hit, nanoseconds * np.where(hit, scale, 1), nanoseconds)
            source[hit] = unit
    return ReadTimes(nanoseconds, source, usable)


class RowTimes(NamedTuple):
    """The time columns of a table.

    Attributes:
        timestamp: timestamp[ns, UTC] without NULLs.
        source: Dictionary array of `timestamp_source`.
        observed: timestamp[ns, UTC]; NULL where absent or unusable.
        raw: uint64; the number as sent wherever `timestamp` is not it, else NULL. None when there
            is no such row.
    """

    timestamp: Any
    source: Any
    observed: Any
    raw: Any


class OptionalTimes(NamedTuple):
    """A time column beside `timestamp`.

    Attributes:
        timestamp: timestamp[ns, UTC]; NULL where absent or unusable.
        raw: uint64; the number as sent wherever `timestamp` is not it, else NULL.
    """

    timestamp: Any
    raw: Any


def optional_times(raw: Any) -> OptionalTimes:
    """Read unsigned 64-bit time fields that may be missing, and lose none of their numbers.

    Args:
        raw: uint64 array of numpy.

    Example:
        >>> times = optional_times(np.array([0, 1_700_000_000, 2**63], np.uint64))
        >>> times.timestamp.cast("int64").to_pylist(), times.raw.to_pylist()
        ([None, 1700000000000000000, None], [None, 1700000000, 9223372036854775808])
    """
    read = read_times(raw)
    kept = (raw == 0) | (read.usable & (read.source == TimeSource.TIME))
    return OptionalTimes(
        pa.array(read.nanoseconds, mask=~read.usable).cast(TIMESTAMP), pa.array(raw, mask=kept)
    )


def choose_times(
    time: Any, observed: Any, fallback_ns: Any, second: TimeSource = TimeSource.OBSERVED
) -> RowTimes:
    """Decide the timestamp of each row.

    Args:
        time: uint64 array; the time field as sent.
        observed: uint64 array; the observed-time field as sent.
        fallback_ns: int64 array; what to use when neither is usable.
        second: What `timestamp_source` says of rows that have their time from `observed`.
    """
    sent, seen = read_times(time), read_times(observed)
    chosen = np.where(
        sent.usable, sent.nanoseconds, np.where(seen.usable, seen.nanoseconds, fallback_ns)
    )
    source = np.where(
        sent.usable,
        sent.source,
        np.where(seen.usable, np.uint8(second), np.uint8(TimeSource.OBJECT)),
    ).astype(np.uint8)
    altered = (time != 0) & (source != TimeSource.TIME)
    return RowTimes(
        timestamp=pa.array(chosen).cast(TIMESTAMP),
        source=pa.DictionaryArray.from_arrays(pa.array(source.astype(np.int32)), SOURCE_NAMES),
        observed=pa.array(seen.nanoseconds, mask=~seen.usable).cast(TIMESTAMP),
        raw=pa.array(time, mask=~altered) if bool(altered.any()) else None,
    )


def rows_without_time(sources: pa.ChunkedArray) -> int:
    """How many rows have the time of their object, for want of one of their own.

    Args:
        sources: The column `timestamp_source`.

    Example:
        >>> rows_without_time(pa.chunked_array([["time", "object"]]))
        1
    """
    borrowed = SOURCE_NAMES[int(TimeSource.OBJECT)]
    if not pa.types.is_dictionary(sources.type):  # of rows of a lake it is plain text
        return pc.sum(pc.equal(sources, borrowed)).as_py() or 0
    places = (one.dictionary.index(borrowed).as_py() for one in sources.chunks)
    parts = zip(sources.chunks, places, strict=True)
    return sum(pc.sum(pc.equal(one.indices, at)).as_py() or 0 for one, at in parts)


# The zones that times carry: offsets, the abbreviations people write, and names of IANA.

_MINUTE_NS = 60 * 10**9
_HOURS = {
    "UTC": 0,
    "GMT": 0,
    "UT": 0,
    "UCT": 0,
    "WET": 0,
    "WEST": 1,
    "BST": 1,
    "CET": 1,
    "MET": 1,
    "MEZ": 1,
    "CEST": 2,
    "MEST": 2,
    "MESZ": 2,
    "EET": 2,
    "EEST": 3,
    "MSK": 3,
    "SAST": 2,
    "CAT": 2,
    "WAT": 1,
    "EAT": 3,
    "PKT": 5,
    "WIB": 7,
    "SGT": 8,
    "HKT": 8,
    "PHT": 8,
    "AWST": 8,
    "JST": 9,
    "KST": 9,
    "ACST": 9.5,
    "ACDT": 10.5,
    "AEST": 10,
    "AEDT": 11,
    "NZST": 12,
    "NZDT": 13,
    "NST": -3.5,
    "NDT": -2.5,
    "BRT": -3,
    "ADT": -3,
    "EST": -5,
    "EDT": -4,
    "CST": -6,
    "CDT": -5,
    "MST": -7,
    "MDT": -6,
    "PST": -8,
    "PDT": -7,
    "AKST": -9,
    "AKDT": -8,
    "HST": -10,
}
"""Hours from UTC. Where several zones have one name, it is that of RFC 5322 or of most systems."""

_AMBIGUOUS = ("IST", "AST")  # of India, Ireland and Israel; of the Atlantic and of Arabia
_AREAS = "Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific|Etc|US"
_PLACE = rf"(?:{_AREAS})/[A-Za-z_]+(?:[+-]\d{{1,2}}|[/-][A-Za-z_]+)*"
_OFFSET = r"[+-]\d{2}(?::?\d{2})?"


def _any_of(names: Any) -> str:
    return "|".join(sorted(names, key=len, reverse=True))


ZONE = (
    rf"(?:(?P<z>[Zz]|(?:UTC|GMT)?{_OFFSET}|{_any_of([*_HOURS, *_AMBIGUOUS])}|{_PLACE})"
    r"(?:\s*\([A-Za-z ]+\)|\[[A-Za-z_/+-]+\])?)"
)
"""The zone at the end of a time, with the comment that some put behind an offset."""

# The same names, but for words such as CAT and WEST. What they share is written once, which takes
# a twentieth less time for lines.
_SHORT = (
    r"(?:[ACEMNP][DS]T|A[CEK][DS]T|NZ[DS]T|[CE]ES?T|MES?Z|[BHIJK]ST|UTC|GMT|UT|UCT|MSK|SGT|HKT|PKT"
    r"|WIB|BRT|[AS][AW]ST)\b"
)
ZONE_IN_LINE = rf"(?:Z|[+-]\d{{2}}:?\d{{2}}|{_SHORT}|{_PLACE})"
"""The same without groups, and without what may as well be the first word behind a time."""


class Zones(NamedTuple):
    """What is known of the zones of some times.

    Attributes:
        offset_ns: int64: nanoseconds ahead of UTC; 0 where `place` tells.
        place: int32: position in `places`; -1 for none.
        places: IANA names.
        said: bool: there is a zone at all.
        known: bool: it is one that is known, or none was said.
    """

    offset_ns: Any
    place: Any
    places: tuple[str, ...]
    said: Any
    known: Any


def read_zones(texts: Any) -> Zones:
    """Read the zones of a column, each as `ZONE` takes it out of a time.

    Args:
        texts: `pa.StringArray` without NULLs; an empty text is no zone.

    Example:
        >>> zones = read_zones(pa.array(["", "+0130", "PST", "Asia/Tokyo", "IST"]))
        >>> (zones.offset_ns // (60 * 10**9)).tolist(), zones.known.tolist()
        ([0, 90, -480, 0, 0], [True, True, True, True, False])
    """
    coded = texts.dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    names = coded.dictionary
    offset = _offsets(names)
    abbreviated = pc.index_in(names, pa.array(list(_HOURS)))
    hours = np.array([*_HOURS.values(), 0])[pc.fill_null(abbreviated, len(_HOURS)).to_numpy()]
    offset += np.rint(hours * 60).astype(np.int64)
    places = _places()
    place = pc.fill_null(pc.index_in(names, places), -1).to_numpy()
    numbered = np.asarray(pc.match_substring_regex(names, r"^(?:[Zz]|.*[+-]\d{2}(?::?\d{2})?)$"))
    said = np.asarray(pc.not_equal(names, ""))
    known = ~said | numbered | np.asarray(abbreviated.is_valid()) | (place >= 0)
    used, turn = np.unique(place[place >= 0], return_inverse=True)
    dense = np.full(len(place), -1, np.int32)
    dense[place >= 0] = turn
    return Zones(
        (np.where(place >= 0, 0, offset) * _MINUTE_NS)[codes],
        dense[codes],
        tuple(places.take(pa.array(used)).to_pylist()),
        said[codes],
        known[codes],
    )


def _offsets(names: Any) -> Any:
    """Minutes ahead of UTC of those that say it in numbers, else 0."""
    written = pc.extract_regex(names, r"^(?:UTC|GMT)?(?P<sign>[+-])(?P<h>\d{2}):?(?P<m>\d{2})?$")
    hours, minutes = (
        pc.if_else(pc.equal(part, ""), "0", part).cast(pa.int64()).fill_null(0).to_numpy()
        for part in (written.field("h"), written.field("m"))
    )
    minus = np.asarray(pc.fill_null(pc.equal(written.field("sign"), "-"), False))  # noqa: FBT003 - Arrow's
    return np.where(minus, -1, 1) * (hours * 60 + minutes)


@cache
def _places() -> Any:
    return pa.array(sorted(name for name in available_timezones() if "/" in name))


def to_utc(nanoseconds: Any, zones: Zones, timezone: str) -> Any:
    """Local times as times of UTC.

    Args:
        nanoseconds: int64: the time a clock of the zone shows, as if it were of UTC.
        zones: Of each.
        timezone: IANA name of the zone of those that say none.
    """
    moved = nanoseconds - zones.offset_ns
    for place, name in enumerate(zones.places):
        moved = _localised(moved, nanoseconds, zones.place == place, name)
    if timezone != "UTC":
        moved = _localised(moved, nanoseconds, ~zones.said, timezone)
    return moved


def _localised(moved: Any, nanoseconds: Any, rows: Any, timezone: str) -> Any:
    if not rows.any():
        return moved
    naive = pa.array(nanoseconds[rows]).cast(pa.timestamp("ns"))
    result = moved.copy()
    result[rows] = localise(naive, timezone).cast(pa.int64()).to_numpy()
    return result


def localise(values: Any, timezone: str) -> Any:
    """Timestamps without a zone as timestamps of one; of two possible moments the earlier."""
    return pc.assume_timezone(values, timezone, ambiguous="earliest", nonexistent="earliest")


# Layouts in which people write times, as patterns whose groups are the parts of a time.
#
# The groups are `y` year, `yy` its last two digits, `mo` month number, `mon` month name, `d` day,
# `j`
# day of the year, `h` hour, `mi` minute, `s` second, `f` fraction of a second, `p` AM or PM, `z`
# zone, `epoch`, seconds since 1970, and `one` and `two`, month and day in an order not yet known.

_CLOCK = r"(?P<h>\d{1,2}):(?P<mi>\d{2})(?::(?P<s>\d{2})(?:[.,](?P<f>\d+))?)?"
_HALVES = rf"{_CLOCK}\s*(?P<p>[AaPp][Mm])?"
_MONTH = r"(?P<mon>[A-Za-z]{3,9})"
_TWO_DIGITS = r"(?P<mo>\d{2})(?P<d>\d{2})T?(?P<h>\d{2})(?P<mi>\d{2})(?P<s>\d{2})"
_DAY = r"(?P<d>\d{1,2})"

LAYOUTS: tuple[str, ...] = (
    # 2026-11-21T10:00:00.123Z, 2026/11/21 10:00:00,123 +0100, 2026-11-21
    rf"(?P<y>\d{{4}})[-/.](?P<mo>\d{{1,2}})[-/.]{_DAY}(?:[Tt _]\s*{_CLOCK}\s*{ZONE}?)?",
    # 20261121T100000Z, 20261121100000
    rf"(?P<y>(?:19|20)\d{{2}}){_TWO_DIGITS}(?:\.(?P<f>\d+))?{ZONE}?",
    # 21/Nov/2026:10:00:00 +0100, as web servers write
    rf"\[?{_DAY}/{_MONTH}/(?P<y>\d{{4}})[: ]{_CLOCK}\s*{ZONE}?\]?",
    # Sat, 21 Nov 2026 10:00:00 GMT and 21-Nov-2026 10:00:00
    rf"(?:[A-Za-z]{{3,9}},?\s+)?{_DAY}[ -]{_MONTH}[ -](?P<y>\d{{4}})[ ,]+{_CLOCK}\s*{ZONE}?",
    # Sat Nov 21 10:00:00 2026 and Sat Nov 21 10:00:00 UTC 2026
    rf"\[?(?:[A-Za-z]{{3}}\s+)?{_MONTH}\s+{_DAY}\s+{_CLOCK}\s+(?:{ZONE}\s+)?(?P<y>\d{{4}})\]?",
    # Nov 21, 2026 10:00:00 AM and Sat Nov 21 2026 10:00:00 GMT+0100
    rf"(?:[A-Za-z]{{3}}\s+)?{_MONTH}\s+{_DAY},?\s+(?P<y>\d{{4}})[ ,]+{_HALVES}\s*{ZONE}?",
    # Nov 21 10:00:00, as syslog writes: the year is not said
    rf"{_MONTH}\s+{_DAY}\s+{_CLOCK}\s*{ZONE}?",
    # 11/21/2026 10:00:00 AM, or 21/11/2026 10:00:00: the numbers of the object tell
    rf"(?P<one>\d{{1,2}})/(?P<two>\d{{1,2}})/(?P<y>\d{{4}})[ ,T]+{_HALVES}\s*{ZONE}?",
)
"""Tried in this order."""

_DIRECTIVES = {
    "%Y": r"(?P<y>\d{4})",
    "%y": r"(?P<yy>\d{2})",
    "%m": r"(?P<mo>\d{1,2})",
    "%b": _MONTH,
    "%B": _MONTH,
    "%d": r"\s?(?P<d>\d{1,2})",
    "%e": r"\s?(?P<d>\d{1,2})",
    "%j": r"(?P<j>\d{1,3})",
    "%H": r"(?P<h>\d{1,2})",
    "%I": r"(?P<h>\d{1,2})",
    "%M": r"(?P<mi>\d{1,2})",
    "%S": r"(?P<s>\d{1,2})",
    "%f": r"(?P<f>\d+)",
    "%L": r"(?P<f>\d+)",
    "%N": r"(?P<f>\d+)",
    "%p": r"(?P<p>[AaPp][Mm])",
    "%z": ZONE,
    "%Z": ZONE,
    "%s": r"(?P<epoch>\d+)",
    "%a": r"[A-Za-z]{3}",
    "%A": r"[A-Za-z]+",
    "%T": r"(?P<h>\d{1,2}):(?P<mi>\d{2}):(?P<s>\d{2})",
    "%D": r"(?P<mo>\d{1,2})/(?P<d>\d{1,2})/(?P<yy>\d{2})",
    "%F": r"(?P<y>\d{4})-(?P<mo>\d{1,2})-(?P<d>\d{1,2})",
    "%%": "%",
}
_SPECIAL = frozenset(r"\.^$*+?{}[]|()")


@cache
def layout_of_format(text: str) -> str:
    r"""The layout that a `strptime` format describes.

    The directives of the C library are known, except locale ones, as well as `%f`, `%L` and `%N`
    for a fraction of any length. Month names are English.

    Raises:
        ConfigurationError: It holds a directive that is not known, or one twice.

    Example:
        >>> layout_of_format("%d.%m.%Y")
        '\\s?(?P<d>\\d{1,2})\\.(?P<mo>\\d{1,2})\\.(?P<y>\\d{4})'
    """
    parts, position = [], 0
    while position < len(text):
        step = 2 if text[position] == "%" else 1
        piece = text[position : position + step]
        position += step
        if step == 1:
            parts.append(rf"\{piece}" if piece in _SPECIAL else piece)
        elif piece in _DIRECTIVES:
            parts.append(_DIRECTIVES[piece])
        else:
            raise ConfigurationError(
                f"timestamp_format {text!r}: {piece} is not known; known are "
                f"{' '.join(_DIRECTIVES)}",
                timestamp_format=text,
            )
    layout = "".join(parts)
    for name in ("y", "yy", "mo", "mon", "d", "j", "h", "mi", "s", "f", "p", "z", "epoch"):
        if layout.count(f"(?P<{name}>") > 1:
            raise ConfigurationError(
                f"timestamp_format {text!r} holds one part of the time twice", timestamp_format=text
            )
    return layout
