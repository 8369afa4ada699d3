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
