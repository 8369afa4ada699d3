"""Of the segments in a checkpoint, only what is asked for is read."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.base import Place
from lakerunner.catalog.bucket import BucketCatalog, parts
from lakerunner.catalog.bucket.checkpoints import PARTS_PREFIX
from lakerunner.model.times import TimeRange
from lakerunner.testing.catalog_fixture import ids
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.store import CountingStore

MANY = 30_000


@pytest.fixture
def lake(store: CountingStore, monkeypatch: pytest.MonkeyPatch) -> CountingStore:
    """One large part of segments that follow one another, of which some were removed later."""
    monkeypatch.setattr(parts, "_SMALL_BYTES", 10_000)
    catalog = BucketCatalog(store, checkpoint_every=1000)
    segments = [make_segment(f"s{number:06}", 10 * number) for number in range(MANY)]
    catalog.commit(make_commit("all", add=segments))
    catalog.checkpoint()
    gone = [f"s{number:06}" for number in range(500, 600)]
    catalog.commit(make_commit("less", remove=gone))
    catalog.checkpoint()
    store.reset()
    return store


def test_an_hour_is_planned_by_reading_some_frames(lake: CountingStore) -> None:
    catalog = BucketCatalog(lake)
    size = sum(meta.size for meta in lake.list(PARTS_PREFIX))
    lake.reset()
    assert ids(catalog, TimeRange(5900, 6101)) == [f"s{n:06}" for n in range(600, 611)]
    cold = lake.reset()
    assert cold.bytes_read < 0.7 * size
    assert ids(catalog, TimeRange(5900, 6101)) == [f"s{n:06}" for n in range(600, 611)]
    assert lake.reset().get == 0
    assert ids(catalog, TimeRange(100_000, 100_001)) == ["s010000"]
    assert lake.reset().get == 1
    (place,) = catalog.segments(ORGANIZATION, "logs", TimeRange(4990, 4991))
    after = Place(place.max_timestamp_ns, place.id)
    assert catalog.page(ORGANIZATION, "logs", after=after, limit=1)[0].id == "s000600"
    assert len(ids(catalog, sequence=1)) == MANY


def test_no_more_is_kept_than_the_budget(
    lake: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "CATALOG_CACHE_BYTES", 100_000)
    catalog = BucketCatalog(lake)
    assert len(ids(catalog)) == MANY - 100
    pieces = catalog._follower.cache.pieces
    assert 0 < sum(map(len, pieces._pieces.values())) <= 100_000
    assert sum(len(page) for page in catalog.pages(ORGANIZATION, "logs")) == MANY - 100


def test_damage_among_the_entries_shows_when_they_are_read(lake: CountingStore) -> None:
    """And then the log, which is whole, says it all again."""
    victim = BucketCatalog(lake)._follower.checkpoints.newest().tables[0].parts[0].key
    data = lake.get(victim).data
    lake.put(victim, data[:5000] + bytes(100) + data[5100:])
    catalog = BucketCatalog(lake)
    assert len(catalog.segments(ORGANIZATION, "logs", TimeRange(299_000, 300_000))) == 100
    assert len(ids(catalog)) == MANY - 100


QUICK = """
import sys
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.store import open_store
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

for number in range(3):
    catalog = BucketCatalog(open_store(sys.argv[1]))
    name = f"s{number}"
    catalog.commit(make_commit(name, add=[make_segment(name)], take=[make_source(name)]))
    assert catalog.checkpoint()
    assert len(catalog.segments(ORGANIZATION, "logs")) == number + 1
print("pandas" in sys.modules)
"""


def test_nothing_is_imported_that_takes_longer_than_to_open_it(tmp_path: Path) -> None:
    """Arrow imports pandas for much of what it does, wherever it is installed."""
    done = subprocess.run(
        [sys.executable, "-c", QUICK, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"
