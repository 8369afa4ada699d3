"""Merging 20 sorted segments of one window, beside reading all of them and sorting.

Each way runs in a process of its own, so that its peak memory is its own. Timed, a segment has
500,000 rows; run as a test, 2,000. `python benchmarks/test_compaction.py` prints a pair, and what a
month of one segment a minute leaves.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pytest

import lakerunner
from benchmarks.query_lakes import HOUR, START, hour_of_logs
from lakerunner.fencing import Fence
from lakerunner.limits import MIB
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.publish import Origin, SegmentWriter, make_segments, publish_commit
from lakerunner.schema.tables import TABLES
from tests.policies.test_compaction import simulated

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

FILES = 20
ROWS, QUICK_ROWS = 500_000, 2_000
FILTERS = "never"
"""Filters of words cost both ways the same, and as much as all the rest."""

MERGE = """
import json, os, sys, time
import lakerunner
with lakerunner.open(sys.argv[1], config={"word_filters": sys.argv[2]}) as lake:
    begun = time.perf_counter()
    rows = lake.compact().rows_written
    wall = time.perf_counter() - begun
"""
SORT = """
import json, os, sys, time
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import lakerunner
from lakerunner.segments.codec import OpenSegment, forecast_table
with lakerunner.open(sys.argv[1]) as lake:
    segments = lake.segments()
    files = [str(lake.store.local_path(one.key)) for one in segments]
    begun = time.perf_counter()
    table = pa.concat_tables(pq.read_table(file) for file in files).unify_dictionaries()
    keys = table.select(segments[0].sort)
    place = keys.schema.get_field_index("resource_service_name")
    keys = keys.set_column(place, "resource_service_name", keys.column(place).cast(pa.string()))
    order = pc.sort_indices(keys, [(name, "ascending") for name in segments[0].sort])
    table = table.combine_chunks().take(order)
    ids = ("trace_id",)
    file = OpenSegment(table.schema, segments[0].sort, ids, forecast_table(table, ids))
    file.write(table)
    file.finish(segments[0])
    wall, rows = time.perf_counter() - begun, table.num_rows
"""
TOLD = """
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
cpu = sum(os.times()[:2])
print(json.dumps({"rows": rows, "seconds": wall, "cpu": cpu, "peak": peak}))
"""


def make_lake(directory: Path, rows: int) -> None:
    """One window with all segments, sorted as ingestion leaves them."""
    rng, config = np.random.default_rng(1), Config(word_filters="never")
    with lakerunner.open(str(directory)) as lake:
        fence = Fence(lake.store, lake.catalog)
        for _ in range(FILES):
            name, writer = uuid4().hex, SegmentWriter(lake.store, config)
            origin = Origin("default", name, epoch=fence.begin().epoch)
            table = hour_of_logs(rng, 0, rows)
            for made in make_segments(table, TABLES["logs"], origin, HOUR, filters=False):
                writer.add(made)
            commit = Commit(name, "default", START, add=writer.finish())
            publish_commit(fence, commit, config)
        fence.leave_height()


def run(program: str, directory: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", program + TOLD, str(directory), FILTERS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.benchmark(group="compaction")
@pytest.mark.parametrize("program", [MERGE, SORT], ids=["merge", "sort"])
def test_twenty_segments(benchmark: BenchmarkFixture, tmp_path: Path, program: str) -> None:
    rows = ROWS if benchmark.enabled else QUICK_ROWS

    def fresh() -> tuple[tuple[str, Path], dict[str, Any]]:
        directory = tmp_path / uuid4().hex
        make_lake(directory, rows)
        return (program, directory), {}

    rounds = 3 if benchmark.enabled else 1
    found = benchmark.pedantic(run, setup=fresh, rounds=rounds)  # type: ignore[no-untyped-call]
    assert found["rows"] == FILES * rows
    benchmark.extra_info.update(found)
    if program is MERGE:
        assert found["peak"] < 1024 * MIB


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with TemporaryDirectory() as place:
        directory = Path(place) / "lake"
        make_lake(directory, rows)
        for name, program in (("sort", SORT), ("merge", MERGE)):
            found = run(program, directory)
            sys.stdout.write(
                f"{name}: {found['rows'] / found['seconds'] / 1e6:.2f} M rows/s, "
                f"{found['cpu']:.1f} s of processor time, {found['peak'] // MIB} MiB\n"
            )
    for late_every in (0, 5):
        sys.stdout.write(f"late every {late_every} minutes: {simulated(31, MIB, late_every)}\n")


if __name__ == "__main__":
    main()
