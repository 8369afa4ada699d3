"""First rows by time: the same as a full sort, from few segments, and page by page."""

from __future__ import annotations

import gc
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakerunner.catalog import open_catalog
from lakerunner.errors import (
    ConfigurationError,
    CursorError,
    QueryTimeoutError,
    UnsupportedQueryError,
)
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.publish import Origin, SegmentWriter, make_segments
from lakerunner.query import QueryEngine, newest
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import TABLES
from lakerunner.store import CountingStore, open_store
from lakerunner.store.counting import Counts

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z

COLUMNS = ["body", "attr_n", "level"]
SEGMENTS = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 12),  # few times, so that many rows share one
            st.sampled_from(["a", "b", None]),
            st.none() | st.integers(0, 2),
            st.sampled_from(["INFO", "ERROR"]),
        ),
        min_size=1,
        max_size=12,
    ),
    min_size=1,
    max_size=6,
)
Row = tuple[Any, ...]


def add(lake: Any, rows: list[Row]) -> None:
    times, bodies, numbers, levels = map(list, zip(*rows, strict=True))
    lake.add(
        {
            "timestamp": [START + at * 10**9 for at in times],
            "body": pa.array(bodies, pa.string()),
            "attr_n": pa.array(numbers, pa.int64()),
            "level": levels,
        }
    )


def compacted(lake: Any, rows: list[Row]) -> None:
    """All rows in one segment that replaces the others."""
    old = lake.segments[lake.begun :]
    add(lake, rows)
    gone = tuple(one.id for one in old)
    lake.catalog.commit(Commit(f"compact {gone[0]}", lake.organization, 0, remove=gone))
    lake.begun = len(lake.segments) - 1


class Examples:
    """Lakes by the dozen: each is an organization of one lake, for engines take long to make."""

    def __init__(self, lake: Any) -> None:
        self._lake = lake
        self._engine = lake.engine
        self._count = 0

    def empty(self) -> Any:
        self._count += 1
        self._lake.organization = f"example-{self._count}"
        self._lake.engine = self._engine.for_organization(self._lake.organization)
        self._lake.begun = len(self._lake.segments)  # their numbers go on over all examples
        add(self._lake, [(6, "a", 1, "ERROR")])  # so that every column is known
        return self._lake


@pytest.fixture(scope="module", params=[1, newest._LEAST_ROWS])
def examples(small_lake: Any, request: pytest.FixtureRequest) -> Iterator[Examples]:
    """Looked at as soon as a row is wanted, or many rows at once."""
    lake = small_lake("memory://")
    engine = lake.engine
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(newest, "_LEAST_ROWS", request.param)
        yield Examples(lake)
    engine.close()


def shown(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(str(sorted(row.items(), key=str)) for row in rows)


@settings(max_examples=max(settings().max_examples // 4, 1))
@given(
    SEGMENTS,
    st.integers(0, 30),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(["", "WHERE level = 'ERROR'", "WHERE attr_n = 1", "WHERE body IS NULL"]),
    st.sampled_from(["timestamp, body, attr_n", "body", "upper(body) AS b, attr_n + 1 AS n"]),
    st.sampled_from(["", ", attr_n DESC NULLS LAST", ", body"]),
)
def test_first_rows_are_those_of_a_full_sort(
    examples: Examples,
    segments: list[list[Row]],
    limit: int,
    offset: int,
    down: bool,
    where: str,
    columns: str,
    more: str,
) -> None:
    lake = examples.empty()
    for rows in segments:
        add(lake, rows)
    way = "DESC" if down else "ASC"
    head = f"SELECT {columns} FROM logs {where}"
    ordered = f"{head} ORDER BY timestamp {way}{more}"
    found = lake.rows(f"{ordered} LIMIT {limit} OFFSET {offset}")
    # Which of the rows of one time come is open; so the times must be right, and each row
    # must be one of that time, as often as there is one.
    times = [row["t"] for row in lake.rows(f"SELECT timestamp AS t FROM logs {where}")]
    times.sort(reverse=down)
    wanted = times[offset : offset + limit]
    assert len(found) == len(wanted)
    if more:
        every = lake.rows(ordered)[offset : offset + limit]
        assert len(every) == len(found)
    whole = lake.rows(f"SELECT timestamp AS t, {columns.removeprefix('timestamp, ')}"
                      f" FROM logs {where}")  # fmt: skip
    left = [(row.pop("t"), shown([row])) for row in whole]
    for at, row in zip(wanted, found, strict=True):
        said = row.pop("timestamp", at)
        assert said == at
        left.remove((at, shown([row])))


@settings(max_examples=max(settings().max_examples // 4, 1))
@given(
    SEGMENTS,
    SEGMENTS,
    st.integers(3, 20),
    st.booleans(),
    st.sampled_from(["timestamp, body, attr_n", "body", "*"]),
    st.randoms(use_true_random=False),
)
def test_pages_are_the_whole_answer_across_commits_and_compactions(
    examples: Examples,
    segments: list[list[Row]],
    late: list[list[Row]],
    limit: int,
    down: bool,
    columns: str,
    chance: random.Random,
) -> None:
    """Rows that come between two pages are seen if they come behind; the others all once."""
    lake = examples.empty()
    for rows in segments:
        add(lake, rows)
    before = [(6, "a", 1, "ERROR"), *(row for rows in segments for row in rows)]
    text = f"SELECT {columns} FROM logs ORDER BY timestamp {'DESC' if down else 'ASC'}"
    moved = chance.choice(["nothing", "compaction", "newer"])
    whole = lake.rows(text)
    pages: list[dict[str, Any]] = []
    cursor = None
    for number in range(1000):
        page = lake.engine.sql(text, limit=limit, cursor=cursor)
        rows_of = page.to_pylist()
        if not rows_of:
            break
        pages += rows_of
        cursor = page.cursor
        if number == 0 and moved == "compaction":
            compacted(lake, chance.sample(before, len(before)))
        if number == 0 and moved == "newer":
            # Before the first row of the first page: no later page may show it.
            for rows in late:
                shift = 100 if down else -100
                add(lake, [(at + shift, *rest) for at, *rest in rows])
    assert shown(pages) == shown(whole)
    if "timestamp" in columns:
        times = [row["timestamp"] for row in pages]
        assert times == sorted(times, reverse=down)


@pytest.fixture(scope="module")
def hours(small_lake: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Forty hours of 100 rows."""
    lake = small_lake(str(tmp_path_factory.mktemp("hours")))
    lake.add_hours(40)
    yield lake
    lake.engine.close()


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("SELECT * FROM logs ORDER BY timestamp DESC LIMIT 50", 1),
        ("SELECT body FROM logs ORDER BY timestamp LIMIT 50", 1),
        ("SELECT body FROM logs ORDER BY timestamp DESC LIMIT 150", 3),
        ("SELECT body FROM logs WHERE level = 'ERROR' ORDER BY timestamp DESC LIMIT 10", 1),
        ("SELECT body FROM logs WHERE body LIKE '%5 done' ORDER BY timestamp DESC LIMIT 5", 1),
        ("SELECT body FROM logs ORDER BY timestamp DESC, body LIMIT 50", 1),
        ("SELECT body FROM logs LIMIT 20", 1),
        ("SELECT body FROM logs WHERE level = 'ERROR' LIMIT 5", 1),
        ("SELECT body FROM logs WHERE timestamp < now() ORDER BY timestamp DESC LIMIT 20", 1),
        ("WITH l AS (SELECT * FROM logs) SELECT body b FROM l ORDER BY timestamp DESC LIMIT 9", 1),
    ],
)
def test_few_segments_are_opened(hours: Any, text: str, opened: int) -> None:
    result = hours.engine.sql(text.replace("now()", "timestamp '2030-01-01'"))
    rows = result.to_arrow().num_rows
    assert rows == int(text.rsplit(" ", 1)[1])
    assert (result.stats.scanned, result.stats.segments) == (opened, 40)
    assert result.stats.scanned + result.stats.pruned == 40


def test_the_current_time_does_not_keep_segments_open(hours: Any) -> None:
    text = "SELECT body FROM logs WHERE timestamp < now() ORDER BY timestamp LIMIT 20"
    result = hours.engine.sql(text)
    assert result.to_arrow()["body"][0].as_py() == "request 0 done"
    assert result.stats.scanned == 1


def test_what_is_rare_is_looked_for_everywhere_once(hours: Any) -> None:
    result = hours.engine.sql(
        "SELECT body FROM logs WHERE body LIKE 'request 17 %' ORDER BY timestamp DESC LIMIT 5"
    )
    assert result.to_pylist() == [{"body": "request 17 done"}]
    assert result.stats.scanned == 40
    assert result.stats.rows_scanned <= 4000


def test_large_limits_come_while_segments_are_read(hours: Any) -> None:
    result = hours.engine.sql("SELECT attr_code FROM logs ORDER BY timestamp DESC LIMIT 4000")
    batches = iter(result)
    assert next(batches)["attr_code"][0].as_py() == 3999
    assert [one for batch in result for one in batch["attr_code"].to_pylist()] == [
        *range(3999, -1, -1)
    ]


def test_a_closed_iterator_opens_nothing_more(hours: Any) -> None:
    result = hours.engine.sql("SELECT body FROM logs WHERE attr_code >= 0 LIMIT 3500")
    batches = iter(result)
    next(batches)
    batches.close()
    assert result.stats.rows < 3500


def test_cursors_go_on_and_follow(make_lake: Callable[..., Any]) -> None:
    hours = make_lake()
    hours.add_hours(40)
    text = "SELECT attr_code FROM logs WHERE level = 'ERROR' ORDER BY timestamp LIMIT 250"
    first = hours.engine.sql(text)
    second = hours.engine.sql(text, cursor=first.cursor)
    found = [
        *first.to_arrow()["attr_code"].to_pylist(),
        *second.to_arrow()["attr_code"].to_pylist(),
    ]
    assert found == list(range(0, 4000, 10))
    assert second.stats.scanned < 40
    third = hours.engine.sql(text, cursor=second.cursor)
    assert third.to_pylist() == []
    assert third.cursor == second.cursor
    add(hours, [(200 * 3600, "new", 7, "ERROR")])
    (row,) = hours.engine.sql(text, cursor=third.cursor).to_pylist()
    assert row == {"attr_code": None}


def test_a_cursor_of_no_rows_is_the_beginning(make_lake: Any) -> None:
    lake = make_lake()
    text = "SELECT body FROM logs ORDER BY timestamp LIMIT 2"
    cursor = lake.engine.sql(text).cursor
    add(lake, [(1, "a", 1, "INFO"), (2, "b", 1, "INFO"), (3, "c", 1, "INFO")])
    page = lake.engine.sql(text, cursor=cursor)
    assert page.to_pylist() == [{"body": "a"}, {"body": "b"}]
    assert lake.engine.sql(text, cursor=page.cursor).to_pylist() == [{"body": "c"}]


def test_the_same_pages_come_from_a_process_of_its_own(hours: Any) -> None:
    text = "SELECT attr_code FROM logs ORDER BY timestamp DESC LIMIT 30"
    isolated = type(hours.engine)(hours.store, hours.catalog, isolation="process")
    try:
        first = isolated.sql(text)
        cursor = first.cursor
        assert first.stats.scanned == 1
        assert isolated.sql(text, cursor=cursor).fetchall() == [(n,) for n in range(3969, 3939, -1)]
        assert hours.engine.sql(text, cursor=cursor).fetchone() == (3969,)
    finally:
        isolated.close()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) FROM logs",
        "SELECT body FROM logs LIMIT 5",
        "SELECT body FROM logs ORDER BY timestamp",
        "SELECT body FROM logs ORDER BY timestamp, body LIMIT 5",
        "SELECT body FROM logs ORDER BY timestamp LIMIT 5 OFFSET 1",
        "SELECT body FROM logs ORDER BY date_trunc('hour', timestamp) LIMIT 5",
        "SELECT DISTINCT timestamp FROM logs ORDER BY timestamp LIMIT 5",
        "SELECT 1",
    ],
)
def test_rows_without_an_order_have_no_cursor(hours: Any, text: str) -> None:
    with pytest.raises(UnsupportedQueryError, match="in order of time"):
        _ = hours.engine.sql(text).cursor


def test_cursors_are_of_one_query(hours: Any) -> None:
    text = "SELECT body FROM logs WHERE level = $1 ORDER BY timestamp LIMIT 5"
    cursor = hours.engine.sql(text, params=["INFO"]).cursor
    for other, params in [(text, ["ERROR"]), (text.replace("5", "6"), ["INFO"])]:
        with pytest.raises(CursorError, match="another query"):
            hours.engine.sql(other, params=params, cursor=cursor)
    for broken in ["", "nonsense", "é", cursor[:-4], "AAAA"]:
        with pytest.raises(CursorError, match="no cursor"):
            hours.engine.sql(text, params=["INFO"], cursor=broken)
    with pytest.raises(ConfigurationError, match="negative"):
        hours.engine.sql(text, params=["INFO"], limit=-1)
    assert hours.engine.sql(text, params=["INFO"], limit=2).to_arrow().num_rows == 2
    assert hours.engine.sql("SELECT count(*) FROM logs GROUP BY level", limit=1).fetchall()


def test_requests_and_bytes_of_first_rows_and_of_a_trace(small_lake: Any) -> None:
    """Where objects are no files, a segment that is opened is one request; there is no other."""
    lake = small_lake("memory://")
    lake.add_hours(20)
    counting = CountingStore(lake.store)
    engine = QueryEngine(counting, lake.catalog)
    try:
        newest = "SELECT * FROM logs WHERE level = 'ERROR' ORDER BY timestamp DESC LIMIT 10"
        assert engine.sql(newest).to_arrow().num_rows == 10
        assert counting.reset()[:4] == Counts(get=1)[:4]
        assert engine.sql(newest).to_arrow().num_rows == 10
        assert counting.reset() == Counts()
        assert engine.trace("ab" * 16).to_arrow().num_rows == 0
        assert counting.reset() == Counts()
    finally:
        engine.close()
        lake.engine.close()


LONG = """SELECT body FROM logs WHERE regexp_replace(body, '[0-9]', 'x', 'g') = 'y'
ORDER BY timestamp DESC LIMIT 5"""
"""No row of it is ever found, so that round follows round; seconds of work in all."""


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryEngine]:
    directory: Path = tmp_path_factory.mktemp("long")
    store, catalog = open_store(str(directory)), open_catalog("memory://")
    rows = 20_000
    writer = SegmentWriter(store, Config())
    for hour in range(24):
        times = [START + hour * HOUR + number for number in range(rows)]
        bodies = [f"{number * 7919:0120}" for number in range(rows)]
        table = pa.table({"timestamp": pa.array(times, TIMESTAMP), "body": bodies})
        origin = Origin("default", "c")
        for made in make_segments(table, TABLES["logs"], origin, HOUR, filters=False):
            writer.add(made)
    catalog.commit(Commit("c", "default", 0, add=writer.finish()))
    with QueryEngine(store, catalog, isolation="thread") as engine:
        yield engine


def settles() -> bool:
    """Whether this process comes to rest, by the processor time that it uses."""
    for _ in range(600):
        used = time.process_time()
        time.sleep(0.05)
        if time.process_time() - used < 0.025:
            return True
    return False


def test_rounds_end_with_their_time(long: QueryEngine) -> None:
    result = long.sql(LONG, timeout=0.5)
    assert result._plan.rounds is not None
    with pytest.raises(QueryTimeoutError, match="query_timeout"):
        result.to_arrow()
    assert settles(), "what is over still works"


def test_an_interrupt_ends_rounds(long: QueryEngine) -> None:
    result = long.sql(LONG)
    assert result._plan.rounds is not None
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT)).start()
    gc.disable()  # what ends only when garbage is collected may go on for long
    try:
        with pytest.raises(KeyboardInterrupt):
            result.to_arrow()
        assert settles()
    finally:
        gc.enable()


def test_rounds_end_when_nobody_takes_their_rows(long: QueryEngine) -> None:
    batches = iter(long.sql("SELECT timestamp, body FROM logs ORDER BY timestamp DESC LIMIT 90000"))
    assert next(batches).num_rows
    del batches
    assert settles()
