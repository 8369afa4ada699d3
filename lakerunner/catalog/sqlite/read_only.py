"""Reading a catalog file where nothing can be written: a read-only mount, or no right to."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from lakerunner.catalog.sqlite.failures import translate
from lakerunner.catalog.sqlite.schema import require_same
from lakerunner.errors import CatalogUnavailableError
from lakerunner.limits import CATALOG_BUSY_MS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def connect(path: Path, how: str) -> sqlite3.Connection:
    """A connection in autocommit mode, for any thread; `how` are parameters of SQLite's URIs."""
    return sqlite3.connect(
        f"{path.as_uri()}?{how}",
        uri=True,
        timeout=CATALOG_BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
    )


def is_read_only(path: Path) -> bool:
    """Whether a file is there and it or its directory cannot be written."""
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return not writable and path.exists()


@contextmanager
def read_only(path: Path, begin: str) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction, which sees one state of the file.

    Readers and writers of a file meet in the log beside it. While another process has the file
    open, from where it can be written, its log is there and is read. If there is none, and none can
    be made, the file is read as it lies there, and has to be the same afterwards.

    Args:
        path: The file.
        begin: How the transaction begins; one that wants to write is refused.

    Raises:
        CatalogVersionError: The file is of a newer version.
        CatalogUnavailableError: It was changed meanwhile.
        CatalogError: It cannot be read, or is to be written.
    """
    alone = not path.with_name(f"{path.name}-wal").exists()
    before = path.stat()
    try:
        with closing(connect(path, "mode=ro&immutable=1" if alone else "mode=ro")) as connection:
            connection.execute(begin)
            require_same(connection, str(path))
            yield connection
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise translate(error, path) from error
    after = path.stat()
    if alone and (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise CatalogUnavailableError(
            f"catalog {path} was changed while it was read", path=str(path)
        )
