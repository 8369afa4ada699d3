"""Find the lines that are no JSON object, without looking at each of the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakerunner.limits import NESTING_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.formats.records.payload_lines import Lines

TOO_DEEP = f"nested deeper than {NESTING_DEPTH} levels"
_OPENING, _CLOSING = ord("{"), ord("}")
_SHARED_BITS, _SHARED_OPENING = 0xDF, 0x5B  # what the two opening brackets have in common
_NULL_BEHIND = re.compile(rb"\}[ \t\r]*null")
_LEVELS_TO_TRY = 1000  # Arrow's reader survives so many; it ends the process at some 10,000
_FEW = 1000
_POSITION = re.compile(r" \(byte \d+\)")
_BRACKETS = re.compile(rb"[\[\]{}]")
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NOT_NUMBERS = re.compile(rb"(?<=[\s:,\[])(?:NaN|-?Infinity)(?=[\s,\]}])")
# As long as what they stand for, so that positions stay.
_NUMBERS = {b"NaN": b"0.0", b"Infinity": b"1.000000", b"-Infinity": b"-1.000000"}

_list = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def suspicious_lines(lines: Lines) -> dict[int, str]:
    """Check the lines that Arrow's reader must not see.

    What is left begins and ends with a brace, so no object of it spans lines: Arrow's reader gives
    a row for each line, or more if there are several objects on one.

    Args:
        lines: Lines of text.

    Returns:
        Why a line is no object, by its position in `lines`.
    """
    values = np.frombuffer(lines.data, np.uint8)
    if not len(lines.starts):
        return {}
    outer = (values[lines.starts] == _OPENING) & (values[lines.ends - 1] == _CLOSING)
    doubtful = {int(place) for place in np.flatnonzero(~outer)}
    lengths = lines.ends - lines.starts
    doubtful.update(
        int(place) for place in np.flatnonzero(lengths > _LEVELS_TO_TRY) if _dangerous(lines, place)
    )
    for match in _NULL_BEHIND.finditer(lines.data) if b"null" in lines.data else ():
        place = int(np.searchsorted(lines.starts, match.start(), "right")) - 1
        if match.end() <= lines.ends[place]:
            doubtful.add(place)
    return dict(_broken(lines, sorted(doubtful)))


def _dangerous(lines: Lines, place: Any) -> bool:
    start, end = int(lines.starts[place]), int(lines.ends[place])
    data = lines.data
    return data.count(b"[", start, end) + data.count(b"{", start, end) > _LEVELS_TO_TRY


def invalid_lines(lines: Lines) -> dict[int, str]:
    """Find lines that are broken, by halving what is broken until it is small.

    Args:
        lines: Lines that each begin and end with a brace, each followed by a newline, and nothing
            else in the buffer.

    Returns:
        Why a line is broken, by its position in `lines`.
    """
    data = without_specials(lines.data)
    found = dict(_broken(lines, _maybe_deep(lines)))
    waiting = [(0, len(lines.starts))]
    while waiting:
        first, last = waiting.pop()
        if last - first <= _FEW:
            found.update(_broken(lines, range(first, last)))
            continue
        middle = (first + last) // 2
        waiting += [
            half for half in ((first, middle), (middle, last)) if not _sound(data, lines, *half)
        ]
    return found


def _maybe_deep(lines: Lines) -> Any:
    """Lines with enough opening brackets to be nested too deep."""
    if not len(lines.starts):
        return []
    opening = (np.frombuffer(lines.data, np.uint8) & _SHARED_BITS) == _SHARED_OPENING
    counts = np.add.reduceat(opening, lines.starts, dtype=np.int32)
    return np.flatnonzero(counts > NESTING_DEPTH).tolist()


def _sound(data: bytes, lines: Lines, first: int, last: int) -> bool:
    starts, ends = lines.starts[first:last], lines.ends[first:last]
    inside = data[int(starts[0]) : int(ends[-1])]
    try:
        found = _list.decode(b"[" + inside.replace(b"\n", b",") + b"]")
    except (msgspec.DecodeError, RecursionError):
        return False
    # Lines that are broken by themselves may be whole together.
    lengths = np.fromiter(map(len, found), np.int64, len(found))
    return np.array_equal(lengths, ends - starts)


def _broken(lines: Lines, places: Any) -> Iterator[tuple[int, str]]:
    for place in places:
        line = lines.data[int(lines.starts[place]) : int(lines.ends[place])]
        reason = why_no_object(line)
        if reason:
            yield place, reason


def why_no_object(line: bytes) -> str | None:
    """Why a line is no JSON object; None if it is one.

    Example:
        >>> why_no_object(b'{"a": NaN}'), why_no_object(b"[1]")
        (None, 'JSON, but no object')
    """
    if len(line) > NESTING_DEPTH and _depth(line) > NESTING_DEPTH:
        return TOO_DEEP
    line = without_specials(line)
    try:
        _object.decode(line)
    except msgspec.ValidationError:
        return "JSON, but no object"
    except msgspec.DecodeError as error:
        return _POSITION.sub("", str(error))
    return None


def _depth(line: bytes) -> int:
    """Most brackets that are open at once."""
    opened = line.count(b"[") + line.count(b"{")
    if opened <= NESTING_DEPTH:
        return opened
    brackets = np.frombuffer(b"".join(_BRACKETS.findall(_STRINGS.sub(b"", line))), np.uint8)
    opening = (brackets == _OPENING) | (brackets == ord("["))
    return int(np.cumsum(np.where(opening, 1, -1)).max(initial=0))


def without_specials(data: bytes) -> bytes:
    """Put numbers for NaN and the infinities, where JSON would have a number."""
    if b"NaN" not in data and b"Infinity" not in data:
        return data
    return _NOT_NUMBERS.sub(lambda match: _NUMBERS[match[0]], data)
