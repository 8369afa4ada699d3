"""Add the fingerprint columns to decoded log rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.schema.fingerprints.fingerprint import log_fingerprints

if TYPE_CHECKING:
    import pyarrow as pa


def with_fingerprints(table: pa.Table) -> pa.Table:
    """Fill `fingerprint` and `template` from `body`.

    Args:
        table: Decoded log rows. Without a `body` column it is returned as it is; columns of these
            names that it already has are replaced.

    Example:
        >>> import pyarrow as pa
        >>> table = with_fingerprints(pa.table({"body": ["order 17 placed", "order 18 placed"]}))
        >>> table.column("template").to_pylist()
        ['order <*> placed', 'order <*> placed']
        >>> len(set(table.column("fingerprint").to_pylist()))
        1
    """
    if "body" not in table.column_names:
        return table
    found = log_fingerprints(table.column("body").combine_chunks())
    for name, values in zip(found._fields, found, strict=True):
        position = table.schema.get_field_index(name)
        if position < 0:
            table = table.append_column(name, values)
        else:
            table = table.set_column(position, name, values)
    return table
