"""Which objects of a batch are made rows of together, so that none changes how another lands.

What a field means is decided for a whole table at a time: from its name, its type and the fields
beside it. So only objects come into one table that agree on all of this; where they lack fields
does not matter. Each group is then made rows of by itself, and the rows meet under their column
names, see `rows`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.attributes import name_of_nanoseconds, place_of
from lakerunner.formats.records.fields import squash, take_apart
from lakerunner.formats.records.json_read import MOST_COLUMNS, too_sparse
from lakerunner.formats.records.lines import Records
from lakerunner.formats.records.plain_types import tables_together
from lakerunner.formats.records.shapes import names_by_payload, renamed, shapes_by_names
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_DATE = "date"  # of which the type tells a shape
_NS_OF_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_LARGEST = 2**63 - 1


def alike(records: Records, payloads: int, signal: Signal) -> bool:
    """Whether each payload of some records would make the same columns of its records if alone.

    Told from what all of them made together: the answer may be no where it need not be.

    Args:
        records: What a reader made of them in one go.
        payloads: How many they are.
        signal: Which table their rows are for.

    Example:
        >>> table = pa.table({"value": [0.5, 2.0], "metric": ["a", "b"]})
        >>> alike(Records(table, np.array([0, 1])), 2, Signal.LOGS)
        True
        >>> alike(Records(table, np.array([0, 1])), 2, Signal.METRICS)
        False
    """
    if payloads < 2 or not records.table.num_rows:  # noqa: PLR2004 - one is like itself
        return True
    payload = records.payload
    for name, column in zip(records.table.column_names, records.table.columns, strict=True):
        exact = signal is Signal.METRICS or name == _DATE
        if not _same_alone(_chunk(column), payload, exact=exact):
            return False
    meanings = [squash(place_of(name)[1]) for name in _leaf_names(records.table.schema)]
    if len(set(meanings)) < len(meanings) or len(meanings) > MOST_COLUMNS:
        return False  # of very many keys some may be too rare for a column in a payload alone
    names = names_by_payload(records.table, payload, payloads)
    return len({tuple(map(id, shapes_by_names(each, records.table))) for each in set(names)}) == 1


def _chunk(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _same_alone(values: Any, payload: Any, *, exact: bool) -> bool:
    """Whether each payload alone would have a column of this type, or none at all.

    Args:
        values: The column.
        payload: int per row.
        exact: Whether it matters that a payload of whole numbers has integers if alone.
    """
    dtype = values.type
    if pa.types.is_floating(dtype):
        numbers = values.to_numpy(zero_copy_only=False)
        told = np.isfinite(numbers) & (np.floor(numbers) != numbers)
        there = np.asarray(values.is_valid())
        if not exact:  # read as doubles whole numbers are the same, but that zero has two
            return bool(told[there].any() and not ((numbers == 0) & np.signbit(numbers)).any())
        return _each(payload, there, told)
    if not pa.types.is_struct(dtype):
        return True
    parts = values.flatten()
    filled = np.zeros(len(values), bool)
    for part in parts:
        filled |= np.asarray(part.is_valid())
    if not _each(payload, np.asarray(values.is_valid()), filled):
        return False
    return all(_same_alone(part, payload, exact=exact) for part in parts)


def _each(payload: Any, among: Any, having: Any) -> bool:
    """Whether every payload with some rows among these has one that has what is asked for."""
    return bool(np.isin(np.unique(payload[among]), payload[having]).all())


def _leaf_names(fields: Iterable[pa.Field], above: str = "") -> list[str]:
    names = []
    for field in fields:
        name = f"{above}{field.name}"
        inside = field.type if pa.types.is_struct(field.type) else ()
        names += _leaf_names(inside, f"{name}.") if len(inside) else [name]
    return names


class _Profile(NamedTuple):
    """What decides how the records of a payload land.

    Attributes:
        shapes: The known shapes they have.
        fields: By what a name means: the fields of that meaning, in order, with their types.
        kinds: By the path of each field and of all around it: what it is.
    """

    shapes: tuple[int, ...]
    fields: dict[str, tuple[tuple[str, ...], ...]]
    kinds: dict[tuple[str, ...], str]

    def agrees(self, other: _Profile) -> bool:
        """Whether records of both land alone as they do together."""
        return (
            self.shapes == other.shapes
            and _agree(self.fields, other.fields)
            and _agree(self.kinds, other.kinds)
        )


def _agree(ours: dict[Any, Any], theirs: dict[Any, Any]) -> bool:
    few, many = sorted((ours, theirs), key=len)
    return all(many.get(name, kind) == kind for name, kind in few.items())


class _Group:
    """Payloads whose records come into one table.

    Attributes:
        profile: What they have in common, and what some of them have.
        parts: Their records.
    """

    def __init__(self, profile: _Profile) -> None:
        self.profile = profile
        self.parts: list[Records] = []
        self._rows = 0
        self._bytes = 0

    def takes(self, profile: _Profile, records: Records) -> bool:
        """Whether a payload may be added."""
        if not self.profile.agrees(profile):
            return False
        columns = len(self.profile.kinds.keys() | profile.kinds.keys())
        rows = self._rows + records.table.num_rows
        size = self._bytes + records.table.nbytes
        return not too_sparse(columns, rows, size)

    def add(self, profile: _Profile, records: Records) -> None:
        """Add a payload."""
        self.profile.fields.update(profile.fields)
        self.profile.kinds.update(profile.kinds)
        self.parts.append(records)
        self._rows += records.table.num_rows
        self._bytes += records.table.nbytes


def grouped(parts: Sequence[Records], renames: dict[str, str]) -> list[Records]:
    """Put together the records of payloads that agree in all that decides how they land.

    Args:
        parts: The records of one payload each.
        renames: What the user calls fields, by their keys.

    Returns:
        One for each group, in order of appearance.

    Example:
        >>> tables = [pa.table({"a": [1]}), pa.table({"a": ["x"]}), pa.table({"a": [2], "b": [3]})]
        >>> parts = [Records(table, np.array([n], np.int32)) for n, table in enumerate(tables)]
        >>> [group.table.to_pylist() for group in grouped(parts, {})]
        [[{'a': 1, 'b': None}, {'a': 2, 'b': 3}], [{'a': 'x'}]]
    """
    groups: list[_Group] = []
    known: dict[Any, _Group] = {}
    for records in parts:
        profile = _profile(records, renames)
        exact = (profile.shapes, tuple(profile.fields.items()), tuple(profile.kinds.items()))
        group = known.get(exact)
        if group is None:
            for each in groups:
                if each.takes(profile, records):
                    group = each
                    break
            else:
                group = _Group(profile)
                groups.append(group)
            known[exact] = group
        group.add(profile, records)
    return [_together(group.parts) for group in groups]


def _together(parts: list[Records]) -> Records:
    if len(parts) == 1:
        return parts[0]
    return Records(
        tables_together([part.table for part in parts]),
        np.concatenate([part.payload for part in parts]),
        tuple(aside for part in parts for aside in part.set_aside),
    )


def _profile(records: Records, renames: dict[str, str]) -> _Profile:
    table = records.table
    names = names_by_payload(table, np.zeros(table.num_rows, np.int32), 1)[0]
    shapes = shapes_by_names(names, table)
    kinds: dict[tuple[str, ...], str] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        _kinds((field.name,), _chunk(column), kinds)
    fields: dict[str, tuple[tuple[str, ...], ...]] = {}
    for path, kind in kinds.items():
        if not kind.startswith("("):
            key = ".".join(path[::2])
            key = renamed(key, shapes, renames)
            key = name_of_nanoseconds(key) if kind.startswith("duration[") else key
            meaning = squash(place_of(key)[1])
            fields[meaning] = (*fields.get(meaning, ()), (*path, kind))
    return _Profile(tuple(map(id, shapes)), fields, kinds)


def _kinds(path: tuple[str, ...], values: Any, found: dict[tuple[str, ...], str]) -> None:
    """Collect the types of a column and of all inside of it that has a value."""
    dtype = values.type
    if values.null_count == len(values):
        return
    if pa.types.is_struct(dtype) and dtype.num_fields:
        found[path] = "(object)"
        for child, part in zip(dtype, values.flatten(), strict=True):
            _kinds((*path, "object", child.name), part, found)
    elif pa.types.is_map(dtype) and pa.types.is_string(dtype.key_type):
        found[path] = "(map)"
        for field in take_apart(pa.table({"": values})):
            found[*path, "map", field.key.removeprefix(".")] = _kind(field.values)
    else:
        found[path] = _kind(values)


def _kind(values: Any) -> str:
    """The type of a field, and whether it goes beyond what a column holds."""
    dtype = values.type
    beyond = False
    if pa.types.is_uint64(dtype):
        beyond = pc.max(values).as_py() > _LARGEST
    elif (pa.types.is_timestamp(dtype) or pa.types.is_duration(dtype)) and dtype.unit != "ns":
        largest = pc.max(pc.abs(values.cast(pa.int64()))).as_py()
        beyond = largest * _NS_OF_UNIT[dtype.unit] > _LARGEST
    return f"{dtype} beyond" if beyond else str(dtype)
