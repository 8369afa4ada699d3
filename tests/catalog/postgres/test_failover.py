"""Databases that were set back, by a backup or by a standby that lagged: noticed, and mended."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest

import lakerunner
from lakerunner.errors import CatalogMismatchError
from lakerunner.model.config import Config
from lakerunner.testing.servers.postgres import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lakerunner.testing.servers.postgres import PostgresServer

NO_GRACE = Config(orphan_grace_ns=1)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of the test's own, which it may stop."""
    with postgres() as server:
        yield server


@pytest.fixture
def ingest(tmp_path: Path) -> Callable[[PostgresServer, str], None]:
    """Put an object of one row, and ingest what is new."""
    (tmp_path / "raw").mkdir()

    def ingest(server: PostgresServer, name: str) -> None:
        row = f'{{"message": "{name}", "time": 1790078400}}'
        (tmp_path / "raw" / f"{name}.jsonl").write_text(row)
        with opened(server, tmp_path) as lake:
            assert lake.ingest(tmp_path / "raw").rows == 1

    return ingest


def opened(server: PostgresServer, place: Path) -> lakerunner.Lake:
    return lakerunner.open(place / "lake", catalog=server.url(), config=NO_GRACE)


def texts(lake: lakerunner.Lake) -> list[str]:
    found = lake.sql("SELECT body FROM logs ORDER BY body").to_arrow()
    bodies: list[str] = found["body"].to_pylist()
    return bodies


def ask(server: PostgresServer, query: str) -> object:
    with closing(psycopg.connect(server.url(), autocommit=True)) as connection:
        found = connection.execute(query.encode())
        row = found.fetchone() if found.description else None
        return row[0] if row else None


def wait_for(server: PostgresServer, query: str, wanted: object) -> None:
    deadline = time.monotonic() + 60
    while ask(server, query) != wanted:
        assert time.monotonic() < deadline, query
        time.sleep(0.02)


def refused_until_recovered(server: PostgresServer, place: Path) -> None:
    """Nobody writes or collects; then the lake has what both knew, once."""
    with opened(server, place) as lake:
        for write in (lambda: lake.ingest(place / "raw"), lake.collect_orphans, lake.maintain):
            with pytest.raises(
                CatalogMismatchError, match=r"standby took over that lagged.*recover"
            ):
                write()
        assert texts(lake) == ["before"]  # what it knows can be read
        lake.recover(merge=True)
        assert texts(lake) == ["after", "before"]
        assert lake.ingest(place / "raw").rows == 0
        assert lake.collect_orphans() == []
        assert texts(lake) == ["after", "before"]


def test_a_restored_backup_is_noticed(
    server: PostgresServer, tmp_path: Path, ingest: Callable[[PostgresServer, str], None]
) -> None:
    """It gives numbers out again that the lake has seen."""
    ingest(server, "before")
    backup = server.data.with_name("backup")
    server.backup(backup)
    ingest(server, "after")
    server.stop()
    server.restore(backup)
    server.start()
    refused_until_recovered(server, tmp_path)


def test_a_standby_that_lagged_is_noticed(
    server: PostgresServer, tmp_path: Path, ingest: Callable[[PostgresServer, str], None]
) -> None:
    """It was cut off before the last commits, and took over."""
    ingest(server, "before")
    with server.standby() as standby:
        ask(standby, "ALTER SYSTEM SET primary_conninfo = ''")
        ask(standby, "SELECT pg_reload_conf()")
        wait_for(standby, "SELECT count(*) FROM pg_stat_wal_receiver", 0)
        ingest(server, "after")
        server.stop(crash=True)
        ask(standby, "SELECT pg_promote()")
        refused_until_recovered(standby, tmp_path)


def test_a_standby_that_kept_up_takes_over(
    server: PostgresServer, tmp_path: Path, ingest: Callable[[PostgresServer, str], None]
) -> None:
    """Nothing was lost, and nothing is in the way."""
    ingest(server, "before")
    with server.standby() as standby:
        ingest(server, "after")
        wait_for(standby, "SELECT count(*) FROM lakerunner.commits", 2)
        server.stop(crash=True)
        ask(standby, "SELECT pg_promote()")
        ingest(standby, "later")
        with opened(standby, tmp_path) as lake:
            assert texts(lake) == ["after", "before", "later"]
