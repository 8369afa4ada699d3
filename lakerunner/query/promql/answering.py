"""Answer PromQL: read what the selectors of an expression need, and evaluate it."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import ConfigurationError, QueryExecutionError, QueryLimitError
from lakerunner.model.times import TimeRange, to_nanoseconds
from lakerunner.query.promql.evaluate import evaluate
from lakerunner.query.promql.grid import DEFAULT_LOOKBACK_MS, Grid, Read
from lakerunner.query.promql.lexer import duration_seconds, number_value
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
from lakerunner.query.promql.rows import answer_table
from lakerunner.query.promql.streams import IDENTITY, Selected, select_streams
from lakerunner.query.promql.syntax import ValueType
from lakerunner.query.result import Result
from lakerunner.query.stats import QueryStats
from lakerunner.schema.names import RECORD, RESOURCE
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from lakerunner.model.segment import Segment
    from lakerunner.model.times import TimeLike
    from lakerunner.query.promql.series import Samples
    from lakerunner.query.promql.syntax import Matcher

StepLike = float | str | timedelta

MAX_STEPS = 11_000
"""More steps than any screen has columns; what Prometheus allows."""

_NS_PER_MS = 1_000_000
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
        resource: Whether the attributes of resources are labels.
        max_samples: How many samples one selector may read.
    """

    ask: Callable[[str], Result]
    segments: Callable[[TimeRange], Sequence[Segment]]
    resource: bool = True
    max_samples: int = 50_000_000


class SampleResult(Result):
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
        self._table = table
        self._preview = None
        self._stats = stats
        self.schema = table.schema
        self.kind = kind
        self.warnings, self.infos = notes


class _Metrics:
    """Reads samples from the metrics of a lake."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.results: list[Result] = []

    def select(self, read: Read) -> Samples:
        """The samples of all series that fulfil the conditions, within the time range."""
        span = _span(read.after_ms, read.until_ms)
        segments = self._reader.segments(span)
        names = candidates(segments, read.matchers)
        keys = attribute_keys(segments)
        if not segments or names == ():
            return concat_samples([])
        where = [*([_is_one_of("metric_name", names)] if names else [])]
        where += pushed(read.matchers, segments, keys, resource=self._reader.resource)
        streams = self._streams([_within(span), *where], keys)
        delta = np.asarray(pc.equal(streams["temporality"].fill_null(""), "delta"))
        found = select_streams(streams, keys, read.matchers, resource=self._reader.resource)
        return concat_samples([self._points(one, streams, delta, where, read) for one in found])

    def _streams(self, where: Sequence[str], keys: dict[str, str]) -> pa.Table:
        columns = ", ".join(["series_id", *IDENTITY, *map(_quoted, sorted(keys))])
        return self._ask(f"SELECT DISTINCT {columns}", where)

    def _points(
        self,
        selected: Selected,
        streams: pa.Table,
        delta: Any,
        where: Sequence[str],
        read: Read,
    ) -> Samples:
        # Whether a counter of a native histogram was reset is told by the sample before it.
        after_ms = read.after_ms - (DEFAULT_LOOKBACK_MS if selected.kind == "native" else 0)
        ids = np.asarray(streams["series_id"])
        wanted = np.unique(ids[selected.rows])
        columns = ", ".join((*NUMBER_COLUMNS, *COLUMNS_OF[selected.kind]))
        named = [_within(_span(after_ms, read.until_ms)), *where]
        if len(wanted) <= _FEW_SERIES:
            named.append(f"series_id IN ({', '.join(map(str, wanted.tolist()))})")
        table = self._ask(f"SELECT {columns}", named).combine_chunks()
        if table.num_rows > self._reader.max_samples:
            raise QueryLimitError(
                f"the query reads {table.num_rows:,} samples, and {self._reader.max_samples:,} are "
                "allowed: ask for less time or fewer series, or raise promql_max_samples",
            )
        stream = _places(np.asarray(table["series_id"]), ids)
        return cut(to_samples(Points(table, stream), selected, delta, read.matchers), read.after_ms)

    def _ask(self, select: str, where: Sequence[str]) -> pa.Table:
        result = self._reader.ask(f"{select} FROM metrics WHERE {' AND '.join(where)}")
        table = result.to_arrow()
        self.results.append(result)
        return table


def read_grid(
    at: TimeLike | None,
    start: TimeLike | None,
    end: TimeLike | None,
    step: StepLike | None,
    lookback: StepLike | None,
) -> Grid:
    """The times of a query: a single one, or a range with a step.

    Raises:
        ConfigurationError: They contradict each other, or a step is not above 0.
        QueryLimitError: There are more than 11,000 steps.
        InvalidTimeError: One cannot be read.
    """
    now_ns = time.time_ns()
    lookback_ms = DEFAULT_LOOKBACK_MS if lookback is None else _milliseconds(lookback, "lookback")
    if start is None and end is None and step is None:
        moment = to_nanoseconds("now" if at is None else at, now_ns=now_ns) // _NS_PER_MS
        return Grid(moment, moment, lookback_ms=lookback_ms)
    if at is not None or start is None or end is None or step is None:
        raise ConfigurationError("give either time=, or start=, end= and step= together")
    first, last = (to_nanoseconds(one, now_ns=now_ns) // _NS_PER_MS for one in (start, end))
    step_ms = _milliseconds(step, "step")
    if last < first:
        raise ConfigurationError("end must not lie before start")
    if (last - first) // step_ms >= MAX_STEPS:
        raise QueryLimitError(
            f"exceeded maximum resolution of {MAX_STEPS:,} points per series: "
            "make the step longer or the range shorter"
        )
    return Grid(first, last, step_ms, lookback_ms)


def _milliseconds(length: StepLike, name: str) -> int:
    seconds: float | None
    if isinstance(length, timedelta):
        seconds = length.total_seconds()
    elif isinstance(length, str):
        seconds = duration_seconds(length) if length[-1:].isalpha() else number_value(length)
    else:
        seconds = float(length)
    if seconds is None or not seconds > 0 or not math.isfinite(seconds):
        raise ConfigurationError(
            f"{name} must be seconds above 0, a timedelta, or text such as '30s': {length!r}",
            setting=name,
        )
    return max(1, round(seconds * 1000))


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

    Raises:
        QuerySyntaxError: The text cannot be read.
        QueryError: It cannot be evaluated, or reads more than it may.
    """
    started = time.perf_counter()
    metrics = _Metrics(reader)
    found = evaluate(text, parse(text), grid, metrics)
    table = answer_table(found)
    kind = KINDS[found.kind]
    if grid.step_ms and kind in ("vector", "scalar"):
        kind = "matrix"
    elif grid.step_ms:
        raise QueryExecutionError(
            f"invalid expression type {found.kind.value!r} for range query, must be Scalar or "
            "instant Vector"
        )
    stats = _summed(metrics.results, table.num_rows, time.perf_counter() - started)
    return SampleResult(table, kind, (found.warnings, found.infos), stats)


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
