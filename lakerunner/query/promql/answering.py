"""Answer PromQL: read what the selectors of an expression need, and evaluate it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import QueryExecutionError, QueryLimitError, QuerySyntaxError
from lakerunner.query.explanation import Explanation, SegmentVerdict
from lakerunner.query.promql.conditions import conditions, quoted, span_of, within
from lakerunner.query.promql.evaluate import evaluate
from lakerunner.query.promql.grid import DEFAULT_LOOKBACK_MS, Grid, Read, reads
from lakerunner.query.promql.labels import NAME, Labels
from lakerunner.query.promql.otlp import Stream, metric_name
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
from lakerunner.query.promql.syntax import Selector, ValueType
from lakerunner.query.result import Result, TableResult
from lakerunner.query.stats import QueryStats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from lakerunner.compute.table import ScanMode
    from lakerunner.model.segment import Segment
    from lakerunner.model.times import TimeRange
    from lakerunner.query.promql.series import Samples
    from lakerunner.query.promql.syntax import Matcher

_NS_PER_MS = 1_000_000
_FAR_MS = 9_000_000_000_000
"""Beyond the last nanosecond that a time can have, about; far enough from where numbers end."""
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

    def labels(self, read: Read, *, bounds: bool) -> Labels:
        """The labels of all series that fulfil the conditions."""
        labels = Labels(0)
        stream = self._streams[read.matchers]
        for one in stream.selected:
            apart = bounds and one.kind in ("bucket", "quantile")
            own = self._points(one, stream, read).labels if apart else one.labels
            labels = labels.concat(own)
        return labels

    def _find(self, read: Read) -> _Stream:
        known = conditions(
            read,
            self._reader.segments(span_of(read.after_ms, read.until_ms)),
            resource=self._reader.resource,
        )
        if known is None:
            return _Stream((), np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64), ())
        where, keys = known
        resource = self._reader.resource
        columns = ", ".join(["series_id", *IDENTITY, *map(quoted, sorted(keys))])
        span = span_of(read.after_ms, read.until_ms)
        streams = self._ask(f"SELECT DISTINCT {columns}", [within(span), *where])
        delta = np.asarray(pc.equal(streams["temporality"].fill_null(""), "delta"))
        selected = select_streams(streams, keys, read.matchers, resource=resource)
        ids = np.asarray(streams["series_id"])
        return _Stream(tuple(where), delta, ids, tuple(selected))

    def _points(self, selected: Selected, stream: _Stream, read: Read) -> Samples:
        # Whether a counter of a native histogram was reset is told by the sample before it.
        after_ms = read.after_ms - (DEFAULT_LOOKBACK_MS if selected.kind == "native" else 0)
        wanted = np.unique(stream.ids[selected.rows])
        columns = ", ".join((*NUMBER_COLUMNS, *COLUMNS_OF[selected.kind]))
        where = [within(span_of(after_ms, read.until_ms)), *stream.where]
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
        known = conditions(
            read, reader.segments(span_of(read.after_ms, read.until_ms)), resource=reader.resource
        )
        if known is None:
            plans.append(f"{shown}: no metric can have this name or these labels")
            continue
        where = " AND ".join([within(span_of(read.after_ms, read.until_ms)), *known[0]])
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
    result = reader.ask(f"SELECT DISTINCT {', '.join(columns)} FROM metrics WHERE {within(span)}")  # noqa: S608 - names
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


def find_series(
    texts: Sequence[str], span: TimeRange, reader: Reader, *, bounds: bool = True
) -> TableResult:
    """The series that any of some selectors asks for and that have points in a time range.

    Args:
        texts: Selectors; none for all series.
        span: The time range.
        reader: Of the lake.
        bounds: Take the buckets of classic histograms and the quantiles of summaries apart, which
            have their points read for it. Otherwise each is told once, without a bound.

    Returns:
        One row a series, in order of labels: a column for each label, `__name__` first.

    Raises:
        QuerySyntaxError: A text is no selector.
    """
    started = time.perf_counter()
    after_ms = max(span.start_ns // _NS_PER_MS, -_FAR_MS) - 1
    until_ms = min(-(-span.end_ns // _NS_PER_MS), _FAR_MS) - 1
    wanted = [Read(_matchers_of(text), after_ms, until_ms) for text in texts]
    wanted = wanted or [Read((), after_ms, until_ms)]
    metrics = _Metrics(reader, wanted)
    found = [metrics.labels(read, bounds=bounds) for read in wanted]
    labels = found[0]
    for other in found[1:]:
        labels = labels.concat(other)
    labels = labels.take(labels.groups()[1])
    labels = labels.take(labels.order())
    names = sorted(labels.columns, key=lambda one: (one != NAME, one))
    table = pa.table({name: labels.texts(name) for name in names})
    return TableResult(table, _summed(metrics.results, len(labels), time.perf_counter() - started))


def _matchers_of(text: str) -> tuple[Matcher, ...]:
    node = parse(text)
    if not isinstance(node, Selector):
        raise QuerySyntaxError(f"{text!r} is no selector, such as up{{job='api'}}", query=text)
    return node.matchers


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
