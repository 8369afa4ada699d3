"""Rows that came out of a lake, as `SELECT *` gives them: columns that only a lake writes.

They are told by the columns that every table of a lake has, and nothing else. What a lake found out
about a row when it came in is taken as it is: where its time is from, its raw times, its level,
its series. Log fingerprints are made anew, as they depend on the body alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.convert import to_integer, to_word
from lakerunner.formats.records.fields import Preferred
from lakerunner.model.signal import Signal
from lakerunner.schema.attribute import OVERFLOW, RECORD, RESOURCE, SCOPE, OverflowPairs, field_key
from lakerunner.schema.tables import OVERFLOW_TYPE, TABLE_OF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.formats.records.fields import Fields

MARKS = ("organization", "timestamp", "timestamp_source")
"""Columns by which rows of a lake are told."""
_DROPPED = {Signal.LOGS: ("organization", "fingerprint", "template")}
_LEVEL = "level"
_TAKEN = (
    "timestamp_source",
    "timestamp_raw",
    "start_timestamp_raw",
    "end_timestamp_raw",
    _LEVEL,
    "series_id",
    "fingerprint",
    "metadata",
    "scope_dropped_attributes_count",
    "resource_dropped_attributes_count",
    "resource_entity_refs",
)


class LakeOverflow(NamedTuple):
    """The overflow map of rows that came from a lake, taken out of their table.

    Attributes:
        table: The table without the maps of these rows.
        pairs: What the maps hold; None if there is nothing in them.
    """

    table: pa.Table
    pairs: OverflowPairs | None


def is_lake_row(table: pa.Table, names: frozenset[str]) -> bool:
    """Whether records came from a lake.

    Args:
        table: Where they are.
        names: Fields that have a value in them.
    """
    if not names.issuperset(MARKS):
        return False
    return all(table.schema.field(name).type == pa.string() for name in (MARKS[0], MARKS[2]))


def take_overflow(table: pa.Table, rows: Any) -> LakeOverflow:
    """Take the overflow map of some rows; it needs no columns the second time either.

    Args:
        table: Records; one chunk per column.
        rows: bool per row: which came from a lake.
    """
    if OVERFLOW not in table.column_names or table.schema.field(OVERFLOW).type != OVERFLOW_TYPE:
        return LakeOverflow(table, None)
    maps = table[OVERFLOW].combine_chunks()
    place = table.column_names.index(OVERFLOW)
    every = np.arange(len(maps))
    rest = table.set_column(place, OVERFLOW, maps.take(pa.array(every, mask=rows)))
    maps = maps.take(pa.array(every, mask=~rows))
    owners = np.repeat(every, np.diff(maps.offsets.to_numpy()))
    start = maps.offsets[0].as_py() if len(maps) else 0
    names = maps.keys.slice(start, len(owners))
    if not len(owners):
        return LakeOverflow(rest, None)
    types: dict[str, tuple[str, tuple[str, ...]]] = {
        name: (_key(name), ("string",)) for name in names.unique().to_pylist()
    }
    values = maps.items.slice(start, len(owners))
    return LakeOverflow(rest, OverflowPairs(owners.astype(np.int32), names, values, types))


def _key(name: str) -> str:
    return next((name.removeprefix(p) for p in (RESOURCE, SCOPE, RECORD) if name.startswith(p)), "")


def take_lake_columns(fields: Fields, signal: Signal, rows: Any) -> dict[str, Any]:
    """The columns that only a lake writes, of the rows that came from one.

    Args:
        fields: The fields nothing has used yet.
        signal: Which table.
        rows: bool per row: which came from a lake.
    """
    fields.drop(_DROPPED.get(signal, MARKS[:1]), rows)
    schema = TABLE_OF[signal].schema
    taken = {}
    for name in _TAKEN:
        if name in schema.names:
            dtype = schema.field(name).type
            convert = to_word if pa.types.is_string(dtype) else to_integer(dtype)
            found = fields.take([Preferred(name, rows)], convert)
            if found is not None:
                taken[name] = found.values
            elif name == _LEVEL:
                taken[name] = pa.nulls(fields.rows, dtype)
    return taken


def over(name: str, given: Any, derived: Any, rows: Any) -> Any:
    """A column as a lake gave it, and as it was derived where it gave none.

    Args:
        name: Of the column.
        given: What the rows of a lake have.
        derived: What all rows would have; None if it is nothing.
        rows: bool per row: which came from a lake. Where these have no level they get none, as
            what tells a level is not the same in every format.
    """
    if derived is None:
        return given
    plain = derived.cast(pa.string()) if pa.types.is_dictionary(derived.type) else derived
    return pc.if_else(pa.array(rows), given, plain) if name == _LEVEL else pc.coalesce(given, plain)


# Columns that came from a lake: give them the keys they had before they went in.

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
