"""The swap: one winner, no row twice or lost, whoever dies, whoever reads, whatever breaks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lakerunner
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.compact import Compactor
from lakerunner.compact.window import Window, compact_window
from lakerunner.errors import StoreUnavailableError
from lakerunner.limits import WINDOW_NS
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.scope import Scope
from lakerunner.store import PutMode
from lakerunner.tasks import Hold, Task
from lakerunner.testing.faults import (
    Fault,
    FaultPlan,
    FaultyCatalog,
    FaultyStore,
    SimulatedCrash,
)
from tests.compact.lakes import CONFIG, START_S, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pyarrow as pa

    from lakerunner.model.report import WorkReport
    from lakerunner.store import ObjectMeta
    from lakerunner.store.base import Buffer

START_NS = START_S * 10**9


def filled(count: int = 5) -> Rows:
    rows = Rows()
    for number in range(count):
        rows.take({"n": number}, {"n": "text"}, {"other": 1.5})
    return rows


def merge_once(rows: Rows, plan: FaultPlan) -> WorkReport:
    """Merge the first window under a plan of faults, without leases that outlive a crash."""
    scope = Scope(
        FaultyStore(rows.store, plan), FaultyCatalog(rows.lake.catalog, plan), "default", CONFIG
    )
    task = Task("compact", "default", "logs", START_NS, Window(WINDOW_NS, 0, "", eager=True))
    leases = rows.lake.catalog.leases()
    with Hold(leases, task.place, "test", 60) as hold:
        return compact_window({}, scope, task, hold)


def interrupted(*, after: bool) -> Iterator[tuple[Rows, pa.Table]]:
    """Lakes whose compactor died, each at another call, with the rows that they had."""
    plan, first = FaultPlan(), filled(2)
    before = first.all()
    merge_once(first, plan)
    # What dies before it has put anything was never there; one such call will do.
    first_put = plan.calls.index("store.put")
    for call in range(first_put, len(plan.calls) + 1):
        rows = filled(2)
        dying = FaultPlan.crash_at(call, after=after)
        # A listing that is not read to its end does not get as far as its end.
        listing = after and plan.calls[call - 1] == "store.list"
        with suppress(SimulatedCrash) if listing else crash():
            merge_once(rows, dying)
        yield rows, before


def crash() -> AbstractContextManager[object]:
    return pytest.raises(SimulatedCrash)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_may_die_at_any_call(*, after: bool) -> None:
    for rows, before in interrupted(after=after):
        assert sum(one.rows for one in rows.lake.segments()) == before.num_rows
        rows.lake.compact()
        assert rows.segments == 1
        assert rows.all().equals(before)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_catalog_may_be_lost_on_top(*, after: bool) -> None:
    for rows, before in interrupted(after=after):
        lake = lakerunner.Lake(rows.store, MemoryCatalog(), config=CONFIG)
        lake.recover()
        assert rows.all(lake).equals(before)


def test_recovery_after_compactions_gives_the_same_lake() -> None:
    rows = filled(4)
    rows.lake.compact()
    rows.take({"n": 7})
    rows.lake.compact()
    rows.take({"n": 8})
    before, live = rows.all(), [one.id for one in rows.lake.segments()]
    lake = lakerunner.Lake(rows.store, MemoryCatalog(), config=CONFIG)
    lake.recover()
    assert [one.id for one in lake.segments()] == live
    assert rows.all(lake).equals(before)


def test_of_two_compactors_one_wins() -> None:
    rows = filled(6)
    before = rows.all()
    barrier = threading.Barrier(2, timeout=60)

    class Meeting(FaultyCatalog):
        """A catalog whose commits wait for one another."""

        def commit(self, commit: Commit) -> int:
            barrier.wait()
            return super().commit(commit)

    task = Task("compact", "default", "logs", START_NS, Window(WINDOW_NS, 0, "", eager=True))

    def one(owner: str) -> WorkReport:
        scope = Scope(rows.store, Meeting(rows.lake.catalog, FaultPlan()), "default", CONFIG)
        with Hold(rows.lake.catalog.leases(), task.place, owner, 60) as hold:
            return compact_window({}, scope, task, hold)

    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(one, "ab"))
    assert sorted(report.added for report in reports) == [0, 1]
    assert sorted(report.conflicts for report in reports) == [0, 1]
    assert rows.segments == 1
    assert rows.all().equals(before)
    # Nothing is left of the one that lost.
    assert len(list(rows.store.list("segments/"))) == 7
    assert rows.lake.compact().tasks == 0


def test_readers_see_each_row_once_all_the_while() -> None:
    rows = Rows()
    for number in range(200):
        rows.take({"n": number}, second=number % 60)
    done = threading.Event()
    seen: set[tuple[int, int]] = set()

    def read() -> None:
        while not done.is_set():
            found = rows.lake.sql("SELECT count(*), count(DISTINCT attr_n) FROM logs").to_arrow()
            seen.add((found[0][0].as_py(), found[1][0].as_py()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(3):
            rows.lake.compact()
    finally:
        done.set()
        reader.join()
    assert seen == {(200, 200)}
    assert rows.segments == 1


def test_a_segment_that_goes_meanwhile_is_not_brought_back() -> None:
    rows = filled(3)
    gone = rows.lake.segments()[0]

    class Removing(FaultyCatalog):
        """A catalog in which somebody else removes a segment first."""

        def commit(self, commit: Commit) -> int:
            if gone.id in commit.remove:
                other = Commit("other", "default", 1, remove=(gone.id,))
                self.inner.commit(other)
            return super().commit(commit)

    catalog = Removing(rows.lake.catalog, FaultPlan())
    report = Compactor(rows.store, catalog, config=CONFIG).run()
    assert report.conflicts == 1
    assert (report.removed, report.added) == (2, 1)  # then the two that are left
    assert rows.all().num_rows == 6


def test_what_is_damaged_is_told_and_left_and_the_rest_goes_on() -> None:
    rows = filled(4)
    bad = rows.lake.segments()[1]
    data = bytearray(rows.store.get(bad.key).data)
    data[len(data) // 3] ^= 1
    rows.store.put(bad.key, bytes(data))
    report = rows.lake.compact()
    assert (report.removed, report.added, len(report.failed)) == (3, 1, 1)
    assert report.failed[0].code == "segment_damaged"
    assert bad.id in report.failed[0].reason
    rows.lake.set_aside(bad.id)
    assert rows.lake.compact().failed == ()
    assert rows.all().num_rows == 9


def test_a_missing_file_is_told() -> None:
    rows = filled(3)
    rows.store.delete(rows.lake.segments()[0].key)
    report = rows.lake.compact()
    assert (report.removed, report.added) == (2, 1)
    assert "missing" in report.failed[0].reason


def test_a_full_disk_changes_nothing_and_is_tried_later() -> None:
    rows = filled(3)
    other = rows.lake.for_organization("other")
    for body in (b"a", b"b"):
        other.ingest(b'{"time": "2026-01-01T00:00:00Z", "message": "' + body + b'"}')
    full = StoreUnavailableError("No space left on device")
    plan = FaultPlan(*(Fault(call=n, name="store.put", error=full) for n in range(1, 40)))

    class Full(FaultyStore):
        """A lake in which there is no room for one organization's segments."""

        def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
            if key.startswith("segments/default/"):
                return super().put(key, data, mode)
            return self.inner.put(key, data, mode)

    compactor = Compactor(Full(rows.store, plan), rows.lake.catalog, config=CONFIG)
    before = rows.all()
    report = compactor.run()
    assert [one.code for one in report.failed] == ["store_unavailable"]
    assert (report.removed, report.added) == (2, 1)  # the other organization's
    again = compactor.run()
    assert (len(again.waiting), len(again.failed)) == (1, 0)
    assert rows.all().equals(before)
    assert Compactor(rows.store, rows.lake.catalog, config=CONFIG).run().waiting


def test_what_has_expired_or_is_to_be_deleted_is_not_merged() -> None:
    rows = filled(3)
    old = rows.with_settings(Config(retention={"logs": "30d"}))
    assert old.lake.compact().added == 0
    rows.lake.delete("logs", where="attr_n = '2'")
    assert rows.lake.compact().added == 0
    rows.lake.retain()
    rows.lake.compact()
    assert rows.segments == 1
    assert rows.all().num_rows == 8


def test_another_clock_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = filled(4)
    before = rows.all()
    monkeypatch.setattr("time.time_ns", lambda: 0)
    rows.lake.compact()
    rows.take({"n": 1})
    monkeypatch.setattr("time.time_ns", lambda: 2**62)
    rows.lake.compact()
    assert rows.segments == 1
    assert rows.all().num_rows == before.num_rows + 1


def test_segments_of_a_bucket_are_read_by_copies(tmp_path: Path) -> None:
    """Memory is no file system: each segment is copied to local disk and the copy removed."""
    rows = filled(3)
    assert rows.store.local_path(rows.lake.segments()[0].key) is None
    rows.lake.compact()
    local = lakerunner.open(str(tmp_path / "lake"))
    for body in (b"a", b"b", b"c"):
        local.ingest(b'{"time": "2026-01-01T00:00:00Z", "message": "' + body + b'"}')
    assert local.compact().added == 1
    assert local.sql("SELECT count(*) AS n FROM logs").to_arrow()["n"].to_pylist() == [3]


def test_a_bound_lake_merges_its_own(tmp_path: Path) -> None:
    with lakerunner.open(str(tmp_path)) as lake:
        for name in ("one", "two"):
            for body in (b"a", b"b"):
                lake.for_organization(name).ingest(
                    b'{"time": "2026-01-01T00:00:00Z", "message": "' + body + b'"}'
                )
        assert lake.for_organization("one").compact().added == 1
        assert len(lake.for_organization("two").segments()) == 2
        assert len(lake.compact(dry_run=True).planned) == 1
        assert lake.compact().added == 1
        with pytest.raises(lakerunner.errors.ConfigurationError, match="no table"):
            lake.compact("log")
    with (
        lakerunner.open(str(tmp_path), read_only=True) as lake,
        pytest.raises(lakerunner.errors.ReadOnlyError),
    ):
        lake.compact()


STEPS = st.lists(
    st.one_of(
        st.just("take"),
        st.just("merge"),
        st.tuples(st.integers(1, 25), st.booleans()),  # a crash at this call, before or after it
    ),
    min_size=3,
    max_size=8,
)


@settings(max_examples=settings().max_examples // 10)
@given(STEPS)
def test_any_interleaving_keeps_every_row(steps: list[str | tuple[int, bool]]) -> None:
    rows = Rows()
    rows.take({"n": 0})
    for step in steps:
        if step == "take":
            rows.take({"n": rows.taken, "x": 0.5}, {"n": "text"})
        elif step == "merge":
            merge_once(rows, FaultPlan())
        elif isinstance(step, tuple):
            with suppress(SimulatedCrash):
                merge_once(rows, FaultPlan.crash_at(step[0], after=step[1]))
        asked = "SELECT count(*), count(DISTINCT body), min(body), max(timestamp) FROM logs"
        found = rows.lake.sql(asked).to_arrow()
        assert [column[0].as_py() for column in found.columns[:2]] == [rows.taken] * 2
    before = rows.all()
    lake = lakerunner.Lake(rows.store, MemoryCatalog(), config=CONFIG)
    lake.recover()
    assert rows.all(lake).equals(before)
