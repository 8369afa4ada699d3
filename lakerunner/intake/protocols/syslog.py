"""Syslog: RFC 5424 and RFC 3164, and CEF and LEEF inside them; many messages at a time.

What follows none of these is kept whole, as the body.
- https://www.rfc-editor.org/rfc/rfc5424, https://www.rfc-editor.org/rfc/rfc3164
- https://www.rfc-editor.org/rfc/rfc6587, how messages are told apart on a connection
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError
from lakerunner.intake.protocols.protocol import offsets_of
from lakerunner.schema.text import repair_utf8

if TYPE_CHECKING:
    from collections.abc import Sequence

SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"),
    *("authpriv", "ftp", "ntp", "security", "console", "solaris-cron"),
    *(f"local{number}" for number in range(8)),
)
_PRI = r"^<(?P<pri>\d{1,3})>"
_RFC5424 = (
    _PRI + r"1 (?P<time>\S+) (?P<host>\S+) (?P<app>\S+) (?P<proc>\S+) (?P<id>\S+) "
    r'(?P<data>-|(?:\[[^\s=\]"]+(?: [^\s=\]"]+="(?:[^"\\]|\\.)*")* ?\])+)'
    r"(?: \x{FEFF}?(?P<message>(?s:.*)))?$"
)
_RFC3164 = (
    _PRI + r"(?P<time>[A-Z][a-z]{2} [ \d]\d(?: \d{4})? \d\d:\d\d:\d\d(?:\.\d+)?|"
    r"\d{4}-\d\d-\d\dT\S+) (?:(?P<host>[^\s:\[]+) )?"
    r"(?:(?P<app>[^\s:\[]{1,48})(?:\[(?P<proc>[^\]\s]{1,128})\])?: ?)?(?P<message>(?s:.*))$"
)
_CEF = (
    r"CEF:(?P<version>\d+)\|(?P<vendor>(?:[^|\\]|\\.)*)\|(?P<product>(?:[^|\\]|\\.)*)\|"
    r"(?P<release>(?:[^|\\]|\\.)*)\|(?P<id>(?:[^|\\]|\\.)*)\|(?P<name>(?:[^|\\]|\\.)*)\|"
    r"(?P<severity>(?:[^|\\]|\\.)*)\|(?P<rest>(?s:.*))$"
)
_LEEF = (
    r"LEEF:(?P<version>[12])(?:\.0)?\|(?P<vendor>[^|]*)\|(?P<product>[^|]*)\|(?P<release>[^|]*)\|"
    r"(?P<id>[^|]*)\|(?:(?P<between>\^|[^|=\s]|0?x[0-9a-fA-F]{2,4})\|)?(?P<rest>(?s:.*))$"
)
_HEADER = ("vendor", "product", "release", "id", "name", "severity")
_PAIR, _HALF, _GROUP = "\x01", "\x02", "\x03"  # marks that no such text has by itself
_MARKS = f"[{_PAIR}{_HALF}{_GROUP}]"


class _Pairs(NamedTuple):
    """Names and values found in texts.

    Attributes:
        row: int per pair: whose it is.
        key: Its name.
        value: Its value.
    """

    row: Any
    key: Any
    value: Any


def read_messages(messages: Sequence[bytes]) -> pa.Table:
    """Messages as rows; each whole, without what told it from the next.

    Example:
        >>> line = b'<165>1 2026-01-01T00:00:00Z web shop 17 - [a@1 user="u1"] hello'
        >>> row = read_messages([line]).to_pylist()[0]
        >>> row["severity_text"], row["resource.host.name"], row["attributes"]
        ('notice', 'web', [('a@1.user', 'u1')])
    """
    texts = repair_utf8(pa.array(messages, pa.binary())).text
    texts = pc.replace_substring_regex(texts, r"[\r\n\x00]+$", "")
    new, old = pc.extract_regex(texts, _RFC5424), pc.extract_regex(texts, _RFC3164)
    is_new = np.asarray(new.is_valid())
    is_old = np.asarray(old.is_valid()) & ~is_new

    def part(name: str) -> Any:
        found = _filled(new.field(name), is_new)
        if old.type.get_field_index(name) < 0:
            return found
        return pc.coalesce(found, _filled(old.field(name), is_old))

    app = part("app")
    body = pc.fill_null(part("message"), "")
    # The mark of an event format looks like the name of a program.
    event = pc.fill_null(pc.is_in(app, pa.array(["CEF", "LEEF"])), fill_value=False)
    body = pc.if_else(event, pc.binary_join_element_wise(app, body, ":"), body)
    app = pc.if_else(event, pa.scalar(None, pa.string()), app)
    bare = pc.extract_regex(texts, _PRI)
    body = pc.if_else(pa.array(is_new | is_old), body, pc.replace_substring_regex(texts, _PRI, ""))
    number = pc.coalesce(part("pri"), _filled(bare.field("pri"), np.asarray(bare.is_valid())))
    pri = number.cast(pa.int64())
    known = pc.less(pri, len(FACILITIES) * len(SEVERITIES))
    pri = pc.if_else(known, pri, pa.scalar(None, pa.int64()))
    facility = pc.divide(pri, len(SEVERITIES))
    severity = pc.subtract(pri, pc.multiply(facility, len(SEVERITIES)))
    pairs = [_structured(part("data")), *_events(body)]
    return pa.table(
        {
            "timestamp": part("time"),
            "body": body,
            "severity_text": pa.array(SEVERITIES).take(severity),
            "resource.service.name": app,
            "resource.host.name": part("host"),
            "syslog.facility": pa.array(FACILITIES).take(facility),
            "syslog.procid": part("proc"),
            "syslog.msgid": part("id"),
            "attributes": _maps(pairs, len(texts)),
        }
    )


def _filled(values: Any, rows: Any) -> Any:
    """A part of messages; NULL where it is not there, or said to be nothing."""
    there = pc.and_(pa.array(rows), pc.invert(pc.is_in(values, pa.array(["", "-"]))))
    return pc.if_else(there, values, pa.scalar(None, pa.string()))


def _structured(data: Any) -> _Pairs:
    """The parameters of structured data, each named after its element and itself."""
    marked = pc.replace_substring_regex(
        pc.replace_substring_regex(pc.replace_substring_regex(data, _MARKS, " "),
            r'(^|")?\[([^\s=\]"]+)', rf"\1{_PAIR}{_GROUP}\2{_HALF}"),
        r' ([^\s=\]"]+)="((?:[^"\\]|\\.)*)"', rf"{_PAIR}\1{_HALF}\2{_HALF}",
    )  # fmt: skip
    found = _split(marked)
    is_group = np.asarray(pc.starts_with(found.key, _GROUP))
    # The element that a parameter stands in is the last one before it.
    place = np.maximum.accumulate(np.where(is_group, np.arange(len(is_group)), 0))
    element = pc.utf8_slice_codeunits(found.key, 1).take(pa.array(place))
    named = pc.binary_join_element_wise(element, found.key, ".")
    value = pc.replace_substring_regex(found.value, r'\\(["\]\\])', r"\1")
    kept = pa.array(~is_group)
    return _Pairs(found.row[~is_group], named.filter(kept), value.filter(kept))


def _events(body: Any) -> list[_Pairs]:
    """What CEF and LEEF say: the parts of their heads, and their extensions."""
    body = pc.replace_substring_regex(body, _MARKS, " ")
    cef, leef = pc.extract_regex(body, _CEF), pc.extract_regex(body, _LEEF)
    found = []
    for name, parts in (("cef", cef), ("leef", leef)):
        rows = np.flatnonzero(np.asarray(parts.is_valid()))
        inside = parts.take(pa.array(rows))
        for part in _HEADER:
            if parts.type.get_field_index(part) >= 0:
                key = pa.array([f"{name}.{part}"] * len(rows), pa.string())
                found.append(_Pairs(rows, key, _plain(inside.field(part))))
        rest = inside.field("rest")
        pairs = _cef_pairs(rest) if name == "cef" else _leef_pairs(inside)
        found.append(pairs._replace(row=rows[pairs.row]))
    return found


def _cef_pairs(rest: Any) -> _Pairs:
    """Names and values parted by blanks, which values have in them, too."""
    marked = pc.replace_substring_regex(rest, r"(^|\s)([A-Za-z0-9_.\[\]-]+)=", rf"{_PAIR}\2{_HALF}")
    pairs = _split(marked)
    return pairs._replace(value=_plain(pairs.value))


def _leef_pairs(leef: Any) -> _Pairs:
    """Names and values parted by a tab, or by what the head says."""
    said, rest = leef.field("between"), leef.field("rest")
    marked = pc.replace_substring(rest, "\t", _PAIR)
    for between in filter(None, said.unique().to_pylist()):
        mark = chr(int(between.lstrip("0").lstrip("x"), 16)) if len(between) > 1 else between
        own = pc.equal(said, between)
        marked = pc.if_else(own, pc.replace_substring(rest, mark, _PAIR), marked)
    lead = pc.binary_join_element_wise(pa.scalar(_PAIR), marked, "")
    return _split(
        pc.replace_substring_regex(lead, rf"{_PAIR}([^={_PAIR}]+)=", rf"{_PAIR}\1{_HALF}")
    )


def _plain(values: Any) -> Any:
    r"""Values without their escapes: `\|`, `\=`, `\\`, and `\n`."""
    lines = pc.replace_substring_regex(values, r"\\[nr]", "\n")
    return pc.replace_substring_regex(lines, r"\\([|=\\])", r"\1")


def _split(marked: Any) -> _Pairs:
    """Take marked texts apart: a mark before each name, one behind it, perhaps one at the end."""
    pieces = pc.split_pattern(pc.fill_null(marked, ""), _PAIR)
    row = np.asarray(pc.list_parent_indices(pieces))
    halves = pc.split_pattern(pieces.flatten(), _HALF, max_splits=2)
    count = np.asarray(pc.list_value_length(halves))
    there = count > 1
    starts = halves.offsets.to_numpy()[:-1][there]
    values = halves.values
    key = pc.utf8_trim_whitespace(values.take(pa.array(starts)))
    return _Pairs(row[there], key, values.take(pa.array(starts + 1)))


def _maps(pairs: Sequence[_Pairs], rows: int) -> Any:
    """All pairs of each row as one map."""
    row = np.concatenate([one.row for one in pairs]).astype(np.int64)
    order = pa.array(np.argsort(row, kind="stable"))
    keys = pa.concat_arrays([one.key for one in pairs]).take(order)
    values = pa.concat_arrays([one.value for one in pairs]).take(order)
    sizes = np.bincount(row, minlength=rows)
    return pa.MapArray.from_arrays(offsets_of(sizes), keys, values)


class Framed(NamedTuple):
    """What came over a connection.

    Attributes:
        messages: Those that are whole.
        rest: The beginning of the next one.
    """

    messages: list[bytes]
    rest: bytes


_MOST_DIGITS = 7


def cut_messages(data: bytes, most_bytes: int) -> Framed:
    r"""Tell messages on a connection apart: by their lengths before them, or by line ends.

    Args:
        data: What came, from the beginning of a message on.
        most_bytes: How long a message may be.

    Raises:
        CorruptObjectError: One is longer.

    Example:
        >>> cut_messages(b"5 <1>ab3 <2><3>x\n<4", 100)
        Framed(messages=[b'<1>ab', b'<2>', b'<3>x'], rest=b'<4')
    """
    messages, at = list[bytes](), 0
    while at < len(data):
        if data[at : at + 1].isdigit():  # a length; nothing else begins with a digit
            blank = data.find(b" ", at, at + _MOST_DIGITS + 1)
            digits = data[at:blank] if blank >= 0 else data[at : at + _MOST_DIGITS + 1]
            if blank < 0 and len(digits) <= _MOST_DIGITS and digits.isdigit():
                break
            if blank < 0 or not digits.isdigit() or int(digits) > most_bytes:
                raise CorruptObjectError(f"no length of a message: {digits!r}")
            end = blank + 1 + int(digits)
            if end > len(data):
                break
            messages.append(data[blank + 1 : end])
            at = end
            continue
        last = data.rfind(b"\n", at)
        if last < 0:
            break
        lines = data[at:last].split(b"\n")
        counted = next((n for n, line in enumerate(lines) if line[:1].isdigit()), len(lines))
        messages += filter(None, lines[:counted])
        at += sum(map(len, lines[:counted])) + counted
    if len(data) - at > most_bytes + _MOST_DIGITS + 1:
        raise CorruptObjectError(f"a message of more than {most_bytes:,} bytes")
    return Framed(messages, data[at:])
