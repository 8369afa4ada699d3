"""Find out what a column of text holds: integers, doubles, booleans, or text after all.

A type is given only where every value would be written the same way again, as far as it matters:
`007` and `+1` are text, as are integers that would be rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.numbers import all_exact

_LOOKED_AT = 100
_INTEGER = r"^-?\d+$"
_NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^(NaN|nan|[+-]?(Inf|inf|Infinity))$"
_NAN_OR_INFINITE = r"^(NaN|nan|[+-]?(Inf|inf|Infinity))$"
_BOOLEANS = pa.array(["true", "false"])
_POWERS = np.array([10**digits for digits in range(1, 19)], np.int64)
_IN_NUMBERS = np.zeros(256, bool)
_IN_NUMBERS[list(b"0123456789.+-eE")] = True
_ZERO, _NINE, _MINUS, _PLUS = b"09-+"


def typed_column(texts: Any) -> Any:
    """Read a column of text as what it holds.

    Args:
        texts: `pa.StringArray`.

    Returns:
        int64, double or bool; `texts` itself if it holds none of them; type null if all is NULL.

    Example:
        >>> [typed_column(pa.array(v)).type for v in (["1", None], ["1", "2.5"], ["007"], ["true"])]
        [DataType(int64), DataType(double), DataType(string), DataType(bool)]
    """
    filled = texts.drop_null() if texts.null_count else texts
    if not len(filled):
        return pa.nulls(len(texts))
    head = filled.slice(0, _LOOKED_AT)
    if _all_match(head, _INTEGER):
        integers = _integers(filled)
        if integers is not None:
            return texts.cast(pa.int64()) if texts.null_count else integers
    if _all_match(head, _NUMBER):
        doubles = _doubles(filled)
        if doubles is not None:
            return texts.cast(pa.float64()) if texts.null_count else doubles
    elif pc.all(pc.is_in(head, _BOOLEANS)).as_py() and pc.all(pc.is_in(filled, _BOOLEANS)).as_py():
        return pc.equal(texts, "true")
    return texts


def _all_match(texts: Any, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py())


def _integers(texts: Any) -> Any:
    try:
        integers = texts.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    values = integers.to_numpy()
    # Leading zeros and signs only ever make a text longer than it has to be.
    digits = np.searchsorted(_POWERS, np.abs(values), "right") + 1
    shortest = int(digits.sum()) + int((values < 0).sum())
    return integers if shortest == _bounds(texts)[-1] - _bounds(texts)[0] else None


def _bounds(texts: Any) -> Any:
    offsets = np.frombuffer(texts.buffers()[1], np.int32)
    return offsets[texts.offset : texts.offset + len(texts) + 1]


def _doubles(texts: Any) -> Any:
    if not _plain_numbers(texts):
        special = pc.match_substring_regex(texts, _NAN_OR_INFINITE)
        if not _plain_numbers(texts.filter(pc.invert(special))):
            return None
    try:
        doubles = texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    return doubles if all_exact(texts, doubles) else None


def _plain_numbers(texts: Any) -> bool:
    """Whether texts hold nothing but digits, signs and such, without leading zeros or plus."""
    if not len(texts):
        return True
    bounds = _bounds(texts)
    data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[: bounds[-1]]
    if not _IN_NUMBERS[data[bounds[0] :]].all():
        return False
    padded = np.concatenate([data, np.zeros(2, np.uint8)])
    starts = bounds[:-1] + (padded[bounds[:-1]] == _MINUS)
    second = padded[starts + 1]
    inside = starts + 1 < bounds[1:]
    zeros = (padded[starts] == _ZERO) & (second >= _ZERO) & (second <= _NINE) & inside
    return not (zeros.any() or (padded[starts] == _PLUS).any())
