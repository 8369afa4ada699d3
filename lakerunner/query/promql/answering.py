"""Answer PromQL: read what the selectors of an expression need, and evaluate it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import QueryExecutionError, QueryLimitError
from lakerunner.model.times import TimeRange
from lakerunner.query.explanation import Explanation, SegmentVerdict
from lakerunner.query.promql.evaluate import evaluate
from lakerunner.query.promql.grid import DEFAULT_LOOKBACK_MS, Grid, Read, reads
from lakerunner.query.promql.otlp import PARTS, Stream, label_name, metric_name
from lakerunner.query.promql.parser import parse
from lakerunner.query.promql.points import (
    COLUMNS_OF,
    NUMBER_COLUMNS,
    Points,
    concat_samples,
    cut,
    to_samples,
)
from lakerunner.query.promql.rows import answer_table, joined_tables
from lakerunner.query.promql.streams import IDENTITY, Selected, select_streams
from lakerunner.query.promql.syntax import ValueType
from lakerunner.query.result import Result, TableResult
from lakerunner.query.stats import QueryStats
from lakerunner.schema.names import RECORD, RESOURCE
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from lakerunner.compute.table import ScanMode
    from lakerunner.model.segment import Segment
    from lakerunner.query.promql.series import Samples
    from lakerunner.query.promql.syntax import Matcher

_NS_PER_MS = 1_000_000
_BYTES_PER_CELL = 64
"""A sample of one series at one step, with what functions keep beside it."""

_FEW_SERIES = 1000
"""Up to so many series are named in the query that reads their points."""

KINDS = {
    ValueType.SCALAR: "scalar",
    ValueType.VECTOR: "vector",
    ValueType.MATRIX: "matrix",
    ValueType.STRING: "string",
}


class Reader(NamedTuple):
    """What PromQL needs of a lake.

    Attributes:
        ask: Answers a query in SQL.
        segments: The segments of the metrics that may hold rows of a time range.
        memory_bytes: About how much samples and steps may take up at once.
        resource: Whether the attributes of resources are labels.
    """

    ask: Callable[[str], Result]
    segments: Callable[[TimeRange], Sequence[Segment]]
    memory_bytes: int
    resource: bool = True


class SampleResult(TableResult):
    """The samples that a PromQL expression evaluates to: one row each.

    Columns are the labels that occur (`__name__` first, the rest in order; NULL where a series
    lacks one), then `timestamp` and `value`, and `histogram` where a sample is one.

    Attributes:
        kind: `scalar`, `vector`, `matrix` or `string`.
        warnings: What may be wrong with the answer, in Prometheus' words.
        infos: What may be odd about it.
    """

    def __init__(
        self,
        table: pa.Table,
        kind: str,
        notes: tuple[tuple[str, ...], tuple[str, ...]],
        stats: QueryStats,
    ) -> None:
        super().__init__(table, stats)
        self.kind = kind
        self.warnings, self.infos = notes


class _Stream(NamedTuple):
    """What a selector reads, whenever it is evaluated.

    Attributes:
        where: Conditions on the rows, as far as the catalog and the columns can tell.
        delta: bool, one a stream: points are what was added since the one before.
        ids: int64: the series of each stream.
        selected: The series that fulfil the conditions, by kind.
    """

    where: tuple[str, ...]
    delta: NDArray[np.bool_]
    ids: NDArray[np.int64]
    selected: tuple[Selected, ...]


class _Metrics:
    """Reads samples from the metrics of a lake."""

    def __init__(self, reader: Reader, wanted: Sequence[Read]) -> None:
        self._reader = reader
        self.results: list[Result] = []
        self._streams = {read.matchers: self._find(read) for read in wanted}

    @property
    def series(self) -> int:
        """How many series the selector with the most of them reads."""
        found = self._streams.values()
        return max((sum(len(s.labels) for s in one.selected) for one in found), default=0)

    def select(self, read: Read) -> Samples:
        """The samples of all series that fulfil the conditions, within the time range."""
        stream = self._streams[read.matchers]
        return concat_samples([self._points(one, stream, read) for one in stream.selected])

    def _find(self, read: Read) -> _Stream:
        known = _conditions(self._reader, read)
        if known is None:
            return _Stream((), np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64), ())
        where, keys = known
        resource = self._reader.resource
        columns = ", ".join(["series_id", *IDENTITY, *map(_quoted, sorted(keys))])
        span = _span(read.after_ms, read.until_ms)
        streams = self._ask(f"SELECT DISTINCT {columns}", [_within(span), *where])
        delta = np.asarray(pc.equal(streams["temporality"].fill_null(""), "delta"))
        selected = select_streams(streams, keys, read.matchers, resource=resource)
        ids = np.asarray(streams["series_id"])
        return _Stream(tuple(where), delta, ids, tuple(selected))

    def _points(self, selected: Selected, stream: _Stream, read: Read) -> Samples:
        # Whether a counter of a native histogram was reset is told by the sample before it.
        after_ms = read.after_ms - (DEFAULT_LOOKBACK_MS if selected.kind == "native" else 0)
        wanted = np.unique(stream.ids[selected.rows])
        columns = ", ".join((*NUMBER_COLUMNS, *COLUMNS_OF[selected.kind]))
        where = [_within(_span(after_ms, read.until_ms)), *stream.where]
        if len(wanted) <= _FEW_SERIES:
            where.append(f"series_id IN ({', '.join(map(str, wanted.tolist()))})")
        table = self._ask(f"SELECT {columns}", where).combine_chunks()
        points = Points(table, _places(np.asarray(table["series_id"]), stream.ids))
        return cut(to_samples(points, selected, stream.delta, read.matchers), read.after_ms)

    def _ask(self, select: str, where: Sequence[str]) -> pa.Table:
        result = self._reader.ask(f"{select} FROM metrics WHERE {' AND '.join(where)}")
        batches: list[pa.RecordBatch] = []
        taken = 0
        for batch in result:
            taken += batch.nbytes
            if taken > self._reader.memory_bytes:
                raise QueryLimitError(
                    f"a selector reads more than {self._reader.memory_bytes:,} bytes of samples "
                    "at once: ask for a shorter range or fewer series, or raise query_memory_bytes",
                    setting="query_memory_bytes",
                )
            batches.append(batch)
        self.results.append(result)
        return pa.Table.from_batches(batches, result.schema)


def _conditions(reader: Reader, read: Read) -> tuple[list[str], dict[str, str]] | None:
    """What the catalog tells of a selector: conditions on rows, and the attributes there are.

    None where no row can fulfil it.
    """
    segments = reader.segments(_span(read.after_ms, read.until_ms))
    names = candidates(segments, read.matchers)
    if not segments or names == ():
        return None
    keys = attribute_keys(segments)
    where = [_is_one_of("metric_name", names)] if names else []
    return where + pushed(read.matchers, segments, keys, resource=reader.resource), keys


def explain(
    text: str, grid: Grid, reader: Reader, explain_sql: Callable[[str], Explanation]
) -> Explanation:
    """Say which segments each selector of an expression reads, and why.

    Raises:
        QuerySyntaxError: The text cannot be read.
    """
    plans: list[str] = []
    verdicts: dict[str, SegmentVerdict] = {}
    modes: Mapping[str, ScanMode] = {}
    for read in reads(parse(text), grid):
        shown = "{" + ", ".join(map(str, read.matchers)) + "}"
        known = _conditions(reader, read)
        if known is None:
            plans.append(f"{shown}: no metric can have this name or these labels")
            continue
        where = " AND ".join([_within(_span(read.after_ms, read.until_ms)), *known[0]])
        part = explain_sql(f"SELECT {', '.join(NUMBER_COLUMNS)} FROM metrics WHERE {where}")  # noqa: S608 - quoted
        plans.append(f"{shown}:\n{part.physical_plan}")
        modes = part.modes
        for verdict in part.segments:
            before = verdicts.get(verdict.segment.id)
            if before is None or (verdict.keep and not before.keep):
                verdicts[verdict.segment.id] = verdict
    return Explanation(text, tuple(verdicts.values()), modes, "\n".join(plans))


def describe_metrics(reader: Reader, span: TimeRange) -> TableResult:
    """The metrics of a time range: names, types, units, descriptions.

    Columns: `name` as PromQL has it, `metric_name` as it was sent, `type`, `unit`, `description`,
    `temporality`, `is_monotonic`; in order of `name`.
    """
    started = time.perf_counter()
    columns = ("metric_name", "metric_type", "unit", "description", "temporality", "is_monotonic")
    result = reader.ask(f"SELECT DISTINCT {', '.join(columns)} FROM metrics WHERE {_within(span)}")  # noqa: S608 - names
    found = result.to_arrow()
    names = [
        metric_name(Stream(row[0] or "", row[1] or "", row[2] or "", monotonic=bool(row[3])))
        for row in zip(
            *(found[name].to_pylist() for name in (*columns[:3], "is_monotonic")), strict=True
        )
    ]
    table = found.rename_columns([{"metric_type": "type"}.get(name, name) for name in columns])
    table = table.add_column(0, "name", pa.array(names, pa.string()))
    table = table.sort_by([("name", "ascending"), ("metric_name", "ascending")])
    return TableResult(table, _summed([result], table.num_rows, time.perf_counter() - started))


def _places(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each id stands among those that are known; ids come in long runs of equal ones."""
    if not len(ids):
        return np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[0], np.flatnonzero(ids[1:] != ids[:-1]) + 1])
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known[order], ids[starts])
    found = order[np.minimum(place, len(order) - 1)]
    return np.repeat(found, np.diff(np.append(starts, len(ids))))


def answer(text: str, grid: Grid, reader: Reader) -> SampleResult:
    """Answer a PromQL query.

    Where series times steps are more than fit in memory, some steps are evaluated after the others:
    no expression sees beyond its own step but through a selector, which reads what it needs.

    Raises:
        QuerySyntaxError: The text cannot be read.
        QueryError: It cannot be evaluated, or reads more than it may.
    """
    started = time.perf_counter()
    node = parse(text)
    metrics = _Metrics(reader, reads(node, grid))
    steps = max(1, reader.memory_bytes // (_BYTES_PER_CELL * max(metrics.series, 1)))
    answers = [evaluate(text, node, part, metrics) for part in grid.parts(steps)]
    first = answers[0]
    kind = KINDS[first.kind]
    if grid.step_ms and kind in ("vector", "scalar"):
        kind = "matrix"
    elif grid.step_ms:
        raise QueryExecutionError(
            f"invalid expression type {first.kind.value!r} for range query, must be Scalar or "
            "instant Vector"
        )
    table = joined_tables([answer_table(one) for one in answers])
    notes = (
        tuple(dict.fromkeys(note for one in answers for note in one.warnings)),
        tuple(dict.fromkeys(note for one in answers for note in one.infos)),
    )
    stats = _summed(metrics.results, table.num_rows, time.perf_counter() - started)
    return SampleResult(table, kind, notes, stats)


def _summed(results: Sequence[Result], rows: int, seconds: float) -> QueryStats:
    planning = sum(one.stats.planning_seconds for one in results)
    return QueryStats(
        segments=max((one.stats.segments for one in results), default=0),
        pruned=min((one.stats.pruned for one in results), default=0),
        scanned=max((one.stats.scanned for one in results), default=0),
        bytes_read=sum(one.stats.bytes_read for one in results),
        rows_scanned=sum(one.stats.rows_scanned for one in results),
        rows=rows,
        planning_seconds=planning,
        execution_seconds=seconds - planning,
    )


def candidates(segments: Iterable[Segment], matchers: Sequence[Matcher]) -> tuple[str, ...] | None:
    """The metrics, as they were sent, that may have the name a selector asks for.

    Returns:
        Their names; None where the catalog cannot tell.
    """
    wanted = [one.value for one in matchers if one.name == "__name__" and one.op == "="]
    names: set[str] = set()
    units: set[str] = set()
    for segment in segments:
        for column, found in (("metric_name", names), ("unit", units)):
            stats = segment.columns.get(column)
            if stats is None:
                continue
            if stats.values is None:
                return None
            found.update(stats.values)
    if not wanted or "target_info" in wanted:
        return None
    return tuple(
        sorted(
            name for name in names if all(_may_be_called(name, one, units | {""}) for one in wanted)
        )
    )


def _may_be_called(name: str, wanted: str, units: Iterable[str]) -> bool:
    plain = metric_name(Stream(name, "", "", monotonic=False))
    if not (wanted.startswith(plain) or plain.endswith(("_total", "_ratio", "total", "ratio"))):
        return False
    for unit in units:
        for kind, parts in PARTS.items():
            for monotonic in (False, True):
                base = metric_name(Stream(name, kind, unit, monotonic))
                if any(f"{base}{part.suffix}" == wanted for part in parts):
                    return True
    return False


def attribute_keys(segments: Iterable[Segment]) -> dict[str, str]:
    """The key of each attribute of points and resources, as it was sent, by column."""
    keys: dict[str, str] = {}
    canonical = set(TABLES["metrics"].schema.names) - {"resource_service_name"}
    for segment in segments:
        for column, stats in segment.columns.items():
            if column in canonical or column in keys:
                continue
            for prefix in (RESOURCE, RECORD):
                if column.startswith(prefix):
                    keys[column] = stats.key or column.removeprefix(prefix)
    if "resource_service_name" in keys:
        keys["resource_service_name"] = "service.name"
    return keys


def pushed(
    matchers: Sequence[Matcher],
    segments: Iterable[Segment],
    keys: dict[str, str],
    *,
    resource: bool,
) -> list[str]:
    """Conditions on labels as conditions on columns, as far as that loses nothing."""
    text = dict.fromkeys(keys, True)
    for segment in segments:
        for column in keys:
            stats = segment.columns.get(column)
            if stats is not None and stats.type != "string":
                text[column] = False
    conditions = []
    for one in matchers:
        special = ("__name__", "le", "quantile", "job", "instance")
        if one.op != "=" or not one.value or one.name in special:
            continue
        columns = [column for column, key in keys.items() if label_name(key) == one.name]
        if not resource:
            columns = [column for column in columns if not column.startswith(RESOURCE)]
        by_place: dict[str, int] = {}
        for column in columns:
            place = RESOURCE if column.startswith(RESOURCE) else RECORD
            by_place[place] = by_place.get(place, 0) + 1
        if not columns:
            conditions.append("false")
        elif all(text[column] for column in columns) and max(by_place.values()) == 1:
            equal = [f"{_quoted(column)} = {_literal(one.value)}" for column in columns]
            conditions.append(f"({' OR '.join(equal)})")
    return conditions


def _span(after_ms: int, until_ms: int) -> TimeRange:
    return TimeRange((after_ms + 1) * _NS_PER_MS, (until_ms + 1) * _NS_PER_MS)


def _within(span: TimeRange) -> str:
    start, end = (
        f"arrow_cast({ns}, 'Timestamp(Nanosecond, Some(\"UTC\"))')"
        for ns in (span.start_ns, span.end_ns)
    )
    return f"timestamp >= {start} AND timestamp < {end}"


def _is_one_of(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(map(_literal, values))})"


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
