"""From SQLite's result codes to lakerunner's errors: what a handler would do about each."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from lakerunner.errors import CatalogError, CatalogUnavailableError, CommitUnknownError
from lakerunner.limits import CATALOG_BUSY_MS

if TYPE_CHECKING:
    from pathlib import Path

_PRIMARY = 0xFF
"""Extended codes carry their kind in the lowest byte."""

_MAY_PASS = {
    sqlite3.SQLITE_BUSY: f"stayed locked by another writer for {CATALOG_BUSY_MS} ms",
    sqlite3.SQLITE_LOCKED: "is locked by another connection",
    sqlite3.SQLITE_PROTOCOL: "could not be locked",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; nothing was changed",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; is it there, and may this process write it?",
    sqlite3.SQLITE_IOERR: "could not be read or written",
}
_STAYS = {
    sqlite3.SQLITE_READONLY: "is read-only; give this process the right to write it",
    sqlite3.SQLITE_PERM: "may not be opened by this process",
    sqlite3.SQLITE_NOTADB: "is not a SQLite file; give the catalog a path of its own",
    sqlite3.SQLITE_CORRUPT: (
        "is damaged; restore a copy, or move it and its -wal and -shm files away and rebuild the "
        "catalog from the segments, whose footers repeat every entry"
    ),
}


def translate(error: sqlite3.Error, path: Path, *, committing: bool = False) -> CatalogError:
    """The error to raise in place of SQLite's own.

    Args:
        error: What SQLite raised.
        path: The catalog's file, for the message.
        committing: It was raised by the statement that makes a transaction durable. If the disk
            failed there, nobody can tell whether the transaction survives.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind = code & _PRIMARY
    context = {"path": str(path), "sqlite": name}
    if committing and kind == sqlite3.SQLITE_IOERR:
        return CommitUnknownError(f"catalog {path}: the disk failed during the commit", **context)
    if kind in _MAY_PASS:
        return CatalogUnavailableError(f"catalog {path} {_MAY_PASS[kind]} ({name})", **context)
    if kind in _STAYS:
        return CatalogError(f"catalog {path} {_STAYS[kind]} ({name})", **context)
    return CatalogError(f"catalog {path} failed: {error} ({name})", **context)
