"""Attributes: from lists of key-value pairs to one typed column per key.

All pairs of a batch are grouped by key with one stable sort; each key then becomes a column by one
`take`. A loop here runs over distinct keys.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.otlp.nesting import children, text
from lakerunner.formats.otlp.values import NESTED, SCALARS, nested_json, scalar_text
from lakerunner.schema.attribute import AttributeColumn, AttributeTable, OverflowPairs
from lakerunner.schema.names import assign_names
from lakerunner.schema.types import common_type

_LARGEST_EXACT = 2**53  # beyond it a double cannot hold every integer


class _Pairs(NamedTuple):
    """Pairs of one batch.

    Attributes:
        rows: int32; the row each pair belongs to, ascending.
        fields: `AnyValue` fields that occur, with their column; nested ones as JSON text.
    """

    rows: Any
    fields: dict[str, Any]


def pivot(lists: Any, prefix: str, *, cap: int, reserved: frozenset[str]) -> AttributeTable:
    """Turn a list array of `KeyValue` into columns.

    A key that stands twice in one record keeps its first value in the column; the others go to the
    overflow. A key whose values have several types in this batch becomes a column of their
    common type.

    Args:
        lists: List array of struct<key, value>; one row per record, no NULLs.
        prefix: Of the column names.
        cap: Columns at most; the rarest keys (by number of values, then name) go to the overflow.
        reserved: Column names that are taken.

    Returns:
        Columns with as many rows as `lists`, by name in name order, and the overflow.
    """
    rows, pairs = children(lists)
    if not len(pairs):
        return AttributeTable({}, None)
    keys = text(pairs.field("key")).dictionary_encode()
    dictionary = keys.dictionary.to_pylist()
    names = assign_names(prefix, dictionary, reserved)
    codes = keys.indices.to_numpy()
    counts = np.bincount(codes, minlength=len(dictionary))
    order = _stable_order(codes, len(dictionary))
    bounds = np.concatenate([[0], np.cumsum(counts)])
    held = _Pairs(rows, _present_fields(pairs.field("value")))
    by_rank = sorted(range(len(dictionary)), key=lambda code: (-counts[code], dictionary[code]))
    columns: dict[str, AttributeColumn] = {}
    spilled: list[tuple[str, Any]] = []
    for code in sorted(by_rank[:cap], key=lambda code: names[dictionary[code]]):
        key = dictionary[code]
        positions = order[bounds[code] : bounds[code + 1]]
        positions, repeated = _first_of_each_row(positions, rows)
        if len(repeated):
            spilled.append((key, repeated))
        column = _column(held, positions, len(lists), key)
        if column is not None:
            columns[names[key]] = column
    spilled.extend(
        (dictionary[code], order[bounds[code] : bounds[code + 1]]) for code in by_rank[cap:]
    )
    return AttributeTable(columns, _overflow(held, spilled, names) if spilled else None)


def _stable_order(codes: Any, count: int) -> Any:
    # numpy sorts small unsigned integers by radix: linear, and stable.
    narrow = np.uint8 if count <= 2**8 else np.uint16 if count <= 2**16 else np.uint32
    return np.argsort(codes.astype(narrow), kind="stable").astype(np.int32)


def _present_fields(values: Any) -> dict[str, Any]:
    fields = {
        field: text(values.field(field))
        for field in SCALARS
        if values.field(field).null_count < len(values)
    }
    if any(values.field(field).null_count < len(values) for field in NESTED):
        written = nested_json(values)
        for field in NESTED:
            column = values.field(field)
            if column.null_count < len(column):
                fields[field] = pc.if_else(column.is_valid(), written, pa.scalar(None, pa.string()))
    return dict(sorted(fields.items(), key=lambda item: item[1].null_count))  # the usual one first


def _first_of_each_row(positions: Any, rows: Any) -> tuple[Any, Any]:
    """Split positions of one key into the first of each row and the repeated ones."""
    owners = rows[positions]
    again = np.concatenate([[False], owners[1:] == owners[:-1]])
    if not again.any():
        return positions, positions[:0]
    return positions[~again], positions[again]


def _column(pairs: _Pairs, positions: Any, count: int, key: str) -> AttributeColumn | None:
    """One column of `count` rows, or None when every value of the key is empty."""
    rows = pairs.rows[positions]
    if len(positions) == count:  # one in each row, and rows ascend
        indices = pa.array(positions)
    else:
        dense = np.full(count, -1, np.int32)
        dense[rows] = positions
        indices = pa.array(dense, mask=dense < 0)
    kept: dict[str, Any] = {}
    left = len(positions)  # a pair has one value at most, so the fields behind the last have none
    for field, column in pairs.fields.items():
        if not left:
            break
        taken = column.take(indices)
        if taken.null_count < count:
            kept[field] = taken
            left -= count - taken.null_count
    if not kept:
        return None
    types = tuple(SCALARS.get(field) or NESTED[field] for field in kept)
    return AttributeColumn(_merge(kept), key, types)


def _merge(fields: dict[str, Any]) -> Any:
    """One array of the common type of several fields, of which each row has at most one."""
    if len(fields) == 1:
        return next(iter(fields.values()))
    common = common_type(SCALARS.get(field, "string") for field in fields)
    if common == "double" and _fits_double(fields["int_value"]):
        return pc.coalesce(*(column.cast(pa.float64()) for column in fields.values()))
    return pc.coalesce(*(_as_text(column, field) for field, column in fields.items()))


def _fits_double(integers: Any) -> bool:
    bounds = pc.min_max(integers)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    return bool(low >= -_LARGEST_EXACT and high <= _LARGEST_EXACT)


def _as_text(column: Any, field: str) -> Any:
    if field in NESTED:
        return column  # JSON text already
    return scalar_text(pa.StructArray.from_arrays([column], [field]), field)


def _overflow(
    pairs: _Pairs, spilled: list[tuple[str, Any]], names: dict[str, str]
) -> OverflowPairs:
    """Collect the pairs that have no column of their own, ordered by row."""
    positions = np.concatenate([part for _, part in spilled])
    owners = np.repeat(np.arange(len(spilled)), [len(part) for _, part in spilled])
    order = np.argsort(pairs.rows[positions], kind="stable")
    indices = pa.array(positions[order])
    parts = [_as_text(column.take(indices), field) for field, column in pairs.fields.items()]
    column_names = pa.array([names[key] for key, _ in spilled])
    types = {names[key]: (key, tuple(_types_at(pairs, part))) for key, part in spilled}
    written = pc.coalesce(*parts) if parts else pa.nulls(len(indices), pa.string())
    return OverflowPairs(
        rows=pairs.rows[positions[order]],
        names=column_names.take(pa.array(owners[order])),
        values=written,
        types=types,
    )


def _types_at(pairs: _Pairs, positions: Any) -> list[str]:
    indices = pa.array(positions)
    return [
        SCALARS.get(field) or NESTED[field]
        for field, column in pairs.fields.items()
        if column.take(indices).null_count < len(indices)
    ]
