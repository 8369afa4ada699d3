"""Layouts in which people write times, as patterns whose groups are the parts of a time.

The groups are `y` year, `yy` its last two digits, `mo` month number, `mon` month name, `d` day, `j`
day of the year, `h` hour, `mi` minute, `s` second, `f` fraction of a second, `p` AM or PM, `z`
zone, `epoch`, seconds since 1970, and `one` and `two`, month and day in an order not yet known.
"""

from __future__ import annotations

from functools import cache

from lakerunner.errors import ConfigurationError
from lakerunner.schema.time_zones import ZONE

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
