"""The tables of a lake: what each one is made of. The only place that lists them.

A table is where rows lie; a signal (`lakerunner.model.signal`) is what kind of telemetry an input
holds. Catalogs, segments, plans and query languages speak of tables by name, and whatever they need
to know of one is here: to add a table is to add an entry to `TABLES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from lakerunner.errors import ConfigurationError, did_you_mean
from lakerunner.model.deletion import DELETED, DELETIONS
from lakerunner.model.signal import Signal
from lakerunner.schema.canonical import (
    ID_COLUMNS,
    LOGS,
    METRICS,
    METRICS_ROLLUP,
    REPEATING,
    SERVICE,
    SPANS,
)
from lakerunner.schema.names import RECORD, RESOURCE, SCOPE
from lakerunner.schema.types import TIMESTAMP, TYPES, type_name

if TYPE_CHECKING:
    from lakerunner.model.config import Config


class TableSpec(NamedTuple):
    """What a table is made of.

    Attributes:
        name: In SQL, in catalogs and in the keys of its segments: lower-case, `[a-z0-9_]`.
        schema: Its canonical columns in order; attribute columns follow them, in name order.
        sort: Declared order of a segment: ascending, NULLs last. Columns of the schema.
        ids: Columns that are looked up by single values; segments carry filters for them.
        texts: Columns of prose, whose words are looked for; `search` looks there.
        repeating: Text columns of few distinct values, stored and read as dictionaries.
        window_ns: Length of a window of its own, in nanoseconds; None for `Config.window_ns`.
        aliases: What people may call it as well, where they name a table.
        always: Attributes that are columns of their own in every segment that has them, however
            rare they are.

    Example:
        >>> TABLES["spans"].sort
        ('resource_service_name', 'timestamp')
    """

    name: str
    schema: pa.Schema
    sort: tuple[str, ...]
    ids: tuple[str, ...] = ID_COLUMNS
    texts: tuple[str, ...] = ()
    repeating: frozenset[str] = REPEATING
    window_ns: int | None = None
    aliases: tuple[str, ...] = ()
    always: tuple[str, ...] = ()


TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        TableSpec("logs", LOGS, (SERVICE, "timestamp"), texts=("body",)),
        TableSpec(
            "spans",
            SPANS,
            (SERVICE, "timestamp"),
            texts=("name", "status_message"),
            aliases=("traces",),
        ),
        TableSpec("metrics", METRICS, ("metric_name", "series_id", "timestamp")),
        TableSpec(
            "metrics_rollup", METRICS_ROLLUP, ("metric_name", "series_id", "timestamp"), ids=()
        ),
    )
}
"""Every table by name, in the order in which people are told of them."""

TABLE_OF: dict[Signal, TableSpec] = {
    Signal.LOGS: TABLES["logs"],
    Signal.SPANS: TABLES["spans"],
    Signal.METRICS: TABLES["metrics"],
}
"""The table that takes the rows of each kind of telemetry."""

_STATEMENTS = pa.schema(
    [("organization", pa.string()), ("timestamp", TIMESTAMP), ("statement", pa.string())]
)

OWN_TABLES: dict[str, TableSpec] = {
    name: TableSpec(name, _STATEMENTS, ("timestamp",), ids=(), repeating=frozenset())
    for name in (DELETIONS, DELETED)
}
"""Tables that a lake keeps for itself. No query can name them, and no input is in them."""


def table_spec(name: str) -> TableSpec:
    """The table of a name.

    Raises:
        ConfigurationError: There is none.

    Example:
        >>> table_spec("log")
        Traceback (most recent call last):
        lakerunner.errors.ConfigurationError: no table 'log'; did you mean 'logs'?
    """
    called = (spec for spec in TABLES.values() if name in (spec.name, *spec.aliases))
    found = next(called, None)
    if found is None:
        hint = did_you_mean(name, TABLES, "the tables are")
        raise ConfigurationError(f"no table {name!r}{hint}", table=name)
    return found


def configured(spec: TableSpec, config: Config) -> TableSpec:
    """A table as the settings of a lake lay it out.

    Example:
        >>> from lakerunner.model.config import read_config
        >>> config = read_config({"tables": {"spans": {"sort": ["trace_id"]}}})
        >>> configured(TABLES["spans"], config).sort, configured(TABLES["logs"], config).sort
        (('trace_id',), ('resource_service_name', 'timestamp'))
    """
    chosen = config.tables.get(spec.name)
    if chosen is None:
        return spec
    return spec._replace(sort=chosen.sort or spec.sort, always=chosen.columns)


def check_settings(config: Config) -> None:
    """Refuse settings of tables that do not fit them.

    Raises:
        ConfigurationError: There is no such table; a column cannot be sorted by, or is named
            twice; or what shall always be a column is no attribute.
    """
    for table, chosen in config.tables.items():
        spec = table_spec(table)
        if spec.name != table:
            raise ConfigurationError(f"tables: {table!r} is called {spec.name!r} here", table=table)
        for name in chosen.sort:
            _check_sort(spec, name)
        for name in chosen.columns:
            if name in spec.schema.names or not name.startswith((RECORD, RESOURCE, SCOPE)):
                raise ConfigurationError(
                    f"tables.{table}.columns: {name!r} is no attribute column; these are called "
                    "attr_…, resource_… or scope_…",
                    column=name,
                )
        for names in (chosen.sort, chosen.columns):
            if len(set(names)) < len(names):
                raise ConfigurationError(f"tables.{table}: a column is named twice", table=table)


def _check_sort(spec: TableSpec, name: str) -> None:
    if name in spec.schema.names:
        plain = type_name(spec.schema.field(name).type) in TYPES and name != "organization"
    else:
        plain = name.startswith((RECORD, RESOURCE, SCOPE))
    if not plain:
        raise ConfigurationError(
            f"tables.{spec.name}.sort: rows cannot be sorted by {name!r}; it takes columns of "
            f"texts, numbers and times, and attributes",
            column=name,
        )
