"""Write columns of any Arrow type as JSON text, a whole column at a time.

A loop here runs over the fields of a type. Numbers are written so that they read back exactly, NaN
and the infinities are text, bytes are base64 text, times are RFC 3339, and other types are the text
that Arrow makes of them.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.schema.base64 import base64_text
from lakerunner.schema.number_text import double_text

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
