"""Convert lists to the list columns of a table: buckets and bounds, events, links, exemplars.

A list is taken whole or not at all: where one of its elements holds something that the column has
no place for, or cannot be converted, the list stays the field it was.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.convert import (
    plain_text,
    to_double,
    to_id,
    to_integer,
    to_text,
    valid,
)
from lakerunner.formats.records.fields import Converted, squash
from lakerunner.formats.records.json_check import suspicious_lines
from lakerunner.formats.records.json_columns import as_lines
from lakerunner.formats.records.json_read import UnevenError, read_lines
from lakerunner.formats.records.payload_lines import join_lines
from lakerunner.schema.arrays import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.formats.records.times import Written

_NAMES = {
    "time": "timestamp",
    "timeunixnano": "timestamp",
    "ts": "timestamp",
    "filteredattributes": "attributes",
    "asdouble": "value",
    "asint": "value_int",
}
"""Names of the parts of elements, squashed, besides those of the columns."""

_IDS = frozenset({"trace_id", "span_id"})


def to_list(dtype: pa.ListType, written: Written) -> Callable[[Any], Converted]:
    """A converter of lists, also where they are written as JSON text.

    Args:
        dtype: A list of numbers, or of structs of scalars.
        written: When and where the rows were written.
    """

    def convert(values: Any) -> Converted:
        return _converted(values, dtype, written)

    return convert


def _converted(values: Any, dtype: pa.ListType, written: Written) -> Converted:
    lists = values
    if pa.types.is_string(values.type):
        lists = _parsed(values)
        firsts = np.flatnonzero(np.diff(written.objects, prepend=-1))
        if len(firsts) > 1 and not (lists is not None and _types_stay(lists)):
            return _one_by_one(values, dtype, written, [*firsts.tolist(), len(values)])
    if lists is None or not pa.types.is_list(lists.type):
        return Converted(pa.nulls(len(values), dtype), np.zeros(len(values), bool))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(lists)), lengths)
    elements = _elements(lists.flatten(), dtype.value_type, written.of(owners))
    if elements is None:
        return Converted(pa.nulls(len(values), dtype), np.zeros(len(values), bool))
    wrong = np.bincount(owners[~elements.usable], minlength=len(lists)) > 0
    usable = valid(lists) & ~wrong
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    converted = pa.ListArray.from_arrays(
        offsets, elements.values, type=dtype, mask=pa.array(~usable)
    )
    return Converted(converted, usable)


def _one_by_one(
    values: Any, dtype: pa.ListType, written: Written, bounds: Sequence[int]
) -> Converted:
    """Lists of each object by itself: what is odd in one does not change how another is read."""
    parts = [
        _converted(values[start:end], dtype, written.of(slice(start, end)))
        for start, end in pairwise(bounds)
    ]
    return Converted(
        pa.concat_arrays([part.values for part in parts]),
        np.concatenate([part.usable for part in parts]),
    )


def _types_stay(values: Any) -> bool:
    """Whether each list alone would be of this type: whole numbers among others would not."""
    if pa.types.is_floating(values.type):
        return not pc.any(pc.equal(pc.floor(values), values)).as_py()
    if pa.types.is_list(values.type):
        return _types_stay(values.flatten())
    if pa.types.is_struct(values.type):
        return all(map(_types_stay, values.flatten()))
    return True


def _parsed(texts: Any) -> Any:
    """JSON arrays of text as lists, NULL where there is none; None if one is broken."""
    arrays = pc.match_substring_regex(texts, r"^\s*\[(?s:.*)\]\s*$")
    rows = pc.indices_nonzero(pc.fill_null(arrays, False)).to_numpy()  # noqa: FBT003 - Arrow's
    if not len(rows):
        return pa.nulls(len(texts))
    written = pc.replace_substring_regex(texts.take(pa.array(rows)), "[\r\n]", " ")
    data = as_lines(written, '{"v":', "}\n")
    if suspicious_lines(join_lines([data])):
        return None
    try:
        read = read_lines(data, len(rows)).column(0).combine_chunks()
    except UnevenError:
        return None
    places = np.full(len(texts), -1, np.int64)
    places[rows] = np.arange(len(rows))
    return read.take(pa.array(places, mask=places < 0))


def _elements(values: Any, dtype: pa.DataType, written: Written) -> Converted | None:
    """Elements as those of the column; NULL ones are usable. None if the type says they are not."""
    if pa.types.is_null(values.type):
        return Converted(pa.nulls(len(values), dtype), np.ones(len(values), bool))
    if not pa.types.is_struct(dtype):
        return _part(values, "", dtype, written)
    if not pa.types.is_struct(values.type):
        return None
    usable = np.ones(len(values), bool)
    parts: dict[str, Any] = {}
    for field, child in zip(values.type, values.flatten(), strict=True):
        name = next((known.name for known in dtype if squash(known.name) == squash(field.name)), "")
        name = name or _NAMES.get(squash(field.name), "")
        place = dtype.get_field_index(name)
        if place < 0 or name in parts:
            usable &= ~valid(child)
            continue
        found = _part(child, name, dtype.field(place).type, written)
        parts[name] = found.values
        usable &= found.usable
    arrays = [
        parts[field.name] if field.name in parts else pa.nulls(len(values), field.type)
        for field in dtype
    ]
    structs = pa.StructArray.from_arrays(arrays, fields=list(dtype), mask=values.is_null())
    return Converted(structs, usable)


def _part(values: Any, name: str, dtype: pa.DataType, written: Written) -> Converted:
    """Scalars under the type of a column; usable is also what was NULL, or an empty text."""
    if pa.types.is_null(values.type):
        return Converted(pa.nulls(len(values), dtype), np.ones(len(values), bool))
    if dtype == TIMESTAMP:
        read = written.times(values)
        nanoseconds = pa.array(read.nanoseconds, mask=~read.usable)
        found = Converted(nanoseconds.cast(TIMESTAMP), read.usable)
    elif name in _IDS:
        found = to_id(values)
    elif pa.types.is_string(dtype):
        found = to_text(values)
    else:
        found = to_integer(dtype)(values) if pa.types.is_integer(dtype) else to_double(values)
    absent = ~valid(values)
    if pa.types.is_string(values.type):
        empty = pc.equal(plain_text(values), "")
        absent |= np.asarray(pc.fill_null(empty, fill_value=False))
    return Converted(found.values, found.usable | absent)
