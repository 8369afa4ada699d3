"""Columns of any Arrow type as text, and bytes as text: whole columns at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Base64 for whole columns (RFC 4648, standard alphabet, padded).

_ALPHABET = np.frombuffer(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8
)


def base64_text(values: Any) -> Any:
    """Write every value as base64.

    Args:
        values: `pa.BinaryArray`.

    Returns:
        `pa.StringArray` with the same NULLs.

    Example:
        >>> base64_text(pa.array([b"hi", b"", None], pa.binary())).to_pylist()
        ['aGk=', '', None]
    """
    compact = pa.concat_arrays([values, pa.array([], values.type)])
    validity, offsets_buffer, data_buffer = compact.buffers()
    if data_buffer is None or not len(compact):
        return compact.cast(pa.string())
    offsets = np.frombuffer(offsets_buffer, np.int32)[: len(compact) + 1].astype(np.int64)
    data = np.frombuffer(data_buffer, np.uint8)[: offsets[-1]]
    lengths = np.diff(offsets)
    groups = -(-lengths // 3)
    group_offsets = np.concatenate([[0], np.cumsum(groups)])
    owner = np.repeat(np.arange(len(lengths)), groups)
    within = np.arange(group_offsets[-1]) - group_offsets[owner]
    first = offsets[owner] + 3 * within
    padded = np.concatenate([data, np.zeros(2, np.uint8)])
    left = offsets[owner + 1] - first  # bytes of the value from this group on
    second, third = (left > further for further in (1, 2))
    a = padded[first].astype(np.uint32)
    b = np.where(second, padded[first + 1], 0).astype(np.uint32)
    c = np.where(third, padded[first + 2], 0).astype(np.uint32)
    word = a << 16 | b << 8 | c
    digits = np.stack([_ALPHABET[word >> shift & 63] for shift in (18, 12, 6, 0)], axis=1)
    digits[~second, 2] = ord("=")
    digits[~third, 3] = ord("=")
    text_offsets = (group_offsets * 4).astype(np.int32)
    return pa.StringArray.from_buffers(
        len(compact),
        pa.py_buffer(text_offsets),
        pa.py_buffer(np.ascontiguousarray(digits)),
        validity,
        compact.null_count,
    )


# How numbers are written as text: exactly, and the same number always the same way.

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


# Write columns of any Arrow type as JSON text, a whole column at a time.
#
# A loop here runs over the fields of a type. Numbers are written so that they read back exactly,
# NaN
# and the infinities are text, bytes are base64 text, times are RFC 3339, and other types are the
# text
# that Arrow makes of them.

_CONTROL = '[\\x00-\\x1f"\\\\]'
_ESCAPES = {'"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def quote(strings: Any) -> Any:
    r"""Write strings as JSON strings, in quotes.

    Example:
        >>> print(*quote(pa.array(['say "hi"', "a\nb"])).to_pylist())
        "say \"hi\"" "a\nb"
    """
    if pc.any(pc.match_substring_regex(strings, _CONTROL)).as_py():
        strings = pc.replace_substring(strings, "\\", "\\\\")
        for code in range(32):
            character = chr(code)
            escape = _ESCAPES.get(character, f"\\u{code:04x}")
            strings = pc.replace_substring(strings, character, escape)
        strings = pc.replace_substring(strings, '"', '\\"')
    return pc.binary_join_element_wise('"', strings, '"', "")


def json_text(values: Any) -> Any:
    """JSON text of each value; NULL for NULL.

    Fields of an object that are NULL are left out, elements of a list that are NULL are `null`.

    Args:
        values: Arrow array of any type.

    Returns:
        `pa.StringArray` of the same length.

    Example:
        >>> json_text(pa.array([{"a": [1, None], "b": "x"}, {"a": None, "b": None}])).to_pylist()
        ['{"a":[1,null],"b":"x"}', '{}']
    """
    dtype = values.type
    if pa.types.is_dictionary(dtype):
        return json_text(values.cast(dtype.value_type))
    if pa.types.is_struct(dtype):
        return _objects(values)
    if pa.types.is_map(dtype):
        return _maps(values)
    if pa.types.is_nested(dtype):
        return _lists(values)
    return _scalars(values)


def _scalars(values: Any) -> Any:
    dtype = values.type
    if pa.types.is_floating(dtype):
        doubles = values.cast(pa.float64())
        written = double_text(doubles)
        return pc.if_else(pc.is_finite(doubles), written, quote(written))
    if pa.types.is_boolean(dtype) or pa.types.is_integer(dtype):
        return values.cast(pa.string())
    if pa.types.is_timestamp(dtype):
        return quote(_times(values))
    if pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype):
        return quote(base64_text(values.cast(pa.binary())))
    if pa.types.is_fixed_size_binary(dtype):
        return quote(base64_text(values.cast(pa.binary())))
    return quote(values.cast(pa.string()))


def _times(values: Any) -> Any:
    text = pc.replace_substring(values.cast(pa.string()), " ", "T")
    if values.type.tz is None:
        return pc.binary_join_element_wise(text, "Z", "")
    return text


def _objects(values: Any) -> Any:
    # Each field ends in a comma, so that those left out leave nothing; the last comma is cut off.
    parts = [
        pc.coalesce(pc.binary_join_element_wise(_name(field), written, ",", ""), "")
        for field, child in zip(values.type, values.flatten(), strict=True)
        if not pa.types.is_null(field.type)
        for written in (json_text(child),)
    ]
    if not parts:
        parts = [pc.fill_null(pa.nulls(len(values), pa.string()), "")]
    inner = pc.binary_join_element_wise(*parts, "")
    inner = pc.utf8_slice_codeunits(inner, 0, -1)
    return _enclose("{", inner, "}", values)


def _name(field: Any) -> str:
    """A field's name as JSON, with the colon behind it."""
    return f"{quote(pa.array([field.name]))[0].as_py()}:"


def _maps(values: Any) -> Any:
    keys = values.keys
    names = keys if pa.types.is_string(keys.type) else json_text(keys)
    items = pc.coalesce(json_text(values.items), "null")
    pairs = pc.binary_join_element_wise(quote(names), items, ":")
    return _enclose("{", _joined(pairs, values.offsets), "}", values)


def _lists(values: Any) -> Any:
    if pa.types.is_fixed_size_list(values.type) or pa.types.is_large_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    elements = pc.coalesce(json_text(values.values), "null")
    return _enclose("[", _joined(elements, values.offsets), "]", values)


def _joined(elements: Any, offsets: Any) -> Any:
    """Elements of each row, joined by commas. What lies behind a NULL row is joined in vain."""
    return pc.binary_join(pa.ListArray.from_arrays(offsets.cast(pa.int32()), elements), ",")


def _enclose(opening: str, inner: Any, closing: str, values: Any) -> Any:
    whole = pc.binary_join_element_wise(opening, inner, closing, "")
    if not values.null_count:
        return whole
    return pc.if_else(values.is_valid(), whole, pa.scalar(None, pa.string()))


# Turn bytes that ought to be UTF-8 into text, for whole columns at once.

_SURROGATE = b"\xed\xa0"
"""First byte of a surrogate, and the least its second byte can be."""


class Repaired(NamedTuple):
    """Text, and how much of it had to be mended.

    Attributes:
        text: String array of the same length and NULLs as the input.
        invalid_bytes: Bytes that were no UTF-8; each became one U+FFFD.
    """

    text: Any
    invalid_bytes: int


def repair_utf8(values: Any) -> Repaired:
    r"""Read a binary array as text, replacing every byte that is not UTF-8 by U+FFFD.

    Valid values are not changed. Lone surrogates are not valid UTF-8 and are replaced too.

    Args:
        values: `pa.BinaryArray`.

    Example:
        >>> repaired = repair_utf8(pa.array([b"ok", b"a\xffb", None], pa.binary()))
        >>> repaired.text.to_pylist(), repaired.invalid_bytes
        (['ok', 'a\ufffdb', None], 1)
    """
    try:
        return Repaired(values.cast(pa.string()), 0)
    except pa.ArrowInvalid:
        pass
    compact = pa.concat_arrays([values, pa.array([], values.type)])  # offsets now start at zero
    validity, offsets_buffer, data_buffer = compact.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[: len(compact) + 1]
    data, text_offsets, invalid = _replace_invalid(data_buffer.to_pybytes(), offsets)
    text = pa.StringArray.from_buffers(
        len(compact), pa.py_buffer(text_offsets), pa.py_buffer(data), validity, compact.null_count
    )
    return Repaired(text, invalid)


def _replace_invalid(data: bytes, offsets: Any) -> tuple[bytes, Any, int]:
    """Replace invalid bytes and move the offsets along.

    "surrogateescape" turns each invalid byte into one lone surrogate, which "surrogatepass" writes
    as three bytes beginning ED A0..BF, a sequence that valid UTF-8 never has. U+FFFD is three bytes
    too, so only those need to be overwritten, and offsets grow by two per invalid byte before them.
    """
    # A zero byte between values keeps one value's cut-off tail from joining the next one's start.
    source = np.frombuffer(data, np.uint8)
    starts = offsets[1:-1]
    separated = np.insert(source, starts, np.uint8(0)).tobytes()
    escaped = np.frombuffer(
        separated.decode("utf-8", "surrogateescape").encode("utf-8", "surrogatepass"), np.uint8
    ).copy()
    marks = np.flatnonzero((escaped[:-1] == _SURROGATE[0]) & (escaped[1:] >= _SURROGATE[1]))
    for step, byte in enumerate((0xEF, 0xBF, 0xBD)):
        escaped[marks + step] = byte
    original = marks - 2 * np.arange(len(marks))  # positions in the separated bytes
    separators = starts.astype(np.int64) + np.arange(len(starts))
    moved_separators = separators + 2 * np.searchsorted(original, separators)
    keep = np.ones(len(escaped), bool)
    keep[moved_separators] = False
    starts_moved = moved_separators - np.arange(len(starts))
    total = int(keep.sum())
    moved = np.concatenate([offsets[:1], starts_moved, [total]]).astype(np.int32)
    return escaped[keep].tobytes(), moved, len(marks)
