"""A table is defined in one place: with an entry in the registry, everything knows it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pytest
from msgspec.structs import replace

import lakerunner
from lakerunner.errors import ConfigurationError, QuerySyntaxError
from lakerunner.model.commit import Commit
from lakerunner.model.segment import Segment
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import METRICS, TABLES, TableSpec
from lakerunner.segments.codec import encode, order_columns
from lakerunner.segments.layout import lay_out, segment_id, segment_key
from lakerunner.segments.stats import column_stats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MINUTE_NS = 60 * 10**9
DAY_NS = 24 * 60 * MINUTE_NS
IDENTITY = ("organization", "timestamp", "metric_name", "series_id", "attribute_overflow")
ROLLUP = TableSpec(
    "metrics_rollup",
    pa.schema(
        [
            *(METRICS.field(name) for name in IDENTITY),
            ("resolution_ns", pa.int64()),
            ("tier", pa.string()),
            ("value_sum", pa.float64()),
        ]
    ),
    ("metric_name", "series_id", "timestamp"),
    ids=(),
    repeating=frozenset({"organization", "metric_name", "tier"}),
    window_ns=DAY_NS,
)


class Rolled(NamedTuple):
    """A lake with points, and with a second table of the same signal."""

    lake: lakerunner.Lake
    tier: Segment


@pytest.fixture
def rolled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rolled]:
    monkeypatch.setitem(TABLES, ROLLUP.name, ROLLUP)
    points = pa.table(
        {
            "metric_name": ["up"] * 4,
            "metric_type": ["gauge"] * 4,
            "timestamp": pa.array([n * MINUTE_NS for n in range(4)]).cast(TIMESTAMP),
            "value": [1.0, 2.0, 3.0, 4.0],
        }
    )
    with lakerunner.open(tmp_path) as lake:
        lake.ingest(points, signal="metrics")
        yield Rolled(lake, _add_tier(lake))


def _add_tier(lake: lakerunner.Lake) -> Segment:
    """Sums of two minutes each: what a rollup would write."""
    rows = pa.table(
        {
            "tier": pa.array(["2m", "2m"]).dictionary_encode(),
            "timestamp": pa.array([2 * MINUTE_NS, 0]).cast(TIMESTAMP),
            "metric_name": pa.array(["up", "up"]).dictionary_encode(),
            "series_id": pa.array([7, 7]),
            "resolution_ns": pa.array([2 * MINUTE_NS] * 2),
            "value_sum": [7.0, 3.0],
        }
    )
    (raw,) = lake.segments("metrics")
    (window,) = lay_out(order_columns(rows, ROLLUP), ROLLUP.window_ns or 0, ROLLUP.sort)
    name = segment_id(time.time_ns(), lake.catalog.head().epoch, bytes(8))
    segment = Segment(
        id=name,
        organization=lake.organization,
        table=ROLLUP.name,
        key=segment_key(lake.organization, ROLLUP.name, window.start_ns, name),
        window_start_ns=window.start_ns,
        window_ns=DAY_NS,
        min_timestamp_ns=0,
        max_timestamp_ns=2 * MINUTE_NS,
        rows=2,
        bytes=0,
        sort=window.sort,
        columns=column_stats(window.table, ROLLUP.ids),
        created_ns=time.time_ns(),
        commit_id="rollup-1",
        siblings=(name,),
        resolution_ns=2 * MINUTE_NS,
        inputs=(raw.id,),
        made_by="rollup/1",
    )
    data = encode(window.table, segment)
    segment = replace(segment, bytes=data.size)
    lake.store.put(segment.key, memoryview(data))
    lake.catalog.commit(Commit("rollup-1", lake.organization, time.time_ns(), add=(segment,)))
    return segment


def test_it_is_queried_beside_the_others(rolled: Rolled) -> None:
    lake = rolled.lake
    answer = lake.sql(
        "SELECT tier, sum(value_sum) AS total, (SELECT sum(value) FROM metrics) AS raw"
        " FROM metrics_rollup WHERE timestamp < '1970-01-01T00:03:00Z' GROUP BY 1"
    )
    assert answer.to_arrow().to_pylist() == [{"tier": "2m", "total": 10.0, "raw": 10.0}]
    described = lake.sql("DESCRIBE metrics_rollup").to_arrow()["column_name"].to_pylist()
    assert set(described) == set(ROLLUP.schema.names)
    explanation = lake.explain("SELECT * FROM metrics_rollup WHERE timestamp > '1971-01-01'")
    assert [one.segment for one in explanation.segments if not one.keep] == [rolled.tier]
    assert "metrics_rollup: 0 of 1 segments kept" in str(explanation)


def test_people_are_told_of_it(rolled: Rolled) -> None:
    with pytest.raises(QuerySyntaxError, match="the tables are logs, spans, metrics, metrics_roll"):
        rolled.lake.sql("SELECT 1 FROM metrics_rolup")
    with pytest.raises(ConfigurationError, match="did you mean 'metrics_rollup'"):
        rolled.lake.segments("metrics_rolup")


def test_it_is_listed_kept_and_recovered(rolled: Rolled, tmp_path: Path) -> None:
    lake = rolled.lake
    assert lake.catalog.tables() == [("default", "metrics"), ("default", "metrics_rollup")]
    assert lake.segments("metrics_rollup") == [rolled.tier]
    assert not lake.collect_orphans(dry_run=True)
    with lakerunner.open(tmp_path, catalog="memory://") as again:
        assert again.recover().segments == 2
        assert again.segments("metrics_rollup") == [rolled.tier]
