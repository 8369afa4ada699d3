"""The columns of several segments as those of one: which there are, of what type, and the rows.

Nothing of a row is lost. A column has the type under which queries read it already; an attribute
that is a column in one segment and lies in the overflow map of the next becomes a column for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.limits import ATTRIBUTE_COLUMNS, PROMOTED_SHARE
from lakerunner.schema.arrays import TYPES, common_type, type_name
from lakerunner.schema.attribute import (
    OVERFLOW,
    RESOURCE,
    SCOPE,
    AttributeColumn,
    OverflowPairs,
    attribute_field,
    field_key,
    field_types,
    overflow_column_type,
    overflow_field,
    overflow_map,
    overflow_types,
)
from lakerunner.schema.text import double_text
from lakerunner.segments.codec import order_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lakerunner.model.segment import Segment
    from lakerunner.schema.tables import TableSpec

_LISTED = pa.dictionary(pa.int32(), pa.string())
_FEW_ROWS = 256
_DISTINCT_SHARE = 0.4


class Spilled(NamedTuple):
    """An attribute in the overflow map of a segment.

    Attributes:
        rows: Rows that have it.
        key: As it was sent.
        types: The value types that were sent.
        typed: Whether every value can be read as the type that these types say.
    """

    rows: int
    key: str
    types: tuple[str, ...]
    typed: bool = True

    @property
    def column_type(self) -> str:
        """Under which it is read."""
        return overflow_column_type(self.types) if self.typed else "string"


class Input(NamedTuple):
    """What is known of a segment before its rows are read.

    Attributes:
        segment: As the catalog describes it.
        schema: Of its file.
        spilled: What its overflow map holds, by column name.
    """

    segment: Segment
    schema: pa.Schema
    spilled: Mapping[str, Spilled]


def spilled_in(maps: Iterable[Any], field: pa.Field) -> dict[str, Spilled]:
    """What the overflow map of a segment holds.

    Args:
        maps: All chunks of the column.
        field: Its field, which names the keys and types.

    Example:
        >>> from lakerunner.schema.attribute import overflow_field
        >>> field = overflow_field("attribute_overflow", {"attr_n": ("n", ("int64",))})
        >>> spilled_in([pa.array([[("attr_n", "5")], None], field.type)], field)
        {'attr_n': Spilled(rows=1, key='n', types=('int64',), typed=True)}
    """
    known = overflow_types(field)
    found: dict[str, Spilled] = {}
    for chunk in maps:
        whole = pa.concat_arrays([chunk, pa.array([], chunk.type)])  # a slice holds its own only
        names = whole.keys.dictionary_encode()
        for code, name in enumerate(names.dictionary.to_pylist()):
            values = whole.items.filter(pc.equal(names.indices, code))
            key, types = known.get(name, ("", ("string",)))
            before = found.get(name, Spilled(0, key, types))
            typed = before.typed and _reads_as(values, overflow_column_type(types))
            found[name] = Spilled(before.rows + len(values), key, types, typed)
    return found


def _reads_as(values: Any, kind: str) -> bool:
    try:
        values.cast(TYPES[kind])
    except pa.ArrowInvalid:
        return False
    return True


class Union:
    """The columns of several segments together.

    Args:
        inputs: The segments; `policies.compaction.fitting_groups` says which go together.
        spec: Their table. Attributes in `TableSpec.always` become columns.
        read_as: By name, all types that any live segment has of a column: where the inputs differ,
            it becomes what queries make of all these.

    Attributes:
        schema: Of all rows, in the documented order of columns.
    """

    def __init__(
        self, inputs: Sequence[Input], spec: TableSpec, read_as: Mapping[str, Iterable[str]]
    ) -> None:
        self._inputs = inputs
        self._spec = spec
        self._read_as = read_as
        self._rows = sum(one.segment.rows for one in inputs)
        self._present = _values_by_column(inputs)
        canonical = set(spec.schema.names)
        physical = {name for one in inputs for name in one.schema.names} - {OVERFLOW}
        self._demoted = self._too_many(physical - canonical)
        self._promoted = self._worth_a_column(physical)
        fields = [self._field(name) for name in sorted(physical - self._demoted | self._promoted)]
        rest = self._overflowing()
        if rest:
            fields.append(overflow_field(OVERFLOW, rest))
        elif any(OVERFLOW in one.schema.names for one in inputs):
            fields.append(overflow_field(OVERFLOW, {}))
        empty = pa.schema(fields).empty_table()
        self.schema: pa.Schema = order_columns(empty, spec).schema

    def _too_many(self, attributes: set[str]) -> frozenset[str]:
        """Attribute columns for which there is no room: those that fewest rows have."""
        wanted = set(self._spec.always)
        ranked = sorted(attributes - wanted, key=lambda name: (-self._present.get(name, 0), name))
        room = max(0, ATTRIBUTE_COLUMNS - len(attributes & wanted))
        return frozenset(name for name in ranked[room:] if self._reads_the_same(name))

    def _reads_the_same(self, name: str) -> bool:
        """Whether a column can move to the map and be read as before."""
        types, kinds = set[str](), set[str]()
        for one in self._inputs:
            if name in one.schema.names:
                if name in one.spilled:
                    return False  # the map has its repeats under this name
                field = one.schema.field(name)
                types.update(field_types(field) or ("?",))
                kinds.add(type_name(field.type))
            elif name in one.spilled:
                types.update(one.spilled[name].types)
                kinds.add(one.spilled[name].column_type)
        return kinds == {overflow_column_type(tuple(sorted(types)))} and "?" not in types

    def _worth_a_column(self, physical: set[str]) -> frozenset[str]:
        """Attributes of the maps that become columns."""
        rows: dict[str, int] = {}
        for one in self._inputs:
            for name, spilled in one.spilled.items():
                if name not in one.schema.names:
                    rows[name] = rows.get(name, 0) + spilled.rows
        must = {name for name in rows if name in physical - self._demoted}
        must |= rows.keys() & set(self._spec.always)
        columns = len((physical - self._demoted - set(self._spec.schema.names)) | must)
        often = sorted(
            (name for name, count in rows.items() if count * PROMOTED_SHARE >= self._rows),
            key=lambda name: (-rows[name], name),
        )
        free = [name for name in often if name not in must and name not in self._demoted]
        return frozenset(must | set(free[: max(0, ATTRIBUTE_COLUMNS - columns)]))

    def _overflowing(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Keys and types of what is in the map afterwards."""
        found: dict[str, tuple[str, tuple[str, ...]]] = {}
        for one in self._inputs:
            for name, spilled in one.spilled.items():
                if name in one.schema.names or name not in self._promoted:
                    found[name] = _joined(found.get(name), spilled.key, spilled.types)
            for name in self._demoted & set(one.schema.names):
                field = one.schema.field(name)
                found[name] = _joined(found.get(name), field_key(field), field_types(field))
        return found

    def _field(self, name: str) -> pa.Field:
        key, types = "", tuple[str, ...]()
        kinds: dict[str, pa.DataType] = {}
        for one in self._inputs:
            if name in one.schema.names:
                field = one.schema.field(name)
                key, types = _joined((key, types), field_key(field), field_types(field))
                kinds[type_name(field.type)] = field.type
            elif name in one.spilled and name in self._promoted:
                spilled = one.spilled[name]
                key, types = _joined((key, types), spilled.key, spilled.types)
                kinds[spilled.column_type] = TYPES[spilled.column_type]
        if len(kinds) > 1:
            dtype = TYPES[common_type({*kinds, *self._read_as.get(name, ())})]
        else:
            (dtype,) = kinds.values()
        if type_name(dtype) == "string":
            dtype = _LISTED if self._repeats(name) else pa.string()
        made = attribute_field(name, AttributeColumn(pa.nulls(0, dtype), key, types))
        return made if key else made.with_metadata({**_types_of(types)} or None)

    def _repeats(self, name: str) -> bool:
        """Whether a text column has few distinct values; as ingestion would judge."""
        canonical = name in self._spec.schema.names
        if name in self._spec.repeating:
            return True
        if name.startswith((RESOURCE, SCOPE)) and not canonical:
            return True
        votes = 0
        distinct, present = set[str](), 0
        for one in self._inputs:
            stats = one.segment.columns.get(name)
            if name not in one.schema.names or stats is None:
                continue
            listed = pa.types.is_dictionary(one.schema.field(name).type)
            if one.segment.rows < _FEW_ROWS and stats.values is not None:
                distinct.update(stats.values)
                present += one.segment.rows - stats.nulls
            else:
                votes += one.segment.rows if listed else -one.segment.rows
        if present:
            votes += present if len(distinct) <= max(1, _DISTINCT_SHARE * present) else -present
        return votes > 0

    def conform(self, rows: pa.RecordBatch, text_of: Callable[[Any], Any]) -> pa.RecordBatch:
        """Rows of one of the inputs under the columns of all.

        Args:
            rows: As they are in the file; columns that no row has may be missing.
            text_of: Doubles as text, as queries read them.

        Raises:
            pa.ArrowInvalid: A value does not fit the column; the policy sees to it that all do.
        """
        names = set(rows.schema.names)
        pairs = _pairs_of(rows)
        arrays = []
        for field in self.schema:
            if field.name == OVERFLOW:
                arrays.append(self._map(rows, pairs))
            elif field.name in names:
                arrays.append(_recast(rows.column(field.name), field.type, text_of))
            elif pairs is not None and field.name in self._promoted:
                arrays.append(pairs.column(field.name, field.type, rows.num_rows))
            else:
                arrays.append(pa.nulls(rows.num_rows, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _map(self, rows: pa.RecordBatch, pairs: _Pairs | None) -> Any:
        """The overflow map without what was promoted, and with what was demoted."""
        names = set(rows.schema.names)
        kept: list[OverflowPairs] = []
        for name in sorted(self._demoted & names):
            values = rows.column(name)
            where = np.flatnonzero(np.asarray(values.is_valid()))
            texts = _written(values.take(pa.array(where)))
            kept.append(OverflowPairs(where, pa.array([name] * len(where), pa.string()), texts, {}))
        if pairs is not None:
            gone = self._promoted - names
            if not kept and gone.isdisjoint(pairs.names.dictionary.to_pylist()):
                return rows.column(OVERFLOW)
            kept.append(pairs.without(gone))
        if not sum(len(part.rows) for part in kept):
            return pa.nulls(rows.num_rows, self.schema.field(OVERFLOW).type)
        return overflow_map(kept, rows.num_rows).values


class _Pairs(NamedTuple):
    """The overflow of some rows in long form.

    Attributes:
        rows: The row of each pair, ascending.
        names: Dictionary array.
        values: Texts.
    """

    rows: Any
    names: Any
    values: Any

    def column(self, name: str, dtype: pa.DataType, count: int) -> Any:
        code = self.names.dictionary.index(name).as_py()
        if code < 0:
            return pa.nulls(count, dtype)
        places = np.flatnonzero(self.names.indices.to_numpy() == code)
        dense = np.full(count, -1, np.int64)
        dense[self.rows[places]] = places
        values = self.values.take(pa.array(dense, mask=dense < 0))
        return values.dictionary_encode() if dtype == _LISTED else values.cast(dtype)

    def without(self, names: Iterable[str]) -> OverflowPairs:
        listed = self.names.dictionary.to_pylist()
        gone = np.isin(listed, list(names)) if listed else np.zeros(0, bool)
        kept = np.flatnonzero(~gone[self.names.indices.to_numpy()])
        chosen = pa.array(kept)
        texts = self.names.take(chosen).cast(pa.string())
        return OverflowPairs(self.rows[kept], texts, self.values.take(chosen), {})


def _pairs_of(rows: pa.RecordBatch) -> _Pairs | None:
    if OVERFLOW not in rows.schema.names:
        return None
    maps = rows.column(OVERFLOW)
    maps = pa.concat_arrays([maps, pa.array([], maps.type)])  # offsets now start at zero
    counts = np.diff(maps.offsets.to_numpy())
    return _Pairs(
        np.repeat(np.arange(len(maps)), counts), maps.keys.dictionary_encode(), maps.items
    )


def with_columns(table: pa.Table, always: Sequence[str]) -> pa.Table:
    """Rows on their way into a segment, with some attributes as columns wherever they lie.

    Args:
        table: One chunk per column.
        always: Names of attribute columns; those that no row has are passed over.
    """
    if not always or OVERFLOW not in table.schema.names:
        return table
    field = table.schema.field(OVERFLOW)
    known = overflow_types(field)
    wanted = [one for one in always if one in known and one not in table.schema.names]
    if not wanted:
        return table
    (rows,) = table.combine_chunks().to_batches()
    pairs = _pairs_of(rows)
    if pairs is None or not len(pairs.names.dictionary):
        return table
    moved = set[str]()
    for name in wanted:
        key, types = known[name]
        text = pairs.column(name, pa.string(), rows.num_rows)
        kind = overflow_column_type(types)
        if text.null_count == len(text):
            continue
        values = text.cast(TYPES[kind]) if _reads_as(text, kind) else text
        column = AttributeColumn(values, key, types)
        table = table.append_column(attribute_field(name, column), values)
        moved.add(name)
    left = pairs.without(moved)
    maps = overflow_map([left], rows.num_rows).values if len(left.rows) else None
    place = table.schema.names.index(OVERFLOW)
    if maps is None:
        return table.remove_column(place)
    return table.set_column(place, overflow_field(OVERFLOW, known), maps)


def _joined(
    known: tuple[str, tuple[str, ...]] | None, key: str, types: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    before = known or ("", ())
    return before[0] or key, tuple(sorted({*before[1], *types}))


def _types_of(types: tuple[str, ...]) -> dict[bytes, bytes]:
    return {b"lakerunner.types": ",".join(types).encode()} if types else {}


def _values_by_column(inputs: Iterable[Input]) -> dict[str, int]:
    present: dict[str, int] = {}
    for one in inputs:
        for name, stats in one.segment.columns.items():
            if not stats.overflow:
                present[name] = present.get(name, 0) + one.segment.rows - stats.nulls
    return present


def _recast(values: Any, dtype: pa.DataType, text_of: Callable[[Any], Any]) -> Any:
    if values.type == dtype:
        return values
    if dtype == _LISTED:
        plain = values if pa.types.is_dictionary(values.type) else _texts(values, text_of)
        return (
            plain.cast(dtype) if pa.types.is_dictionary(plain.type) else plain.dictionary_encode()
        )
    if pa.types.is_string(dtype):
        return _texts(values, text_of)
    return values.cast(dtype)


def _texts(values: Any, text_of: Callable[[Any], Any]) -> Any:
    return text_of(values) if pa.types.is_floating(values.type) else values.cast(pa.string())


def _written(values: Any) -> Any:
    """Values as ingestion writes them into the overflow map."""
    if pa.types.is_floating(values.type):
        return double_text(values)
    return values.cast(pa.string())
