"""Each of SQLite's result codes becomes the error that tells a handler what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lakerunner.catalog.sqlite.pool import translate
from lakerunner.errors import CatalogError, CatalogUnavailableError, CommitUnknownError

PATH = Path("/lake/catalog.db")
KINDS = [
    (sqlite3.SQLITE_BUSY, CatalogUnavailableError, "locked"),
    (sqlite3.SQLITE_BUSY_RECOVERY, CatalogUnavailableError, "locked"),
    (sqlite3.SQLITE_LOCKED, CatalogUnavailableError, "locked"),
    (sqlite3.SQLITE_FULL, CatalogUnavailableError, "full"),
    (sqlite3.SQLITE_CANTOPEN_ISDIR, CatalogUnavailableError, "opened"),
    (sqlite3.SQLITE_IOERR_READ, CatalogUnavailableError, "read or written"),
    (sqlite3.SQLITE_READONLY_DBMOVED, CatalogError, "read-only"),
    (sqlite3.SQLITE_NOTADB, CatalogError, "not a SQLite file"),
    (sqlite3.SQLITE_CORRUPT_INDEX, CatalogError, "rebuild"),
    (sqlite3.SQLITE_ERROR, CatalogError, "as SQLite says"),
]


def failure(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite says")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_NAME"
    return error


@pytest.mark.parametrize(("code", "kind", "words"), KINDS)
def test_codes(code: int, kind: type[CatalogError], words: str) -> None:
    error = translate(failure(code), PATH)
    assert type(error) is kind
    assert words in str(error)
    assert str(PATH) in str(error)
    assert error.context == {"path": str(PATH), "sqlite": "SQLITE_NAME"}


def test_a_disk_that_fails_during_a_commit_leaves_it_unknown() -> None:
    error = translate(failure(sqlite3.SQLITE_IOERR_FSYNC), PATH, committing=True)
    assert type(error) is CommitUnknownError


def test_a_full_disk_is_known_to_have_changed_nothing() -> None:
    error = translate(failure(sqlite3.SQLITE_FULL), PATH, committing=True)
    assert type(error) is CatalogUnavailableError


def test_errors_of_the_python_module_have_no_code() -> None:
    error = translate(sqlite3.ProgrammingError("closed"), PATH)
    assert type(error) is CatalogError
    assert "ProgrammingError" in str(error)
