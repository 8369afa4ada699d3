"""Read JSON lines: one object per line, its keys as columns."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from lakerunner.formats.records.json_read import (
    DENSE_COLUMNS,
    UnevenError,
    columns_by_key,
    read_lines,
)
from lakerunner.formats.records.lines import Between, Records, compact, join_lines, set_aside
from lakerunner.formats.records.text import traces_together
from lakerunner.limits import NESTING_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.formats.records.lines import Lines

# Text between JSON lines, such as banners and stack traces: which of it is text, and its rows.

_NEWLINE = ord("\n")
_JSON_PIECE = re.compile(
    rb"""[{}\]",:]                     # how a piece of an object begins that is cut into lines
    |\[(?!\d+[-/:]|(?!true|false|null|NaN|Infinity)[A-Za-z])  # an array, but no `[INFO]`
    |(?:true|false|null|NaN|-?Infinity|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\Z
    |[^{]*":                          # a pair that no object opened
    |[^{\[]*[}\]],?\Z                 # an end of what was not opened
    """,
    re.VERBOSE,
)


class TextRows(NamedTuple):
    """Records made of text among others.

    Attributes:
        records: One column, `message`.
        after: int64 per record: how many others of its payload stand before it.
    """

    records: Records
    after: Any


def text_among(lines: Lines, wrong: dict[int, str]) -> tuple[Between | None, dict[int, str]]:
    """Tell text from broken JSON, among the lines of a batch that are no JSON object.

    A line is text if it does not look like a piece of JSON, or if it is indented and stands behind
    one that is. A payload without any object has no text.

    Args:
        lines: All lines of the batch.
        wrong: Why a line is no object, by its position in `lines`.

    Returns:
        The text, and the other lines with their reasons.
    """
    if not wrong:
        return None, wrong
    good = np.ones(len(lines.starts), bool)
    good[list(wrong)] = False
    having = np.zeros(int(lines.payload[-1]) + 1, bool)
    having[lines.payload[good]] = True
    text: list[int] = []
    for place in sorted(wrong):
        behind = bool(text) and text[-1] == place - 1 and _is_indented(lines, place)
        if having[lines.payload[place]] and (behind or _is_text(lines, place)):
            text.append(place)
    if not text:
        return None, wrong
    objects = np.cumsum(good)
    first = np.searchsorted(lines.payload, lines.payload[text])  # lines are in payload order
    after = objects[text] - np.where(first > 0, objects[first - 1], 0)
    picked = lines.pick(np.array(text))
    taken = set(text)
    rest = {place: reason for place, reason in wrong.items() if place not in taken}
    # Lines that do not follow one another are of different runs, as those of two payloads are.
    return Between(picked, tuple(wrong[place] for place in text), after), rest


def _is_text(lines: Lines, place: int) -> bool:
    line = lines.data[int(lines.starts[place]) : int(lines.ends[place])]
    return _JSON_PIECE.match(line) is None


def _is_indented(lines: Lines, place: int) -> bool:
    start = int(lines.starts[place])
    return start > 0 and lines.data[start - 1] != _NEWLINE


def rows_between(between: Between) -> TextRows:
    """Make records of text among records of another kind; traces are kept in one piece."""
    lines, _, after = between
    apart = np.ones(len(lines.starts), bool)
    apart[1:] = (np.diff(after) > 0) | (np.diff(lines.payload) > 0) | (_gaps(lines) > 0)
    runs = (np.cumsum(apart) - 1).astype(np.int32)
    message, firsts = traces_together(lines._replace(payload=runs))
    return TextRows(Records(pa.table({"message": message}), lines.payload[firsts]), after[firsts])


def _gaps(lines: Lines) -> Any:
    """Lines between each and the next that are not blank, as what was set aside is."""
    blank = np.frombuffer(lines.data, np.uint8)
    filled = np.concatenate([[0], np.cumsum(blank > ord(" "))])
    return filled[lines.starts[1:]] - filled[lines.ends[:-1]]


def without_text(records: Records) -> Records:
    """The same records, with the text among them set aside."""
    if records.between is None:
        return records
    lines, reasons, _ = records.between
    aside = set_aside(lines, enumerate(reasons))
    return records._replace(between=None, set_aside=(*records.set_aside, *aside))


# Find the lines that are no JSON object, without looking at each of the others.

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
            yield place, sys.intern(reason)  # one text for all lines that it is said of


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


_ESCAPE = re.compile(
    rb"\\(?:[^u]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4})"
)
_PAIR = 12
_PAIR_BYTES = 6  # the least that many keys can take each
_HAS_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json_lines(payloads: Sequence[bytes]) -> Records:
    r"""Read objects, one per line.

    Objects and arrays stay nested, and text that looks like a time stays text. A key whose values
    have several types becomes text, nested ones among them JSON text; integers and doubles meet in
    double where none is rounded. Integers beyond 64 bits become uint64, or text. NaN, Infinity and
    -Infinity are taken as numbers. A key that stands twice in an object gives the columns `key`
    and `key#2`. Bytes that are no UTF-8, and halves of surrogate pairs, become U+FFFD.

    Args:
        payloads: Lines of text; blank lines are passed over.

    Returns:
        The objects. Text among them is in `Records.between`; other lines that are broken, are no
        object or are nested deeper than `limits.NESTING_DEPTH` are set aside.

    Raises:
        ObjectTooLargeError: The payloads take more than 2 GiB.

    Example:
        >>> records = read_json_lines([b'{"a": 1}\n5\n', b'{"a": "x", "b": [true]}'])
        >>> records.table.to_pylist()
        [{'a': '1', 'b': None}, {'a': 'x', 'b': [True]}]
        >>> records.payload.tolist(), records.set_aside[0].lines
        ([0, 1], (2,))
    """
    lines = join_lines(payloads)
    wrong = suspicious_lines(lines)
    good = lines
    if wrong:
        good = compact(_without(lines, wrong))
    alike = True
    try:
        _refuse_very_many_keys(good)
        table = read_lines(good.data, len(good.starts))
    except UnevenError:
        good, table, broken = _read_uneven(good)
        wrong = _merged(len(lines.starts), wrong, broken)
        alike = False
    text, wrong = text_among(lines, wrong)
    return Records(table, good.payload, set_aside(lines, wrong.items()), alike, text)


def _refuse_very_many_keys(lines: Lines) -> None:
    """A line may have so many that a column for each would take too long."""
    for place in np.flatnonzero(lines.ends - lines.starts > _PAIR_BYTES * DENSE_COLUMNS):
        start, end = int(lines.starts[place]), int(lines.ends[place])
        if lines.data.count(b'":', start, end) > DENSE_COLUMNS:
            raise UnevenError("very many keys")


def _without(lines: Lines, wrong: dict[int, str]) -> Lines:
    keep = np.ones(len(lines.starts), bool)
    keep[list(wrong)] = False
    return lines.pick(keep)


def _merged(count: int, first: dict[int, str], second: dict[int, str]) -> dict[int, str]:
    """Reasons of two rounds; the second counted only the lines that the first had left."""
    left = np.delete(np.arange(count), list(first))
    return first | {int(left[place]): reason for place, reason in second.items()}


def _read_uneven(lines: Lines) -> tuple[Lines, pa.Table, dict[int, str]]:
    """Take broken lines out, then read what is left, key by key if need be."""
    lines = compact(lines)
    mended = _HAS_SURROGATE.search(lines.data) is not None
    if mended:
        lines = lines._replace(data=_ESCAPE.sub(_whole_pair, lines.data))
    wrong = invalid_lines(lines)
    if wrong or mended:
        lines = compact(_without(lines, wrong))
        try:
            return lines, read_lines(lines.data, len(lines.starts)), wrong
        except UnevenError:
            pass
    return lines, columns_by_key(lines.data, lines.starts, lines.ends), wrong


def _whole_pair(match: re.Match[bytes]) -> bytes:
    r"""Put `\ufffd` for half of a surrogate pair; everything else stays."""
    escape = match[0]
    half = (
        len(escape) != _PAIR and escape[1:3].lower() == b"ud" and escape[3:4] in b"89abcdefABCDEF"
    )
    return rb"\ufffd" if half else escape
