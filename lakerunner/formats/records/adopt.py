"""From records as they were written to rows of a table: find out what each field means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakerunner.formats.records.attributes import to_attributes
from lakerunner.formats.records.columns import Context, make_columns
from lakerunner.formats.records.convert import to_word
from lakerunner.formats.records.fields import Fields, Preferred, squash, take_apart
from lakerunner.formats.records.lake_rows import over, take_lake_columns, take_overflow
from lakerunner.formats.records.roles import SERVICE_NAMES, tell_signal
from lakerunner.formats.records.shapes import shapes_of, signal_of_shape
from lakerunner.formats.records.times import take_moments
from lakerunner.formats.records.unwrap import unwrap
from lakerunner.model.mapping import SourceMapping
from lakerunner.model.signal import Signal
from lakerunner.schema.canonical import SERVICE
from lakerunner.schema.columns import compact_strings
from lakerunner.schema.decoded import Decoded, PayloadRows, decoded
from lakerunner.schema.json_text import json_text
from lakerunner.schema.series import series_ids
from lakerunner.schema.span_fingerprint import span_fingerprints
from lakerunner.schema.tables import TABLE_OF

if TYPE_CHECKING:
    from lakerunner.formats.records.read import Records
    from lakerunner.formats.records.shapes import ShapedRows

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
    signal = signal_of_shape(table.schema)
    if signal is not None:
        return signal
    return tell_signal(frozenset(squash(field.key) for field in take_apart(table.slice(0, 1))))


def adopt(
    records: Records, signal: Signal, fallback_ns: Any, mapping: SourceMapping | None = None
) -> Decoded:
    """Make table rows of records.

    Fields fill the table columns of the names people use (`roles`) or that the mapping names; all
    others become attributes. Nothing is dropped but what the mapping says, and empty fields. Rows
    that came out of a lake are the same rows again, see `lake_rows`.

    Args:
        records: What a reader handed over.
        signal: Which table the rows are for.
        fallback_ns: int64 per payload: the time of rows that carry none, nanoseconds.
        mapping: What the user says of the records.

    Returns:
        Rows in the order of the records.

    Raises:
        CorruptObjectError: A payload has nothing for a column that the table cannot do without, or
            no list under the name that the mapping gives for `rows`.
    """
    fallback = np.asarray(fallback_ns, np.int64)
    wanted = mapping if mapping is not None else UNMAPPED
    table, payload = records.table, records.payload
    if wanted.rows is not None:
        table, payload = unwrap(table, payload, wanted.rows)
    shapes = shapes_of(table, payload, len(fallback))
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
    moments = take_moments(
        fields, signal, wanted, fallback[payload], preferred.get("timestamp", ())
    )
    columns = make_columns(Context(fields, wanted, preferred, moments, signal, payload, of_lake))
    columns |= {"timestamp": moments.timestamp, "timestamp_source": moments.source}
    service = _service(fields, wanted)
    if service is not None:
        fields.put(_SERVICE_FIELD, service)
    reserved = frozenset(TABLE_OF[signal].schema.names) - {SERVICE}
    attributes = to_attributes(fields, reserved)
    overflow += [attributes.overflow] if attributes.overflow is not None else []
    made = decoded(columns, attributes.columns, overflow, PayloadRows(payload, len(fallback)), {})
    table = _derive(made.table, signal)
    for name, values in from_lake.items():
        table = _over(table, name, values, of_lake)
    return Decoded(table, made.rows, records.set_aside)


def _over(table: pa.Table, name: str, given: Any, rows: Any) -> pa.Table:
    """The table with a column as a lake gave it in some rows."""
    place = table.schema.get_field_index(name)
    if place < 0:
        return table.append_column(name, given)
    derived = table[name].combine_chunks()
    return table.set_column(place, name, over(name, given, derived, rows))


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


def _derive(table: pa.Table, signal: Signal) -> pa.Table:
    """Add the columns that are computed from others."""
    if signal is Signal.SPANS:
        return table.append_column("fingerprint", span_fingerprints(table))
    if signal is Signal.METRICS:
        return table.append_column("series_id", series_ids(table))
    return table
