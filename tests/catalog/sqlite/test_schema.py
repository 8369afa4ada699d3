"""Versions of the catalog file: made once, brought forward, and never touched if newer."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.sqlite import SqliteCatalog
from lakerunner.catalog.sqlite.schema import APPLICATION_ID, STEPS, prepare
from lakerunner.errors import CatalogError, CatalogVersionError
from lakerunner.testing.catalog_fixture import ids
from lakerunner.testing.values import make_commit, make_segment

if TYPE_CHECKING:
    from pathlib import Path

NEXT = (
    "ALTER TABLE segments ADD COLUMN tier INTEGER NOT NULL DEFAULT 7",
    "UPDATE segments SET tier = 8 WHERE id = 'a'",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A catalog of the current version, with two segments."""
    path = tmp_path / "catalog.db"
    with SqliteCatalog(path) as catalog:
        catalog.commit(make_commit("c1", add=[make_segment("a"), make_segment("b", 1)]))
    return path


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def version_of(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    assert isinstance(version, int)
    return version


def test_a_new_file_has_the_current_version(path: Path) -> None:
    with closing(connect(path)) as connection:
        assert version_of(connection) == len(STEPS)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_an_older_file_is_brought_forward(path: Path) -> None:
    with closing(connect(path)) as connection:
        prepare(connection, "catalog", [*STEPS, NEXT[:1], NEXT[1:]])
        assert version_of(connection) == len(STEPS) + 2
        tiers = connection.execute("SELECT id, tier FROM segments ORDER BY id").fetchall()
        assert tiers == [("a", 8), ("b", 7)]


def test_a_failing_step_leaves_the_old_version(path: Path) -> None:
    with closing(connect(path)) as connection:
        before = list(connection.iterdump())
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            prepare(connection, "catalog", [*STEPS, NEXT, ["DROP TABLE nonsense"]])
        assert list(connection.iterdump()) == before
        assert version_of(connection) == len(STEPS)
    with SqliteCatalog(path) as catalog:
        assert ids(catalog) == ["a", "b"]


def test_a_newer_file_is_refused_and_left_alone(path: Path) -> None:
    with closing(connect(path)) as connection:
        prepare(connection, "catalog", [*STEPS, NEXT])
    before = path.read_bytes()
    with pytest.raises(CatalogVersionError, match="upgrade lakerunner") as error:
        SqliteCatalog(path)
    assert error.value.context["version"] == len(STEPS) + 1
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["catalog.db"]


def test_a_file_that_grows_newer_while_open_is_refused(path: Path) -> None:
    with SqliteCatalog(path) as catalog, closing(connect(path)) as connection:
        assert ids(catalog) == ["a", "b"]
        prepare(connection, "catalog", [*STEPS, NEXT])
        before = list(connection.iterdump())
        with pytest.raises(CatalogVersionError):
            ids(catalog)
        with pytest.raises(CatalogVersionError):
            catalog.commit(make_commit("c2", add=[make_segment("c")]))
        assert list(connection.iterdump()) == before


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE theirs (x)", "PRAGMA user_version=1", f"PRAGMA application_id={0x47504B47}"],
)
def test_the_file_of_another_program_is_refused(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "other.db"
    with closing(connect(path)) as connection:
        connection.execute(statement)
    before = path.read_bytes()
    with pytest.raises(CatalogError, match="another program"):
        SqliteCatalog(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Not a database, but long enough to be taken for the header of one." * 9)
    before = path.read_bytes()
    with pytest.raises(CatalogError, match="not a SQLite file"):
        SqliteCatalog(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_catalog(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    with SqliteCatalog(path) as catalog:
        catalog.commit(make_commit("c1", add=[make_segment("a")]))
        assert ids(catalog) == ["a"]


def test_many_may_make_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"

    def make(number: int) -> int:
        with SqliteCatalog(path) as catalog:
            return catalog.commit(make_commit(f"c{number}"))

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(make, range(8))) == list(range(1, 9))


def test_making_a_file_waits_for_whoever_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with closing(connect(path)) as other, ThreadPoolExecutor(1) as thread:
        other.execute("BEGIN IMMEDIATE")
        opening = thread.submit(SqliteCatalog, path)
        with pytest.raises(TimeoutError):
            opening.result(timeout=0.2)
        other.execute("ROLLBACK")
        with opening.result() as catalog:
            assert catalog.commit(make_commit("c1")) == 1
