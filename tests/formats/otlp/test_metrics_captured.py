"""Metrics that real collectors wrote, from the object to SQL."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

import lakerunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = ("otel-metrics", "metrics_with_bool_field", "metrics_187312485")
LARGE = ("metrics_221198848", "metrics_427904409")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lakes")


@pytest.fixture(scope="module")
def lakes(telemetry: Path, folder: Path) -> Iterator[dict[str, lakerunner.Lake]]:
    """A lake for each object."""
    opened = {}
    for name in (*SMALL, *LARGE):
        opened[name] = lakerunner.open(folder / name)
        opened[name].ingest(telemetry / "otlp" / "metrics" / f"{name}.binpb.gz")
    yield opened
    for lake in opened.values():
        lake.close()


def answer(lake: lakerunner.Lake, query: str) -> list[tuple[Any, ...]]:
    table = lake.sql(query).to_arrow()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


KINDS = """
SELECT metric_type, temporality, is_monotonic, count(*) FROM metrics
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        (
            "otel-metrics",
            [
                ("gauge", None, None, 52),
                ("histogram", "cumulative", None, 63),
                ("sum", "cumulative", False, 58),
                ("sum", "cumulative", True, 522),
            ],
        ),
        (
            "metrics_with_bool_field",
            [
                ("gauge", None, None, 42),
                ("histogram", "delta", None, 33),
                ("sum", "cumulative", False, 4),
                ("sum", "delta", True, 166),
            ],
        ),
        (
            "metrics_187312485",
            [
                ("gauge", None, None, 30),
                ("histogram", "delta", None, 3),
                ("sum", "cumulative", False, 3),
                ("sum", "delta", True, 90),
            ],
        ),
    ],
)
def test_points_of_each_kind(
    lakes: dict[str, lakerunner.Lake], name: str, kinds: list[tuple[Any, ...]]
) -> None:
    assert answer(lakes[name], KINDS) == kinds


@pytest.mark.parametrize(("name", "rows"), [(LARGE[0], 16_633), (LARGE[1], 16_438)])
def test_large_exports(lakes: dict[str, lakerunner.Lake], name: str, rows: int) -> None:
    held = answer(
        lakes[name],
        "SELECT count(*), count(value), count(timestamp) FROM metrics "
        "WHERE metric_type <> 'histogram' AND timestamp > '2020-01-01T00:00:00Z'",
    )
    histograms = answer(lakes[name], "SELECT count(count) FROM metrics")[0][0]
    assert held == [(rows - histograms,) * 3]


@pytest.mark.parametrize(
    ("name", "overflowing"), [("otel-metrics", 6), ("metrics_with_bool_field", 16)]
)
def test_the_overflow_bucket_is_kept(
    lakes: dict[str, lakerunner.Lake], name: str, overflowing: int
) -> None:
    lake = lakes[name]
    beyond = "SELECT count(*) FROM metrics WHERE array_element(bucket_counts, -1) > 0"
    assert answer(lake, beyond) == [(overflowing,)]


@pytest.mark.parametrize("name", SMALL)
def test_buckets_add_up_to_the_count(lakes: dict[str, lakerunner.Lake], name: str) -> None:
    unnested = """
    SELECT count(*) FROM (
      SELECT place, any_value(count) AS count, sum(bucket) AS buckets FROM (
        SELECT place, count, unnest(bucket_counts) AS bucket FROM (
          SELECT row_number() OVER () AS place, count, bucket_counts FROM metrics
          WHERE metric_type = 'histogram'))
      GROUP BY place) WHERE count = buckets
    """
    lake = lakes[name]
    histograms = answer(
        lake,
        "SELECT count(*) FROM metrics WHERE metric_type = 'histogram' "
        "AND array_length(bucket_counts) = array_length(explicit_bounds) + 1 "
        "AND array_sum(bucket_counts) = count",
    )
    assert answer(lake, unnested) == histograms
    assert histograms == answer(lake, "SELECT count(bucket_counts) FROM metrics")
    assert histograms[0][0] > 0


def test_exemplars_lead_to_their_traces(lakes: dict[str, lakerunner.Lake]) -> None:
    found = answer(
        lakes["otel-metrics"],
        "SELECT count(*), count(e['value']), count(DISTINCT e['trace_id']), "
        "min(length(e['trace_id'])), min(length(e['span_id'])) "
        "FROM (SELECT unnest(exemplars) AS e FROM metrics)",
    )
    ((exemplars, values, traces, trace_digits, span_digits),) = found
    assert exemplars == values > 0
    assert traces > 0
    assert (trace_digits, span_digits) == (32, 16)


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_a_series_is_contiguous_and_in_order_of_time(
    lakes: dict[str, lakerunner.Lake], folder: Path, name: str
) -> None:
    segments = list((folder / name).rglob("*.parquet"))
    assert segments
    for segment in segments:
        table = pq.read_table(segment, columns=["metric_name", "series_id", "timestamp"])
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        assert rows == sorted(rows, key=lambda row: (row[0].encode(), *row[1:]))
        runs = [series for series, _ in groupby(rows, key=itemgetter(1))]
        assert len(runs) == len({*runs})
