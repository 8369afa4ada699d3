"""The catalog in a file: the suite, its URLs, its plans, and what it does when it cannot."""

from __future__ import annotations

import os
import pickle
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog import open_catalog
from lakerunner.catalog.sqlite import SqliteCatalog, pool
from lakerunner.catalog.sqlite.catalog import (
    SEGMENTS_NOW,
    SEGMENTS_REMOVED,
    SEGMENTS_THEN,
    SEQUENCE_AT,
)
from lakerunner.errors import CatalogError, CatalogUnavailableError, ConfigurationError
from lakerunner.model.times import TimeRange
from lakerunner.testing.catalog import CatalogSuite
from lakerunner.testing.catalog_fixture import A, ids
from lakerunner.testing.leases import LeasesSuite
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.catalog import Catalog
    from lakerunner.catalog.leases import Leases

HOUR = 3600 * 10**9
NAMES = ["organization", "table", "first", "last", "longest", "room", "sequence"]


class TestSqliteCatalog(CatalogSuite):
    adapter = "SQLite"

    def open_catalog(self, place: Path) -> Catalog:
        return SqliteCatalog(place / "catalog.db")


class TestSqliteLeases(LeasesSuite):
    adapter = "SQLite"

    def open_leases(self, place: Path) -> Iterator[Leases]:
        with SqliteCatalog(place / "catalog.db") as catalog:
            yield catalog.leases()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Iterator[SqliteCatalog]:
    with SqliteCatalog(path) as catalog:
        yield catalog


def idle(catalog: SqliteCatalog) -> sqlite3.Connection:
    """The connection that the next call will use."""
    return catalog._pool._idle[-1]


def test_a_path_and_its_url_are_one_catalog(path: Path, catalog: SqliteCatalog) -> None:
    catalog.commit(make_commit("c1", add=[make_segment("a")]))
    assert catalog.url == f"sqlite://{path}"
    for location in (str(path), os.path.relpath(path), f"sqlite://{path}", f"sqlite:///{path}"):
        with SqliteCatalog(location) as other:
            assert (other.url, ids(other)) == (catalog.url, ["a"])
    with open_catalog(catalog.url) as other:
        assert ids(other) == ["a"]


@pytest.mark.parametrize("name", ["a b.db", "é#?%41&.db", "deep/er/c.db", "100%.db"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    with SqliteCatalog(tmp_path / name) as catalog:
        catalog.commit(make_commit("c1"))
        assert (tmp_path / name).is_file()
        with open_catalog(catalog.url) as other:
            assert other.snapshot(ORGANIZATION, "logs").sequence == 1


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://catalog.db", "sqlite://~/c"])
def test_a_url_without_an_absolute_path_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="absolute path"):
        SqliteCatalog(url)


def test_closing_leaves_one_file(path: Path) -> None:
    with SqliteCatalog(path) as catalog:
        catalog.commit(make_commit("c1", add=[make_segment("a")]))
    assert [entry.name for entry in path.parent.iterdir()] == ["catalog.db"]
    assert ids(catalog) == ["a"]  # a closed catalog opens its file again
    catalog.close()


def test_it_travels_as_its_path(catalog: SqliteCatalog) -> None:
    catalog.commit(make_commit("c1", add=[make_segment("a")]))
    with pickle.loads(pickle.dumps(catalog)) as copy:  # noqa: S301 - our own bytes
        assert ids(copy) == ["a"]
        copy.commit(make_commit("c2", remove=["a"]))
    assert ids(catalog) == []


def test_a_commit_is_on_the_disk_before_it_is_acknowledged(catalog: SqliteCatalog) -> None:
    connection = idle(catalog)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("statement", "indexes"),
    [
        (SEGMENTS_NOW, ["segments_live (table_number=? AND max_ns>? AND max_ns<?)"]),
        (
            SEGMENTS_THEN,
            [
                "segments_live (table_number=? AND max_ns>? AND max_ns<?)",
                "segments_past (table_number=? AND max_ns>? AND max_ns<?)",
            ],
        ),
        (SEGMENTS_REMOVED, ["segments_removed (removed_ns<?)"]),
    ],
)
def test_plans_use_the_indexes(catalog: SqliteCatalog, statement: str, indexes: list[str]) -> None:
    values = dict.fromkeys(NAMES, 1)
    parameters = values if ":" in statement else (1, 1)
    plan = [
        row[3]
        for row in idle(catalog).execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        if "segments" in row[3] or "SCAN" in row[3] or "TEMP" in row[3]
    ]
    assert plan == [f"SEARCH segments USING INDEX {index}" for index in indexes]


def test_a_time_is_found_by_the_index(catalog: SqliteCatalog) -> None:
    values = {"time": 1, "longest": 2}
    plan = [row[3] for row in idle(catalog).execute(f"EXPLAIN QUERY PLAN {SEQUENCE_AT}", values)]
    assert "SEARCH commits USING COVERING INDEX commits_by_time (committed_ns>?)" in plan
    assert not any("SCAN" in step for step in plan)


def steps_of(catalog: SqliteCatalog, time_range: TimeRange) -> int:
    """How many instructions SQLite runs to find the segments of a range."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection = idle(catalog)
    connection.set_progress_handler(count, 1)
    catalog.segments(ORGANIZATION, "logs", time_range)
    connection.set_progress_handler(None, 1)
    return steps


def test_work_is_bounded_by_the_answer(catalog: SqliteCatalog) -> None:
    def add(first: int, last: int) -> None:
        segments = [
            make_segment(f"{n:06d}", n * HOUR, (n + 1) * HOUR - 1) for n in range(first, last)
        ]
        catalog.commit(make_commit(f"add {first}", add=segments))

    middle = TimeRange(50 * HOUR, 51 * HOUR)
    add(0, 100)
    few = steps_of(catalog, middle)
    add(100, 3000)
    assert steps_of(catalog, middle) <= few + 5
    catalog.commit(make_commit("replace", remove=[f"{n:06d}" for n in range(60, 3000)]))
    assert steps_of(catalog, TimeRange(70 * HOUR, 10**6 * HOUR)) <= few


def test_a_writer_that_never_ends_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CATALOG_BUSY_MS", 30)
    commit = make_commit("c2", add=[make_segment("b", 1)], take=[A])
    with SqliteCatalog(path) as catalog, closing(sqlite3.connect(path)) as other:
        catalog.commit(make_commit("c1", add=[make_segment("a")]))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CatalogUnavailableError, match="locked") as error:
            catalog.commit(commit)
        assert error.value.context["sqlite"] == "SQLITE_BUSY"
        assert ids(catalog) == ["a"]  # readers do not wait
        other.rollback()
        catalog.commit(commit)
        assert ids(catalog) == ["a", "b"]


def test_a_full_disk_changes_nothing(catalog: SqliteCatalog) -> None:
    catalog.commit(make_commit("c1", add=[make_segment("a")]))
    connection = idle(catalog)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages + 2}")
    big = make_commit("c2", take=[make_source(f"{n:099d}") for n in range(1000)])
    with pytest.raises(CatalogUnavailableError, match="full"):
        catalog.commit(big)
    assert catalog.sources([make_source(f"{0:099d}")]) == {}
    assert catalog.commit(big) == 2  # there is room again: nothing of the first attempt is left


def test_a_damaged_file_says_so(path: Path) -> None:
    with SqliteCatalog(path) as catalog:
        for number in range(20):
            segments = [make_segment(f"{number}-{n}", n) for n in range(50)]
            catalog.commit(make_commit(f"c{number}", add=segments))
    content = bytearray(path.read_bytes())
    content[8192:-8192] = b"\x5a" * (len(content) - 16384)
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=r"damaged.*rebuild"), SqliteCatalog(path) as catalog:
        catalog.segments(ORGANIZATION, "logs")


def test_a_file_that_disappears_is_not_replaced(path: Path, catalog: SqliteCatalog) -> None:
    catalog.commit(make_commit("c1", add=[make_segment("a")]))
    catalog.close()
    path.unlink()
    with pytest.raises(CatalogUnavailableError, match="is it there"):
        ids(catalog)
    assert not path.exists()


def test_a_place_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CatalogUnavailableError):
        SqliteCatalog(tmp_path / "file" / "catalog.db")
    with pytest.raises(CatalogUnavailableError):
        SqliteCatalog(tmp_path)
