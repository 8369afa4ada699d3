"""Series ids: which rows of the metrics table are points of one time series.

A series is what OpenTelemetry calls the identity of a metric stream together with the attributes of
a point: name, type and unit of the metric, name and version of the instrumentation scope, and the
attributes of resource, scope and point. Ids are stored, so the functions here may never change what
they return.

Each part is hashed with its name, the hashes are added up, and the sum is mixed: order does not
matter, nor does it in which column, or whether in a column at all, an attribute lies. A value
counts by its text, because one batch may hold the number 5 in a column of numbers and another,
where the same key also has texts, in a column of text. So the text "5" and the number 5 make one
series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakerunner.schema.attribute import OVERFLOW, RECORD, RESOURCE, SCOPE, field_key, overflow_types
from lakerunner.schema.ids import hash_text, mix64
from lakerunner.schema.tables import METRICS, SERVICE
from lakerunner.schema.text import double_text

if TYPE_CHECKING:
    from collections.abc import Sequence

IDENTITY = ("metric_name", "metric_type", "unit", "scope_name", "scope_version")
"""Canonical columns that are part of a series' identity; so are all attributes."""

_NO_ATTRIBUTE = frozenset(METRICS.names) - {SERVICE}
_PREFIXES = (RESOURCE, SCOPE, RECORD)


def series_ids(table: pa.Table) -> Any:
    """The series of each row of a metrics table.

    Args:
        table: Canonical columns, and attribute columns with their original key in the metadata of
            their field. Columns that are not part of a series' identity are passed over.

    Returns:
        `pa.Int64Array` without NULLs. Equal series have equal ids in every batch, from every
        format and on every machine; a NULL, such as an attribute that is not there, counts for
        nothing.

    Example:
        >>> one = pa.table({"metric_name": ["up", "up"], "attr_job": ["a", "b"]})
        >>> two = pa.table({"attr_job": ["b"], "metric_name": ["up"], "value": [0.5]})
        >>> series_ids(one)[1] == series_ids(two)[0]
        True
    """
    places = [_place(field) for field in table.schema]
    used = [index for index, place in enumerate(places) if place is not None]
    seeds = _seeds([places[index] or "" for index in used])
    sums = np.zeros(table.num_rows, np.uint64)
    for index, seed in zip(used, seeds, strict=True):
        _add_column(sums, _one_chunk(table.column(index)), seed)
    if OVERFLOW in table.schema.names:
        _add_overflow(sums, table)
    return pa.array(mix64(sums).view(np.int64))


def _place(field: pa.Field) -> str | None:
    """What a column's values are hashed with: its prefix and key; None if it is no identity."""
    if field.name in IDENTITY:
        return f"\0{field.name}"
    return (
        None
        if field.name in _NO_ATTRIBUTE
        else _attribute_place(field.name, field_key(field) or None)
    )


def _attribute_place(name: str, key: str | None) -> str:
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
    return f"{prefix}\0{name.removeprefix(prefix) if key is None else key}"


def _seeds(places: Sequence[str]) -> Any:
    return hash_text(pa.array(places, pa.string()))


def _one_chunk(column: Any) -> Any:
    chunks = column.chunks
    return chunks[0] if len(chunks) == 1 else column.combine_chunks()


def _add_column(sums: Any, values: Any, seed: Any) -> None:
    if isinstance(values, pa.ChunkedArray):  # what combining makes of dictionaries, or of nothing
        values = values.unify_dictionaries().combine_chunks()
    if not (pa.types.is_dictionary(values.type) or pa.types.is_string(values.type)):
        values = values.dictionary_encode()  # numbers are written once per distinct value
    if not pa.types.is_dictionary(values.type):
        sums += _hashes(values, seed)
        return
    distinct = np.append(_hashes(_text(values.dictionary), seed), np.uint64(0))
    codes = values.indices
    if codes.null_count:
        codes = codes.fill_null(len(distinct) - 1)
    sums += distinct[codes.to_numpy()]


def _hashes(values: Any, seeds: Any) -> Any:
    """Hash texts together with where they stand; 0 for NULL."""
    hashes = mix64(hash_text(values) + seeds)
    if values.null_count:
        hashes[~np.asarray(values.is_valid())] = 0
    return hashes


def _text(values: Any) -> Any:
    """The text by which values count; what `double_text` writes is what merged columns hold."""
    if pa.types.is_floating(values.type):
        return double_text(values.cast(pa.float64()))
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def _add_overflow(sums: Any, table: pa.Table) -> None:
    maps = _one_chunk(table[OVERFLOW])
    if not len(maps):
        return
    maps = pa.concat_arrays([maps, pa.array([], maps.type)])  # offsets now start at zero
    known = overflow_types(table.schema.field(OVERFLOW))
    names = maps.keys.dictionary_encode()
    places = [
        _attribute_place(name, known[name][0] if name in known else None)
        for name in names.dictionary.to_pylist()
    ]
    hashes = _hashes(_text(maps.items), _seeds(places)[names.indices.to_numpy()])
    offsets = maps.offsets.to_numpy()
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        sums[filled] += np.add.reduceat(hashes, offsets[filled])
