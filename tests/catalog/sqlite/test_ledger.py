"""The ledger of sources: packed, merged, and the same answers at every moment."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.catalog import ledger
from lakerunner.catalog.ledger import blocks, digest, holds, source_digest, to_merge, union
from lakerunner.catalog.sqlite import SqliteCatalog
from lakerunner.catalog.sqlite import catalog as sqlite_catalog
from lakerunner.catalog.sqlite.ledger import SqliteShelf
from lakerunner.errors import CommitConflictError
from lakerunner.model.segment import SourceState
from lakerunner.testing.values import make_commit, make_source

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.model.segment import Source


def some(start: int, end: int) -> list[Source]:
    return [
        make_source(f"otel-raw/{number}.binpb", etag=f"{number:x}") for number in range(start, end)
    ]


def fill(catalog: SqliteCatalog, start: int, end: int) -> None:
    for number in range(start, end, 50):
        catalog.commit(make_commit(f"c{number}", take=some(number, number + 50)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack and merge what is large after a few commits."""
    monkeypatch.setattr(ledger, "RECENT", 100)
    monkeypatch.setattr(ledger, "SLICE", 150)
    monkeypatch.setattr(sqlite_catalog, "RECENT", 100)


def rows(path: Path, query: str) -> list[tuple[int, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.usefixtures("small")
def test_what_was_taken_stays_taken_while_it_is_packed(path: Path) -> None:
    with SqliteCatalog(path) as catalog:
        for start in range(0, 3000, 50):
            catalog.commit(make_commit(f"c{start}", take=some(start, start + 50)))
            if start % 500 == 0:
                known = catalog.sources(some(0, start + 100))
                assert set(known) == set(some(0, start + 50))
                assert set(known.values()) == {SourceState.TAKEN}
        runs = rows(path, "SELECT size FROM ledger_runs ORDER BY number")
        assert 1 <= len(runs) <= 6
        assert to_merge([size for (size,) in runs], 1 << 20) == 0
        assert rows(path, "SELECT count(*) FROM ledger_runs WHERE target") == [(0,)]
        (packed,) = rows(path, "SELECT sum(length(digests)) / 16 FROM ledger_blocks")[0]
        (recent,) = rows(path, "SELECT count(*) FROM ledger_recent")[0]
        assert packed + recent == 3000
        with pytest.raises(CommitConflictError, match="already taken"):
            catalog.commit(make_commit("again", take=some(1234, 1235)))


@pytest.mark.usefixtures("small")
def test_a_merge_that_was_stopped_is_gone_on_with(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqliteCatalog(path) as catalog:
        with monkeypatch.context() as patch:
            real, calls = SqliteShelf.after, iter([True] * 3)

            def die(*arguments: Any) -> int:
                if next(calls, False):
                    return real(*arguments)
                raise KeyboardInterrupt

            patch.setattr(SqliteShelf, "after", die)
            with pytest.raises(KeyboardInterrupt):
                fill(catalog, 0, 4000)
        (committed,) = rows(path, "SELECT count(*) FROM commits")[0]
        ((low, high),) = rows(path, "SELECT min(low), max(low) FROM ledger_runs WHERE target")
        assert 0 < low == high < ledger.HEADS
        assert len(catalog.sources(some(0, 4000))) == 50 * committed
        catalog.forget(some(0, 50))
        assert len(catalog.sources(some(0, 4000))) == 50 * (committed - 1)
        catalog.purge([])
        assert rows(path, "SELECT count(*) FROM ledger_runs WHERE target") == [(0,)]
        assert len(catalog.sources(some(0, 4000))) == 50 * (committed - 1)


@pytest.mark.usefixtures("small")
def test_one_packs_at_a_time(path: Path) -> None:
    with SqliteCatalog(path) as catalog, catalog._pool.queue.alone():
        for start in range(0, 500, 50):
            catalog.commit(make_commit(f"c{start}", take=some(start, start + 50)))
        assert rows(path, "SELECT count(*) FROM ledger_recent") == [(500,)]
    with SqliteCatalog(path) as catalog:
        catalog.purge([])
        ((recent,),) = rows(path, "SELECT count(*) FROM ledger_recent")
        assert recent < 100
        assert len(catalog.sources(some(0, 501))) == 500


def test_an_identity_takes_less_than_twenty_bytes(path: Path) -> None:
    with SqliteCatalog(path) as catalog:
        catalog.commit(make_commit("first"))
        catalog.purge([])
        before = used(path)
        for start in range(0, 200_000, 20_000):
            catalog.commit(make_commit(f"c{start}", take=some(start, start + 20_000)))
        catalog._pack(1 << 62, at_least=1)
        assert len(catalog.sources(some(199_000, 201_000))) == 1000
    assert (used(path) - before) / 200_000 < 20


def used(path: Path) -> int:
    """Bytes in pages that are in use."""
    (pages,) = rows(path, "PRAGMA page_count")[0]
    (free,) = rows(path, "PRAGMA freelist_count")[0]
    return 4096 * (pages - free)


def test_an_older_file_keeps_its_sources(path: Path) -> None:
    """Its table of names becomes a ledger of digests."""
    from lakerunner.catalog.sqlite.schema import STEPS, prepare  # noqa: PLC0415

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        prepare(connection, str(path), STEPS[:4])
        connection.execute("INSERT INTO buckets VALUES (1, 's3://raw')")
        for one in some(0, 10):
            values = (one.key, one.etag, one.key != some(3, 4)[0].key)
            connection.execute("INSERT INTO sources VALUES (1, ?, ?, ?, 1, 1)", values)
    sources = some(0, 10)
    with SqliteCatalog(path) as catalog:
        known = catalog.sources(sources)
    assert set(known) == {one for one in sources if one.bucket == "s3://raw"} - {sources[3]}


def test_blocks_hold_what_was_put_in(path: Path) -> None:
    digests = [source_digest(one) for one in some(0, 5000)]
    found = list(blocks(union([b"".join(digests[:3000]), b"".join(digests[2000:])]), 240))
    assert sum(len(block.data) for block in found) == 16 * 5000
    heads = [block.head for block in found]
    assert heads == sorted(set(heads))
    for wanted in digests[::97]:
        head = int.from_bytes(wanted[:4], "big")
        (block,) = [one for one in found if one.head <= head][-1:]
        assert block.holds(wanted)
    assert not any(block.holds(digest(b"other", "x")) for block in found)
    across = bytes(range(8)) * 4
    assert not holds(b"ab" + across[:30], across[:16])
    del path
