"""Read JSON lines: one object per line, its keys as columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from lakerunner.formats.records.between import text_among
from lakerunner.formats.records.json_check import invalid_lines, suspicious_lines
from lakerunner.formats.records.json_columns import columns_by_key
from lakerunner.formats.records.json_read import UnevenError, read_lines
from lakerunner.formats.records.payload_lines import compact, join_lines, set_aside
from lakerunner.formats.records.rare_keys import DENSE_COLUMNS
from lakerunner.formats.records.read import Records

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from lakerunner.formats.records.payload_lines import Lines

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
