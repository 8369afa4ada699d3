"""Answer PromQL: read what the selectors of an expression need, and evaluate it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import QueryExecutionError, QuerySyntaxError
from lakerunner.model.times import isoformat
from lakerunner.query.explanation import Explanation, QueryStats, SegmentVerdict
from lakerunner.query.promql.evaluate import evaluate, selectors, undivided
from lakerunner.query.promql.grid import Grid, Read, reads
from lakerunner.query.promql.histograms import CUSTOM_SCHEMA, Buckets, Histograms
from lakerunner.query.promql.labels import NAME, Labels
from lakerunner.query.promql.otlp import Stream, conditions, metric_name, span_of, within
from lakerunner.query.promql.parser import parse
from lakerunner.query.promql.points import NUMBER_COLUMNS
from lakerunner.query.promql.reading import BYTES_PER_CELL, Metrics
from lakerunner.query.promql.series import NO_HISTOGRAM
from lakerunner.query.promql.summed import BUCKET_COLUMNS
from lakerunner.query.promql.syntax import Selector, ValueType
from lakerunner.query.result import TableResult
from lakerunner.schema.arrays import TIMESTAMP, numbers
from lakerunner.schema.tables import EXEMPLAR_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lakerunner.compute.table import ScanMode
    from lakerunner.model.times import TimeRange
    from lakerunner.query.promql.evaluate import Answer
    from lakerunner.query.promql.series import Samples, Vector
    from lakerunner.query.promql.source import Reader
    from lakerunner.query.promql.syntax import Matcher
    from lakerunner.query.result import Result

# An answer as a table: one row a sample.

_NS_PER_MS = 1_000_000

HISTOGRAM_TYPE = pa.struct(
    [
        ("count", pa.float64()),
        ("sum", pa.float64()),
        ("scale", pa.int32()),
        ("zero_count", pa.float64()),
        ("zero_threshold", pa.float64()),
        ("positive_offset", pa.int32()),
        ("positive_bucket_counts", pa.list_(pa.float64())),
        ("negative_offset", pa.int32()),
        ("negative_bucket_counts", pa.list_(pa.float64())),
        ("custom_bounds", pa.list_(pa.float64())),
        ("counter_reset_hint", pa.int8()),
    ]
)
"""A native histogram: exponential buckets, or custom ones, whose counts are the positive ones.

`counter_reset_hint`: 0 where nothing is known, 1 after a reset, 2 if there was none, 3 of a gauge.
"""

_RESERVED = ("timestamp", "value", "histogram")


def answer_table(answer: Answer) -> pa.Table:
    """The samples of an answer, series after series in the order of labels, each in order of time.

    Columns: the labels that occur as `string` (`__name__` first, the rest in order; one called like
    another column gets a trailing `_`), `timestamp` as `timestamp[ns, UTC]`, `value` as `double`
    (NULL where the sample is a histogram; text of a string), and `histogram` where there are any.
    """
    if answer.text is not None:
        return _table(Labels(1), answer.times[:1], pa.array([answer.text]), None)
    if answer.scalar is not None:
        labels = Labels(len(answer.times))
        return _table(labels, answer.times, pa.array(answer.scalar), None)
    if answer.samples is not None:
        return _samples_table(answer.samples)
    if answer.vector is not None:
        return _vector_table(answer.vector, answer.times)
    return _table(Labels(0), answer.times[:0], pa.array([], pa.float64()), None)


def joined_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """The answers of several parts of a query, one after the other in time, as one."""
    if len(tables) == 1:
        return tables[0]
    names = {name for table in tables for name in table.schema.names}
    tail = [name for name in _RESERVED if name in names]
    labels = sorted(names - set(tail), key=lambda one: (one != NAME, one))
    whole = pa.concat_tables(tables, promote_options="default").select([*labels, *tail])
    columns = {name: whole[name].combine_chunks() for name in labels}
    keyed = Labels.from_texts(whole.num_rows, columns)
    # What one part tells in order of labels and time, all of them must.
    return whole.take(pa.array(keyed.order()))


def _vector_table(vector: Vector, times: NDArray[np.int64]) -> pa.Table:
    if not vector.ordered:
        vector = vector.take(vector.labels.order())
    row, step = np.nonzero(vector.present)
    number = None if vector.histogram is None else vector.histogram[row, step]
    return _cells_table(
        vector.labels.take(row), times[step], vector.value[row, step], number, vector.histograms
    )


def _samples_table(samples: Samples) -> pa.Table:
    series = samples.series
    place = np.empty(len(samples.labels), dtype=np.int64)
    place[samples.labels.order()] = np.arange(len(samples.labels))
    order = np.argsort(place[series], kind="stable")
    return _cells_table(
        samples.labels.take(series[order]),
        samples.time[order],
        samples.value[order],
        samples.histogram[order],
        samples.histograms,
    )


def _cells_table(
    labels: Labels,
    times: NDArray[np.int64],
    value: NDArray[np.float64],
    number: NDArray[np.int64] | None,
    histograms: Histograms,
) -> pa.Table:
    if number is None or (number == NO_HISTOGRAM).all():
        return _table(labels, times, pa.array(value), None)
    is_histogram = number != NO_HISTOGRAM
    described = histogram_structs(histograms.take(number[is_histogram]))
    place = np.zeros(len(number), dtype=np.int64)
    place[is_histogram] = np.arange(len(described))
    column = described.take(pa.array(place, mask=~is_histogram))
    return _table(labels, times, pa.array(value, mask=is_histogram), column)


def _table(
    labels: Labels, times: NDArray[np.int64], value: pa.Array, histogram: pa.Array | None
) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name in sorted(labels.columns, key=lambda one: (one != NAME, one)):
        shown = name
        while shown in _RESERVED or shown in columns:
            shown += "_"
        columns[shown] = labels.columns[name].texts()
    stamps = pa.array(times * _NS_PER_MS).cast(TIMESTAMP)
    columns["timestamp"] = stamps
    columns["value"] = value
    if histogram is not None:
        columns["histogram"] = histogram
    return pa.table(columns)


def histogram_structs(source: Histograms) -> pa.StructArray:
    """Histograms as `HISTOGRAM_TYPE`: buckets without gaps from the first that holds anything."""
    positive = _filled(source.positive, source.size)
    negative = _filled(source.negative, source.size)
    custom = source.custom
    lengths = np.zeros(source.size, dtype=np.int64)
    parts = []
    for number, bounds in enumerate(source.bounds):
        here = custom & (source.layout == number)
        lengths[here] = len(bounds)
        parts.append(bounds)
    flat = [parts[at] for at in source.layout[custom]] if parts else []
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    bounds_list = pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(np.concatenate(flat) if flat else np.zeros(0)),
        mask=pa.array(~custom),
    )
    # OpenTelemetry counts buckets from where they begin, Prometheus from where they end.
    shift = np.where(custom, 0, 1)
    return pa.StructArray.from_arrays(
        [
            pa.array(source.amount),
            pa.array(source.sum),
            pa.array(source.schema.astype(np.int32), mask=source.schema == CUSTOM_SCHEMA),
            pa.array(source.zero_count),
            pa.array(source.zero_threshold),
            pa.array((positive[0] - shift).astype(np.int32)),
            positive[1],
            pa.array((negative[0] - shift).astype(np.int32)),
            negative[1],
            bounds_list,
            pa.array(source.hint.astype(np.int8)),
        ],
        fields=list(HISTOGRAM_TYPE),
    )


def _filled(buckets: Buckets, size: int) -> tuple[NDArray[np.int64], pa.ListArray]:
    """The number of the first bucket of each histogram, and all counts from there to the last."""
    first = np.full(size, np.iinfo(np.int64).max)
    last = np.full(size, -1)
    np.minimum.at(first, buckets.row, buckets.number)
    np.maximum.at(last, buckets.row, buckets.number)
    empty = np.bincount(buckets.row, minlength=size) == 0
    first = np.where(empty, 1, first)
    lengths = np.where(empty, 0, last - first + 1)
    ends = np.cumsum(lengths)
    counts = np.zeros(int(lengths.sum()))
    counts[(ends - lengths)[buckets.row] + buckets.number - first[buckets.row]] = buckets.amount
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return first, pa.ListArray.from_arrays(pa.array(offsets), pa.array(counts))


_FAR_MS = 9_000_000_000_000
"""Beyond the last nanosecond that a time can have, about; far enough from where numbers end."""

KINDS = {
    ValueType.SCALAR: "scalar",
    ValueType.VECTOR: "vector",
    ValueType.MATRIX: "matrix",
    ValueType.STRING: "string",
}


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


def explain(text: str, grid: Grid, reader: Reader) -> Explanation:
    """Say which segments each selector of an expression reads, and why.

    Raises:
        QuerySyntaxError: The text cannot be read.
    """
    plans: list[str] = []
    verdicts: dict[str, SegmentVerdict] = {}
    modes: dict[str, ScanMode] = {}
    for read in reads(parse(text), grid):
        shown = "{" + ", ".join(map(str, read.matchers)) + "}"
        asked = list(_scans(read, reader))
        if not asked:
            plans.append(f"{shown}: no metric can have this name or these labels")
        for said, query in asked:
            part = reader.explain(query)
            plans.append(f"{shown}{said}:\n{part.physical_plan}")
            modes.update(part.modes)
            for verdict in part.segments:
                before = verdicts.get(verdict.segment.id)
                if before is None or (verdict.keep and not before.keep):
                    verdicts[verdict.segment.id] = verdict
    return Explanation(text, tuple(verdicts.values()), modes, "\n".join(plans))


def _scans(read: Read, reader: Reader) -> Iterator[tuple[str, str]]:
    """What a selector is read by: words about it, and the query."""
    reading = reader.tiers(read) if read.every_ms else ""
    if isinstance(reading, str):
        span = span_of(read.after_ms, read.until_ms)
        known = conditions(read, reader.segments(span), resource=reader.resource)
        if known is not None:
            why = f" from points, for {reading}" if reading else ""
            yield why, _select(NUMBER_COLUMNS, "metrics", [within(span), *known.where])
        return
    for table, columns in (("metrics_rollup", BUCKET_COLUMNS), ("metrics", NUMBER_COLUMNS)):
        segments, spans = reading.of(table)
        known = conditions(read, segments, resource=reader.resource) if spans else None
        if known is None:
            continue
        what = "points"
        if table == "metrics_rollup":
            what = f"buckets of {reading.resolution_ns / 1e9:g} s, which tell the same,"
        times = ", ".join(f"{isoformat(one.start_ns)} to {isoformat(one.end_ns)}" for one in spans)
        query = _select(columns, table, [*reading.where(table), *known.where])
        yield f" from {what} of {times}", query


def _select(columns: Sequence[str], table: str, where: Sequence[str]) -> str:
    return f"SELECT {', '.join(columns)} FROM {table} WHERE {' AND '.join(where)}"  # noqa: S608 - quoted


def describe_metrics(reader: Reader, span: TimeRange) -> TableResult:
    """The metrics of a time range: names, types, units, descriptions.

    Columns: `name` as PromQL has it, `metric_name` as it was sent, `type`, `unit`, `description`,
    `temporality`, `is_monotonic`; in order of `name`.
    """
    started = time.perf_counter()
    columns = ("metric_name", "metric_type", "unit", "description", "temporality", "is_monotonic")
    text = f"SELECT DISTINCT {', '.join(columns)} FROM metrics WHERE {within(span)}"  # noqa: S608 - names
    found, result = reader.read(text)
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
    metrics = Metrics(reader, wanted, listed=True)
    found = [metrics.labels(read, bounds=bounds) for read in wanted]
    labels = found[0]
    for other in found[1:]:
        labels = labels.concat(other)
    labels = labels.take(labels.groups()[1])
    labels = labels.take(labels.order())
    names = sorted(labels.columns, key=lambda one: (one != NAME, one))
    table = pa.table({name: labels.texts(name) for name in names})
    return TableResult(table, _summed(metrics.results, len(labels), time.perf_counter() - started))


def find_exemplars(text: str, span: TimeRange, reader: Reader) -> TableResult:
    """The exemplars of the series that an expression asks for, in a time range of their points.

    Returns:
        One row each, in order of labels and time: a column for each label, then `timestamp`,
        `value`, `trace_id`, `span_id`, and `attributes` as JSON.

    Raises:
        QuerySyntaxError: The text cannot be read.
    """
    started = time.perf_counter()
    after_ms = max(span.start_ns // _NS_PER_MS, -_FAR_MS) - 1
    until_ms = min(-(-span.end_ns // _NS_PER_MS), _FAR_MS) - 1
    several = dict.fromkeys(one.matchers for one in selectors(parse(text)))
    wanted = [Read(matchers, after_ms, until_ms, latest=True) for matchers in several]
    metrics = Metrics(reader, wanted, listed=True)
    labels, parts = Labels(0), [pa.table({"exemplars": pa.array([], EXEMPLAR_TYPE)})]
    for read in wanted:
        found = metrics.exemplars(read)
        labels, parts = labels.concat(found[0]), [*parts, found[1]]
    struct = pa.concat_tables(parts)["exemplars"].combine_chunks()
    field = {one.name: struct.field(place) for place, one in enumerate(EXEMPLAR_TYPE)}
    times = numbers(field["timestamp"].cast(pa.int64()), np.int64)
    place = np.empty(len(labels), dtype=np.int64)
    place[labels.order()] = np.arange(len(labels))
    order = np.lexsort((times, labels.groups()[0], place[labels.groups()[1]][labels.groups()[0]]))
    names = sorted(labels.columns, key=lambda one: (one != NAME, one))
    columns = {name: labels.texts(name) for name in names}
    columns["timestamp"] = field["timestamp"]
    columns["value"] = pc.coalesce(field["value"], field["value_int"].cast(pa.float64()))
    columns |= {name: field[name] for name in ("trace_id", "span_id", "attributes")}
    table = pa.table(columns).take(pa.array(order))
    return TableResult(table, _summed(metrics.results, len(labels), time.perf_counter() - started))


def _matchers_of(text: str) -> tuple[Matcher, ...]:
    node = parse(text)
    if not isinstance(node, Selector):
        raise QuerySyntaxError(f"{text!r} is no selector, such as up{{job='api'}}", query=text)
    return node.matchers


def answer(text: str, grid: Grid, reader: Reader) -> SampleResult:
    """Answer a PromQL query.

    Where series times steps, or samples, are more than fit in memory, some steps are evaluated
    after the others: no expression sees beyond its own step but through a selector, which reads
    what it needs. The samples of a step that do not fit are read in pieces, where that can be done.

    Raises:
        QuerySyntaxError: The text cannot be read.
        QueryError: It cannot be evaluated, or reads more than it may.
    """
    started = time.perf_counter()
    node = parse(text)
    metrics = Metrics(reader, reads(node, grid))
    steps = min(len(grid.times), reader.memory_bytes // (BYTES_PER_CELL * max(metrics.series, 1)))
    if undivided(node):
        steps = metrics.steps(max(steps, 1), grid.step_ms)
    answers = [evaluate(text, node, part, metrics) for part in grid.parts(max(steps, 1))]
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
        filter_bytes=sum(one.stats.filter_bytes for one in results),
        rows_scanned=sum(one.stats.rows_scanned for one in results),
        rows=rows,
        planning_seconds=planning,
        execution_seconds=seconds - planning,
    )
