"""The ledger of sources in a database: packed beside commits, moved on with, and small."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from lakerunner.catalog import ledger
from lakerunner.catalog.ledger import ANY_SIZE, HEADS
from lakerunner.catalog.postgres import PostgresCatalog
from lakerunner.catalog.postgres import catalog as postgres_catalog
from lakerunner.catalog.postgres.ledger import PostgresShelf
from lakerunner.catalog.postgres.pool import read_address
from lakerunner.catalog.postgres.schema import STEPS, prepare
from lakerunner.errors import CommitConflictError
from lakerunner.model.segment import SourceState
from lakerunner.testing.values import make_commit, make_source

if TYPE_CHECKING:
    from lakerunner.model.segment import Source


def some(start: int, end: int) -> list[Source]:
    return [make_source(f"otel/{number}.binpb", etag=f"{number:x}") for number in range(start, end)]


def rows(catalog: PostgresCatalog, query: str) -> list[tuple[Any, ...]]:
    with catalog._pool.lent() as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack and merge what is large after a few commits."""
    monkeypatch.setattr(ledger, "RECENT", 100)
    monkeypatch.setattr(ledger, "SLICE", 600)
    monkeypatch.setattr(postgres_catalog, "RECENT", 100)


@pytest.mark.usefixtures("small")
def test_what_was_taken_stays_taken_while_others_pack(url: str) -> None:
    """A reader that never stops sees each source from its commit on."""
    ended = threading.Event()
    with PostgresCatalog(url) as catalog, PostgresCatalog(url) as other:
        asked = some(0, 50)
        catalog.commit(make_commit("c0", take=asked))

        def read() -> int:
            reads = 0
            while not ended.is_set():
                assert len(other.sources(asked)) == 50
                reads += 1
            return reads

        with ThreadPoolExecutor(2) as threads:
            reading = threads.submit(read)
            for start in range(50, 3000, 50):
                catalog.commit(make_commit(f"c{start}", take=some(start, start + 50)))
            ended.set()
            assert reading.result() > 0
        assert len(catalog.sources(some(0, 4000))) == 3000
        ((recent,),) = rows(catalog, "SELECT count(*) FROM ledger_recent")
        ((packed,),) = rows(catalog, "SELECT sum(length(digests)) / 16 FROM ledger_blocks")
        assert recent < 200
        assert recent + packed == 3000
        with pytest.raises(CommitConflictError, match="already taken"):
            catalog.commit(make_commit("again", take=some(1234, 1235)))


@pytest.mark.usefixtures("small")
def test_a_merge_that_was_stopped_is_gone_on_with(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PostgresCatalog(url) as catalog:
        catalog.commit(make_commit("c0", take=some(0, 6000)))
        with monkeypatch.context() as patch:
            real, calls = PostgresShelf.after, iter([True] * 2)

            def die(*arguments: Any) -> int:
                if next(calls, False):
                    return real(*arguments)
                raise KeyboardInterrupt

            patch.setattr(PostgresShelf, "after", die)
            with pytest.raises(KeyboardInterrupt):
                catalog.commit(make_commit("c1", take=some(6000, 9000)))
        ((low, high),) = rows(
            catalog, "SELECT min(low), max(low) FROM ledger_runs WHERE target IS NOT NULL"
        )
        assert 0 < low == high < HEADS
        assert len(catalog.sources(some(0, 9100))) == 9000
        catalog.forget(some(0, 50))
        assert len(catalog.sources(some(0, 9100))) == 8950
        catalog.purge([])
        assert rows(catalog, "SELECT count(*) FROM ledger_runs WHERE target > 0") == [(0,)]
        assert len(catalog.sources(some(0, 9100))) == 8950
        catalog.commit(make_commit("again", take=some(0, 1)))


@pytest.mark.usefixtures("small")
def test_one_packs_at_a_time(url: str) -> None:
    with PostgresCatalog(url) as catalog, PostgresCatalog(url) as other:
        with other._pool.lent() as connection:
            key = b"SELECT pg_advisory_lock(1280004146, hashtext(current_schema()))"
            connection.execute(key)
            catalog.commit(make_commit("c0", take=some(0, 500)))
            assert rows(catalog, "SELECT count(*) FROM ledger_recent") == [(500,)]
            connection.execute(key.replace(b"_lock", b"_unlock"))
        catalog.purge([])
        assert rows(catalog, "SELECT count(*) FROM ledger_recent") == [(0,)]


def test_an_identity_takes_less_than_twenty_bytes(url: str) -> None:
    with PostgresCatalog(url) as catalog:
        for start in range(0, 60_000, 20_000):
            catalog.commit(make_commit(f"c{start}", take=some(start, start + 20_000)))
        catalog._pack(ANY_SIZE, at_least=1)
        assert len(catalog.sources(some(59_000, 61_000))) == 1000
        ((used,),) = rows(
            catalog,
            "SELECT sum(pg_column_size(digests)) FROM ledger_blocks",
        )
        ((pages,),) = rows(catalog, "SELECT count(DISTINCT ctid::text) FROM ledger_blocks")
    assert used < 60_000 * 16.1
    assert pages * 8192 / 60_000 < 17.5


def test_an_older_schema_keeps_its_sources(url: str) -> None:
    """Its table of names becomes a ledger of digests; folded names are those of today."""
    sources = [*some(0, 10), make_source("long" * 1000), make_source("nul\0", etag="x\0y")]
    address = read_address(url)
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        name = sql.Identifier(address.schema)
        connection.execute(sql.SQL("SET search_path = {}").format(name))
        prepare(connection, address.schema, "old", STEPS[:4])
        from lakerunner.catalog.postgres.ledger import identities  # noqa: PLC0415

        for number, one in enumerate(sources):
            values = {key: value[0] for key, value in identities([one]).items()}
            connection.execute(
                "INSERT INTO buckets (url) SELECT %(bucket)s"
                " WHERE NOT EXISTS (SELECT FROM buckets WHERE url = %(bucket)s)",
                values,
            )
            connection.execute(
                "INSERT INTO sources SELECT number, %(key)s, %(etag)s, %(taken)s, 1, 1"
                " FROM buckets WHERE url = %(bucket)s",
                {**values, "taken": number != 3},
            )
    with PostgresCatalog(url) as catalog:
        known = catalog.sources(sources)
    assert set(known) == {one for one in sources if one != sources[3]}
    assert set(known.values()) == {SourceState.TAKEN}
