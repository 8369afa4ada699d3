"""How much of the time is looked at for the first rows, and how much of a segment is read."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.model.times import TimeRange
from lakerunner.publish import Origin, SegmentWriter, make_segments
from lakerunner.query import newest
from lakerunner.query.newest import leading_part, to_look_at, to_open
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z


class Part:
    """A segment, as far as it is looked at here."""

    def __init__(self, rows: int) -> None:
        self.rows = rows


def test_rounds_grow_with_what_is_missing() -> None:
    parts: Any = [Part(100)] * 40
    assert to_open(parts, 0, 0, 10, 1.0) == 1
    assert to_open(parts, 0, 0, 10, 0.01) == 15
    assert to_open(parts, 0, 0, 10, 1e-9) == 40
    assert to_open(parts, 1, 0, 10, 1.0) == 4
    assert to_open(parts, 4, 0, 10, 1.0) == 16
    assert to_open(parts, 4, 8, 10, 1.0) == 6
    assert to_open(parts, 39, 1, 10, 1.0) == 40
    assert to_open([], 0, 0, 10, 1.0) == 0


SPANS = st.lists(
    st.tuples(st.integers(-50, 50), st.integers(0, 30), st.integers(1, 10**6)), min_size=1
)


class Span:
    """A segment, as far as it is looked at here."""

    def __init__(self, first: int, length: int, rows: int) -> None:
        self.min_timestamp_ns, self.max_timestamp_ns, self.rows = first, first + length, rows


@given(
    SPANS,
    st.floats(0, 1e7) | st.just(math.inf),
    st.booleans(),
    st.sampled_from([TimeRange(), TimeRange(-20, 20), TimeRange(end_ns=7)]),
)
def test_parts_of_a_time_range_are_all_of_it(
    spans: list[tuple[int, int, int]], rows: float, down: bool, times: TimeRange
) -> None:
    parts: Any = [Span(*one) for one in spans]
    left, looked = times, []
    while inside := newest.within(parts, left):
        part = leading_part(inside, left, rows, descending=down)
        looked.append(part.times)
        before, behind = (part.rest, part.times) if down else (part.times, part.rest)
        if newest.within(parts, part.rest):
            assert (before.start_ns, before.end_ns) == (left.start_ns, behind.start_ns)
            assert behind.end_ns == left.end_ns
            assert before.start_ns < before.end_ns
        left = part.rest
    # Whatever they are cut into, every instant is looked at once.
    seen = sorted((one.start_ns, one.end_ns) for one in looked)
    assert all(one[1] == next_one[0] for one, next_one in itertools.pairwise(seen))


def test_what_is_looked_at_grows_with_what_is_missing() -> None:
    assert to_look_at(0, 0, 10, 1.0) == 15
    assert to_look_at(0, 0, 10, 0.01) == 1500
    assert to_look_at(0, 0, 10, 0.0) == math.inf
    assert to_look_at(0, 100, 10, 1.0) == 400
    assert to_look_at(8, 400, 10, 1.0) == 150


def test_pages_of_other_times_are_not_read(make_lake: Callable[..., Any]) -> None:
    """One hour of 20,000 rows of each of four services: the newest are few pages of each."""
    lake = make_lake()
    rows = 80_000
    add_hour(lake, rows)
    newest_rows = lake.engine.sql("SELECT attr_n FROM logs ORDER BY timestamp DESC LIMIT 10")
    assert newest_rows.to_arrow()["attr_n"].to_pylist() == list(range(rows - 1, rows - 11, -1))
    assert newest_rows.stats.rows_scanned < rows / 2
    # Nothing of it is found in the first part, and all of it is looked at once.
    rare = lake.engine.sql("SELECT attr_n FROM logs WHERE attr_n % 79999 = 0 ORDER BY timestamp"
                           " DESC LIMIT 3")  # fmt: skip
    assert rare.to_arrow()["attr_n"].to_pylist() == [79_999, 0]
    lake.engine.close()


def add_hour(lake: Any, rows: int) -> None:
    """Rows whose number counts up with their time, of four services in turn."""
    times = [START + number * (HOUR // rows) for number in range(rows)]
    services = [f"s{number % 4}" for number in range(rows)]
    table = pa.table(
        {
            "timestamp": pa.array(times, TIMESTAMP),
            "resource_service_name": pa.array(services).dictionary_encode(),
            "attr_n": pa.array(range(rows), pa.int64()),
        }
    )
    writer = SegmentWriter(lake.store, Config())
    for made in make_segments(table, TABLES["logs"], Origin("default", "c"), HOUR):
        writer.add(made)
    lake.catalog.commit(Commit("hour", "default", 0, add=writer.finish()))
