"""Logs with a line of names and blanks between their fields: the W3C format, and flow logs of AWS.

CloudFront and IIS write `#Fields:` above their rows. They are read as delimited text once that line
is the header it stands for; a dash is no value.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from lakerunner.formats.records.delimited import read_delimited
from lakerunner.formats.records.delimited_split import split_delimited
from lakerunner.formats.records.formats import measure_delimited
from lakerunner.limits import OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.formats.base import Measure, Part
    from lakerunner.formats.records.lines import Records

_FIELDS = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:#(?!Fields:)[^\n]*\n)*#Fields:[ \t]*(?P<names>[^\r\n]+)\r?\n"
)
_HEAD_BYTES = 64 * 1024


def looks_like_w3c(head: bytes) -> bool:
    r"""A line of `#Fields:` stands above the rows, or the names of AWS' flow logs.

    Example:
        >>> looks_like_w3c(b"#Version: 1.0\n#Fields: date time\n"), looks_like_w3c(b"# a comment\n")
        (True, False)
        >>> looks_like_w3c(b"version srcaddr dstaddr start end action\n")
        True
    """
    return _FIELDS.match(head) is not None or _is_flows(head)


def _is_flows(head: bytes) -> bool:
    first, newline, _ = head.partition(b"\n")
    names = set(first.split())
    return bool(newline) and {b"srcaddr", b"dstaddr"} <= names and b"," not in first


def split_w3c(blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES) -> Iterator[Part]:
    """Cut rows into parts that each begin with a plain header; see `split_delimited`."""
    rest = iter(blocks)
    head = b""
    while len(head) < _HEAD_BYTES and (block := next(rest, b"")):
        head += block
    found = _FIELDS.match(head)
    if found is not None:
        below = head[found.end() :]
        mark = _mark(below)
        names = mark.encode().join(found["names"].split())
        above = head[: found.end()].count(b"\n") - 1
        # Lines above stay lines, so that numbers of lines are those of the object.
        head = b"#\n" * above + names + b"\n" + below
    return split_delimited(chain([head], rest), limit, _mark_of(head), longest)


def read_w3c(payloads: Sequence[bytes]) -> Records:
    r"""Read parts that `split_w3c` made.

    Example:
        >>> read_w3c([b"date time x\n2026-01-01 00:00:00 -\n"]).table.to_pylist()
        [{'date': '2026-01-01', 'time': '00:00:00', 'x': None}]
    """
    marks = {_mark_of(payload) for payload in payloads}
    records = read_delimited(payloads, marks.pop() if len(marks) == 1 else " ")
    table = records.table
    for place, name in enumerate(table.column_names):
        column = table[name].combine_chunks()
        if column.type == "string":
            dashes = pc.equal(column, "-")
            table = table.set_column(place, name, pc.if_else(dashes, None, column))
    return records._replace(table=table)


def measure_w3c(payload: bytes) -> Measure:
    """Rows and fields; see `measure_delimited`."""
    return measure_delimited(payload, _mark_of(payload))


def _mark(below: bytes) -> str:
    return "\t" if b"\t" in below.partition(b"\n")[0] else " "


def _mark_of(head: bytes) -> str:
    for line in head[:_HEAD_BYTES].splitlines():
        if not line.startswith(b"#"):
            return "\t" if b"\t" in line else " "
    return " "
