"""Find out what a column of text holds: integers, doubles, booleans, or text after all.

A type is given only where every value would be written the same way again: `007`, `+1`, `1.10` and
`12e4` are text, and so is what stood in quotes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.schema.text import double_text

if TYPE_CHECKING:
    from collections.abc import Collection

_LOOKED_AT = 100
_INTEGER = r"^-?\d+$"
_NUMBER = r"^-?\d+(\.\d+)?(e[+-]\d+)?$|^(NaN|-?Infinity)$"
_BOOLEANS = pa.array(["true", "false"])
_POWERS = np.array([10**digits for digits in range(1, 19)], np.int64)


def typed_columns(
    texts: dict[str, Any], payload: Any, quoted: Collection[str], *, empty: bool
) -> tuple[pa.Table, bool]:
    """Read columns of text as what they hold.

    Args:
        texts: `pa.StringArray` by name.
        payload: int per row: position of its payload in the batch, ascending.
        quoted: Names of columns in which some value stood in quotes: they are text.
        empty: Whether there may be empty texts. They are NULL where the others are no text.

    Returns:
        The columns, and whether each payload alone would give the same types.
    """
    columns: dict[str, Any] = {}
    alike = True
    for name, values in texts.items():
        holes = pc.equal(values, "") if empty else None
        holed = holes is not None and bool(pc.any(holes, min_count=0).as_py())
        typed = values
        if name not in quoted:
            typed = typed_column(pc.if_else(holes, None, values) if holed else values)
        if holed and (pa.types.is_string(typed.type) or pa.types.is_null(typed.type)):
            typed = values
        columns[name] = typed
        if pa.types.is_string(typed.type):
            alike = alike and _text_in_each(values, payload)
        else:
            alike = alike and not holed
    return pa.table(columns), alike


def _text_in_each(texts: Any, payload: Any) -> bool:
    """Whether the first value of each payload is neither a number nor a truth value."""
    filled = np.flatnonzero(np.asarray(texts.is_valid()))
    _, firsts = np.unique(payload[filled], return_index=True)
    if len(firsts) < 2:  # noqa: PLR2004 - one payload decides alone
        return True
    heads = texts.take(pa.array(filled[firsts]))
    typed = pc.or_(pc.match_substring_regex(heads, _NUMBER), pc.is_in(heads, _BOOLEANS))
    return not pc.any(typed).as_py()


def typed_column(texts: Any) -> Any:
    """Read a column of text as what it holds.

    Args:
        texts: `pa.StringArray`.

    Returns:
        int64, double or bool; `texts` itself if it holds none of them; type null if all is NULL.

    Example:
        >>> [typed_column(pa.array(v)).type for v in (["1", None], ["1", "2.5"], ["1.0"], ["true"])]
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
    """The numbers; None if one of them would be written in another way."""
    head = texts.slice(0, _LOOKED_AT)
    if len(texts) > len(head) and _doubles(head) is None:
        return None
    try:
        doubles = texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    return doubles if double_text(doubles).equals(texts) else None


# Columns of numbers from how they were written, with none rounded.

_NO_INTEGER = "[.eENIni]"
_SAFE_DIGITS = 15  # every integer of so many digits is a double exactly
_EXACT = float(2**53)
_SPECIALS = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}


def number_column(written: Any) -> Any:
    """Read JSON numbers as int64, uint64 or double, whichever holds all of them exactly.

    Args:
        written: `pa.StringArray` of JSON numbers, NaN and infinities.

    Returns:
        Numbers; or `written` itself if an integer among them would be rounded or a number is too
        large for a double.

    Example:
        >>> number_column(pa.array(["1", "18446744073709551615"])).type
        DataType(uint64)
        >>> number_column(pa.array(["0.5", "9007199254740993"])).to_pylist()
        ['0.5', '9007199254740993']
    """
    fractional = pc.match_substring_regex(written, _NO_INTEGER)
    if not pc.any(fractional, min_count=0).as_py():
        for dtype in (pa.int64(), pa.uint64()):
            integers = _cast(written, dtype)
            if integers is not None:
                return integers
        return written
    doubles = _cast(_arrow_spelling(written), pa.float64())
    if doubles is None or not all_exact(written, doubles):
        return written
    return doubles


def exact_doubles(integers: Any) -> bool:
    """Whether every integer of an array is a double exactly.

    Example:
        >>> exact_doubles(pa.array([2**53])), exact_doubles(pa.array([2**53 + 1]))
        (True, False)
    """
    if pa.types.is_uint64(integers.type):
        return False
    values = integers.drop_null().to_numpy(zero_copy_only=False)
    doubles = values.astype(np.float64)
    inside = doubles < 2.0**63  # the largest integers round up to what int64 cannot hold
    return bool(inside.all() and (doubles.astype(np.int64) == values).all())


def _cast(written: Any, dtype: pa.DataType) -> Any:
    try:
        return written.cast(dtype)
    except pa.ArrowInvalid:
        return None


def _arrow_spelling(written: Any) -> Any:
    if pc.any(pc.match_substring_regex(written, "[NI]"), min_count=0).as_py():
        for name, spelling in _SPECIALS.items():
            written = pc.if_else(pc.equal(written, name), spelling, written)
    return written


def all_exact(written: Any, doubles: Any) -> bool:
    """Whether no number was rounded that was written as an integer, and none has overflown.

    Args:
        written: The numbers as text.
        doubles: What they were read as.
    """
    largest = pc.max(pc.abs(doubles)).as_py()
    if largest is None or largest < _EXACT:  # no comparison holds for NaN, which Arrow passes over
        return True
    overflown = pc.and_(pc.is_inf(doubles), pc.invert(pc.match_substring_regex(written, "[iI]nf")))
    if pc.any(overflown, min_count=0).as_py():
        return False
    fractional = pc.match_substring_regex(written, _NO_INTEGER)
    long = pc.greater(pc.binary_length(written), _SAFE_DIGITS)
    integers = _cast(written.filter(pc.and_(long, pc.invert(fractional))), pa.int64())
    return integers is not None and exact_doubles(integers)
