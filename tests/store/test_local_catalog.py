"""The catalog lies in the directory of a lake, and the store keeps its hands off it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.default import CATALOG_NAME
from lakerunner.errors import ConfigurationError, ObjectNotFoundError
from lakerunner.store import PutMode
from lakerunner.store.local import LocalStore
from lakerunner.testing.store_fixture import keys

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root)


READ = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
try:
    connection.execute("SELECT * FROM t").fetchall()
except sqlite3.OperationalError as error:
    print(error)
"""


def read_elsewhere(path: Path) -> str:
    """What hinders another process that reads the catalog."""
    command = [sys.executable, "-W", "error", "-c", READ, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", ".backup"])
def test_the_catalog_is_no_object(store: LocalStore, root: Path, suffix: str) -> None:
    name = CATALOG_NAME + suffix
    store.put("a", b"1")
    (root / name).write_bytes(b"not ours")
    assert keys(store) == ["a"]
    assert keys(store, "catalog") == keys(store, name) == []
    assert not store.exists(name)
    for call in (store.get, store.head):
        with pytest.raises(ObjectNotFoundError):
            call(name)
    for mode in PutMode:
        with pytest.raises(ConfigurationError, match="catalog"):
            store.put(name, b"2", mode)
    with pytest.raises(ConfigurationError, match="catalog"):
        store.copy("a", name)
    store.delete(name)
    assert (root / name).read_bytes() == b"not ours"


def test_only_the_name_in_the_root_is_taken(store: LocalStore) -> None:
    for key in (f"a/{CATALOG_NAME}", "catalog", "catalog.d", "my-catalog.db"):
        assert store.put(key, b"1") == store.head(key)
    assert keys(store) == ["a/catalog.db", "catalog", "catalog.d", "my-catalog.db"]


def test_no_request_drops_the_locks_of_the_catalog(store: LocalStore, root: Path) -> None:
    store.put("a", b"1")
    path = root / CATALOG_NAME
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("BEGIN EXCLUSIVE")
        for call in (store.get, store.head):
            with pytest.raises(ObjectNotFoundError):
                call(CATALOG_NAME)
        with pytest.raises(ConfigurationError):
            store.put(CATALOG_NAME, b"1")
        store.delete(CATALOG_NAME)
        assert keys(store) == ["a"]
        assert read_elsewhere(path) == "database is locked\n"
        path.read_bytes()  # what must not happen: this is why
        assert read_elsewhere(path) == ""
