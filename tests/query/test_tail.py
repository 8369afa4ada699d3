"""New rows come once each, whatever becomes of their segments meanwhile."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lakerunner
from lakerunner.errors import (
    ConfigurationError,
    CursorError,
    QuerySyntaxError,
    SnapshotExpiredError,
    UnsupportedQueryError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.lake import Lake
    from lakerunner.query.tail import Tail

START_MS = 1_767_225_600_000


def lines(first: int, count: int) -> bytes:
    """Records numbered from `first` on, a millisecond apart, every second one an error."""
    return b"\n".join(
        json.dumps(
            {
                "timestamp": (START_MS + number) / 1000,
                "message": str(number),
                "level": "ERROR" if number % 2 else "INFO",
            }
        ).encode()
        for number in range(first, first + count)
    )


def bodies(tail: Tail, cursor: str, limit: int = 1000) -> tuple[list[int], str]:
    """All that is behind a place, and the place behind that."""
    found: list[int] = []
    while True:
        page = tail.next(cursor, limit)
        found += map(int, page.rows["body"].to_pylist()) if page.rows.num_rows else []
        assert page.rows.num_rows <= limit
        cursor = page.cursor
        if not page.more:
            return found, cursor


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lakerunner.open(tmp_path)


@settings(max_examples=8, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.integers(1, 30),
            st.sampled_from(["compact", "look", "another", "others"]),
        ),
        max_size=12,
    ),
    limit=st.integers(1, 40),
)
def test_every_row_comes_once(steps: list[int | str], limit: int) -> None:
    with lakerunner.open("memory://") as lake:
        tail = lake.tail("logs", "level = 'ERROR'", columns=["body"], since=None)
        cursor, found, count = tail.start(), list[int](), 0
        for step in steps:
            if isinstance(step, int):
                lake.ingest(lines(count, step))
                count += step
            elif step == "compact":
                lake.compact()
            elif step == "others":
                lake.ingest(lines(0, 3), organization="others")
            elif step == "look":
                page = tail.next(cursor, limit)
                found += map(int, page.rows["body"].to_pylist()) if page.rows.num_rows else []
                cursor = page.cursor
            else:  # as another process would
                tail = lake.tail("logs", "level = 'ERROR'", columns=["body"], since="now-1s")
        last, cursor = bodies(tail, cursor, limit)
        assert sorted(found + last) == list(range(1, count, 2))
        assert bodies(tail, cursor) == ([], cursor)


def test_a_merge_right_behind_shows_nothing_twice(lake: Lake) -> None:
    lake.ingest(lines(0, 5))
    tail = lake.tail(since=None)
    cursor = tail.start()
    for number in range(1, 6):
        lake.ingest(lines(number * 5, 5))
        if number % 2:
            lake.compact()
    found, cursor = bodies(tail, cursor, 4)
    assert sorted(found) == list(range(5, 30))
    lake.compact()
    assert bodies(tail, cursor)[0] == []


def test_rows_of_long_ago_are_left_out(lake: Lake) -> None:
    tail = lake.tail(since="2026-01-01T00:00:00.003Z")
    cursor = tail.start()
    lake.ingest(lines(0, 5))
    assert bodies(tail, cursor)[0] == [3, 4]


def test_organizations_do_not_see_each_other(lake: Lake) -> None:
    mine = lake.for_organization("acme").tail(since=None)
    cursor = mine.start()
    lake.ingest(lines(0, 5), organization="acme")
    lake.ingest(lines(5, 5), organization="webshop")
    found, cursor = bodies(mine, cursor)
    assert found == [0, 1, 2, 3, 4]
    theirs = lake.for_organization("webshop").tail(since=None)
    with pytest.raises(CursorError, match="another tail"):
        theirs.next(cursor)


def test_deleted_rows_do_not_come(lake: Lake) -> None:
    tail = lake.tail(since=None)
    cursor = tail.start()
    lake.ingest(lines(0, 6))
    lake.delete("logs", where="level = 'INFO'")
    assert bodies(tail, cursor)[0] == [1, 3, 5]


def test_it_waits_and_can_be_stopped(lake: Lake) -> None:
    tail, stop = lake.tail(since=None), threading.Event()
    pages = tail.pages(tail.start(), poll_seconds=0.01, stop=stop)
    timer = threading.Timer(0.1, lambda: lake.ingest(lines(0, 3)))
    timer.start()
    assert next(pages).rows.num_rows == 3
    timer.join()
    stop.set()
    assert list(pages) == []


def test_what_cannot_be_followed_is_refused(lake: Lake) -> None:
    with pytest.raises(ConfigurationError, match="no table"):
        lake.tail("nothing")
    with pytest.raises(QuerySyntaxError):
        lake.tail(where="level =")
    with pytest.raises(UnsupportedQueryError, match="same whenever"):
        lake.tail(where="body IN (SELECT body FROM spans)")
    with pytest.raises(CursorError, match="no cursor"):
        lake.tail().next("what?")


def test_a_place_that_is_too_old(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path, config={"removed_grace_ns": 1}) as lake:
        tail = lake.tail(since=None)
        cursor = tail.start()
        for number in range(3):
            lake.ingest(lines(number * 5, 5))
        lake.compact()
        lake.maintain()
        with pytest.raises(SnapshotExpiredError):
            tail.next(cursor)
