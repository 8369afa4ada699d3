"""The tables of a catalog, and the steps that bring an older schema up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg import sql

from lakerunner.catalog.ledger import source_digest
from lakerunner.errors import CatalogError, CatalogVersionError, ConfigurationError
from lakerunner.model.segment import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import LiteralString

    from psycopg import Connection

    Step: TypeAlias = Sequence[LiteralString | Callable[[Connection[Any]], None]]
    """Statements, and calls, that lead from one version to the next."""

_LOCK_SPACE = 0x4C4B5231
"""First half of the advisory lock under which a schema is migrated (`LKR1`)."""

_AT_ONCE = 10_000


def _move_sources(connection: Connection[Any]) -> None:
    """Write the digests of the names of what was taken, some thousands at a time."""
    query = """SELECT url, key, etag FROM sources JOIN buckets ON number = bucket WHERE taken"""
    with connection.cursor("moving") as names, connection.cursor() as digests:
        names.execute(query)
        while some := names.fetchmany(_AT_ONCE):
            digests.execute(
                "INSERT INTO ledger_recent SELECT unnest(%s::bytea[]) ON CONFLICT DO NOTHING",
                ([source_digest(Source(*one)) for one in some],),
            )


STEPS: Sequence[Step] = (
    (
        # A table of the lake, with the totals that keep a snapshot cheap. `extent_ns` is the
        # longest time range of any segment it ever had: see `segments_live`. Rows that change with
        # every commit leave room in their page, so that no index has to follow them.
        """CREATE TABLE tables (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            organization text COLLATE "C" NOT NULL,
            signal text COLLATE "C" NOT NULL,
            segments bigint NOT NULL DEFAULT 0,
            rows bigint NOT NULL DEFAULT 0,
            bytes bigint NOT NULL DEFAULT 0,
            extent_ns bigint NOT NULL DEFAULT 0,
            UNIQUE (organization, signal)) WITH (fillfactor = 50)""",
        """CREATE TABLE commits (
            sequence bigint PRIMARY KEY,
            id text COLLATE "C" NOT NULL UNIQUE,
            table_number bigint NOT NULL,
            committed_ns bigint NOT NULL)""",
        # `payload` is the whole entry as `encode_segment` writes it; the other columns repeat what
        # is searched.
        """CREATE TABLE segments (
            id text COLLATE "C" PRIMARY KEY,
            table_number bigint NOT NULL,
            min_ns bigint NOT NULL,
            max_ns bigint NOT NULL,
            added bigint NOT NULL,
            removed bigint,
            removed_ns bigint,
            payload bytea NOT NULL)""",
        # Live and removed segments have an index each, so what was replaced costs a query nothing.
        # A query walks `max_ns` from its start to its end plus the longest extent.
        """CREATE INDEX segments_live ON segments (table_number, max_ns, min_ns)
            WHERE removed IS NULL""",
        """CREATE INDEX segments_past ON segments (table_number, max_ns, min_ns, added, removed)
            WHERE removed IS NOT NULL""",
        "CREATE INDEX segments_removed ON segments (removed_ns) WHERE removed IS NOT NULL",
        # How many live segments have each column: small, whatever the number of segments.
        """CREATE TABLE columns (
            table_number bigint NOT NULL,
            name text COLLATE "C" NOT NULL,
            type text COLLATE "C" NOT NULL,
            overflow boolean NOT NULL,
            live bigint NOT NULL,
            PRIMARY KEY (table_number, name, type, overflow)) WITH (fillfactor = 50)""",
        # Tens of millions of sources share a few buckets. The texts are those of `lookup.fold`.
        """CREATE TABLE buckets (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            url text COLLATE "C" NOT NULL UNIQUE)""",
        """CREATE TABLE sources (
            bucket bigint NOT NULL,
            key text COLLATE "C" NOT NULL,
            etag text COLLATE "C" NOT NULL,
            taken boolean NOT NULL,
            rows bigint NOT NULL,
            sequence bigint NOT NULL,
            PRIMARY KEY (bucket, key, etag))""",
        # `payload` is the whole rejection as JSON.
        """CREATE TABLE rejections (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            table_number bigint NOT NULL,
            bucket bigint NOT NULL,
            key text COLLATE "C" NOT NULL,
            etag text COLLATE "C" NOT NULL,
            payload bytea NOT NULL)""",
        "CREATE INDEX rejections_by_table ON rejections (table_number)",
        "CREATE INDEX rejections_by_source ON rejections (bucket, key, etag)",
        # Who works at what, for how long; `owner` is NULL where nobody does.
        """CREATE TABLE leases (
            kind text COLLATE "C" NOT NULL,
            key text COLLATE "C" NOT NULL,
            owner text COLLATE "C",
            expires timestamptz NOT NULL,
            PRIMARY KEY (kind, key)) WITH (fillfactor = 50)""",
        "CREATE INDEX leases_expired ON leases (expires)",
    ),
    # The state at a time: see `catalog.SEQUENCE_AT`.
    ("CREATE INDEX commits_by_time ON commits (committed_ns, sequence)",),
    # A commit may change several tables, and what is set aside belongs to none.
    (
        "ALTER TABLE tables RENAME COLUMN signal TO name",
        "ALTER TABLE commits DROP COLUMN table_number",
        """ALTER TABLE rejections ADD COLUMN organization text COLLATE "C" NOT NULL DEFAULT ''""",
        """UPDATE rejections SET organization = tables.organization FROM tables
            WHERE tables.number = table_number""",
        "ALTER TABLE rejections ALTER COLUMN organization DROP DEFAULT",
        "ALTER TABLE rejections DROP COLUMN table_number",
        "CREATE INDEX rejections_by_organization ON rejections (organization)",
    ),
    # Where the catalog stands (`Head`), in the row that every commit locks, and what is never to be
    # added. `epoch` is that of the id, and larger than any for an id that has none.
    (
        """ALTER TABLE lakerunner_catalog
            ADD COLUMN lake text COLLATE "C" NOT NULL DEFAULT '',
            ADD COLUMN incarnation bigint NOT NULL DEFAULT 0,
            ADD COLUMN whole boolean NOT NULL DEFAULT true,
            ADD COLUMN floor bigint NOT NULL DEFAULT 0,
            ADD COLUMN purged bigint NOT NULL DEFAULT 0""",
        """CREATE TABLE condemned (
            id text COLLATE "C" PRIMARY KEY,
            epoch bigint NOT NULL)""",
        "CREATE INDEX condemned_by_epoch ON condemned (epoch)",
    ),
    # Tens of millions of sources, by their digests: see `ledger`. What was set aside is in
    # `rejections` alone. `number` is the run's, times 2**32, and the head of the first digest.
    (
        "CREATE TABLE ledger_recent (digest bytea PRIMARY KEY)",
        """CREATE TABLE ledger_runs (
            number bigint PRIMARY KEY,
            size bigint NOT NULL,
            low bigint NOT NULL,
            high bigint NOT NULL,
            target bigint) WITH (fillfactor = 10)""",
        # A block fills a page, and stays in it.
        """CREATE TABLE ledger_blocks (
            number bigint PRIMARY KEY,
            digests bytea NOT NULL)""",
        "ALTER TABLE ledger_blocks ALTER COLUMN digests SET STORAGE MAIN",
        _move_sources,
        "DROP TABLE sources",
    ),
)
"""Step `n` leads from version `n` to `n + 1`. Steps are only ever appended."""

# The one row that every commit locks first and changes last. Sequence numbers that are given out
# under its lock become visible in their own order; those of a PostgreSQL sequence would not.
_STATE: LiteralString = """
    CREATE TABLE lakerunner_catalog (
        single boolean PRIMARY KEY DEFAULT true CHECK (single),
        version integer NOT NULL,
        sequence bigint NOT NULL) WITH (fillfactor = 10)"""

LOCK: LiteralString = "SELECT version, sequence FROM lakerunner_catalog FOR UPDATE"
"""Waits for the commits before this one, and makes those after it wait."""

_LOOK: LiteralString = """
    SELECT schema.oid IS NOT NULL, has_schema_privilege(schema.oid, 'USAGE'),
        EXISTS (SELECT FROM pg_class WHERE relnamespace = schema.oid),
        EXISTS (SELECT FROM pg_class
            WHERE relnamespace = schema.oid AND relname = 'lakerunner_catalog'),
        current_setting('server_encoding')
    FROM (SELECT) AS one LEFT JOIN pg_namespace AS schema ON nspname = %(schema)s"""


def prepare(
    connection: Connection[Any],
    schema: str,
    name: str,
    steps: Sequence[Step] | None = None,
    *,
    only_read: bool = False,
) -> None:
    """Make a schema a catalog of the current version, in one transaction.

    Any number of processes may do so at once. A schema that is up to date is only read.

    Args:
        connection: In autocommit mode, with the schema as its whole search path.
        schema: The schema's name.
        name: The catalog, for messages.
        steps: How to get from version 0 to the current one.
        only_read: Change nothing, whatever it is.

    Raises:
        ConfigurationError: `only_read` is set, and there is no catalog.
        CatalogVersionError: The schema is newer than `steps`, or `only_read` is set and it is
            older; it was not changed.
        CatalogError: The schema belongs to another program, or the database is not in UTF-8; it
            was not changed.
    """
    steps = STEPS if steps is None else steps
    version = _version(connection, schema, name, steps)
    if version == len(steps):
        return
    if only_read and not version:
        raise ConfigurationError(f"there is no catalog at {name}", url=name)
    if only_read:
        raise CatalogVersionError(
            f"catalog {name} has version {version}, and this is of version {len(steps)}: "
            "open it once without read_only, which brings it forward",
            url=name,
        )
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.execute(
            "SELECT pg_advisory_xact_lock(%s::int, hashtext(%s))", (_LOCK_SPACE, schema)
        )
        version = _version(connection, schema, name, steps)  # another process may have been first
        if version == 0:
            _create(connection, schema)
        else:
            connection.execute(LOCK)  # whoever commits now finds the new version afterwards
            version = _version(connection, schema, name, steps)
        for step in steps[version:]:
            for statement in step:
                if callable(statement):
                    statement(connection)
                else:
                    connection.execute(statement)
        connection.execute("UPDATE lakerunner_catalog SET version = %s", (len(steps),))


def require_current(version: int, name: str) -> None:
    """Refuse to go on if a newer lakerunner brought the schema forward since it was opened.

    Raises:
        CatalogVersionError: The schema is newer than this code.
    """
    if version > len(STEPS):
        raise _newer(name, version, len(STEPS))


def _create(connection: Connection[Any], schema: str) -> None:
    exists, *_ = connection.execute(_LOOK, {"schema": schema}).fetchall()[0]
    if not exists:  # it may have been made by somebody who has more rights than we have
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    connection.execute(_STATE)
    connection.execute("INSERT INTO lakerunner_catalog (version, sequence) VALUES (0, 0)")


def _version(connection: Connection[Any], schema: str, name: str, steps: Sequence[Step]) -> int:
    (found,) = connection.execute(_LOOK, {"schema": schema}).fetchall()
    exists, usable, occupied, ours, encoding = found
    wrong = None
    if encoding != "UTF8":
        wrong = f"the database is encoded in {encoding}; make one with UTF8"
    elif exists and not usable:
        wrong = f"this user may not use the schema {schema!r}; grant it USAGE"
    elif occupied and not ours:
        wrong = (
            f"the schema {schema!r} holds the tables of another program; give the catalog one of "
            "its own with ?schema="
        )
    if wrong is not None:
        raise CatalogError(f"catalog {name}: {wrong}", url=name)
    if not ours:
        return 0
    ((version,),) = connection.execute("SELECT version FROM lakerunner_catalog").fetchall()
    if version > len(steps):
        raise _newer(name, version, len(steps))
    return int(version)


def _newer(name: str, version: int, known: int) -> CatalogVersionError:
    return CatalogVersionError(
        f"catalog {name} has version {version} and this lakerunner knows up to {known}; "
        "upgrade lakerunner",
        url=name,
        version=version,
    )
