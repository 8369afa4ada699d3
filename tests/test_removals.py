"""What was removed on purpose stays removed, and what nobody committed comes not instead of it."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

import lakerunner
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import CatalogMismatchError, CommitConflictError
from lakerunner.fencing import Fence
from lakerunner.fencing.intents import effective_intents
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.policies.recovery import Found, Removal, recover
from lakerunner.publish import Origin, SegmentWriter, make_segments
from lakerunner.publish.committing import announce_removal, publish_removal, read_footer
from lakerunner.schema.tables import TABLES
from lakerunner.store import open_store
from lakerunner.testing.values import make_segment, make_source

if TYPE_CHECKING:
    from lakerunner.model.commit import Head
    from lakerunner.model.segment import Segment

CONFIG = Config(backoff_seconds=0.001)
HOUR = 3600


class World:
    """A lake with two windows of rows from one object, and what may happen to it."""

    def __init__(self) -> None:
        self.url = f"memory://{uuid4().hex}"
        self.store = open_store(f"{self.url}/lake")
        raw = open_store(f"{self.url}/raw")
        lines = (f'{{"message": "{n}", "time": {1_790_078_400 + n * HOUR // 2}}}' for n in range(4))
        raw.put("a.jsonl", "\n".join(lines).encode())
        self.reopen()
        self.ingest()

    def reopen(self) -> None:
        """A catalog that knows nothing: the one before was lost."""
        self.lake = lakerunner.Lake(self.store, MemoryCatalog())
        self.fence = Fence(self.store, self.lake.catalog)

    def ingest(self) -> int:
        return self.lake.ingest(f"{self.url}/raw/").rows

    def texts(self) -> list[str]:
        table = self.lake.sql("SELECT body FROM logs ORDER BY body").to_arrow()
        found: list[str] = table["body"].to_pylist()
        return found

    def lose_and_recover(self) -> None:
        self.reopen()
        self.lake.recover()

    def remove(self, removed: Segment, *, purge: bool = False) -> None:
        """As retention does."""
        head = self.fence.begin()
        announced = announce_removal(self.fence, "retain", [removed], head)
        commit = Commit(uuid4().hex, "default", time.time_ns(), remove=(removed.id,))
        publish_removal(self.fence, commit, announced, head, CONFIG)
        if purge:
            self.lake.catalog.purge([removed.id])
            self.store.delete(removed.key)

    def rewrite(self, old: Segment, without: str) -> tuple[Commit, str, Head]:
        """Put a segment without some rows, up to its commit, as a delete by a condition does."""
        head = self.fence.begin()
        announced = announce_removal(self.fence, "delete", [old], head)
        file = open_store(self.url).get(f"lake/{old.key}").data
        rows = pq.read_table(io.BytesIO(file)).drop_columns(["organization"])
        kept = rows.filter([text != without for text in rows["body"].to_pylist()])
        footer = read_footer(self.store, old.key, old.bytes)
        name = uuid4().hex
        origin = Origin(
            *("default", name, footer.sources, (old.id,), 1, (old.id,)),
            kind="rewrite",
            epoch=head.epoch,
        )
        writer = SegmentWriter(self.store, CONFIG)
        for made in make_segments(kept.combine_chunks(), TABLES["logs"], origin, HOUR * 10**9):
            writer.add(made)
        commit = Commit(name, "default", time.time_ns(), writer.finish(), remove=(old.id,))
        return commit, announced, head


@pytest.mark.parametrize("purge", [False, True], ids=["in its grace period", "purged"])
@pytest.mark.parametrize("which", [0, -1], ids=["the first window", "the closing one"])
def test_what_was_removed_stays_removed(which: int, *, purge: bool) -> None:
    """With its source taken, and its neighbours in place, though its file closed their commit."""
    world = World()
    world.remove(world.lake.segments()[which], purge=purge)
    left = world.texts()
    assert len(left) == 2
    for _ in range(2):
        world.lose_and_recover()
        assert world.texts() == left
        assert world.ingest() == 0


def test_a_rewrite_that_nobody_committed_is_not_adopted() -> None:
    """Its writer died before its commit: nobody was told that the rows are gone."""
    world = World()
    world.rewrite(world.lake.segments()[0], without="0")
    world.lose_and_recover()
    assert world.texts() == ["0", "1", "2", "3"]
    assert world.ingest() == 0


@pytest.mark.parametrize("purge", [False, True], ids=["in its grace period", "purged"])
def test_a_rewrite_that_was_acknowledged_beats_a_rival(*, purge: bool) -> None:
    """Another one, of the same segment, was put and refused, and its worker died."""
    world = World()
    old = world.lake.segments()[0]
    rival, *_ = world.rewrite(old, without="1")
    commit, announced, head = world.rewrite(old, without="0")
    publish_removal(world.fence, commit, announced, head, CONFIG)
    if purge:
        world.lake.catalog.purge([old.id])
        world.store.delete(old.key)
    assert world.texts() == ["1", "2", "3"]
    assert world.store.exists(rival.add[0].key)
    for _ in range(2):
        world.lose_and_recover()
        assert world.texts() == ["1", "2", "3"]
        assert world.ingest() == 0


def test_a_refused_removal_leaves_nothing_behind() -> None:
    """Neither its file nor its intent."""
    world = World()
    old = world.lake.segments()[0]
    commit, announced, head = world.rewrite(old, without="0")
    world.remove(old)
    with pytest.raises(CommitConflictError):
        publish_removal(world.fence, commit, announced, head, CONFIG)
    assert not world.store.exists(commit.add[0].key)
    assert [found.intent.kind for found in effective_intents(world.store)] == ["retain"]


def test_a_removal_that_a_recovery_overtook_is_not_acknowledged() -> None:
    """It may or may not have happened; the recovery did not know."""
    world = World()
    commit, announced, head = world.rewrite(world.lake.segments()[0], without="0")
    stale = world.fence
    world.lose_and_recover()
    with pytest.raises(CatalogMismatchError):
        publish_removal(Fence(world.store, stale.catalog), commit, announced, head, CONFIG)
    assert world.texts() == ["0", "1", "2", "3"]


def test_a_batch_whose_first_window_was_retired_beats_one_that_was_never_committed() -> None:
    """Retention is no half collection: what it removed proves that the batch happened."""
    source = (make_source("o"),)

    def segment(name: str, batch: str, siblings: tuple[str, ...] = ()) -> Segment:
        made = make_segment(name, rows=50)
        return replace(made, commit_id=batch, sources=source, siblings=siblings)

    never = [segment("y1", "Y"), segment("y2", "Y", ("y1", "y2"))]
    first, last = segment("x1", "X"), segment("x2", "X", ("x1", "x2"))
    found = [*(Found(one, 1) for one in never), Found(last, 5)]
    assert [one.commit_id for one in recover(found).adopted] == ["Y"]  # without an intent
    decided = recover(found, [Removal((first,), (), done=True)])
    (adopted,) = decided.adopted
    assert (adopted.commit_id, adopted.segments, adopted.missing) == ("X", (last,), ())


def test_rollups_are_adopted_only_if_they_were_acknowledged() -> None:
    """Two over the same rows would count them twice, and any can be made again."""
    first = replace(make_segment("r1"), kind="rollup", commit_id="1", siblings=("r1",))
    other = replace(make_segment("r2"), kind="rollup", commit_id="2", siblings=("r2",))
    found = [Found(first, 1), Found(other, 2)]
    assert not recover(found).adopted
    (adopted,) = recover(found, [Removal((), ("r1",), done=True)]).adopted
    assert adopted.segments == (first,)
