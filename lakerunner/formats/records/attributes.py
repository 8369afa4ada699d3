"""Fields that no table column wants, as attributes: their names, types, and the overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.convert import plain_text
from lakerunner.limits import ATTRIBUTE_COLUMNS
from lakerunner.schema.arrays import TIMESTAMP, compact_strings
from lakerunner.schema.attribute import (
    RECORD,
    RESOURCE,
    SCOPE,
    AttributeColumn,
    AttributeTable,
    OverflowPairs,
    assign_names,
)
from lakerunner.schema.text import base64_text, json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lakerunner.formats.records.fields import Field

_PREFIXES = {
    "resource.attributes.": RESOURCE,
    "resource_attributes.": RESOURCE,
    "resourceAttributes.": RESOURCE,
    "resource.": RESOURCE,
    "resource_": RESOURCE,
    "scope.attributes.": SCOPE,
    "scope_attributes.": SCOPE,
    "scope.": SCOPE,
    "scope_": SCOPE,
    "attributes.": RECORD,
    "attr_": RECORD,
    "attr.": RECORD,
}
_LARGEST = 2**63 - 1


class _Typed(NamedTuple):
    values: Any
    types: tuple[str, ...]


def place_of(key: str) -> tuple[str, str]:
    """Column prefix and attribute key of a field.

    Example:
        >>> place_of("resource.service.name"), place_of("user")
        (('resource_', 'service.name'), ('attr_', 'user'))
    """
    if key in {RESOURCE, SCOPE, RECORD}:  # the column of an attribute whose key is empty
        return key, ""
    for beginning, prefix in _PREFIXES.items():
        if key.startswith(beginning) and len(key) > len(beginning):
            return prefix, key[len(beginning) :]
    return RECORD, key


def to_attributes(fields: Iterable[Field], reserved: frozenset[str]) -> dict[str, AttributeColumn]:
    """Make attribute columns of fields, by name in name order.

    Scalars keep their type; lists become JSON text, bytes base64 text, and dates and decimals text.
    Durations are whole nanoseconds, which their name says: `took` becomes `took_ns`; those that
    have too many are text with their unit, under their own name. Fields without any value are left
    out.

    Args:
        fields: The fields; their keys say where they belong, see `place_of`.
        reserved: Column names that are taken.
    """
    keyed: dict[tuple[str, str], _Typed] = {}
    for field in map(_with_unit, fields):
        typed = _typed(field.values)
        if typed is None:
            continue
        prefix, key = place_of(field.key)
        place, count = (prefix, key), 1
        while place in keyed:
            count += 1
            place = (prefix, f"{key}#{count}")
        keyed[place] = typed
    names: dict[tuple[str, str], str] = {}
    used = set(reserved)
    for prefix in (RESOURCE, SCOPE, RECORD):
        given = assign_names(prefix, [key for owner, key in keyed if owner == prefix], used)
        names |= {(prefix, key): name for key, name in given.items()}
        used |= set(given.values())
    columns = {
        names[place]: AttributeColumn(typed.values, place[1], typed.types)
        for place, typed in keyed.items()
    }
    return dict(sorted(columns.items()))


def within_cap(columns: dict[str, AttributeColumn], cap: int = ATTRIBUTE_COLUMNS) -> AttributeTable:
    """Keep so many columns, and put those with the fewest values into the overflow.

    Args:
        columns: Attributes by name, in name order.
        cap: Columns at most.
    """
    ranked = sorted(columns, key=lambda name: (columns[name].values.null_count, name))
    kept = frozenset(ranked[:cap])
    compact = {
        name: column._replace(values=compact_strings(column.values))
        for name, column in columns.items()
        if name in kept
    }
    spilled = {name: columns[name] for name in ranked[cap:]}
    return AttributeTable(compact, _overflow(spilled) if spilled else None)


def _with_unit(field: Field) -> Field:
    """A field whose values or whose name says their unit, where they have one."""
    dtype = field.values.type
    if not pa.types.is_duration(dtype):
        return field
    try:
        nanoseconds = field.values.cast(pa.duration("ns")).cast(pa.int64())
    except pa.ArrowInvalid:  # more than 292 years
        text = field.values.cast(pa.int64()).cast(pa.string())
        return field._replace(values=pc.binary_join_element_wise(text, dtype.unit, ""))
    return field._replace(key=name_of_nanoseconds(field.key), values=nanoseconds)


def name_of_nanoseconds(key: str) -> str:
    """The key under which a field of durations becomes an attribute."""
    return f"{key}_ns"


def _typed(values: Any) -> _Typed | None:
    if values.null_count == len(values):
        return None
    dtype = values.type
    if pa.types.is_dictionary(dtype):
        text = pa.types.is_string(dtype.value_type) and pa.types.is_int32(dtype.index_type)
        return _Typed(values, ("string",)) if text else _typed(values.cast(dtype.value_type))
    for belongs, typed in _SCALARS:
        if belongs(dtype):
            return typed(values)
    return _Typed(*_as_text(values))


def _integers(values: Any) -> _Typed:
    if pa.types.is_uint64(values.type) and pc.max(values).as_py() > _LARGEST:
        return _Typed(plain_text(values), ("int64",))
    return _Typed(values.cast(pa.int64()), ("int64",))


def _timestamps(values: Any) -> _Typed:
    try:
        aware = values if values.type.tz else pc.assume_timezone(values, "UTC")
        return _Typed(aware.cast(TIMESTAMP), ("timestamp",))
    except pa.ArrowInvalid:  # beyond the years 1677 to 2262: the number of units stays
        return _Typed(values.cast(pa.int64()), ("int64",))


_SCALARS: tuple[tuple[Callable[[Any], bool], Callable[[Any], _Typed]], ...] = (
    (pa.types.is_boolean, lambda values: _Typed(values, ("bool",))),
    (pa.types.is_integer, _integers),
    (pa.types.is_floating, lambda values: _Typed(values.cast(pa.float64()), ("double",))),
    (pa.types.is_timestamp, _timestamps),
)


def _as_text(values: Any) -> tuple[Any, tuple[str, ...]]:
    dtype = values.type
    if pa.types.is_struct(dtype) or pa.types.is_map(dtype):
        return json_text(values), ("map",)
    if pa.types.is_nested(dtype):
        return json_text(values), ("array",)
    if (
        pa.types.is_binary(dtype)
        or pa.types.is_large_binary(dtype)
        or pa.types.is_fixed_size_binary(dtype)
    ):
        return base64_text(values.cast(pa.binary())), ("bytes",)
    return plain_text(values), ("string",)


def _overflow(spilled: dict[str, AttributeColumn]) -> OverflowPairs:
    columns = spilled.values()
    rows = [np.flatnonzero(np.asarray(column.values.is_valid())) for column in columns]
    owners = np.repeat(np.arange(len(spilled)), [len(part) for part in rows])
    texts = [
        plain_text(column.values).take(pa.array(part))
        for column, part in zip(columns, rows, strict=True)
    ]
    flat = np.concatenate(rows)
    order = np.argsort(flat, kind="stable")
    return OverflowPairs(
        rows=flat[order].astype(np.int32),
        names=pa.array(list(spilled)).take(pa.array(owners[order])),
        values=pa.concat_arrays(texts).take(pa.array(order)),
        types={name: (column.key, column.types) for name, column in spilled.items()},
    )
