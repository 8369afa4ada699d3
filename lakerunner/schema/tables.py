"""The tables of a lake: what each one is made of. The only place that lists them.

A table is where rows lie; a signal (`lakerunner.model.signal`) is what kind of telemetry an input
holds. Catalogs, segments, plans and query languages speak of tables by name, and whatever they need
to know of one is here: to add a table is to add an entry to `TABLES`.
"""

from __future__ import annotations

from typing import NamedTuple

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
from lakerunner.schema.types import TIMESTAMP


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
