"""Read what a window is summed up from: chosen segments, as a query sees them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.catalog.base import ALL_TIME
from lakerunner.catalog.past import PastCatalog
from lakerunner.model.commit import LakeSnapshot, summarise_columns
from lakerunner.model.predicate import EVERYTHING, And, Compare
from lakerunner.schema.arrays import TYPES, common_type, one_chunk
from lakerunner.schema.attribute import OVERFLOW, AttributeColumn, attribute_field, overflow_field
from lakerunner.schema.tables import METRICS, METRICS_ROLLUP, TABLES
from lakerunner.schema.text import double_text
from lakerunner.segments.codec import order_columns
from lakerunner.tiers.points import POINT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.commit import Head
    from lakerunner.model.predicate import Predicate
    from lakerunner.model.segment import ColumnStats, Segment
    from lakerunner.model.times import TimeRange
    from lakerunner.query import QueryEngine
    from lakerunner.scope import Scope

_IDENTITY = tuple(
    name
    for name in METRICS_ROLLUP.names
    if name in METRICS.names and name not in {"organization", "timestamp", *POINT_COLUMNS}
)
_DAY_SECONDS = 86_400.0
_HASHES = 1 << 64


class ChosenSegments(PastCatalog):
    """The state of a catalog in which some segments are all there are.

    Args:
        inner: The catalog.
        head: The state.
        chosen: What is shown.
    """

    def __init__(self, inner: Catalog, head: Head, chosen: Iterable[Segment]) -> None:
        super().__init__(inner, LakeSnapshot(head.sequence, 0, head.incarnation))
        self._chosen = {one.id for one in chosen}

    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Those of the chosen ones that lie in the range."""
        found = super().segments(organization, table, time_range, sequence=sequence)
        return [one for one in found if one.id in self._chosen]


class Part(NamedTuple):
    """Some of the metrics of a window: as many as fit into memory.

    Attributes:
        where: Which they are. Parts are in the order of a segment.
    """

    where: Predicate


class Material:
    """Reads rows of segments of one window, whatever types their columns have.

    Args:
        scope: The lake, as one organization.
        engine: Reads; its limits apply.
        head: The state that is read.
        points: Segments of points.
        tiers: Tier segments.
    """

    def __init__(
        self,
        scope: Scope,
        engine: QueryEngine,
        head: Head,
        points: Sequence[Segment],
        tiers: Sequence[Segment],
    ) -> None:
        self._scope, self._engine, self._head = scope, engine, head
        described = [one.columns for one in (*points, *tiers)]
        self._attributes = _attribute_fields(described)
        self._overflow = _overflow_types(described, self._attributes)

    def schema(self) -> pa.Schema:
        """All columns that a tier of the window may have, in the order of a segment."""
        repeating = TABLES["metrics_rollup"].repeating
        fields = [
            pa.field(one.name, _stored(one.type) if one.name in repeating else one.type)
            for one in METRICS_ROLLUP
            if one.name != OVERFLOW
        ]
        fields += [
            pa.field(one.name, one.type, metadata=one.metadata)
            for one in self._attributes.values()
            if one.name not in METRICS_ROLLUP.names
        ]
        if self._overflow:
            fields.append(overflow_field(OVERFLOW, self._overflow))
        spec = TABLES["metrics_rollup"]
        return order_columns(pa.schema(fields).empty_table(), spec).schema

    def parts(self, segments: Sequence[Segment], span: TimeRange, most: int) -> list[Part]:
        """Cut the points of a window into parts of so many rows at most, about.

        A metric that has more is cut by the ids of its series.
        """
        if sum(one.rows for one in segments) <= most:
            return [Part(EVERYTHING)]
        counted: Counter[str] = Counter()
        for batch in self._scan("metrics", segments, ["metric_name"], span, EVERYTHING):
            for value in pc.value_counts(batch.column(0)).to_pylist():
                counted[value["values"]] += value["counts"]
        return list(_parts(sorted(counted.items()), most))

    def points(
        self,
        segments: Sequence[Segment],
        span: TimeRange,
        where: Predicate,
        *,
        attributes: bool = True,
    ) -> pa.Table:
        """Points of some segments within a time range; `attributes` and what else names them."""
        names = [*_IDENTITY, *POINT_COLUMNS]
        if not attributes:
            names = [name for name in names if name != OVERFLOW]
        return self._read("metrics", segments, span, where, names, attributes=attributes)

    def buckets(self, segments: Sequence[Segment], span: TimeRange, where: Predicate) -> pa.Table:
        """Rows of tier segments."""
        names = [one for one in METRICS_ROLLUP.names if one != "organization"]
        return self._read("metrics_rollup", segments, span, where, names, attributes=True)

    def _read(
        self,
        table: str,
        segments: Sequence[Segment],
        span: TimeRange,
        where: Predicate,
        names: Sequence[str],
        *,
        attributes: bool,
    ) -> pa.Table:
        names = [*names, *(self._attributes if attributes else ())]
        if not self._overflow:
            names = [name for name in names if name != OVERFLOW]
        names = list(dict.fromkeys(names))
        batches = list(self._scan(table, segments, names, span, where))
        wanted = self.schema()
        columns = {}
        for place, name in enumerate(names):
            chunks = [batch.column(place) for batch in batches]
            if not chunks:
                continue
            known = wanted.field(name) if name in wanted.names else METRICS.field(name)
            column = one_chunk(pa.chunked_array([_cast(chunk, known.type) for chunk in chunks]))
            columns[name] = self._without_columns(column) if name == OVERFLOW else column
        return pa.table(columns) if columns else wanted.empty_table().select([])

    def _without_columns(self, maps: Any) -> Any:
        """The overflow map without what has a column in another segment of the window."""
        lengths = pc.fill_null(pc.list_value_length(maps), 0).to_numpy()
        keys, items = maps.keys, maps.items
        kept = pc.invert(pc.is_in(keys, pa.array(list(self._attributes), pa.string())))
        if not len(keys) or pc.all(kept).as_py():
            return maps
        owner = np.repeat(np.arange(len(maps)), lengths)[kept.to_numpy(zero_copy_only=False)]
        sizes = np.bincount(owner, minlength=len(maps))
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        filled = pa.MapArray.from_arrays(pa.array(offsets), keys.filter(kept), items.filter(kept))
        return filled.take(pa.array(np.arange(len(maps)), mask=sizes == 0))

    def _scan(
        self,
        table: str,
        segments: Sequence[Segment],
        names: Sequence[str],
        span: TimeRange,
        where: Predicate,
    ) -> Iterable[pa.RecordBatch]:
        if not segments:
            return iter(())
        view = ChosenSegments(self._scope.catalog, self._head, segments)
        engine = self._engine.within(self._scope.over(view))
        return iter(engine.scan(table, names, where, span, timeout=_DAY_SECONDS))


def _parts(metrics: Sequence[tuple[str, int]], most: int) -> Iterable[Part]:
    pending: list[tuple[str, int]] = []
    for name, rows in metrics:
        if pending and sum(each for _, each in pending) + rows > most:
            yield _named(pending)
            pending = []
        pieces = -(-rows // most)
        if pieces == 1:
            pending.append((name, rows))
            continue
        edges = [(_HASHES * each // pieces) - _HASHES // 2 for each in range(pieces)]
        for low, high in zip(edges, [*edges[1:], None], strict=True):
            conditions: list[Predicate] = [Compare("metric_name", "=", name)]
            conditions.append(Compare("series_id", ">=", low))
            if high is not None:
                conditions.append(Compare("series_id", "<", high))
            yield Part(And(tuple(conditions)))
    if pending:
        yield _named(pending)


def _named(pending: Sequence[tuple[str, int]]) -> Part:
    first, last = pending[0][0], pending[-1][0]
    return Part(And((Compare("metric_name", ">=", first), Compare("metric_name", "<=", last))))


def _attribute_fields(described: Sequence[dict[str, ColumnStats]]) -> dict[str, pa.Field]:
    """Attributes that are columns in any of the segments, as one field each."""
    fields = {}
    for name, summary in sorted(summarise_columns(list(described)).items()):
        if not summary.physical or (name in METRICS.names or name in METRICS_ROLLUP.names):
            continue
        dtype = _stored(TYPES[common_type(summary.types)])
        said = [one[name] for one in described if name in one]
        types = tuple(sorted({each for one in said for each in one.types}))
        values = pa.array([], dtype)
        fields[name] = attribute_field(name, AttributeColumn(values, said[0].key, types))
    return fields


def _overflow_types(
    described: Sequence[dict[str, ColumnStats]], fields: Collection[str]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What is in an overflow map and nowhere a column: its key, and the types that were sent."""
    return {
        name: (stats.key, stats.types)
        for columns in described
        for name, stats in columns.items()
        if stats.overflow and name not in fields
    }


def _stored(dtype: pa.DataType) -> pa.DataType:
    return pa.dictionary(pa.int32(), pa.string()) if pa.types.is_string(dtype) else dtype


def _cast(values: Any, dtype: pa.DataType) -> Any:
    """A column as the type it is stored in; numbers become text as they do elsewhere."""
    if values.type == dtype:
        return values
    if pa.types.is_dictionary(values.type) and pa.types.is_dictionary(dtype):
        words = values.dictionary.cast(pa.string())
        return pa.DictionaryArray.from_arrays(values.indices.cast(pa.int32()), words)
    if pa.types.is_dictionary(dtype):
        text = double_text(values) if pa.types.is_floating(values.type) else values
        return text.cast(pa.string()).dictionary_encode()
    return values.cast(dtype)
