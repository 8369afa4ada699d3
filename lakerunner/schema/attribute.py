"""Attributes as columns, on their way into a table: names, types, original keys, overflow."""

from __future__ import annotations

import re
from hashlib import blake2s
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_KEY, _TYPES, _OVERFLOW = b"lakerunner.key", b"lakerunner.types", b"lakerunner.overflow"


class AttributeColumn(NamedTuple):
    """One attribute as a column.

    Attributes:
        values: Arrow array, one row per record; a resource attribute may be a dictionary.
        key: The key as it was sent.
        types: The value types that were sent, before they were merged: `string`, `int64`,
            `double`, `bool`, `array`, `map`, `bytes`.
    """

    values: Any
    key: str
    types: tuple[str, ...]


class OverflowPairs(NamedTuple):
    """Attributes without a column of their own, in long form.

    Attributes:
        rows: int32, ascending: the row of each pair.
        names: String array: the column name each would have had.
        values: String array: the value as text, JSON for nested ones.
        types: By column name: the key as sent, and the value types that were sent.
    """

    rows: Any
    names: Any
    values: Any
    types: dict[str, tuple[str, tuple[str, ...]]]


class AttributeTable(NamedTuple):
    """The attributes of a batch.

    Attributes:
        columns: By column name, in name order.
        overflow: The rest, or None.
    """

    columns: dict[str, AttributeColumn]
    overflow: OverflowPairs | None


def attribute_field(name: str, column: AttributeColumn) -> pa.Field:
    """The Arrow field of an attribute column, with the original key and types as metadata."""
    metadata = {_KEY: column.key.encode(), _TYPES: ",".join(column.types).encode()}
    return pa.field(name, column.values.type, metadata=metadata)


def common_field(name: str, values: Any, fields: Sequence[pa.Field]) -> pa.Field:
    """The field of a column that was put together from several, with the metadata of all.

    Args:
        name: Of the column.
        values: All of its values.
        fields: Those of the parts.
    """
    if pa.types.is_map(values.type):
        known: dict[str, tuple[str, tuple[str, ...]]] = {}
        for field in fields:
            for held, (key, types) in overflow_types(field).items():
                before = known.get(held, (key, ()))
                known[held] = (min(key, before[0]), tuple(dict.fromkeys(before[1] + types)))
        return overflow_field(name, known)
    types = tuple(dict.fromkeys(each for field in fields for each in field_types(field)))
    metadata = {_TYPES: ",".join(types).encode()} if any(field.metadata for field in fields) else {}
    keys = [field.metadata[_KEY] for field in fields if _KEY in (field.metadata or {})]
    if keys:
        metadata[_KEY] = min(keys)
    return pa.field(name, values.type, metadata=metadata or None)


def overflow_field(name: str, types: dict[str, tuple[str, tuple[str, ...]]]) -> pa.Field:
    """The Arrow field of the overflow map, with the keys and types of all it holds as metadata."""
    dtype = pa.map_(pa.string(), pa.string())
    return pa.field(name, dtype, metadata={_OVERFLOW: msgspec.json.encode(types)})


def field_key(field: pa.Field) -> str:
    """The attribute key a column was made from; empty for any other column."""
    key: bytes = (field.metadata or {}).get(_KEY, b"")
    return key.decode()


def field_types(field: pa.Field) -> tuple[str, ...]:
    """The value types that were merged into an attribute column; empty for any other column."""
    written = (field.metadata or {}).get(_TYPES, b"").decode()
    return tuple(written.split(",")) if written else ()


def overflow_types(field: pa.Field) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What the overflow map may hold: by column name, the key and the value types."""
    written = (field.metadata or {}).get(_OVERFLOW)
    kind = dict[str, tuple[str, tuple[str, ...]]]
    return msgspec.json.decode(written, type=kind) if written else {}


def overflow_column_type(types: tuple[str, ...]) -> str:
    """The column type under which an overflow attribute is read.

    Example:
        >>> overflow_column_type(("int64",)), overflow_column_type(("map",))
        ('int64', 'string')
    """
    return types[0] if len(types) == 1 and types[0] in {"int64", "double", "bool"} else "string"


class OverflowMap(NamedTuple):
    """The overflow of a batch, folded.

    Attributes:
        values: Map array, one row per record; NULL where a record has none. No name stands twice
            in a row, which some readers of Parquet would refuse.
        repeats: Names that were given to second and further values of one name in one row, and
            the name they repeat.
    """

    values: Any
    repeats: dict[str, str]


def overflow_map(pairs: list[OverflowPairs], rows: int) -> OverflowMap:
    """Fold overflow pairs into a map array of `rows` rows.

    A name that stands twice in a row is given a number the second time: `attr_x__2`.

    Args:
        pairs: From several prefixes of the same batch.
        rows: Rows of the batch.

    Example:
        >>> pair = OverflowPairs(np.array([1, 1]), pa.array(["attr_x"] * 2), pa.array("78"), {})
        >>> overflow_map([pair], 2).values.to_pylist()
        [None, [('attr_x', '7'), ('attr_x__2', '8')]]
    """
    owner = np.concatenate([part.rows for part in pairs])
    order = np.argsort(owner, kind="stable")
    names = pa.concat_arrays([part.names for part in pairs]).take(pa.array(order))
    values = pa.concat_arrays([part.values for part in pairs]).take(pa.array(order))
    names, repeats = _number_repeats(owner[order], names)
    counts = np.bincount(owner, minlength=rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    maps = pa.MapArray.from_arrays(pa.array(offsets), names, values)
    present = pa.array(np.arange(rows), mask=counts == 0)
    return OverflowMap(maps.take(present), repeats)


def _number_repeats(rows: Any, names: Any) -> tuple[Any, dict[str, str]]:
    encoded = names.dictionary_encode()
    keys = rows.astype(np.int64) * max(len(encoded.dictionary), 1) + np.asarray(encoded.indices)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    turn = np.empty(len(keys), np.int64)
    turn[order] = np.arange(len(keys)) - np.searchsorted(ordered, ordered)
    again = np.flatnonzero(turn)
    if not len(again):
        return names, {}
    numbers = pa.array(turn[again] + 1).cast(pa.string())
    numbered = pc.binary_join_element_wise(names.take(pa.array(again)), numbers, "__")
    mask = np.zeros(len(keys), bool)
    mask[again] = True
    repeats = {name: name.rpartition("__")[0] for name in numbered.unique().to_pylist()}
    return pc.replace_with_mask(names, mask, numbered), repeats


# How an attribute key becomes a column name.

RESOURCE, SCOPE, RECORD = "resource_", "scope_", "attr_"
"""Prefixes of attribute columns, by the message that holds the attribute."""

OVERFLOW = "attribute_overflow"
"""The map column that holds attributes beyond the column cap: column name to value as text."""

_DIGITS = 6
"""Digits of a digest that tell two keys of one folded name apart, if they can."""

_FOLDED = re.compile(r"[^a-z0-9]")


def column_name(prefix: str, key: str) -> str:
    """Fold a key: lower case, and every character outside `[a-z0-9]` becomes `_`.

    Example:
        >>> column_name("resource_", "Service.Name"), column_name("attr_", "k8s/größe")
        ('resource_service_name', 'attr_k8s_gr__e')
    """
    return prefix + _FOLDED.sub("_", key.lower())


def assign_names(
    prefix: str, keys: Iterable[str], reserved: Collection[str] = ()
) -> dict[str, str]:
    """Give every key of one prefix a column name of its own.

    Of several keys that fold to one name, the first in text order keeps it (so `http.method` comes
    before `http_method`); each other one gets a suffix made from the key alone, so that it has the
    same name in every segment where it is not first. Names in `reserved` are never given out.

    Returns:
        Column name by key.

    Example:
        >>> assign_names("attr_", ["a_b", "a.b", "c"])
        {'a.b': 'attr_a_b', 'a_b': 'attr_a_b__80b05e', 'c': 'attr_c'}
    """
    names: dict[str, str] = {}
    used = set(reserved)
    for key in sorted(keys):
        name = column_name(prefix, key)
        if name in used:
            name = next(longer for longer in other_names(name, key) if longer not in used)
        used.add(name)
        names[key] = name
    return names


def other_names(name: str, key: str) -> tuple[str, ...]:
    """Names that a key may have where another one keeps its folded name, the likeliest first.

    Example:
        >>> other_names("attr_a_b", "a_b")[:2]
        ('attr_a_b__80b05e', 'attr_a_b__80b05ec')
    """
    digest = blake2s(key.encode("utf-8", "surrogatepass")).hexdigest()
    return tuple(f"{name}__{digest[:length]}" for length in range(_DIGITS, len(digest) + 1))
