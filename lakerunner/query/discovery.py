"""What there is to ask about: tables, columns, attributes, services and values.

The catalog knows much of it: columns of all segments, and of a segment the values of a column that
has few. What it does not know is read, and nothing else: only those segments, and only that column.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import ConfigurationError, did_you_mean
from lakerunner.model.predicate import EVERYTHING, And, NotNull, StartsWith
from lakerunner.model.times import isoformat
from lakerunner.query.explanation import QueryStats
from lakerunner.query.result import TableResult
from lakerunner.query.scan import ScanQuery
from lakerunner.schema.arrays import TYPES, common_type, type_name
from lakerunner.schema.attribute import OVERFLOW, RESOURCE, SCOPE
from lakerunner.schema.tables import SERVICE, TABLES, table_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lakerunner.catalog.base import Catalog
    from lakerunner.model.commit import Snapshot
    from lakerunner.model.segment import ColumnStats, Segment
    from lakerunner.model.times import TimeRange
    from lakerunner.query.hiding import Hiding
    from lakerunner.query.query import Query
    from lakerunner.query.result import Result

_SIGNALS = ("logs", "spans", "metrics")
_TABLES_SCHEMA = pa.schema(
    [
        *(("table", pa.string()), ("segments", pa.int64()), ("rows", pa.int64())),
        *(("bytes", pa.int64()), ("columns", pa.int64())),
    ]
)
_COLUMNS_SCHEMA = pa.schema(
    [
        *(("column", pa.string()), ("type", pa.string()), ("nulls", pa.int64())),
        *(("examples", pa.list_(pa.string())), ("key", pa.string()), ("of", pa.string())),
        *(("types", pa.list_(pa.string())), ("segments", pa.int64())),
    ]
)

_LOOKED_AT = 2000
"""Segments of which the statistics of columns are added up; in larger tables nulls are unknown."""

_EXAMPLES = 3


class Discovery(NamedTuple):
    """Answers what there is, for one organization.

    Attributes:
        catalog: What is known.
        organization: Whose.
        run: Runs a query.
        hides: Tells what is not seen of the rows of a table, of which the catalog knows too much.
    """

    catalog: Catalog
    organization: str
    run: Callable[[Query], Result]
    hides: Callable[[str, Snapshot], Hiding]

    def tables(self) -> TableResult:
        """The tables, with what lies in them: segments, rows, bytes, and columns."""
        snapshots = [(name, self._snapshot(name)) for name in TABLES]
        rows = [
            (name, found.segments, found.rows, found.bytes, len(found.columns))
            for name, found in snapshots
        ]
        return _listed(rows, _TABLES_SCHEMA)

    def describe(self, table: str) -> TableResult:
        """The columns of a table, those first that every table of its kind has.

        Returns:
            `column`; `type`, under which it is read; `nulls`, rows in which it is NULL (NULL itself
            in a table of more than 2,000 segments); `examples`, some of its values as text, where
            the catalog knows any; `key`, the attribute as it was sent; `of`, which is `resource`,
            `scope` or `record` of attributes; `types` that segments have; `segments` that have it.
        """
        spec, found = table_spec(table), self._snapshot(table)
        keys = self._keys(spec.name, found)
        seen_columns = self._added_up(spec.name, found)
        names = [*spec.schema.names, *sorted(found.columns.keys() - {*spec.schema.names})]
        rows = []
        for name in names:
            if name == OVERFLOW:
                continue
            seen = found.columns.get(name)
            types = [] if seen is None else list(seen.types)
            own = spec.schema.field(name).type if name in spec.schema.names else None
            kind = type_name(own) if own is not None else common_type(types)
            count = 0 if seen is None else seen.physical + seen.overflow
            key = keys.get(name)
            added = seen_columns.get(name, _Added())
            nulls = None if found.segments > _LOOKED_AT else found.rows - added.filled
            of = _of(name) if key else None
            rows.append((name, kind, nulls, list(added.examples), key, of, types, count))
        return _listed(rows, _COLUMNS_SCHEMA)

    def _added_up(self, table: str, found: Snapshot) -> dict[str, _Added]:
        """What statistics of segments say of columns; of as many as are looked at."""
        added: dict[str, _Added] = {}
        pages = self.catalog.pages(self.organization, table) if found.segments else ()
        for segment in islice((one for page in pages for one in page), _LOOKED_AT):
            for name, stats in segment.columns.items():
                one = added.get(name, _Added())
                examples = dict.fromkeys(one.examples)
                if len(examples) < _EXAMPLES:
                    examples.update(dict.fromkeys(_some(stats)))
                filled = one.filled + segment.rows - stats.nulls
                added[name] = _Added(filled, tuple(examples)[:_EXAMPLES])
        return added

    def attributes(self, table: str) -> TableResult:
        """The attributes of a table; see `describe`."""
        described = self.describe(table).to_arrow()
        return TableResult(described.filter(pc.is_valid(described["key"])), QueryStats())

    def services(self, time_range: TimeRange) -> TableResult:
        """Services that sent something in a time range, and whether logs, spans and metrics.

        Returns:
            `service`, and `logs`, `spans` and `metrics`, which are true or false.
        """
        found = {name: self._values(name, SERVICE, time_range, "", None) for name in _SIGNALS}
        texts = [one.to_arrow()["value"].cast(pa.string()) for one in found.values()]
        every = pa.chunked_array([part for one in texts for part in one.chunks], pa.string())
        services = every.unique().sort()
        seen = {
            name: pc.is_in(services, value_set=text.combine_chunks())
            for name, text in zip(found, texts, strict=True)
        }
        stats = _added(one.stats for one in found.values())
        return TableResult(pa.table({"service": services, **seen}), stats)

    def values(
        self, column: str, time_range: TimeRange, prefix: str | None, limit: int
    ) -> TableResult:
        """The distinct values of a column in a time range; see `Lake.values`.

        Raises:
            ConfigurationError: No table has such a column, the limit is below 1, or a prefix is
                asked for of what is no text.
        """
        if limit < 1:
            raise ConfigurationError("limit must be at least 1", setting="limit")
        snapshots = {name: self._snapshot(name) for name in _SIGNALS}
        places = [
            (table, name)
            for table, found in snapshots.items()
            for name in self._columns(column, table, found)
        ]
        if not places:
            known = {name for found in snapshots.values() for name in found.columns}
            hint = did_you_mean(column, sorted(known)) if known else "; the lake is empty"
            raise ConfigurationError(f"no table has a column {column!r}{hint}", column=column)
        found = [
            self._values(table, name, time_range, prefix or "", limit) for table, name in places
        ]
        tables = [one.to_arrow() for one in found]
        kinds = {one.schema.field("value").type for one in tables}
        kind = kinds.pop() if len(kinds) == 1 else pa.string()
        chunks = [part.cast(kind) for one in tables for part in one["value"].chunks]
        values = pa.chunked_array(chunks, kind).unique()
        first = values.take(pc.array_sort_indices(values)).slice(0, limit)
        return TableResult(pa.table({"value": first}), _added(one.stats for one in found))

    def _snapshot(self, table: str) -> Snapshot:
        return self.catalog.snapshot(self.organization, table_spec(table).name)

    def _columns(self, said: str, table: str, found: Snapshot) -> list[str]:
        """Columns that are called so, or hold the attribute of that key."""
        if said in found.columns or said in TABLES[table].schema.names:
            return [said]
        return [name for name, key in self._keys(table, found).items() if key == said]

    def _keys(self, table: str, found: Snapshot) -> dict[str, str]:
        """Keys of attributes as they were sent, by column; of the segments that are enough."""
        missing, keys = set(found.columns), dict[str, str]()
        for page in self.catalog.pages(self.organization, table) if missing else ():
            for segment in page:
                for name in missing & segment.columns.keys():
                    keys[name] = segment.columns[name].key
                missing -= segment.columns.keys()
                if not missing:
                    return {name: key for name, key in keys.items() if key}
        return {name: key for name, key in keys.items() if key}

    def _values(
        self, table: str, column: str, times: TimeRange, prefix: str, limit: int | None
    ) -> TableResult:
        found = self._snapshot(table)
        summary = found.columns.get(column)
        types = ("string",) if summary is None else summary.types
        if common_type(types) not in TYPES:
            raise ConfigurationError(
                f"{column} of {table} is {common_type(types)}: take it apart in SQL"
            )
        if prefix and common_type(types) != "string":
            raise ConfigurationError(
                f"prefix is for text, and {column} of {table} is {common_type(types)}",
                setting="prefix",
            )
        hides = self.hides(table, found)
        segments = [] if summary is None else self._segments(table, hides.within(times))
        known = {
            one.id: one
            for one in segments
            if hides.reason(one)
            or (not hides.of(one) and _is_known(one.columns.get(column), one, times, types))
        }
        told: set[str] = set()
        for segment in known.values():
            stats = None if hides.reason(segment) else segment.columns.get(column)
            told.update(stats.values or () if stats is not None else ())
        kept = sorted(value for value in told if value.startswith(prefix))[:limit]
        if len(known) == len(segments):
            counted = QueryStats(segments=len(segments), pruned=len(segments), rows=len(kept))
            kind = TYPES[common_type(types)]
            return TableResult(pa.table({"value": pa.array(kept, pa.string()).cast(kind)}), counted)
        where = And((NotNull(column), StartsWith(column, prefix) if prefix else EVERYTHING))
        asked = ScanQuery(table, [column], where, times, order=[column], limit=limit, distinct=True)
        asked.without = frozenset(known)
        read = self.run(asked)
        values = read.to_arrow()[column]
        both = pa.chunked_array([*values.chunks, pa.array(kept, pa.string()).cast(values.type)])
        return TableResult(pa.table({"value": both.unique()}), read.stats)

    def _segments(self, table: str, times: TimeRange) -> Sequence[Segment]:
        return self.catalog.segments(self.organization, table, times)


class _Added(NamedTuple):
    """What several segments say of a column: rows in which it has a value, and some values."""

    filled: int = 0
    examples: tuple[str, ...] = ()


def _some(stats: ColumnStats) -> Sequence[str]:
    """A few values that a segment has in a column, as text."""
    if stats.values:
        return stats.values[:_EXAMPLES]
    bounds = [one for one in (stats.min, stats.max) if one is not None]
    if stats.type == "timestamp":
        return [isoformat(one) for one in bounds if isinstance(one, int)]
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in bounds]


def _is_known(
    stats: ColumnStats | None, segment: Segment, times: TimeRange, types: Sequence[str]
) -> bool:
    """Whether the catalog knows all values that a segment has in a time range, and no more."""
    if stats is None:
        return True
    whole = times.start_ns <= segment.min_timestamp_ns and segment.max_timestamp_ns < times.end_ns
    texts = list(types) == ["string"] and stats.type == "string"
    return whole and texts and stats.values is not None


def _of(name: str) -> str:
    if name.startswith(RESOURCE):
        return "resource"
    return "scope" if name.startswith(SCOPE) else "record"


def _listed(rows: Sequence[tuple[Any, ...]], schema: Any) -> TableResult:
    columns: Iterable[Any] = zip(*rows, strict=True) if rows else ([] for _ in schema)
    arrays = [pa.array(list(one), field.type) for one, field in zip(columns, schema, strict=True)]
    return TableResult(pa.Table.from_arrays(arrays, schema=schema), QueryStats(rows=len(rows)))


def _added(stats: Iterable[QueryStats]) -> QueryStats:
    every = list(stats)
    sums: Mapping[str, Any] = {
        name: sum(getattr(one, name) for one in every)
        for name in QueryStats.__struct_fields__
        if name != "rounded"
    }
    return QueryStats(**sums)
