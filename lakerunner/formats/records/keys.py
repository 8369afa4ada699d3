"""Columns that came from a lake: give them the keys they had before they went in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.schema.attribute import field_key

if TYPE_CHECKING:
    import pyarrow as pa

# Not `scope.name`, which is a column: these say that what follows is an attribute's key.
_PLACES = {"attr": "attributes", "resource": "resource.attributes", "scope": "scope.attributes"}


def restore_keys(table: pa.Table) -> pa.Table:
    """Rename attribute columns by the original key in the metadata of their fields.

    Example:
        >>> import pyarrow as pa
        >>> field = pa.field("attr_a_b", pa.int64(), metadata={"lakerunner.key": "a.b"})
        >>> restore_keys(pa.table([[1]], schema=pa.schema([field]))).column_names
        ['attributes.a.b']
    """
    names = []
    for field in table.schema:
        key, place = field_key(field), _PLACES.get(field.name.partition("_")[0])
        names.append(f"{place}.{key}" if key and place else field.name)
    return table.rename_columns(names)
