"""Column types by name, and the type under which columns of several types are read together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMESTAMP = pa.timestamp("ns", "UTC")

TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": TIMESTAMP,
    "int32": pa.int32(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
}
"""The types an attribute or a scalar column may have, by the name catalogs keep."""

_NAMES = {dtype: name for name, dtype in TYPES.items()}
_INTEGERS = frozenset({"int32", "int64", "uint32"})


def type_name(dtype: pa.DataType) -> str:
    """Name of an Arrow type; a dictionary has the name of its values, a nested type Arrow's own.

    Example:
        >>> type_name(pa.dictionary(pa.int32(), pa.string())), type_name(pa.list_(pa.int64()))
        ('string', 'list<item: int64>')
    """
    if pa.types.is_dictionary(dtype):
        return type_name(dtype.value_type)
    if pa.types.is_large_string(dtype):
        return "string"
    return _NAMES.get(dtype) or str(dtype)


def common_type(names: Iterable[str]) -> str:
    """The type that can hold values of all given types.

    One type is itself, integers meet in `int64`, numbers in `double`, and anything else in
    `string`, where numbers and booleans read as they would be written in JSON.

    Example:
        >>> common_type(["int64", "double"]), common_type(["int64", "bool"])
        ('double', 'string')
    """
    distinct = set(names)
    if len(distinct) == 1:
        return distinct.pop()
    if distinct <= _INTEGERS:
        return "int64"
    if distinct <= _INTEGERS | {"double", "uint64"}:
        return "double"
    return "string"
