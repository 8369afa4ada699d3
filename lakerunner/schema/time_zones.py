"""The zones that times carry: offsets, the abbreviations people write, and names of IANA."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple
from zoneinfo import available_timezones

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
