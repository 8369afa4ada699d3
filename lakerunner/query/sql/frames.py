"""Tables that the caller brings along, to be joined with those of the lake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.errors import ConfigurationError
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_TAKEN = frozenset(name for spec in TABLES.values() for name in (spec.name, *spec.aliases))


def read_tables(tables: Mapping[str, Any] | None) -> dict[str, Any]:
    """The caller's tables as `pyarrow.Table`, by name.

    Args:
        tables: Data frames of pandas or Polars, Arrow tables, batches or readers, results of other
            queries, or whatever else is an Arrow stream; or mappings of columns.

    Raises:
        ConfigurationError: One cannot be read, or its name is taken or not plain.

    Example:
        >>> read_tables({"owners": {"service": ["cart"], "team": ["shop"]}})["owners"].num_rows
        1
    """
    return {name: _table(name, value) for name, value in (tables or {}).items()}


def _table(name: str, value: Any) -> Any:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"tables: {name!r} is no plain name: use lower-case letters, digits and underscores",
            setting="tables",
        )
    if name in _TAKEN:
        raise ConfigurationError(
            f"tables: {name!r} is a table of the lake: give yours another name", setting="tables"
        )
    try:
        return pa.table(value)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"tables: {name!r} is no table: {error}; give a data frame, or anything that is an "
            "Arrow stream",
            setting="tables",
        ) from error
