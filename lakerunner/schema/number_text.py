"""How numbers are written as text: exactly, and the same number always the same way."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_LARGEST_EXACT = 2.0**53
_NAMES = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def double_text(values: Any) -> Any:
    """Write doubles so that they read back exactly; NaN and infinities as ProtoJSON names them.

    A whole number is written as the integer it equals, as long as a double holds every integer of
    its size: an integer keeps its text when a column of integers is merged with one of doubles.
    Zero keeps its sign.

    Example:
        >>> double_text(pa.array([0.5, 5.0, 1e15, 1e20, float("inf"), -0.0, None])).to_pylist()
        ['0.5', '5', '1000000000000000', '1e+20', 'Infinity', '-0', None]
    """
    written = values.cast(pa.string())
    for arrow_name, name in _NAMES.items():
        written = pc.if_else(pc.equal(written, arrow_name), name, written)
    in_powers = pc.match_substring(written, "e+")
    if pc.any(in_powers).as_py():
        whole = pc.and_(
            pc.equal(pc.floor(values), values),
            pc.less_equal(pc.abs(values), _LARGEST_EXACT),
        )
        integral = pc.if_else(pc.and_(in_powers, whole), values, pa.scalar(None, pa.float64()))
        written = pc.coalesce(integral.cast(pa.int64()).cast(pa.string()), written)
    return written
