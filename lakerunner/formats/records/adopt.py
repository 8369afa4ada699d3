"""From records as they were written to rows of a table: find out what each field means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from lakerunner.formats.records.attributes import to_attributes, within_cap
from lakerunner.formats.records.columns import Context, make_columns
from lakerunner.formats.records.convert import to_word
from lakerunner.formats.records.fields import (
    SERVICE_NAMES,
    Fields,
    Preferred,
    squash,
    take_apart,
    tell_signal,
)
from lakerunner.formats.records.lake_rows import over, take_lake_columns, take_overflow
from lakerunner.formats.records.lines import Records
from lakerunner.formats.records.plain_types import columns_together
from lakerunner.formats.records.shapes import shapes_of, signal_of_shape
from lakerunner.formats.records.text import apply_pattern
from lakerunner.formats.records.times import DayOrders, Written, take_moments
from lakerunner.model.profile import SourceMapping
from lakerunner.model.signal import Signal
from lakerunner.schema.arrays import compact_strings
from lakerunner.schema.attribute import AttributeColumn
from lakerunner.schema.series import series_ids
from lakerunner.schema.span_fingerprint import span_fingerprints
from lakerunner.schema.tables import SERVICE, TABLE_OF, Decoded, PayloadRows, decoded
from lakerunner.schema.text import json_text
from lakerunner.schema.timestamps import SOURCE_NAMES, TimeSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.formats.records.json_lines import TextRows
    from lakerunner.formats.records.shapes import ShapedRows
    from lakerunner.schema.attribute import OverflowPairs

UNMAPPED = SourceMapping()
_SERVICE_FIELD = "resource.service.name"


def signal_of(table: pa.Table, mapping: SourceMapping | None) -> Signal | None:
    """The signal that records hold, told by a mapping, a known shape or the names of their fields.

    Args:
        table: Some of the records; one chunk per column.
        mapping: What the user says of them.
    """
    if mapping is not None and mapping.signal is not None:
        return mapping.signal
    signal = signal_of_shape(table)
    if signal is not None:
        return signal
    return tell_signal(frozenset(squash(field.key) for field in take_apart(table.slice(0, 1))))


class Rows(NamedTuple):
    """Rows of a table, made of records that agree in their fields.

    Attributes:
        columns: All columns but attributes.
        attributes: By column name, in name order.
        overflow: Attributes that have no column.
        payload: int32 per row: position of its payload in the batch.
    """

    columns: dict[str, Any]
    attributes: dict[str, AttributeColumn]
    overflow: list[OverflowPairs]
    payload: Any


def adopt(
    groups: Sequence[Records],
    signal: Signal,
    fallback_ns: Any,
    mapping: SourceMapping | None = None,
    texts: Sequence[TextRows] = (),
) -> Decoded:
    """Make table rows of records.

    Fields fill the table columns of the names people use (`roles`) or that the mapping names; all
    others become attributes. Nothing is dropped but what the mapping says, and empty fields. Rows
    that came out of a lake are the same rows again, see `lake_rows`.

    Args:
        groups: Records; those of each group agree in their fields, see `grouping`.
        signal: Which table the rows are for.
        fallback_ns: int64 per payload: the time of rows that carry none, nanoseconds.
        mapping: What the user says of the records.
        texts: Text among them. A row of it without a time of its own has the time of the record
            before it, or of the first one behind it where there is none.

    Returns:
        Rows in the order of the payloads and their records. Where a column is of several types in
        the groups, all of it is of their common type.

    Raises:
        CorruptObjectError: A payload has nothing for a column that the table cannot do without.
    """
    fallback = np.asarray(fallback_ns, np.int64)
    wanted = mapping if mapping is not None else UNMAPPED
    between = _text_records(texts)
    orders = DayOrders([*groups, *between], len(fallback), wanted.day_first)
    made = [
        _rows(group, signal, Written(fallback[group.payload], group.payload, orders), wanted)
        for group in groups
    ]
    places = [_places(np.concatenate([rows.payload for rows in made]))]
    for records in between:
        after = np.concatenate([text.after for text in texts])
        added = _text_rows(made, records, after, wanted, orders)
        made.append(added)
        places.append(2 * after)
    whole = made[0] if len(made) == 1 else _all_rows(made)
    attributes = within_cap(whole.attributes)
    overflow = whole.overflow + ([attributes.overflow] if attributes.overflow else [])
    origin = PayloadRows(whole.payload, len(fallback))
    found = decoded(whole.columns, attributes.columns, overflow, origin, {})
    if len(made) > 1:  # back into the order of the records
        order = pa.array(np.lexsort((np.concatenate(places), whole.payload)))
        found = found._replace(
            table=found.table.take(order), payload=whole.payload[order.to_numpy()]
        )
    aside = tuple(aside for group in groups for aside in group.set_aside)
    return found._replace(set_aside=aside, days=orders.found)


def _places(payload: Any) -> Any:
    """Where rows stand in their payloads, as odd numbers, so that others fit in between."""
    order = np.argsort(payload, kind="stable")
    ordered = payload[order]
    places = np.empty(len(payload), np.int64)
    places[order] = np.arange(len(payload)) - np.searchsorted(ordered, ordered)
    return 2 * places + 1


def _text_records(texts: Sequence[TextRows]) -> list[Records]:
    """All text among others as records, with what patterns find in it; empty if there is none."""
    if not texts:
        return []
    table = pa.table({"message": _chunks([text.records.table["message"] for text in texts])})
    payload = np.concatenate([text.records.payload for text in texts])
    return [apply_pattern(Records(table, payload), None)]


def _text_rows(
    made: Sequence[Rows], records: Records, after: Any, wanted: SourceMapping, orders: DayOrders
) -> Rows:
    """Rows of text among others, of whose payload so many stand before each."""
    payload = np.concatenate([rows.payload for rows in made])
    order = np.argsort(payload, kind="stable")
    payload = payload[order]
    near = np.searchsorted(payload, records.payload) + np.maximum(after - 1, 0)
    times = _chunks([rows.columns["timestamp"] for rows in made]).take(pa.array(order[near]))
    sources = _chunks([rows.columns["timestamp_source"].indices for rows in made])
    plain = msgspec.structs.replace(UNMAPPED, constants=wanted.constants)
    written = Written(times.cast(pa.int64()).to_numpy(), records.payload, orders)
    rows = _rows(records, Signal.LOGS, written, plain)
    own = rows.columns["timestamp_source"].indices.to_numpy()
    theirs = sources.to_numpy()[order[near]]
    borrowed = (own == int(TimeSource.OBJECT)) & (theirs != int(TimeSource.OBJECT))
    source = np.where(borrowed, np.int32(TimeSource.NEIGHBOUR), own).astype(np.int32)
    rows.columns["timestamp_source"] = pa.DictionaryArray.from_arrays(source, SOURCE_NAMES)
    return rows


def _chunks(arrays: Sequence[Any]) -> Any:
    found = [
        each.combine_chunks() if isinstance(each, pa.ChunkedArray) else each for each in arrays
    ]
    return found[0] if len(found) == 1 else pa.concat_arrays(found)


def _rows(records: Records, signal: Signal, written: Written, wanted: SourceMapping) -> Rows:
    table, payload = records.table, records.payload
    shapes = shapes_of(table, payload, int(payload.max(initial=-1)) + 1)
    of_lake = np.zeros(table.num_rows, bool)
    overflow = []
    for shape, rows in shapes:
        table = shape.prepare(table, rows)
        if shape.lake:
            table, pairs = take_overflow(table, rows)
            overflow += [pairs] if pairs is not None else []
            of_lake = rows
    fields = Fields(take_apart(_objects_as_text(table, wanted)), table.num_rows)
    _apply(fields, wanted)
    preferred = _apply_shapes(fields, shapes)
    from_lake = take_lake_columns(fields, signal, of_lake) if of_lake.any() else {}
    moments = take_moments(fields, signal, wanted, written, preferred.get("timestamp", ()))
    columns = make_columns(Context(fields, wanted, preferred, moments, signal, payload, of_lake))
    columns |= {"timestamp": moments.timestamp, "timestamp_source": moments.source}
    service = _service(fields, wanted)
    if service is not None:
        fields.put(_SERVICE_FIELD, service)
    attributes = to_attributes(fields, frozenset(TABLE_OF[signal].schema.names) - {SERVICE})
    columns |= _derived(columns, attributes, overflow, signal)
    for name, values in from_lake.items():
        columns[name] = over(name, values, columns.get(name), of_lake)
    return Rows(columns, attributes, overflow, payload)


def _all_rows(made: Sequence[Rows]) -> Rows:
    """The rows of several groups under their column names."""
    counts = [len(rows.payload) for rows in made]
    columns = {
        name: columns_together([rows.columns.get(name) for rows in made], counts)
        for name in dict.fromkeys(name for rows in made for name in rows.columns)
    }
    attributes = {
        name: _one_attribute([rows.attributes.get(name) for rows in made], counts)
        for name in sorted({name for rows in made for name in rows.attributes})
    }
    firsts = np.cumsum([0, *counts[:-1]]).tolist()
    overflow = [
        pairs._replace(rows=(pairs.rows + first).astype(np.int32))
        for rows, first in zip(made, firsts, strict=True)
        for pairs in rows.overflow
    ]
    return Rows(columns, attributes, overflow, np.concatenate([rows.payload for rows in made]))


def _one_attribute(
    parts: Sequence[AttributeColumn | None], counts: Sequence[int]
) -> AttributeColumn:
    """One column of the values that several groups have under its name."""
    values = columns_together([None if part is None else part.values for part in parts], counts)
    there = [part for part in parts if part is not None]
    types = dict.fromkeys(kind for part in there for kind in part.types)
    return AttributeColumn(values, min(part.key for part in there), tuple(types))


def _apply_shapes(fields: Fields, shapes: list[ShapedRows]) -> dict[str, list[Preferred]]:
    """Rename fields as shapes say, in their records; and which field fills which column there."""
    preferred: dict[str, list[Preferred]] = {}
    for shape, rows in shapes:
        for key, attribute in shape.mapping.attributes.items():
            for name in fields.inside(key):
                fields.rename(name, _qualified(attribute + name[len(key) :]), rows)
        for column, key in shape.mapping.columns.items():
            preferred.setdefault(column, []).append(Preferred(key, rows))
    return preferred


def _objects_as_text(table: pa.Table, mapping: SourceMapping) -> pa.Table:
    """Objects that are to fill one column as a whole, as JSON text."""
    for key in set(mapping.columns.values()).intersection(table.column_names):
        if pa.types.is_struct(table.schema.field(key).type):
            place = table.column_names.index(key)
            table = table.set_column(place, key, json_text(table[key].combine_chunks()))
    return table


def _apply(fields: Fields, mapping: SourceMapping) -> None:
    """Drop, rename and add fields as the mapping says."""
    fields.drop(mapping.drop)
    for key, attribute in mapping.attributes.items():
        for name in fields.inside(key):
            fields.rename(name, _qualified(attribute + name[len(key) :]))
    for attribute, value in mapping.constants.items():
        one = pa.array([value]).dictionary_encode()
        zeros = pa.array(np.zeros(fields.rows, np.int32))
        repeated = pa.DictionaryArray.from_arrays(zeros, one.dictionary)
        plain = repeated if isinstance(value, str) else repeated.cast(one.type.value_type)
        fields.lead(_qualified(attribute), plain)


def _qualified(attribute: str) -> str:
    return attribute if attribute.startswith(("resource.", "scope.")) else f"attributes.{attribute}"


def _service(fields: Fields, mapping: SourceMapping) -> Any:
    """The service of each row; what the mapping says counts more than any name."""
    said = {*mapping.attributes.values(), *mapping.constants} & {_SERVICE_FIELD}
    taken = fields.take([*said, *fields.named(*SERVICE_NAMES)], to_word)
    return None if taken is None else compact_strings(taken.values)


def _derived(
    columns: dict[str, Any],
    attributes: dict[str, AttributeColumn],
    overflow: list[OverflowPairs],
    signal: Signal,
) -> dict[str, Any]:
    """The columns that are computed from others."""
    if signal is Signal.LOGS:
        return {}
    origin = PayloadRows(np.zeros(len(columns["timestamp"]), np.int32), 1)
    table = decoded(columns, attributes, overflow, origin, {}).table
    if signal is Signal.SPANS:
        return {"fingerprint": span_fingerprints(table)}
    return {"series_id": series_ids(table)}
