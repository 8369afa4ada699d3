"""What PromQL needs of a lake: queries of one state of it, and where points or tiers are read."""

from __future__ import annotations

import math
from time import monotonic, time_ns
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from lakerunner.catalog.change import pending_deletions
from lakerunner.compute.turns import refuse_stopped
from lakerunner.errors import QueryLimitError
from lakerunner.model.times import TimeRange
from lakerunner.policies.rollup import choose_exact, tier_settings
from lakerunner.query.promql.otlp import may_be_numbers, span_of, within
from lakerunner.query.promql.streams import KeptStreams
from lakerunner.query.sql.query import read_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lakerunner.catalog.base import Catalog
    from lakerunner.compute.turns import Allowance
    from lakerunner.model.commit import Snapshot
    from lakerunner.model.config import Config
    from lakerunner.model.deletion import Deletion
    from lakerunner.model.segment import Segment
    from lakerunner.policies.rollup import TierRange, TierSettings
    from lakerunner.query.backing import Recent
    from lakerunner.query.explanation import Explanation
    from lakerunner.query.promql.grid import Read
    from lakerunner.query.promql.streams import Streams
    from lakerunner.query.query import Query
    from lakerunner.query.result import Result

_NS_PER_MS = 1_000_000
_ROWS_AT_ONCE = 1 << 16


class Reader(NamedTuple):
    """What PromQL needs of a lake.

    Attributes:
        ask: Answers a query in SQL, without the rows of some segments, by their ids; all queries of
            one state of the lake.
        segments: The segments of the metrics in that state that may hold rows of a time range.
        memory_bytes: About how much samples and steps may take up at once.
        tiers: What a selector may be read of instead of its points, or why of nothing else.
        explain: Says how such a query would be answered.
        go_on: Raises an error if nobody waits for the answer any more, or its time is over.
        kept: What is known of streams already.
        resource: Whether the attributes of resources are labels.
    """

    ask: Callable[[str, Iterable[str]], Result]
    segments: Callable[[TimeRange], Sequence[Segment]]
    memory_bytes: int
    tiers: Callable[[Read], TierReading | str]
    explain: Callable[[str], Explanation]
    go_on: Callable[[], None]
    kept: KeptStreams
    resource: bool = True

    def read(
        self,
        text: str,
        kept: Callable[[pa.Table], pa.Table] | None = None,
        without: Iterable[str] = (),
    ) -> tuple[pa.Table, Result]:
        """Ask a query, and keep of some rows after the others what `kept` makes of them.

        Raises:
            QueryLimitError: That does not fit in memory.
        """
        result = self.ask(text, without)
        parts: list[pa.Table] = []
        taken = 0
        for batches in _gathered(result):
            part = pa.Table.from_batches(batches, result.schema)
            part = part if kept is None else kept(part)
            taken += part.nbytes
            if taken > self.memory_bytes:
                raise QueryLimitError(
                    f"a selector finds more than {self.memory_bytes:,} bytes of series or points "
                    "at once: ask for a shorter range or fewer series, or raise query_memory_bytes",
                    limit="query_memory_bytes",
                )
            parts.append(part)
        if parts:
            return pa.concat_tables(parts), result
        nothing = result.schema.empty_table()
        return nothing if kept is None else kept(nothing), result


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches, some at a time, so that what is done with them is done less often."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        pending.append(batch)
        if sum(one.num_rows for one in pending) >= _ROWS_AT_ONCE:
            yield pending
            pending = []
    if pending:
        yield pending


def reader_of(
    catalog: Catalog,
    organization: str,
    config: Config,
    run: Callable[[Query, Mapping[str, Snapshot]], Result],
    explain: Callable[[Query, Mapping[str, Snapshot]], Explanation],
    allowance: Allowance,
    streams: Recent[Streams],
) -> Reader:
    """What PromQL reads of the metrics of an organization, in one state of them.

    Args:
        catalog: Which segments there are.
        organization: Whose metrics.
        config: Settings.
        run: Answers a query in a state of the tables.
        explain: Says how it would be answered.
        allowance: What all of it may take.
        streams: What queries of the lake know of streams.
    """
    until = monotonic() + (allowance.left() or math.inf)
    states: dict[str, Snapshot] = {}

    def state(name: str) -> Snapshot:
        if name not in states:
            states[name] = catalog.snapshot(organization, name)
        return states[name]

    def segments(name: str, span: TimeRange) -> Sequence[Segment]:
        return catalog.segments(organization, name, span, sequence=state(name).sequence)

    def tiers(read: Read) -> TierReading | str:
        if not config.promql_rollups:
            return "promql_rollups is off"
        settings = tier_settings(config, organization, time_ns())
        deletions = _pending(catalog, organization, state)
        return tier_reading(read, segments, settings, deletions)

    def ask(text: str, without: Iterable[str]) -> Result:
        query = read_sql(text)
        query.without = frozenset(without)
        return run(query, states)

    def go_on() -> None:
        refuse_stopped()
        if monotonic() > until:
            raise allowance.expired()

    columns = state("metrics").columns
    return Reader(
        ask=ask,
        segments=lambda span: segments("metrics", span),
        memory_bytes=config.query_memory_bytes,
        tiers=tiers,
        explain=lambda text: explain(read_sql(text), states),
        go_on=go_on,
        kept=KeptStreams(streams, (organization, config.promql_resource_labels), columns),
        resource=config.promql_resource_labels,
    )


def _pending(
    catalog: Catalog, organization: str, state: Callable[[str], Snapshot]
) -> list[Deletion]:
    """Deletions of points and buckets that are still to be made, in a state of the tables."""
    names = ("metrics", "metrics_rollup")
    return [
        each
        for name in names
        for each in pending_deletions(catalog, organization, name, sequence=state(name).sequence)
    ]


class TierReading(NamedTuple):
    """Where a selector is read of a tier, and where of points.

    Attributes:
        parts: The time in parts, in order.
        buckets: Segments of the tier.
        points: Segments of points.
        until_ms: What lies later is not read.
    """

    parts: Sequence[TierRange]
    buckets: Sequence[Segment]
    points: Sequence[Segment]
    until_ms: int

    @property
    def resolution_ns(self) -> int:
        """That of the tier."""
        return max(one.resolution_ns for one in self.parts)

    def of(self, table: str) -> tuple[Sequence[Segment], list[TimeRange]]:
        """The segments of a table that are read, and of which time."""
        is_tier = table == "metrics_rollup"
        end_ns = span_of(0, self.until_ms).end_ns
        spans = [
            TimeRange(one.start_ns, min(one.end_ns, end_ns))
            for one in self.parts
            if bool(one.resolution_ns) == is_tier and one.start_ns < end_ns
        ]
        return (self.buckets if is_tier else self.points), spans

    def where(self, table: str) -> list[str]:
        """Conditions on the rows of a table that are read."""
        spans = self.of(table)[1]
        whole = TimeRange(spans[0].start_ns, spans[-1].end_ns)
        conditions = [within(whole)]
        if len(spans) > 1:
            conditions.append(f"({' OR '.join(f'({within(one)})' for one in spans)})")
        if table == "metrics_rollup":
            conditions.append(f"resolution_ns = {self.resolution_ns}")
        return conditions


def tier_reading(
    read: Read,
    segments: Callable[[str, TimeRange], Sequence[Segment]],
    settings: TierSettings,
    deletions: Sequence[Deletion],
) -> TierReading | str:
    """What a selector may be read of instead of its points, or why no tier answers the same.

    Args:
        read: The selector.
        segments: Those of a table that touch a time range, in one state of the lake.
        settings: Which tiers there are.
        deletions: Of points and buckets, that are still to be made: rows are not seen any more that
            the files still hold.
    """
    every = read.every_ms * _NS_PER_MS
    start, end = read.after_ms * _NS_PER_MS, read.until_ms * _NS_PER_MS + every
    length = settings.window_ns
    wide = TimeRange(start // length * length, -(-end // length) * length)
    tiers = segments("metrics_rollup", wide)
    if not tiers:
        return ""
    if any(one.start_ns < wide.end_ns and one.end_ns > wide.start_ns for one in deletions):
        return "some rows are deleted and still in the files"
    points = segments("metrics", wide)
    if not may_be_numbers(points, read.matchers):
        return "tiers do not say from where to where histograms and summaries count"
    parts = choose_exact(points, tiers, (start, end), every, settings)
    resolution = max(one.resolution_ns for one in parts)
    if not resolution:
        return "no tier holds all of it in buckets that fit its ranges and steps"
    buckets = [one for one in tiers if one.resolution_ns == resolution]
    raw = [part for part in parts if not part.resolution_ns]
    read_points = [
        one
        for one in points
        if any(
            part.start_ns <= one.max_timestamp_ns and one.min_timestamp_ns < part.end_ns
            for part in raw
        )
    ]
    return TierReading(parts, buckets, read_points, read.until_ms)
