"""From records as they were written to rows of a table: find out what each field means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.records.attributes import to_attributes
from lakerunner.formats.records.columns import Context, make_columns
from lakerunner.formats.records.convert import to_word
from lakerunner.formats.records.fields import Fields, squash, take_apart
from lakerunner.formats.records.roles import SERVICE_NAMES, tell_signal
from lakerunner.formats.records.shapes import shape_of
from lakerunner.formats.records.times import take_moments
from lakerunner.model.mapping import SourceMapping
from lakerunner.model.signal import Signal
from lakerunner.schema.canonical import CANONICAL, SERVICE
from lakerunner.schema.columns import compact_strings
from lakerunner.schema.decoded import Decoded, PayloadRows, decoded
from lakerunner.schema.series import series_ids
from lakerunner.schema.span_fingerprint import span_fingerprints

if TYPE_CHECKING:
    from lakerunner.formats.records.read import Records

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
    shape = shape_of(table.schema)
    if shape is not None and shape.signal is not None:
        return shape.signal
    return tell_signal(frozenset(squash(field.key) for field in take_apart(table.slice(0, 1))))


def adopt(
    records: Records, signal: Signal, fallback_ns: Any, mapping: SourceMapping | None = None
) -> Decoded:
    """Make table rows of records.

    Fields fill the table columns of the names people use (`roles`) or that the mapping names; all
    others become attributes. Nothing is dropped but what the mapping says, and empty fields.

    Args:
        records: What a reader handed over.
        signal: Which table the rows are for.
        fallback_ns: int64 per payload: the time of rows that carry none, nanoseconds.
        mapping: What the user says of the records.

    Returns:
        Rows in the order of the records.

    Raises:
        CorruptObjectError: A field that the table cannot do without, or that the mapping names, is
            not there.
    """
    fallback = np.asarray(fallback_ns, np.int64)
    wanted = mapping if mapping is not None else UNMAPPED
    table, payload = records.table, records.payload
    if wanted.rows is not None:
        table, payload = _unwrap(table, payload, wanted.rows)
    shape = shape_of(table.schema)
    wanted = _merged(wanted, shape.mapping) if shape is not None else wanted
    table = shape.prepare(table) if shape is not None else table
    fields = Fields(take_apart(table), table.num_rows)
    _apply(fields, wanted)
    near_ns = fallback[payload]
    moments = take_moments(fields, signal, wanted, near_ns)
    columns = make_columns(Context(fields, wanted, moments, signal))
    columns |= {"timestamp": moments.timestamp, "timestamp_source": moments.source}
    service = _service(fields)
    if service is not None:
        fields.put(_SERVICE_FIELD, service)
    reserved = frozenset(CANONICAL[signal].names) - {SERVICE}
    attributes = to_attributes(fields, reserved)
    overflow = [attributes.overflow] if attributes.overflow is not None else []
    rows = PayloadRows(payload, len(fallback))
    made = decoded(columns, attributes.columns, overflow, rows, {})
    return Decoded(_derive(made.table, signal), made.rows, records.set_aside)


def _merged(mapping: SourceMapping, shape: SourceMapping) -> SourceMapping:
    """What the user says, completed by what is known of the shape."""
    return replace(
        mapping,
        columns={**shape.columns, **mapping.columns},
        attributes={**shape.attributes, **mapping.attributes},
        drop=(*shape.drop, *mapping.drop),
    )


def _unwrap(table: pa.Table, payload: Any, key: str) -> tuple[pa.Table, Any]:
    """Records out of a list inside of an object; what stands beside the list is kept for each."""
    if key not in table.column_names:
        raise CorruptObjectError(f"there is no field {key!r}, which the mapping names for 'rows'")
    lists = table[key].combine_chunks()
    if not pa.types.is_list(lists.type) or not pa.types.is_struct(lists.type.value_type):
        raise CorruptObjectError(f"field {key!r}, which the mapping names for 'rows', is no list")
    owners = pc.list_parent_indices(lists)
    inner = pa.Table.from_struct_array(pc.list_flatten(lists))
    outer = table.drop_columns([key]).take(owners)
    for name in outer.column_names:
        if name not in inner.column_names:
            inner = inner.append_column(outer.schema.field(name), outer[name])
    return inner.combine_chunks(), payload[np.asarray(owners)]


def _apply(fields: Fields, mapping: SourceMapping) -> None:
    """Drop, rename and add fields as the mapping says."""
    fields.drop(mapping.drop)
    for key, attribute in mapping.attributes.items():
        for name in fields.inside(key):
            values = fields.pop(name)
            fields.put(_qualified(attribute + name[len(key) :]), values)
    for attribute, value in mapping.constants.items():
        one = pa.array([value]).dictionary_encode()
        zeros = pa.array(np.zeros(fields.rows, np.int32))
        repeated = pa.DictionaryArray.from_arrays(zeros, one.dictionary)
        plain = repeated if isinstance(value, str) else repeated.cast(one.type.value_type)
        fields.put(_qualified(attribute), plain)


def _qualified(attribute: str) -> str:
    return attribute if attribute.startswith(("resource.", "scope.")) else f"attributes.{attribute}"


def _service(fields: Fields) -> Any:
    taken = fields.take(fields.named(*SERVICE_NAMES), to_word)
    return None if taken is None else compact_strings(taken.values)


def _derive(table: pa.Table, signal: Signal) -> pa.Table:
    """Add the columns that are computed from others."""
    if signal is Signal.SPANS:
        return table.append_column("fingerprint", span_fingerprints(table))
    if signal is Signal.METRICS:
        return table.append_column("series_id", series_ids(table))
    return table
