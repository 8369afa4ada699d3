"""What the catalog learns about the columns of a segment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.limits import STAT_TEXT, STAT_VALUES
from lakerunner.model.segment import ColumnStats, StatValue
from lakerunner.schema.attribute import field_key, field_types, overflow_column_type, overflow_types
from lakerunner.schema.id_filter import id_filter
from lakerunner.schema.names import OVERFLOW
from lakerunner.schema.types import type_name

if TYPE_CHECKING:
    from collections.abc import Collection


def column_stats(table: pa.Table, ids: Collection[str] = ()) -> dict[str, ColumnStats]:
    """Describe every column of a table, and every attribute in its overflow map.

    Bounds are kept for numbers, booleans, times and dictionary-encoded text. Other text, such as
    ids and bodies, has so many values that bounds would exclude nothing.

    Args:
        table: One chunk per column; no column is NULL throughout.
        ids: Columns of ids, which get a filter of their values.
    """
    stats = {
        field.name: _describe(field, table[field.name].chunk(0), searched=field.name in ids)
        for field in table.schema
        if field.name != OVERFLOW
    }
    if OVERFLOW in table.schema.names:
        field = table.schema.field(OVERFLOW)
        stats[OVERFLOW] = ColumnStats(type_name(field.type), table[OVERFLOW].null_count)
        present = set(pc.unique(table[OVERFLOW].chunk(0).keys).to_pylist())
        for name, (key, types) in overflow_types(field).items():
            # A column of that name holds the first values of a key that was sent twice.
            if name in present and name not in stats:
                stats[name] = ColumnStats(
                    overflow_column_type(types), key=key, types=types, overflow=True
                )
    return stats


def _describe(field: pa.Field, values: Any, *, searched: bool) -> ColumnStats:
    low, high, distinct = _bounds(values)
    return ColumnStats(
        type=type_name(field.type),
        nulls=values.null_count,
        min=low,
        max=high,
        values=distinct,
        key=field_key(field),
        types=field_types(field),
        filter=id_filter(values.cast(pa.string())) if searched else "",
    )


Bounds = tuple[StatValue | None, StatValue | None, tuple[str, ...] | None]


def _bounds(values: Any) -> Bounds:
    if pa.types.is_dictionary(values.type):
        return _text_bounds(values)
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    elif pa.types.is_floating(values.type):
        if pc.any(pc.is_nan(values)).as_py():
            return None, None, None  # engines disagree on where NaN sorts
    elif not (pa.types.is_integer(values.type) or pa.types.is_boolean(values.type)):
        return None, None, None
    bounds = pc.min_max(values)
    return bounds["min"].as_py(), bounds["max"].as_py(), None


def _text_bounds(values: Any) -> Bounds:
    used = np.unique(values.indices.drop_null().to_numpy())
    texts = values.dictionary.take(pa.array(used))
    order = pc.sort_indices(texts)
    low, high = texts[order[0].as_py()].as_py(), texts[order[-1].as_py()].as_py()
    distinct = None
    if len(texts) <= STAT_VALUES and pc.max(pc.utf8_length(texts)).as_py() <= STAT_TEXT:
        distinct = tuple(texts.take(order).to_pylist())
    return low[:STAT_TEXT], high if len(high) <= STAT_TEXT else None, distinct
