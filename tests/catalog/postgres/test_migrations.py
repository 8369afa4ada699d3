"""A schema is made once, brought forward in order, and left alone by those who do not know it."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.catalog.postgres import PostgresCatalog
from lakerunner.catalog.postgres.pool import read_address
from lakerunner.catalog.postgres.schema import STEPS, prepare
from lakerunner.errors import CatalogError, CatalogVersionError, ConfigurationError
from lakerunner.testing.catalog_fixture import ids
from lakerunner.testing.values import make_commit, make_segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.testing.servers.postgres import PostgresServer

NEXT = (
    "ALTER TABLE segments ADD COLUMN tier integer NOT NULL DEFAULT 7",
    "UPDATE segments SET tier = 8 WHERE id = 'a'",
)


@pytest.fixture
def schema(url: str) -> str:
    return read_address(url).schema


@pytest.fixture
def connection(url: str, schema: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the test's own, in the schema of its catalog."""
    with psycopg.connect(read_address(url).conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        yield connection


@pytest.fixture
def filled(url: str) -> str:
    with PostgresCatalog(url) as catalog:
        catalog.commit(make_commit("c1", add=[make_segment("a"), make_segment("b", 1)]))
    return url


def dump(connection: psycopg.Connection[Any], schema: str) -> list[tuple[Any, ...]]:
    """Every table, column and row of a schema."""
    columns = connection.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = %s ORDER BY 1, 2",
        (schema,),
    ).fetchall()
    rows = []
    for name in sorted({name for name, _, _ in columns}):
        query = sql.SQL("SELECT {}, t::text FROM {} AS t ORDER BY 2")
        rows += connection.execute(query.format(name, sql.Identifier(schema, name))).fetchall()
    return [*columns, *rows]


def test_an_older_schema_is_brought_forward(
    filled: str, connection: psycopg.Connection[Any], schema: str
) -> None:
    prepare(connection, schema, "catalog", [*STEPS, NEXT[:1], NEXT[1:]])
    tiers = connection.execute("SELECT id, tier FROM segments ORDER BY id").fetchall()
    assert tiers == [("a", 8), ("b", 7)]
    version = connection.execute("SELECT version FROM lakerunner_catalog").fetchall()
    assert version == [(len(STEPS) + 2,)]


def test_a_failing_step_leaves_the_old_version(
    filled: str, connection: psycopg.Connection[Any], schema: str
) -> None:
    before = dump(connection, schema)
    with pytest.raises(psycopg.errors.UndefinedTable):
        prepare(connection, schema, "catalog", [*STEPS, NEXT, ["DROP TABLE nonsense"]])
    assert dump(connection, schema) == before
    with PostgresCatalog(filled) as catalog:
        assert ids(catalog) == ["a", "b"]


def test_a_newer_schema_is_refused_and_left_alone(
    filled: str, connection: psycopg.Connection[Any], schema: str
) -> None:
    with PostgresCatalog(filled) as catalog:
        assert ids(catalog) == ["a", "b"]
        prepare(connection, schema, "catalog", [*STEPS, NEXT])
        before = dump(connection, schema)
        with pytest.raises(CatalogVersionError):  # it was open when the schema grew newer
            ids(catalog)
        with pytest.raises(CatalogVersionError):
            catalog.commit(make_commit("c2", add=[make_segment("c")]))
        with pytest.raises(CatalogVersionError):
            catalog.purge(["a"])
    with pytest.raises(CatalogVersionError, match="upgrade lakerunner") as error:
        PostgresCatalog(filled)
    assert error.value.context["version"] == len(STEPS) + 1
    assert dump(connection, schema) == before


def test_a_commit_waits_for_a_migration_and_refuses_its_outcome(
    filled: str, connection: psycopg.Connection[Any], schema: str
) -> None:
    with PostgresCatalog(filled) as catalog, ThreadPoolExecutor(1) as thread:
        with connection.transaction():
            prepare(connection, schema, "catalog", [*STEPS, NEXT])
            committing = thread.submit(catalog.commit, make_commit("c2", remove=["a"]))
            with pytest.raises(TimeoutError):
                committing.result(timeout=0.2)
        with pytest.raises(CatalogVersionError):
            committing.result()
    live = connection.execute("SELECT count(*) FROM segments WHERE removed IS NULL").fetchall()
    assert live == [(2,)]


def test_many_may_make_the_same_schema(url: str) -> None:
    def make(number: int) -> int:
        with PostgresCatalog(url) as catalog:
            return catalog.commit(make_commit(f"c{number}"))

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(make, range(8))) == list(range(1, 9))


def test_many_may_migrate_the_same_schema(filled: str, schema: str) -> None:
    def migrate(_: int) -> None:
        with psycopg.connect(read_address(filled).conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
            prepare(connection, schema, "catalog", [*STEPS, NEXT])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, range(4)))  # a second ALTER TABLE would fail


def test_the_schema_of_another_program_is_refused(
    url: str, connection: psycopg.Connection[Any], schema: str
) -> None:
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    connection.execute("CREATE TABLE theirs (x integer)")
    before = dump(connection, schema)
    with pytest.raises(CatalogError, match="another program"):
        PostgresCatalog(url)
    assert dump(connection, schema) == before


def test_an_empty_schema_is_taken(
    url: str, connection: psycopg.Connection[Any], schema: str
) -> None:
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    with PostgresCatalog(url) as catalog:
        assert catalog.commit(make_commit("c1")) == 1


def test_schemas_of_one_database_are_apart(server: PostgresServer) -> None:
    names = ["apart", "APART", 'a "b"', "é'%s", "search_path"]
    for number, name in enumerate(names):
        with open_catalog(f"{server.url()}?schema={name.replace('%', '%25')}") as catalog:
            assert ids(catalog) == []
            catalog.commit(make_commit("c1", add=[make_segment(f"s{number}")]))
    for number, name in enumerate(names):
        with open_catalog(f"{server.url()}?schema={name.replace('%', '%25')}") as catalog:
            assert ids(catalog) == [f"s{number}"]


def test_a_database_in_another_encoding_is_refused(server: PostgresServer) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(CatalogError, match="encoded in LATIN1; make one with UTF8"):
        PostgresCatalog(server.url("latin"))


def test_reading_only_makes_nothing(
    tmp_path: Path, url: str, connection: psycopg.Connection[Any], schema: str
) -> None:
    with lakerunner.open(tmp_path, catalog="memory://") as lake:
        lake.ingest(b'{"message": "hello"}')
    with pytest.raises(ConfigurationError, match="there is no catalog"):
        lakerunner.open(tmp_path, catalog=url, read_only=True)
    there = "SELECT FROM pg_namespace WHERE nspname = %s"
    assert connection.execute(there, (schema,)).fetchall() == []
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    with pytest.raises(ConfigurationError, match="there is no catalog"):
        open_catalog(url, only_read=True)
    assert dump(connection, schema) == []
    with PostgresCatalog(url) as catalog:
        catalog.commit(make_commit("c1", add=[make_segment("a")]))
    with open_catalog(url, only_read=True) as catalog:
        read = pickle.loads(pickle.dumps(catalog))  # noqa: S301 - our own
        assert ids(read) == ids(catalog) == ["a"]
        read.close()


def test_reading_only_brings_nothing_forward(
    filled: str, connection: psycopg.Connection[Any], schema: str
) -> None:
    before = dump(connection, schema)
    with pytest.raises(CatalogVersionError, match="open it once without read_only"):
        prepare(connection, schema, "catalog", [*STEPS, NEXT], only_read=True)
    assert dump(connection, schema) == before
    assert filled
