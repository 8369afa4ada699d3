"""A lake of metrics, what may happen to it, and what its tiers should hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import pyarrow as pa

import lakerunner
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.executors import InlineExecutor
from lakerunner.fencing import Fence
from lakerunner.model.commit import Commit
from lakerunner.publish import Origin, SegmentWriter, make_segments
from lakerunner.publish.committing import announce_removal, publish_removal
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import TABLES
from lakerunner.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.model.segment import Segment

SECOND = 10**9
HOUR = 3600
START = 1767225600
TIERS = [10, 60, 300, 1200, 3600]


class Point(NamedTuple):
    """A point of a counter or of a gauge."""

    at: int
    value: float
    host: str = "a"
    gauge: bool = False


def plain(rows: pa.Table) -> pa.Table:
    """Rows of a segment as text where they are dictionaries, without their organization."""
    fields = [
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields)).drop_columns(["organization"])


class World:
    """One lake in memory."""

    def __init__(self, **config: Any) -> None:
        self.store = open_store(f"memory://{uuid4().hex}")
        self.catalog = MemoryCatalog()
        self.config = {"backoff_seconds": 0.001, **config}
        self.lake = lakerunner.Lake(self.store, self.catalog, config=self.config)

    def ingest(self, *points: Point) -> None:
        table = pa.table(
            {
                "metric_name": ["level" if point.gauge else "requests" for point in points],
                "metric_type": ["gauge" if point.gauge else "sum" for point in points],
                "temporality": [None if point.gauge else "cumulative" for point in points],
                "is_monotonic": [None if point.gauge else True for point in points],
                "timestamp": pa.array([(START + point.at) * SECOND for point in points]).cast(
                    TIMESTAMP
                ),
                "value": [float(point.value) for point in points],
                "attributes": pa.array(
                    [[("host", point.host)] for point in points],
                    pa.map_(pa.string(), pa.string()),
                ),
            }
        )
        self.lake.ingest(table, signal="metrics")

    def roll(self) -> Any:
        report = self.lake.rollup(executor=InlineExecutor(), again=True)
        assert not report.failed, report.failed
        return report

    def points(self) -> Sequence[Segment]:
        return self.lake.segments("metrics")

    def replace(
        self,
        segments: Sequence[Segment],
        kind: str,
        change: Callable[[pa.Table], pa.Table] = lambda table: table,
    ) -> None:
        """Merge segments of one window into one, or rewrite what they hold."""
        fence = Fence(self.store, self.catalog)
        head = fence.begin()
        commit_id = uuid4().hex
        announced = announce_removal(fence, kind, segments, head, commit_id=commit_id)
        origin = Origin(
            "default",
            commit_id,
            parents=tuple(one.id for one in segments),
            replaces=tuple({each for one in segments for each in (one.id, *one.replaces)}),
            kind=kind,
            epoch=head.epoch,
        )
        tables = [
            plain(pa.parquet.read_table(pa.BufferReader(self.store.get(one.key).data)))
            for one in segments
        ]
        whole = change(pa.concat_tables(tables, promote_options="default")).combine_chunks()
        writer = SegmentWriter(self.store, self.lake._scope.config)
        for made in make_segments(whole, TABLES["metrics"], origin, HOUR * SECOND):
            writer.add(made)
        removed = tuple(one.id for one in segments)
        commit = Commit(commit_id, "default", time.time_ns(), writer.finish(), removed)
        publish_removal(fence, commit, announced, head, self.lake._scope.config)

    def retire(self, segments: Sequence[Segment]) -> None:
        """Remove segments, and put nothing in their place."""
        removed = tuple(one.id for one in segments)
        self.catalog.commit(Commit(uuid4().hex, "default", time.time_ns(), remove=removed))

    def sums(self, table: str = "metrics_rollup") -> list[tuple[Any, ...]]:
        """Of each tier: points, sum, least, most, increase."""
        rows = self.lake.sql(f"""
            SELECT resolution_ns / 1000000000 AS tier, sum(point_count) AS points,
                sum(value_sum) AS total, min(value_min) AS least, max(value_max) AS most,
                sum(value_increase) AS increase
            FROM {table} GROUP BY 1 ORDER BY 1
        """).to_pylist()
        return [tuple(row.values()) for row in rows]

    def buckets(self, tier: int) -> list[dict[str, Any]]:
        """The rows of a tier, in order."""
        rows: list[dict[str, Any]] = self.lake.sql(
            f"""SELECT * EXCLUDE (organization) FROM metrics_rollup
            WHERE resolution_ns = {tier * SECOND} ORDER BY metric_name, series_id, timestamp"""
        ).to_pylist()
        return rows
