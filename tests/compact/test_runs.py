"""Many segments, large ones, and ones in another order go through little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from lakerunner.compact import runs
from lakerunner.errors import ConfigurationError
from lakerunner.limits import MEMORY_FLOOR_BYTES, MIB
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config, TableSettings, read_config
from lakerunner.schema.tables import check_settings
from tests.compact.lakes import START_S, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = Config(backoff_seconds=0.001, compact_memory_bytes=MEMORY_FLOOR_BYTES + 32 * MIB)


def arrow_rows(count: int, seed: int, width: int = 10) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "timestamp": pa.array(START_S * 10**9 + rng.integers(0, 10**12, count)),
            "body": pa.array([f"{seed}-{n}" + "x" * width for n in range(count)]),
            "service.name": pa.array(rng.choice(["a", "b", "c"], count)),
            "n": pa.array(np.arange(count)),
        }
    )


@pytest.fixture
def spilled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sorted runs that were written to local disk: how many rows each."""
    found: list[int] = []
    write = runs._write_run

    def counted(tables: Iterator[pa.Table], how: runs.Merging, path: object) -> object:
        whole = list(tables)
        found.append(sum(one.num_rows for one in whole))
        return write(iter(whole), how, path)  # type: ignore[arg-type] # as it was given

    monkeypatch.setattr(runs, "_write_run", counted)
    return found


def check(rows: Rows, count: int) -> None:
    """All rows are in one segment, in its order, and each once."""
    (merged,) = rows.lake.segments()
    table = pq.read_table(pa.BufferReader(rows.store.get(merged.key).data))
    assert (table.num_rows, len(table["body"].unique())) == (count, count)
    keys = list(zip(*(table[name].to_pylist() for name in merged.sort), strict=True))
    assert keys == sorted(keys)


def test_more_segments_than_may_be_open_are_sorted_on_local_disk(spilled: list[int]) -> None:
    rows = Rows(SMALL)
    for seed in range(40):
        rows.lake.ingest(arrow_rows(50, seed), signal="logs")
    assert not rows.lake.compact().failed
    check(rows, 2000)
    assert sum(spilled) > 0


def test_another_order_is_sorted_in_parts(
    spilled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_SORTED_PART", 20)
    rows = Rows(SMALL)
    for seed in range(3):
        rows.lake.ingest(arrow_rows(6000, seed, width=200), signal="logs")
    other = replace(SMALL, tables={"logs": TableSettings(sort=("attr_n", "timestamp"))})
    moved = rows.with_settings(other)
    assert not moved.lake.compact().failed
    check(moved, 18_000)
    assert len(spilled) > 2
    assert spilled[0] < 9000  # of 18,000 rows


def test_more_runs_than_may_be_open_are_merged_in_passes(
    spilled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_SORTED_PART", 20)
    monkeypatch.setattr(runs, "COMPACT_OPEN", 3)
    rows = Rows(SMALL)
    for seed in range(5):
        rows.lake.ingest(arrow_rows(6000, seed, width=200), signal="logs")
    assert not rows.lake.compact().failed
    check(rows, 30_000)
    assert sum(spilled) > 30_000 * 0.8


def test_a_segment_in_another_order_than_it_says_is_sorted() -> None:
    rows = Rows()
    for seed in range(3):
        rows.lake.ingest(arrow_rows(100, seed), signal="logs")
    # Somebody else wrote it: its description names an order in which its rows are not.
    other = rows.with_settings(Config(tables={"logs": TableSettings(sort=("body",))}))
    other.lake.ingest(arrow_rows(100, 3), signal="logs")
    (wrong,) = [one for one in rows.lake.segments() if one.sort == ("body",)]
    lying = replace(wrong, sort=("resource_service_name", "timestamp"))
    rows.lake.catalog.commit(Commit("out", "default", 1, remove=(wrong.id,)))
    lying = replace(lying, id=f"{wrong.id[:-4]}beef")
    rows.lake.catalog.commit(Commit("in", "default", 2, add=(lying,)))
    assert not rows.lake.compact().failed
    check(rows, 400)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"log": {}}, "no table 'log'; did you mean 'logs'"),
        ({"traces": {}}, "is called 'spans'"),
        ({"logs": {"sort": ["tiemstamp"]}}, "cannot be sorted by 'tiemstamp'"),
        ({"spans": {"sort": ["events"]}}, "cannot be sorted by 'events'"),
        ({"logs": {"columns": ["body"]}}, "'body' is no attribute column"),
        ({"logs": {"sort": ["timestamp", "timestamp"]}}, "named twice"),
    ],
)
def test_settings_that_fit_no_table_are_refused(tables: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_settings(read_config({"tables": tables}))
