"""Columns of numbers from how they were written, with none rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
