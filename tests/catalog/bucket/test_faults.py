"""Two processes over one bucket, of which every call to the store may fail or be their last."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import rule, run_state_machine_as_test

from lakerunner.catalog import Catalog
from lakerunner.catalog.base import ALL_TIME, PAGE
from lakerunner.catalog.bucket import BucketCatalog, records
from lakerunner.errors import CatalogUnavailableError, CommitUnknownError, StoreUnavailableError
from lakerunner.store import open_store
from lakerunner.testing.catalog_fixture import A, B, ids
from lakerunner.testing.catalog_machine import CatalogMachine
from lakerunner.testing.faults import Fault, FaultPlan, FaultyStore, SimulatedCrash
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.catalog.base import Place
    from lakerunner.catalog.leases import Leases
    from lakerunner.model.commit import Commit, Head, Snapshot
    from lakerunner.model.segment import Rejection, Segment, Source, SourceState
    from lakerunner.model.times import TimeRange

T = TypeVar("T")
NAMES = map("memory://bucket-faults-{}".format, itertools.count())
ERROR = StoreUnavailableError("503")
CALLS = ["", "store.put", "store.get", "store.list"]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_FIRST_PAUSE_S", 0.0)


class Insistent(Catalog):
    """A client that asks until there is an answer, of processes that die and are replaced."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.which = 0
        self.fault: Fault | None = None
        self.catalogs = [self.start(FaultPlan()) for _ in range(2)]

    def start(self, plan: FaultPlan) -> BucketCatalog:
        store = FaultyStore(open_store(self.url), plan)
        return BucketCatalog(store, checkpoint_every=3, grace_ns=0)

    def insist(self, call: Callable[[Catalog], T]) -> T:
        if self.fault is not None:
            plan, self.fault = FaultPlan(self.fault), None
            store = self.catalogs[self.which].store
            assert isinstance(store, FaultyStore)
            store.plan = plan
        while True:
            try:
                return call(self.catalogs[self.which])
            except SimulatedCrash:
                self.catalogs[self.which] = self.start(FaultPlan())
            except (CommitUnknownError, CatalogUnavailableError):
                continue

    def commit(self, commit: Commit) -> int:
        return self.insist(lambda catalog: catalog.commit(commit))

    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        return self.insist(
            lambda catalog: catalog.segments(organization, table, time_range, sequence=sequence)
        )

    def page(
        self,
        organization: str,
        table: str,
        *,
        after: Place | None = None,
        limit: int = PAGE,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        return self.insist(
            lambda catalog: catalog.page(
                organization, table, after=after, limit=limit, sequence=sequence
            )
        )

    def known(self, segment_ids: Sequence[str]) -> set[str]:
        return self.insist(lambda catalog: catalog.known(segment_ids))

    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        return self.insist(lambda catalog: catalog.sources(sources))

    def tables(self, *, ever: bool = False) -> Sequence[tuple[str, str]]:
        return self.insist(lambda catalog: catalog.tables(ever=ever))

    def snapshot(self, organization: str, table: str) -> Snapshot:
        return self.insist(lambda catalog: catalog.snapshot(organization, table))

    def sequence_at(self, time_ns: int) -> int:
        return self.insist(lambda catalog: catalog.sequence_at(time_ns))

    def rejections(self, organization: str) -> Sequence[Rejection]:
        return self.insist(lambda catalog: catalog.rejections(organization))

    def removed(self, before_ns: int, *, limit: int | None = None) -> Sequence[Segment]:
        return self.insist(lambda catalog: catalog.removed(before_ns, limit=limit))

    def purge(self, segment_ids: Sequence[str]) -> None:
        self.insist(lambda catalog: catalog.purge(segment_ids))

    def forget(self, sources: Sequence[Source]) -> None:
        self.insist(lambda catalog: catalog.forget(sources))

    def head(self) -> Head:
        return self.insist(lambda catalog: catalog.head())

    def condemn(
        self, segment_ids: Sequence[str], incarnation: int, *, floor: int = 0
    ) -> Sequence[str]:
        return self.insist(lambda catalog: catalog.condemn(segment_ids, incarnation, floor=floor))

    def settle(self, lake: str, incarnation: int, *, whole: bool) -> None:
        self.insist(lambda catalog: catalog.settle(lake, incarnation, whole=whole))

    def leases(self) -> Leases:
        return self.insist(lambda catalog: catalog.leases())


class FaultyMachine(CatalogMachine):
    """Any history, by two processes in turn, with a fault now and then."""

    def __init__(self) -> None:
        url = next(NAMES)
        super().__init__(lambda: Insistent(url))

    @rule(which=st.integers(0, 1))
    def other_process(self, which: int) -> None:
        """Both processes have states of their own, one of which gets old."""
        assert isinstance(self.catalog, Insistent)
        self.catalog.which = which

    @rule(
        call=st.integers(1, 12),
        name=st.sampled_from(CALLS),
        after=st.booleans(),
        error=st.sampled_from([None, ERROR]),
        times=st.integers(1, 6),
    )
    def fault(
        self, call: int, name: str, after: bool, error: StoreUnavailableError | None, times: int
    ) -> None:
        """One of the next requests fails, or is the last one of its process."""
        assert isinstance(self.catalog, Insistent)
        self.catalog.fault = Fault(call, name, after, error, times)


def test_any_history_with_faults() -> None:
    examples = max(1, settings().max_examples // 4)
    run_state_machine_as_test(
        FaultyMachine, settings=settings(max_examples=examples, stateful_step_count=30)
    )


def history(catalog: Catalog) -> None:
    for number in range(7):
        commit = make_commit(
            f"c{number}", add=[make_segment(f"s{number}", number)], take=[A] * (number == 5)
        )
        catalog.commit(commit)
    catalog.commit(make_commit("c7", remove=["s1", "s6"], reject=[B]))
    catalog.purge(["s1"])


@pytest.mark.parametrize("after", [False, True])
def test_a_process_may_die_at_any_call(*, after: bool) -> None:
    """Whoever comes next finishes the same history, and finds the same."""
    expected = None
    for call in itertools.count(1):
        url = next(NAMES)
        plan = FaultPlan.crash_at(call, after=after)
        died = False
        try:
            history(BucketCatalog(FaultyStore(open_store(url), plan), checkpoint_every=3))
        except SimulatedCrash:
            died = True
        catalog = BucketCatalog(open_store(url), checkpoint_every=3)
        history(catalog)
        found = BucketCatalog(open_store(url))
        snapshot = found.snapshot(ORGANIZATION, "logs")
        state = (
            ids(found),
            (snapshot.segments, snapshot.rows, snapshot.columns),
            found.sources([A, B]),
            found.rejections(ORGANIZATION),
            [segment.id for segment in found.removed(9)],
        )
        expected = expected or state
        assert state == expected, (call, after)
        if not died:
            break
    assert call > 20


@pytest.mark.parametrize("times", [1, 3, 4, 5])
def test_a_lost_reply_is_read_back(times: int) -> None:
    store = open_store(next(NAMES))
    BucketCatalog(store).commit(make_commit("c1"))
    plan = FaultPlan(Fault(1, "store.put", after=True, error=ERROR, times=times))
    catalog = BucketCatalog(FaultyStore(store, plan))
    commit = make_commit("c2", add=[make_segment("a")], take=[A])
    if times >= 4:  # as many attempts as there are
        with pytest.raises(CommitUnknownError):
            catalog.commit(commit)
    assert catalog.commit(commit) == 2
    assert ids(BucketCatalog(store)) == ["a"]


def test_a_put_that_never_arrived_is_unknown_and_then_done() -> None:
    store = open_store(next(NAMES))
    BucketCatalog(store).commit(make_commit("c1"))
    plan = FaultPlan(Fault(1, "store.put", error=ERROR, times=4))
    catalog = BucketCatalog(FaultyStore(store, plan))
    with pytest.raises(CommitUnknownError):
        catalog.commit(make_commit("c2"))
    assert BucketCatalog(store).snapshot(ORGANIZATION, "logs").sequence == 1
    assert catalog.commit(make_commit("c2")) == 2
