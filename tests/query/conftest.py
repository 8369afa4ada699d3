"""Small lakes, put together from Arrow tables without ingesting anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lakerunner.catalog import open_catalog
from lakerunner.model.commit import Commit
from lakerunner.model.segment import ColumnStats, Segment
from lakerunner.model.signal import Signal
from lakerunner.query import QueryEngine
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import TABLES
from lakerunner.segments.codec import bounded_columns, forecast_table
from lakerunner.segments.stats import column_stats
from lakerunner.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOUR = 3600 * 10**9
SORT = ("resource_service_name", "timestamp")
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z


class SmallLake:
    """A store, a catalog and an engine over segments that a test writes column by column."""

    hour = HOUR
    start = START

    def __init__(self, url: str, organization: str = "default") -> None:
        self.store = open_store(url)
        self.catalog = open_catalog("memory://")
        self.organization = organization
        self.engine = QueryEngine(self.store, self.catalog, organization)
        self.segments: list[Segment] = []

    def add(
        self,
        columns: dict[str, Any],
        *,
        signal: Signal = Signal.LOGS,
        overflow: dict[str, tuple[str, list[str | None]]] | None = None,
    ) -> Segment:
        """Commit one segment.

        `columns` needs `timestamp` as integers; lists of text become dictionaries, Arrow arrays
        stay. `overflow` has the column type and the values as text, by column name.
        """
        arrays = {name: _array(name, values) for name, values in columns.items()}
        table = pa.table({n: a for n, a in arrays.items() if a.null_count < len(a)})
        stats = column_stats(table.combine_chunks(), TABLES[signal].ids)
        if overflow:
            table, stats = _with_overflow(table, stats, overflow)
        order = [name for name in SORT if name in table.schema.names]
        plain = pa.table({n: _plain(table[n]) for n in order})
        table = table.take(pc.sort_indices(plain, [(name, "ascending") for name in order]))
        declared = [pq.SortingColumn(table.schema.names.index(n), nulls_first=False) for n in order]
        sink = pa.BufferOutputStream()
        pq.write_table(
            table,
            sink,
            row_group_size=64,
            write_page_index=True,
            sorting_columns=declared,
            write_statistics=bounded_columns(table.schema, forecast_table(table, ()).without_nan),
        )
        data = sink.getvalue().to_pybytes()
        times = table["timestamp"].cast(pa.int64()).to_pylist()
        number = len(self.segments)
        key = f"segments/{self.organization}/{signal}/{number:03d}.parquet"
        self.store.put(key, data)
        segment = Segment(
            id=f"{self.organization}-{number:03d}",
            organization=self.organization,
            table=signal,
            key=key,
            window_start_ns=min(times) // HOUR * HOUR,
            window_ns=HOUR,
            min_timestamp_ns=min(times),
            max_timestamp_ns=max(times),
            rows=table.num_rows,
            bytes=len(data),
            sort=SORT,
            columns=stats,
            created_ns=0,
            commit_id=f"c{number}",
        )
        commit = Commit(f"c{number}", self.organization, 0, add=(segment,))
        self.catalog.commit(commit)
        self.segments.append(segment)
        return segment

    def add_hours(self, count: int, rows: int = 100) -> None:
        """Commit a segment an hour; services take turns, and codes count up over all hours."""
        for hour in range(count):
            self.add(
                {
                    "timestamp": [START + hour * HOUR + n * 10**9 for n in range(rows)],
                    "resource_service_name": [f"service-{n % 3}" for n in range(rows)],
                    "level": ["ERROR" if n % 10 == 0 else "INFO" for n in range(rows)],
                    "body": pa.array([f"request {hour * rows + n} done" for n in range(rows)]),
                    "attr_code": list(range(hour * rows, hour * rows + rows)),
                }
            )

    def rows(self, text: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.engine.sql(text).to_arrow().to_pylist()
        return rows

    def one(self, text: str) -> Any:
        """The only value of the only row."""
        (row,) = self.rows(text)
        (value,) = row.values()
        return value


def _plain(column: Any) -> Any:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _array(name: str, values: Any) -> Any:
    if isinstance(values, pa.Array):
        return values
    if name == "timestamp" or name.endswith("_timestamp"):
        return pa.array(values, TIMESTAMP)
    array = pa.array(values)
    return array.dictionary_encode() if pa.types.is_string(array.type) else array


def _with_overflow(
    table: Any, stats: dict[str, ColumnStats], overflow: dict[str, tuple[str, list[str | None]]]
) -> tuple[Any, dict[str, ColumnStats]]:
    maps = [
        [(name, values[row]) for name, (_, values) in overflow.items() if values[row] is not None]
        or None
        for row in range(table.num_rows)
    ]
    column = pa.array(maps, pa.map_(pa.string(), pa.string()))
    kept = {name: ColumnStats(kind, overflow=True) for name, (kind, _) in overflow.items()}
    mapped = {"attribute_overflow": ColumnStats(str(column.type), column.null_count)}
    return table.append_column("attribute_overflow", column), stats | mapped | kept


@pytest.fixture(params=["file", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallLake]:
    """An empty lake, once on disk and once in memory."""
    made = SmallLake(str(tmp_path / "lake") if request.param == "file" else "memory://")
    yield made
    made.engine.close()


@pytest.fixture
def make_lake(tmp_path: Path) -> Iterator[Callable[..., SmallLake]]:
    """Makes empty lakes on disk; each call another."""
    made: list[SmallLake] = []

    def make(organization: str = "default") -> SmallLake:
        made.append(SmallLake(str(tmp_path / f"lake {len(made)}"), organization))
        return made[-1]

    yield make
    for one in made:
        one.engine.close()


@pytest.fixture(scope="session")
def small_lake() -> type[SmallLake]:
    """The class itself, for fixtures that outlive one test."""
    return SmallLake
