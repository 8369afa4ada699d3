"""Check what a user says of records before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakerunner.errors import ConfigurationError
from lakerunner.model.mapping import SourceMapping, read_mapping
from lakerunner.schema.tables import TABLE_OF
from lakerunner.schema.time_layouts import layout_of_format

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLUMNS = frozenset(name for table in TABLE_OF.values() for name in table.schema.names)


def check_mapping(mapping: SourceMapping | Mapping[str, Any] | None) -> SourceMapping | None:
    """A mapping, checked against the columns there are.

    Raises:
        ConfigurationError: A field is unknown or of a wrong type, a column is not in any table, or
            the time format cannot be read.

    Example:
        >>> check_mapping({"columns": {"bdy": "msg"}})
        Traceback (most recent call last):
        lakerunner.errors.ConfigurationError: mapping: 'bdy' is no table column
    """
    said = read_mapping(mapping)
    if said is None:
        return None
    for column in said.columns:
        if column not in _COLUMNS:
            raise ConfigurationError(f"mapping: {column!r} is no table column", column=column)
    if said.timestamp_format is not None:
        layout_of_format(said.timestamp_format)
    return said
