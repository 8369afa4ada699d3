"""Take records out of the lists that objects wrap them in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError

if TYPE_CHECKING:
    from lakerunner.formats.records.read import Records


def unwrap(records: Records, key: str) -> Records:
    """Records out of a list inside of an object; what stands beside the list is kept for each.

    An object without the list, among others that have it, is a record itself. One whose list is
    empty holds no record. A field that stands in and beside the list is `name#2` of the two.

    Args:
        records: Objects of one payload.
        key: The field that holds the list.

    Raises:
        CorruptObjectError: There are objects and none of these lists.

    Example:
        >>> from lakerunner.formats.records.read import Records
        >>> objects = pa.table({"a": ["x", "y"], "all": [[{"b": 1}, {"b": 2}], None]})
        >>> unwrap(Records(objects, np.zeros(2, np.int32)), "all").table.to_pylist()
        [{'b': 1, 'a': 'x'}, {'b': 2, 'a': 'x'}, {'b': None, 'a': 'y'}]
    """
    table = records.table
    if not table.num_rows:
        return records
    said = f"field {key!r}, which the mapping names for 'rows',"
    if key not in table.column_names:
        raise CorruptObjectError(f"{said} is not there")
    lists = table[key].combine_chunks()
    if not pa.types.is_list(lists.type) or not pa.types.is_struct(lists.type.value_type):
        raise CorruptObjectError(f"{said} is no list of objects")
    present = np.asarray(lists.is_valid())
    if not present.any():
        raise CorruptObjectError(f"{said} is not there")
    lengths = np.where(present, pc.fill_null(pc.list_value_length(lists), 0), 1)
    owners = np.repeat(np.arange(len(lists)), lengths)
    elements = pc.list_flatten(lists)
    places = np.cumsum(present[owners]) - 1
    indices = pa.array(places, pa.int64(), mask=~present[owners])
    inner = pa.Table.from_struct_array(elements.take(indices))
    outer = table.drop_columns([key]).take(pa.array(owners))
    for name in outer.column_names:
        unique, turn = name, 1
        while unique in inner.column_names or (turn > 1 and unique in outer.column_names):
            turn += 1
            unique = f"{name}#{turn}"
        inner = inner.append_column(outer.schema.field(name).with_name(unique), outer[name])
    return records._replace(table=inner.combine_chunks(), payload=records.payload[owners])
