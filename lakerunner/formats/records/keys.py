"""Columns that came from a lake: give them the keys they had before they went in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.schema.attribute import field_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

# Not `scope.name`, which is a column: these say that what follows is an attribute's key.
_PLACES = {"attr": "attributes", "resource": "resource.attributes", "scope": "scope.attributes"}


def restore_keys(table: pa.Table) -> pa.Table:
    """Rename attribute columns by the original key in the metadata of their fields.

    Example:
        >>> import pyarrow as pa
        >>> field = pa.field("attr_a_b", pa.int64(), metadata={"lakerunner.key": "a.b"})
        >>> restore_keys(pa.table([[1]], schema=pa.schema([field]))).column_names
        ['attributes.a.b']
    """
    names = []
    for field in table.schema:
        key, place = field_key(field), _PLACES.get(field.name.partition("_")[0])
        names.append(f"{place}.{key}" if key and place else field.name)
    return table.rename_columns(names)


def distinct(names: Sequence[str]) -> list[str]:
    """Names with a number behind all but the first of each, such as `a#2`.

    Example:
        >>> distinct(["a", "b", "a", "a#2"])
        ['a', 'b', 'a#3', 'a#2']
    """
    given, taken = frozenset(names), set[str]()
    turns: dict[str, int] = {}
    made = []
    for name in names:
        unique, turn = name, turns.get(name, 1)
        while unique in taken or (turn > 1 and unique in given):
            turn += 1
            unique = f"{name}#{turn}"
        turns[name] = turn
        taken.add(unique)
        made.append(unique)
    return made
