"""The tables of a catalog file, and the steps that bring an older file up to date."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, TypeAlias

from lakerunner.catalog.ledger import source_digest
from lakerunner.errors import CatalogError, CatalogVersionError
from lakerunner.limits import CATALOG_BUSY_MS
from lakerunner.model.segment import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

Step: TypeAlias = "Sequence[str]"
"""Statements that lead from one version to the next."""

APPLICATION_ID = 0x4C4B5231
"""Stands in the header of every catalog file (`LKR1`), so that no other program's file is taken
for one."""

STEPS: Sequence[Step] = (
    (
        # A table of the lake, with the totals that keep a snapshot cheap. `extent_ns` is the
        # longest time range of any segment it ever had: see `segments_live`.
        """CREATE TABLE tables (
            number INTEGER PRIMARY KEY,
            organization TEXT NOT NULL,
            signal TEXT NOT NULL,
            segments INTEGER NOT NULL DEFAULT 0,
            rows INTEGER NOT NULL DEFAULT 0,
            bytes INTEGER NOT NULL DEFAULT 0,
            extent_ns INTEGER NOT NULL DEFAULT 0,
            UNIQUE (organization, signal))""",
        """CREATE TABLE commits (
            sequence INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            table_number INTEGER NOT NULL,
            committed_ns INTEGER NOT NULL)""",
        # `payload` is the whole entry as `encode_segment` writes it; the other columns repeat what
        # is searched.
        """CREATE TABLE segments (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            table_number INTEGER NOT NULL,
            min_ns INTEGER NOT NULL,
            max_ns INTEGER NOT NULL,
            added INTEGER NOT NULL,
            removed INTEGER,
            removed_ns INTEGER,
            payload BLOB NOT NULL)""",
        # Live and removed segments have an index each, so what was replaced costs a query nothing.
        # A query walks `max_ns` from its start to its end plus the longest extent.
        """CREATE INDEX segments_live ON segments (table_number, max_ns, min_ns)
            WHERE removed IS NULL""",
        """CREATE INDEX segments_past ON segments (table_number, max_ns, min_ns, added, removed)
            WHERE removed IS NOT NULL""",
        """CREATE INDEX segments_removed ON segments (removed_ns, id)
            WHERE removed IS NOT NULL""",
        # How many live segments have each column: small, whatever the number of segments.
        """CREATE TABLE columns (
            table_number INTEGER NOT NULL,
            name TEXT NOT NULL,
            type TEXT NOT NULL,
            overflow INTEGER NOT NULL,
            live INTEGER NOT NULL,
            PRIMARY KEY (table_number, name, type, overflow)) WITHOUT ROWID""",
        # Tens of millions of sources share a few buckets. Without a rowid the identity is stored
        # once and not once more in an index.
        """CREATE TABLE buckets (
            number INTEGER PRIMARY KEY,
            url TEXT NOT NULL UNIQUE)""",
        """CREATE TABLE sources (
            bucket INTEGER NOT NULL,
            key TEXT NOT NULL,
            etag TEXT NOT NULL,
            taken INTEGER NOT NULL,
            rows INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            PRIMARY KEY (bucket, key, etag)) WITHOUT ROWID""",
        """CREATE TABLE rejections (
            number INTEGER PRIMARY KEY,
            table_number INTEGER NOT NULL,
            bucket INTEGER NOT NULL,
            key TEXT NOT NULL,
            etag TEXT NOT NULL,
            code TEXT NOT NULL,
            reason TEXT NOT NULL,
            rows INTEGER,
            rejected_ns INTEGER NOT NULL)""",
        "CREATE INDEX rejections_by_table ON rejections (table_number)",
        "CREATE INDEX rejections_by_source ON rejections (bucket, key, etag)",
    ),
    # The state at a time: see `catalog.SEQUENCE_AT`.
    ("CREATE INDEX commits_by_time ON commits (committed_ns, sequence)",),
    # A commit may change several tables, and what is set aside belongs to none. SQLite before 3.35
    # cannot drop a column, so two tables are made anew.
    (
        "ALTER TABLE tables RENAME COLUMN signal TO name",
        """CREATE TABLE new_commits (
            sequence INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            committed_ns INTEGER NOT NULL)""",
        "INSERT INTO new_commits SELECT sequence, id, committed_ns FROM commits ORDER BY sequence",
        "DROP TABLE commits",
        "ALTER TABLE new_commits RENAME TO commits",
        "CREATE INDEX commits_by_time ON commits (committed_ns, sequence)",
        """CREATE TABLE new_rejections (
            number INTEGER PRIMARY KEY,
            organization TEXT NOT NULL,
            bucket INTEGER NOT NULL,
            key TEXT NOT NULL,
            etag TEXT NOT NULL,
            code TEXT NOT NULL,
            reason TEXT NOT NULL,
            rows INTEGER,
            rejected_ns INTEGER NOT NULL)""",
        """INSERT INTO new_rejections
            SELECT rejections.number, organization, bucket, key, etag, code, reason,
                rejections.rows, rejected_ns
            FROM rejections JOIN tables ON tables.number = table_number""",
        "DROP TABLE rejections",
        "ALTER TABLE new_rejections RENAME TO rejections",
        "CREATE INDEX rejections_by_organization ON rejections (organization)",
        "CREATE INDEX rejections_by_source ON rejections (bucket, key, etag)",
    ),
    # Where the catalog stands (`Head`), what is never to be added, and who works at what.
    (
        """CREATE TABLE standing (
            single INTEGER PRIMARY KEY CHECK (single = 1),
            lake TEXT NOT NULL,
            incarnation INTEGER NOT NULL,
            whole INTEGER NOT NULL,
            floor INTEGER NOT NULL,
            purged INTEGER NOT NULL)""",
        "INSERT INTO standing VALUES (1, '', 0, 1, 0, 0)",
        # `epoch` is that of the id, and larger than any for an id that has none.
        """CREATE TABLE condemned (
            id TEXT PRIMARY KEY,
            epoch INTEGER NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX condemned_by_epoch ON condemned (epoch)",
        """CREATE TABLE leases (
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            owner TEXT NOT NULL,
            expires_ns INTEGER NOT NULL,
            PRIMARY KEY (kind, key)) WITHOUT ROWID""",
    ),
    # Tens of millions of sources, by their digests: see `ledger`. What was set aside is in
    # `rejections` alone. `number` is the run's, times 2**32, and the head of the first digest.
    (
        "CREATE TABLE ledger_recent (digest BLOB PRIMARY KEY) WITHOUT ROWID",
        """CREATE TABLE ledger_runs (
            number INTEGER PRIMARY KEY,
            size INTEGER NOT NULL,
            whole INTEGER NOT NULL)""",
        """CREATE TABLE ledger_blocks (
            number INTEGER PRIMARY KEY,
            digests BLOB NOT NULL)""",
        """INSERT OR IGNORE INTO ledger_recent
            SELECT source_digest(buckets.url, key, etag)
            FROM sources JOIN buckets ON buckets.number = bucket WHERE taken""",
        "DROP TABLE sources",
    ),
    # A merge moves digests on by and by: each run says which of its share it still has, or has got
    # already. A merge of the version before that was not finished is begun anew.
    (
        """DELETE FROM ledger_blocks
            WHERE number >> 32 IN (SELECT number FROM ledger_runs WHERE NOT whole)""",
        "DELETE FROM ledger_runs WHERE NOT whole",
        "ALTER TABLE ledger_runs RENAME TO old_runs",
        """CREATE TABLE ledger_runs (
            number INTEGER PRIMARY KEY,
            size INTEGER NOT NULL,
            low INTEGER NOT NULL,
            high INTEGER NOT NULL,
            target INTEGER)""",
        "INSERT INTO ledger_runs SELECT number, size, 0, 4294967296, NULL FROM old_runs",
        "DROP TABLE old_runs",
    ),
)
"""Step `n` leads from version `n` to `n + 1`. Steps are only ever appended."""


def prepare(connection: sqlite3.Connection, name: str, steps: Sequence[Step] = STEPS) -> None:
    """Make a file a catalog of the current version, in one transaction.

    Any number of processes may do so at once. A file that is up to date is only read.

    Args:
        connection: In autocommit mode, with a busy timeout.
        name: The file, for messages.
        steps: How to get from version 0 to the current one.

    Raises:
        CatalogVersionError: The file is newer than `steps`; it was not changed.
        CatalogError: The file belongs to another program; it was not changed.
    """
    version = _version(connection, name, steps)
    _keep_a_log(connection)
    if version == len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _header(connection, name, steps)  # another process may have been first
        connection.create_function("source_digest", 3, _digest, deterministic=True)
        for step in steps[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _digest(bucket: str, key: str, etag: str) -> bytes:
    return source_digest(Source(bucket, key, etag))


def require_current(connection: sqlite3.Connection, name: str) -> None:
    """Refuse to go on if a newer lakerunner brought the file forward since it was opened.

    Args:
        connection: In a transaction, so that the answer holds until its end.
        name: The file, for messages.

    Raises:
        CatalogVersionError: The file is newer than this code.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise _newer(name, version, len(STEPS))


def require_same(connection: sqlite3.Connection, name: str) -> None:
    """Refuse to read a file that is not of exactly this version, and cannot be brought to it.

    Args:
        connection: In a transaction.
        name: The file, for messages.

    Raises:
        CatalogVersionError: The file is newer or older than this code.
        CatalogError: The file belongs to another program.
    """
    version = _header(connection, name, STEPS)
    if version < len(STEPS):
        raise CatalogVersionError(
            f"catalog {name} has version {version} and this lakerunner needs {len(STEPS)}; open it "
            "once where it can be written",
            path=name,
            version=version,
        )


def _version(connection: sqlite3.Connection, name: str, steps: Sequence[Step]) -> int:
    connection.execute("BEGIN")  # the header is one state, not three reads of three states
    try:
        return _header(connection, name, steps)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _header(connection: sqlite3.Connection, name: str, steps: Sequence[Step]) -> int:
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not (objects or owner or version):
        return 0
    if owner != APPLICATION_ID:
        raise CatalogError(
            f"{name} is the SQLite file of another program; give the catalog a path of its own",
            path=name,
        )
    if version > len(steps):
        raise _newer(name, version, len(steps))
    return int(version)


def _newer(name: str, version: int, known: int) -> CatalogVersionError:
    return CatalogVersionError(
        f"catalog {name} has version {version} and this lakerunner knows up to {known}; "
        "upgrade lakerunner",
        path=name,
        version=version,
    )


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Switch the file to write-ahead logging, where readers and the writer do not wait.

    SQLite's own busy timeout does not cover this statement.
    """
    deadline = time.monotonic() + CATALOG_BUSY_MS / 1000
    while True:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            return
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
