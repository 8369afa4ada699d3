"""Each row of the table of what a query may take gives the error that the page names."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import lakerunner
from lakerunner import errors
from lakerunner.limits import MIB, QUERY_CHAIN, QUERY_PLANNED_CHARS, QUERY_TEXT_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakerunner import Lake

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "limits.md"
SERIES = "generate_series(1, 2000000)"
ENDLESS = "SELECT count(*) FROM generate_series(1, 100000000000)"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("limits") / "lake"
    numbers = range(20_000)
    rows = {
        "timestamp": pa.array([1_790_002_800_000 + one for one in numbers], pa.timestamp("ms")),
        "body": pa.array([f"{one * 7919 % 20_000:0300d}" for one in numbers]),
        "n": pa.array(numbers),
    }
    with lakerunner.open(path) as lake:
        lake.ingest(pa.table(rows), signal="logs")
    return path


@contextmanager
def opened(directory: Path, **config: object) -> Iterator[Lake]:
    with lakerunner.open(directory, config=config) as lake:
        yield lake


def busy(lake: Lake, text: str) -> None:
    """Ask something again and again while something endless takes the only turn."""
    done = threading.Event()

    def hold() -> None:
        while not done.is_set():
            with suppress(errors.QueryError):  # it may be the one that gets no turn
                lake.sql(ENDLESS, timeout=1).to_arrow()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        while True:
            lake.sql(text).to_arrow()
    finally:
        done.set()
        holder.join()


ONE = {"query_concurrency": 1, "query_concurrency_each": 1, "query_wait_seconds": 0.05}
ONE_PROCESS = {"query_workers": 1, "query_workers_each": 1, "query_wait_seconds": 0.05}
ROWS: dict[str, tuple[Mapping[str, object], Any]] = {
    "time of planning": ({"query_timeout": 0.3}, ENDLESS),
    "queries that work": (
        {**ONE, "query_isolation": "thread"},
        lambda lake: busy(lake, "SELECT count(*) FROM logs"),
    ),
    "processes for queries": (
        {**ONE_PROCESS, "query_isolation": "process"},
        lambda lake: busy(lake, "SELECT count(*) FROM logs"),
    ),
    "sorts, joins": (
        {"query_memory_bytes": 16 * MIB, "query_isolation": "thread"},
        f"SELECT count(*) FROM {SERIES} a JOIN (SELECT value AS v FROM {SERIES}) b ON value = v",
    ),
    "all memory of a process": (
        {"query_memory_bytes": 64 * MIB},
        "SELECT repeat(repeat(body, 90000), 90000) FROM logs",
    ),
    "characters of the text": ({}, " " * (QUERY_TEXT_CHARS + 1)),
    "characters or elements": ({}, "SELECT lpad(body, 100001) FROM logs"),
    "ways to group": ({}, f"SELECT 1 FROM logs GROUP BY CUBE ({', '.join('abcdefghi')})"),
    "times that tables are read": ({}, f"SELECT 1 FROM {', '.join(['logs'] * 257)}"),
    "characters beside": ({}, f"SELECT '{'x' * QUERY_PLANNED_CHARS}'"),
    "words chained": ({}, f"SELECT {'1 + ' * QUERY_CHAIN} 1"),
}


def listed() -> dict[str, tuple[str, str]]:
    """The rows of the page: what is limited, the settings, and the error."""
    text = PAGE.read_text().partition("## What a query may take")[2].partition("\n\n`")[0]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]*) ?\| `(\w+Error)` \|$", text, re.MULTILINE)
    return {what: (settings, error) for what, settings, error in rows}


def test_every_row_of_the_page_is_tried() -> None:
    assert [next(one for one in ROWS if what.startswith(one)) for what in listed()] == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_a_limit_gives_the_error_that_the_page_says(directory: Path, row: str) -> None:
    config, query = ROWS[row]
    settings, name = next(found for what, found in listed().items() if what.startswith(row))
    with opened(directory, **config) as lake, pytest.raises(getattr(errors, name)) as caught:
        query(lake) if callable(query) else lake.sql(query).to_arrow()
    assert type(caught.value).__name__ == name
    assert caught.value.context["limit"]
    if settings.strip():
        assert any(one in settings for one in re.findall(r"\w+", caught.value.message))
