"""Connections that break, servers that stop, and what a caller is told."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from lakerunner.catalog.postgres import PostgresCatalog, pool
from lakerunner.errors import CatalogError, CatalogUnavailableError, CommitUnknownError
from lakerunner.testing.catalog_fixture import A, ids
from lakerunner.testing.servers.postgres import postgres
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakerunner.testing.servers.postgres import PostgresServer

COMMIT = make_commit("c1", add=[make_segment("a")], take=[A])


@pytest.fixture
def admin(server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        yield connection


def terminate(admin: psycopg.Connection[Any], condition: str = "true") -> int:
    """End the server's side of all connections that fit, and wait for it; returns how many."""
    query = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        f" WHERE application_name = 'lakerunner' AND {condition}"
    )
    return len(admin.execute(query).fetchall())


@contextmanager
def no_reply_to_commits(admin: psycopg.Connection[Any]) -> Iterator[None]:
    """Commits are durable and then wait for a standby that does not exist."""
    try:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        admin.execute("SELECT pg_reload_conf()")
        yield
    finally:
        admin.execute("ALTER SYSTEM RESET ALL")
        admin.execute("SELECT pg_reload_conf()")


def wait_for(admin: psycopg.Connection[Any], condition: str) -> None:
    query = f"SELECT count(*) FROM pg_stat_activity WHERE {condition}"
    deadline = time.monotonic() + 20
    while admin.execute(query).fetchone() == (0,):
        assert time.monotonic() < deadline


def test_a_commit_whose_reply_is_lost_is_unknown_and_can_be_sent_again(
    url: str, admin: psycopg.Connection[Any]
) -> None:
    with PostgresCatalog(url) as catalog, ThreadPoolExecutor(1) as thread:
        ids(catalog)
        with no_reply_to_commits(admin):
            committing = thread.submit(catalog.commit, COMMIT)
            wait_for(admin, "wait_event = 'SyncRep' AND application_name = 'lakerunner'")
            assert ids(catalog) == []
            assert terminate(admin, "wait_event = 'SyncRep'") == 1
            with pytest.raises(CommitUnknownError, match="did not answer"):
                committing.result()
        assert ids(catalog) == ["a"]  # it had been applied
        assert catalog.commit(COMMIT) == 1
        assert ids(catalog) == ["a"]


def test_a_connection_that_ends_before_the_commit_leaves_it_unknown_too(
    url: str, admin: psycopg.Connection[Any]
) -> None:
    def commit_on_a_dying_connection() -> None:
        with catalog._pool.writing() as transaction:
            with transaction.asking() as connection:
                connection.execute("UPDATE lakerunner_catalog SET sequence = 99")
            with transaction.changing():
                terminate(admin)

    with PostgresCatalog(url) as catalog:
        with pytest.raises(CommitUnknownError):
            commit_on_a_dying_connection()
        assert catalog.commit(COMMIT) == 1


def test_a_connection_that_ends_within_a_commit_has_changed_nothing(
    url: str, admin: psycopg.Connection[Any]
) -> None:
    with (
        PostgresCatalog(url) as catalog,
        PostgresCatalog(url) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        with other._pool.writing() as transaction:
            with transaction.asking() as connection:
                connection.execute("SELECT FROM lakerunner_catalog FOR UPDATE")
            committing = thread.submit(catalog.commit, COMMIT)
            wait_for(admin, "wait_event_type = 'Lock' AND application_name = 'lakerunner'")
            assert terminate(admin, "wait_event_type = 'Lock'") == 1
            with pytest.raises(CatalogUnavailableError, match=r"closed|shutting down"):
                committing.result()
        assert ids(catalog) == []
        assert catalog.commit(COMMIT) == 1


def test_one_failure_for_all_connections_that_broke(
    url: str, admin: psycopg.Connection[Any]
) -> None:
    with PostgresCatalog(url) as catalog, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: ids(catalog), range(40)))
        assert terminate(admin) >= 1
        with pytest.raises(CatalogUnavailableError):
            ids(catalog)
        for _ in range(8):
            assert ids(catalog) == []


def test_a_server_that_restarts_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    with postgres() as server, PostgresCatalog(server.url()) as catalog:
        assert catalog.commit(COMMIT) == 1
        server.stop(crash=True)
        with pytest.raises(CatalogUnavailableError):
            ids(catalog)
        server.start()
        assert ids(catalog) == ["a"]
        assert catalog.commit(COMMIT) == 1
        server.stop()
        with caplog.at_level(logging.WARNING), pytest.raises(CatalogUnavailableError):
            catalog.commit(COMMIT)
        assert server.password not in caplog.text


def test_a_server_that_is_down_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CATALOG_CONNECT_S", 0.3)
    with postgres() as server:
        url, secret = server.url(), server.password
        catalog = PostgresCatalog(url)
        server.stop()
        calls: list[Callable[[], object]] = [lambda: PostgresCatalog(url), lambda: ids(catalog)]
        for call in calls * 2:
            with pytest.raises(CatalogUnavailableError) as failure:
                call()
            assert secret not in f"{failure.value} {failure.value.context}"
        assert "Connection refused" in str(failure.value)
        catalog.close()


def test_whom_the_server_refuses(server: PostgresServer) -> None:
    wrong = "wr0ng-w0rd"
    urls = {
        server.url(password=wrong): 'password authentication failed for user "lake"',
        server.url(user="nobody", password=wrong): 'failed for user "nobody"',
        server.url("missing"): 'database "missing" does not exist',
        server.url().replace(f":{server.password}", ""): "no password supplied",
    }
    for url, words in urls.items():
        with pytest.raises(CatalogError, match=words) as failure:
            PostgresCatalog(url)
        assert type(failure.value) is CatalogError
        chain = f"{failure.value!r} {failure.value.context} {failure.value.__cause__!r}"
        assert wrong not in chain
        assert server.password not in chain


def test_a_user_without_rights_is_told_so(
    server: PostgresServer, admin: psycopg.Connection[Any], url: str
) -> None:
    admin.execute("CREATE ROLE guest LOGIN PASSWORD 'guest-word'")
    guest = url.replace(f"lake:{server.password}", "guest:guest-word")
    with pytest.raises(CatalogError, match="does not let this user"):
        PostgresCatalog(guest)
    PostgresCatalog(url).close()
    with pytest.raises(CatalogError, match="grant it USAGE"):
        PostgresCatalog(guest)
    schema = url.rpartition("=")[2]
    admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO guest")
    with pytest.raises(CatalogError, match="does not let this user"):
        PostgresCatalog(guest)
    rights = "SELECT, INSERT, UPDATE, DELETE"
    admin.execute(f"GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO guest")
    with PostgresCatalog(guest) as catalog:
        assert catalog.commit(COMMIT) == 1
        assert catalog.leases().take("compact", ["a"], "guest", 1) == ["a"]


def test_a_schema_that_is_dropped_is_not_made_anew(
    url: str, admin: psycopg.Connection[Any]
) -> None:
    with PostgresCatalog(url) as catalog:
        catalog.commit(COMMIT)
        admin.execute(f"DROP SCHEMA {url.rpartition('=')[2]} CASCADE")
        calls: list[Callable[[], object]] = [lambda: ids(catalog), lambda: catalog.commit(COMMIT)]
        for call in calls:
            with pytest.raises(CatalogError, match="were they dropped"):
                call()


def test_a_writer_that_never_ends_is_reported(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CATALOG_BUSY_MS", 200)
    with PostgresCatalog(url) as catalog:
        catalog.commit(make_commit("c0"))
        with psycopg.connect(url.partition("?")[0]) as other:
            schema = url.rpartition("=")[2]
            other.execute(f"SELECT FROM {schema}.lakerunner_catalog FOR UPDATE")
            with pytest.raises(CatalogUnavailableError, match="busy") as failure:
                catalog.commit(COMMIT)
            assert failure.value.context["postgres"] == "57014"
            assert catalog.snapshot(ORGANIZATION, "logs").sequence == 1  # readers go on
        assert catalog.commit(COMMIT) == 2


def test_a_writer_that_falls_asleep_holds_nobody_up_for_ever(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CATALOG_BUSY_MS", 300)
    with PostgresCatalog(url) as sleeper:
        ids(sleeper)
        monkeypatch.undo()

        def sleep_in_a_transaction() -> None:
            with sleeper._pool.writing() as transaction, PostgresCatalog(url) as other:
                with transaction.asking() as connection:
                    connection.execute("SELECT FROM lakerunner_catalog FOR UPDATE")
                assert other.commit(COMMIT) == 1
                with transaction.changing():
                    pass

        with pytest.raises(CommitUnknownError, match=r"idle-in-transaction|did not answer"):
            sleep_in_a_transaction()
        assert sleeper.commit(COMMIT) == 1


def test_more_callers_than_connections(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CATALOG_CONNECTIONS", 2)
    monkeypatch.setattr(pool, "CATALOG_CONNECT_S", 0.3)
    with PostgresCatalog(url) as catalog, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: ids(catalog), range(100))) == [[]] * 100
        with (
            catalog._pool.lent(),
            catalog._pool.lent(),
            pytest.raises(CatalogUnavailableError, match="all 2 connections"),
        ):
            ids(catalog)
        assert ids(catalog) == []
