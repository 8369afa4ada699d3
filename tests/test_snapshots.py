"""The past is read as it was, whatever happens meanwhile, and never wrongly."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import lakerunner
from lakerunner.errors import InvalidTimeError, ReadOnlyError, SnapshotExpiredError
from lakerunner.model.commit import Commit, LakeSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGS = "logs"
BODIES = "SELECT body FROM logs"


def bodies(lake: lakerunner.Lake) -> Counter[str]:
    return Counter(lake.sql(BODIES).to_arrow()["body"].to_pylist())


def put(lake: lakerunner.Lake, *texts: str) -> None:
    lines = [f'{{"timestamp": "2026-01-01T00:00:00Z", "body": "{text}"}}' for text in texts]
    lake.ingest("\n".join(lines).encode(), format="json", signal="logs")


def remove(lake: lakerunner.Lake, segment_ids: tuple[str, ...], *, at_ns: int = 0) -> int:
    return lake.catalog.commit(
        Commit(uuid4().hex, "default", at_ns or time.time_ns(), remove=segment_ids)
    )


@pytest.fixture(params=["memory", "directory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[lakerunner.Lake]:
    url = f"memory://{uuid4().hex}/lake" if request.param == "memory" else str(tmp_path / "lake")
    with lakerunner.open(url) as opened:
        yield opened


def test_each_state_can_be_read_later(lake: lakerunner.Lake) -> None:
    states = []
    for number in range(4):
        put(lake, f"{number}a", f"{number}b")
        states.append((lake.snapshot(), str(lake.snapshot()), time.time_ns(), bodies(lake)))
    remove(lake, tuple(segment.id for segment in lake.segments()[:2]))
    states.append((lake.snapshot(), str(lake.snapshot()), time.time_ns(), bodies(lake)))
    for snapshot, text, at_ns, seen in states:
        for moment in (snapshot, text, at_ns):
            past = lake.at(moment)
            assert bodies(past) == seen
            assert sum(segment.rows for segment in past.segments()) == seen.total()


def test_the_past_cannot_be_changed_and_needs_no_closing(lake: lakerunner.Lake) -> None:
    put(lake, "a")
    with lake.at("now") as past:
        with pytest.raises(ReadOnlyError):
            put(past, "b")
        with pytest.raises(ReadOnlyError):
            past.catalog.commit(Commit("c", "default", 0))
        with pytest.raises(ReadOnlyError):
            past.catalog.purge(["s"])
    put(lake, "b")
    assert bodies(past) == Counter("a")
    assert bodies(lake) == Counter("ab")
    assert bodies(past.at("now")) == Counter("a")


def test_the_future_is_the_present(lake: lakerunner.Lake) -> None:
    put(lake, "a")
    assert bodies(lake.at("now+1h")) == Counter("a")


def test_before_the_first_commit(lake: lakerunner.Lake) -> None:
    empty = lake.snapshot()
    assert not bodies(lake.at("now"))
    put(lake, "a")
    assert not bodies(lake.at(empty))
    with pytest.raises(SnapshotExpiredError, match="no commit before"):
        lake.at("now-1h")


def test_before_what_is_kept(lake: lakerunner.Lake) -> None:
    put(lake, "a")
    old = lake.snapshot()
    gone = [segment.id for segment in lake.segments()]
    remove(lake, tuple(gone))
    kept = lake.snapshot()
    lake.catalog.purge(gone)
    with pytest.raises(SnapshotExpiredError, match="cannot be read any more"):
        lake.at(old)
    assert not bodies(lake.at(kept))
    with pytest.raises(InvalidTimeError, match="snapshot"):
        lake.at("the other day")


def test_a_state_of_which_something_is_purged_is_refused(lake: lakerunner.Lake) -> None:
    put(lake, "a")
    past = lake.at("now")
    assert bodies(past) == Counter("a")
    gone = [segment.id for segment in lake.segments()]
    remove(lake, tuple(gone))
    assert bodies(past) == Counter("a")
    lake.catalog.purge(gone)
    with pytest.raises(SnapshotExpiredError):
        past.sql(BODIES)


def test_a_state_of_another_catalog_is_refused(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        for text in "abc":
            put(lake, text)
        snapshot = lake.snapshot()
    (tmp_path / "lake" / "catalog.db").unlink()
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.recover()
        assert bodies(lake) == Counter("abc")
        with pytest.raises(SnapshotExpiredError, match="recovered since"):
            lake.at(snapshot)
        with pytest.raises(SnapshotExpiredError, match="no commit before"):
            lake.at(snapshot.time_ns)
        with pytest.raises(SnapshotExpiredError, match="recovered since"):
            lake.at(LakeSnapshot(99, time.time_ns()))


def test_columns_that_came_later_are_not_there_yet(lake: lakerunner.Lake) -> None:
    put(lake, "a")
    before = lake.at("now")
    lake.ingest(b'{"timestamp": "2026-01-01T00:00:00Z", "body": "b", "later": 1}', signal="logs")
    assert "attr_later" in lake.sql("SELECT * FROM logs").to_arrow().schema.names
    assert "attr_later" not in before.sql("SELECT * FROM logs").to_arrow().schema.names


def test_a_query_under_way_is_not_disturbed(lake: lakerunner.Lake) -> None:
    """What it was planned over is what it answers, though all of it is replaced meanwhile."""
    for number in range(5):
        put(lake, *(f"{number}-{row}" for row in range(100)))
    seen = bodies(lake)
    result = lake.sql(BODIES)
    remove(lake, tuple(segment.id for segment in lake.segments()))
    put(lake, "new")
    found: Counter[str] = Counter()
    for batch in result:
        found.update(batch["body"].to_pylist())
        put(lake, "newer")
    assert found == seen
    assert bodies(lake)["new"] == 1


def test_readers_of_the_past_beside_writers(lake: lakerunner.Lake) -> None:
    put(lake, "0")

    def write() -> None:
        for number in range(1, 12):
            before = lake.segments()
            put(lake, str(number))
            if number % 3 == 0:
                remove(lake, (before[0].id,))

    seen: list[tuple[LakeSnapshot, Counter[str]]] = []
    with ThreadPoolExecutor(1) as threads:
        writer = threads.submit(write)
        while not writer.done():
            snapshot = lake.snapshot()
            seen.append((snapshot, bodies(lake.at(snapshot))))
        writer.result()
    for snapshot, then in seen[:: max(1, len(seen) // 10)]:
        assert bodies(lake.at(str(snapshot))) == then


class PastMachine(RuleBasedStateMachine):
    """Segments come, go, and are purged; every state of the grace period reads as it did then."""

    @initialize()
    def begin(self) -> None:
        self.lake = lakerunner.open(f"memory://{uuid4().hex}/lake")
        self.states: list[tuple[LakeSnapshot, int, set[str]]] = []
        self.texts = 0
        self.note()

    def live(self, lake: lakerunner.Lake) -> set[str]:
        return {segment.id for segment in lake.segments()}

    def note(self) -> None:
        self.states.append((self.lake.snapshot(), time.time_ns(), self.live(self.lake)))

    @rule(rows=st.integers(1, 3))
    def add(self, rows: int) -> None:
        self.texts += 1
        put(self.lake, *(f"{self.texts}-{row}" for row in range(rows)))
        self.note()

    @precondition(lambda self: self.live(self.lake))
    @rule(data=st.data())
    def take_away(self, data: st.DataObject) -> None:
        live = sorted(self.live(self.lake))
        gone = data.draw(st.lists(st.sampled_from(live), min_size=1, unique=True))
        remove(self.lake, tuple(gone))
        self.note()

    @rule()
    def purge_what_is_old(self) -> None:
        """As retention will: what was removed before the grace period."""
        old = self.lake.catalog.removed(time.time_ns() - 3600 * 10**9)
        self.lake.catalog.purge([segment.id for segment in old])

    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        snapshot, at_ns, live = data.draw(st.sampled_from(self.states))
        assert self.live(self.lake.at(snapshot)) == live
        assert self.lake.at(snapshot).catalog.snapshot("default", LOGS).segments == len(live)
        if snapshot.sequence:
            assert self.live(self.lake.at(at_ns)) == live

    def teardown(self) -> None:
        for snapshot, _, live in self.states:
            assert self.live(self.lake.at(snapshot)) == live
        self.lake.close()


TestPastMachine = PastMachine.TestCase
TestPastMachine.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
