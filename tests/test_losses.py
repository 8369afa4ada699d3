"""Ways in which rows used to be lost without a word: refused or harmless now, each as it was found.

The clocks of those who take part may be wrong by days, which is why none of them is asked: only the
order in which things happen matters, and each case forces it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.errors import CatalogError, CatalogMismatchError, ConfigurationError
from lakerunner.ingest import Ingestor
from lakerunner.model.config import Config
from lakerunner.store import ObjectStore, PutMode, open_store
from lakerunner.store.counting import WrapperStore
from lakerunner.testing.faults import FaultPlan, FaultyCatalog

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.catalog import Catalog
    from lakerunner.model.commit import Commit
    from lakerunner.store import ObjectMeta
    from lakerunner.store.base import Buffer

NO_GRACE = Config(orphan_grace_ns=1)


class Pausing(FaultyCatalog):
    """A catalog whose first commit of segments stops before it arrives, while others go on."""

    def __init__(self, inner: Catalog, meanwhile: Callable[[], object]) -> None:
        super().__init__(inner, FaultPlan())
        self._meanwhile: Callable[[], object] | None = meanwhile

    def commit(self, commit: Commit) -> int:
        """Let others go on, then send it."""
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return self.inner.commit(commit)


@pytest.fixture(params=["memory", "disk", "bucket"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a lake lies."""
    return f"memory://{uuid4().hex}" if request.param == "memory" else str(tmp_path)


@pytest.fixture
def catalog(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Catalog:
    """The catalog of that lake, of one kind or another."""
    kind = request.node.callspec.params["url"]
    if kind == "memory":
        return open_catalog("memory://")
    location = f"sqlite://{tmp_path}/catalog.db" if kind == "disk" else f"bucket+{url}/lake"
    if kind == "bucket":
        location = f"bucket+file://{tmp_path}/lake"
    return open_catalog(location)


def raw(url: str, *names: str) -> str:
    """Raw objects of three rows each."""
    store = open_store(f"{url}/raw")
    for name in names:
        rows = ({"message": f"{name} {n}", "time": 1_790_078_400 + n} for n in (1, 2, 3))
        store.put(f"{name}.jsonl", "\n".join(map(json.dumps, rows)).encode())
    return f"{url}/raw/"


def texts(lake: lakerunner.Lake) -> list[str]:
    """All rows."""
    found: list[str] = (
        lake.sql("SELECT body FROM logs ORDER BY body").to_arrow()["body"].to_pylist()
    )
    return found


def expected(*names: str) -> list[str]:
    return sorted(f"{name} {n}" for name in names for n in "123")


def test_a_writer_that_stood_still_makes_its_batch_again(url: str, catalog: Catalog) -> None:
    """Its segments were collected between its put and its commit, by whatever clock."""
    lake = lakerunner.Lake(open_store(f"{url}/lake"), catalog, config=NO_GRACE)
    lake.ingest(raw(url, "first"))
    collected: list[str] = []
    paused = Pausing(catalog, lambda: collected.extend(lake.collect_orphans()))
    source = raw(url, "second")
    assert Ingestor(lake.store, paused).ingest(source).rows == 3
    assert len(collected) == 1
    assert texts(lake) == expected("first", "second")
    assert lake.ingest(source).rows == 0
    assert not lake.collect_orphans()


def test_a_batch_that_recovery_adopted_is_not_deleted(url: str, catalog: Catalog) -> None:
    """Its writer hears that its commit is known, however long it stood still."""
    store = open_store(f"{url}/lake")
    lake = lakerunner.Lake(store, catalog)
    paused = Pausing(catalog, lambda: lake.recover(merge=True))
    source = raw(url, "first")
    report = Ingestor(store, paused).ingest(source)  # its commit is known: recovery made it again
    assert report.rows == 3
    assert texts(lake) == expected("first")
    assert lake.ingest(source).rows == 0
    assert texts(lake) == expected("first")


def test_a_lost_catalog_is_noticed_before_anything_is_written_or_deleted(url: str) -> None:
    """An empty catalog calls all files leftovers, and one ingest would hide that it is empty."""
    store = open_store(f"{url}/lake")
    source = raw(url, "first")
    with lakerunner.Lake(store, open_catalog("memory://"), config=NO_GRACE) as lake:
        lake.ingest(source)
    lake = lakerunner.Lake(store, open_catalog("memory://"), config=NO_GRACE)
    raw(url, "second")
    with pytest.raises(CatalogMismatchError, match=r"is empty.*recover"):
        lake.ingest(source)
    with pytest.raises(CatalogMismatchError, match=r"is empty.*recover"):
        lake.collect_orphans()
    assert lake.recover(merge=True).rows == 3
    assert lake.ingest(source).rows == 3
    assert texts(lake) == expected("first", "second")


def test_a_lost_catalog_of_a_lake_without_rows_is_noticed(url: str) -> None:
    """What was retired, and whose files are gone, is not taken again."""
    store = open_store(f"{url}/lake")
    source = raw(url, "first")
    config = Config(removed_grace_ns=1, retention={"logs": "1d"})
    with lakerunner.Lake(store, open_catalog("memory://"), config=config) as lake:
        lake.ingest(source)
        assert lake.retain().rows_removed == 3
        lake.maintain()
    assert not list(store.list("segments/"))
    lake = lakerunner.Lake(store, open_catalog("memory://"))
    with pytest.raises(CatalogMismatchError, match=r"has seen commits.*recover"):
        lake.ingest(source)
    lake.recover(merge=True)
    assert lake.ingest(source).rows == 0


def test_a_catalog_of_another_lake_is_noticed(url: str, catalog: Catalog) -> None:
    """Neither lake takes the other's catalog for its own."""
    source = raw(url, "first")
    lakerunner.Lake(open_store(f"{url}/lake"), catalog).ingest(source)
    empty = lakerunner.Lake(open_store(f"{url}/empty"), catalog)
    raw(url, "second")
    with pytest.raises(CatalogMismatchError, match="no identity"):
        empty.ingest(source)
    other = open_store(f"{url}/other")
    lakerunner.Lake(other, open_catalog("memory://")).ingest(source)
    raw(url, "third")
    wrong = lakerunner.Lake(other, catalog, config=NO_GRACE)
    with pytest.raises(CatalogMismatchError, match="is that of the lake"):
        wrong.ingest(source)
    with pytest.raises(CatalogMismatchError, match="is that of the lake"):
        wrong.collect_orphans()


def test_a_catalog_that_was_set_back_is_noticed(tmp_path: Path) -> None:
    """A restored backup, or a standby that lags: the lake has seen it further on."""
    source = raw(str(tmp_path), "first")
    file = tmp_path / "lake" / "catalog.db"
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.ingest(source)
    copy = file.read_bytes()
    raw(str(tmp_path), "second")
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.ingest(source)
    file.write_bytes(copy)
    with lakerunner.open(tmp_path / "lake", config=NO_GRACE) as lake:
        for write in (lambda: lake.ingest(source), lake.collect_orphans):
            with pytest.raises(CatalogMismatchError, match="restored from a copy"):
                write()
        assert texts(lake) == expected("first")
        lake.recover(merge=True)
        assert texts(lake) == expected("first", "second")
        assert lake.ingest(source).rows == 0
    file.write_bytes(copy)  # of the incarnation before
    older = lakerunner.open(tmp_path / "lake")
    with older as lake, pytest.raises(CatalogMismatchError, match="incarnation 1"):
        lake.ingest(source)


class IgnoresConditions(WrapperStore):
    """A service that takes the condition of a create-only put and replaces objects all the same."""

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        del mode
        return self.inner.put(key, data)


def test_a_copied_lake_on_a_store_without_conditions_is_refused() -> None:
    """The store is asked by each process that writes, not only by the first one ever."""
    good: ObjectStore = open_store(f"memory://{uuid4().hex}/lake")
    place = f"memory://{uuid4().hex}"
    Ingestor(good, open_catalog(f"bucket+{good.url}")).ingest(raw(place, "first"))
    bad = IgnoresConditions(good)
    bad.url = f"memory://{uuid4().hex}/copy"
    raw(place, "second")
    with pytest.raises(ConfigurationError, match="replaces objects all the same"):
        Ingestor(bad, BucketCatalog(bad)).ingest(f"{place}/raw/")


def test_an_unusual_collection_stops(tmp_path: Path) -> None:
    """A catalog that names few of a lake's files is more often wrong than right."""
    with lakerunner.open(tmp_path / "lake", config=NO_GRACE) as lake:
        lake.ingest(raw(str(tmp_path), "first"))
        (segment,) = lake.segments()
        data = lake.store.get(segment.key).data
        for number in range(60):
            lake.store.put(segment.key.replace(segment.id, f"copy-{number:02d}"), data)
        with pytest.raises(CatalogError, match="60 of the 61 segments"):
            lake.collect_orphans()
        assert len(lake.collect_orphans(dry_run=True)) == 60
        assert len(lake.collect_orphans(force=True)) == 60
        assert texts(lake) == expected("first")


def test_every_rule_names_tests_that_are_there() -> None:
    """A rule whose test was renamed is held by nobody."""
    root = Path(__file__).parents[1]
    page = (root / "docs" / "concepts" / "exactly-once.md").read_text()
    files = [*(root / "tests").rglob("*.py"), *(root / "lakerunner" / "testing").rglob("*.py")]
    there = set(re.findall(r"def (test_\w+)", "".join(file.read_text() for file in files)))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 30
    assert not named - there


def test_a_lake_without_a_name_is_ones_own() -> None:
    """Two of them share neither rows nor files, as little as they share a catalog."""
    for _ in range(2):
        with lakerunner.open("memory://") as lake:
            lake.ingest(b'{"message": "one"}')
            lake.ingest(b'{"message": "two"}')
            assert texts(lake) == ["one", "two"]
