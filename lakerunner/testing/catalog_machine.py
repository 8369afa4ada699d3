"""A state machine that does anything to a catalog and to a list of commits, and compares."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lakerunner.catalog.base import ALL_TIME
from lakerunner.errors import CommitConflictError, SnapshotExpiredError
from lakerunner.model.commit import Commit, Head, Unchanged
from lakerunner.model.segment import Source, TakenSource
from lakerunner.testing.catalog_model import CatalogModel
from lakerunner.testing.strategies import segments, sources, time_ranges
from lakerunner.testing.values import make_rejection

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.catalog.base import Catalog
    from lakerunner.model.times import TimeRange

T = TypeVar("T")

ORGANIZATIONS = ["acme", "globex"]
NAMES = ["logs", "spans"]
TABLES = [(organization, name) for organization in ORGANIZATIONS for name in NAMES]
CLOCK = st.integers(0, 5)


def attempt(call: Callable[[], T]) -> T | CommitConflictError:
    """What a call returns, or the conflict it meets."""
    try:
        return call()
    except CommitConflictError as conflict:
        return conflict


def named_by(conflict: CommitConflictError, kind: str) -> set[object]:
    """The `sources` or `segments` that a conflict is about."""
    names = conflict.context[kind]
    assert isinstance(names, tuple)
    return set(names)


class CatalogMachine(RuleBasedStateMachine):
    """Acts on a catalog and on a naive model; after each step all answers must agree.

    Args:
        open_catalog: Opens the catalog of this run: empty at first, and the same one each time.
    """

    def __init__(self, open_catalog: Callable[[], Catalog]) -> None:
        super().__init__()
        self.open_catalog = open_catalog
        self.catalog = open_catalog()
        self.model = CatalogModel()
        self.names = map(str, itertools.count())
        self.seen: set[Source] = set()
        self.purges = 0

    @rule(data=st.data(), organization=st.sampled_from(ORGANIZATIONS), now_ns=CLOCK)
    def commit(self, data: st.DataObject, organization: str, now_ns: int) -> None:
        """Any commit is applied whole or refused over exactly what the model says."""
        known = [*self.model.added(), *sorted(self.model.condemned)]
        live = [name for table in NAMES for name in self.model.live(organization, table)]
        old = st.sampled_from(known) if known else st.nothing()
        ids = [f"s{next(self.names)}" for _ in range(data.draw(st.integers(0, 3)))]
        if ids and known and data.draw(st.sampled_from(["new"] * 9 + ["old"])) == "old":
            ids[0] = data.draw(old)
        wanted = st.sampled_from(live) if live else st.nothing()
        remove = data.draw(st.lists(wanted | old | st.just("unknown"), max_size=3, unique=True))
        parts = st.builds(
            Unchanged,
            st.integers(max(0, self.model.sequence - 4), self.model.sequence),
            st.sampled_from(NAMES),
            CLOCK,
            st.integers(6, 9),
        )
        reasons = st.builds(
            make_rejection, sources(), st.sampled_from("xyz"), at_ns=CLOCK, rows=st.none() | CLOCK
        )
        self.submit(
            Commit(
                id=f"c{next(self.names)}",
                organization=organization,
                committed_ns=now_ns,
                add=tuple(
                    data.draw(
                        segments(
                            i, organization=organization, table=data.draw(st.sampled_from(NAMES))
                        )
                    )
                    for i in ids
                ),
                remove=tuple(i for i in remove if i not in ids),
                taken=tuple(
                    TakenSource(source, data.draw(st.integers(0, 9)))
                    for source in data.draw(st.lists(sources(), max_size=2, unique=True))
                ),
                rejected=tuple(data.draw(st.lists(reasons, max_size=3))),
                require_live=tuple(data.draw(st.lists(wanted | st.just("unknown"), max_size=1))),
                unchanged_since=tuple(data.draw(st.lists(parts, max_size=1))),
            )
        )

    @rule(data=st.data(), table=st.sampled_from(TABLES), now_ns=CLOCK)
    def replace(self, data: st.DataObject, table: tuple[str, str], now_ns: int) -> None:
        """Live segments give way to a new one, as in a compaction."""
        if live := self.model.live(*table):
            organization, name = table
            remove = data.draw(st.lists(st.sampled_from(live), min_size=1, unique=True))
            added = segments(f"s{next(self.names)}", organization=organization, table=name)
            self.submit(
                Commit(
                    id=f"c{next(self.names)}",
                    organization=organization,
                    committed_ns=now_ns,
                    add=(data.draw(added),),
                    remove=tuple(remove),
                )
            )

    def submit(self, commit: Commit) -> None:
        """Send a commit and compare the outcome."""
        self.seen |= {entry.source for entry in commit.taken}
        self.seen |= {entry.source for entry in commit.rejected}
        over_sources, over_segments = self.model.conflicts(commit)
        over_tables = self.model.changed(commit)
        outcome = attempt(partial(self.catalog.commit, commit))
        if isinstance(outcome, CommitConflictError):
            assert over_sources or over_segments or over_tables, outcome
            assert named_by(outcome, "sources") == over_sources
            assert named_by(outcome, "segments") == over_segments
            assert named_by(outcome, "tables") == over_tables
        else:
            assert (over_sources, over_segments, over_tables) == (set(), set(), set())
            assert outcome > self.model.sequence
            self.model.apply(outcome, commit)

    @precondition(lambda self: self.model.history)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """A commit that was applied is not applied twice."""
        sequence, commit = data.draw(st.sampled_from(self.model.history))
        assert self.catalog.commit(commit) == sequence

    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        """Removed segments can be forgotten; live ones cannot."""
        known = st.sampled_from(sorted(self.model.added())) if self.model.added() else st.nothing()
        ids = data.draw(st.lists(known | st.just("unknown"), max_size=4))
        live = {i for i in ids if i in self.model.added() and i not in self.model.removals()}
        self.purges += 1
        outcome = attempt(partial(self.catalog.purge, ids))
        if isinstance(outcome, CommitConflictError):
            assert named_by(outcome, "segments") == live
        else:
            assert not live
            self.model.purge(set(ids))

    @rule(data=st.data())
    def condemn(self, data: st.DataObject) -> None:
        """What no commit has added is condemned, and nothing else."""
        known = st.sampled_from(sorted(self.model.added())) if self.model.added() else st.nothing()
        fresh = st.builds(lambda: f"s{next(self.names)}")
        ids = data.draw(st.lists(known | fresh, max_size=3))
        free = [name for name in dict.fromkeys(ids) if name not in self.model.added()]
        assert list(self.catalog.condemn(ids, 0)) == free
        self.model.condemned |= set(free)

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """Objects can be forgotten, and then they can be taken again."""
        known = st.sampled_from(sorted(self.seen)) if self.seen else st.nothing()
        some = data.draw(st.lists(known | sources(), max_size=3))
        self.seen |= set(some)
        self.catalog.forget(some)
        self.model.forget(some)

    @rule()
    def reopen(self) -> None:
        """Whatever was acknowledged is there when the catalog is opened again."""
        self.catalog.close()
        self.catalog = self.open_catalog()

    @rule(table=st.sampled_from(TABLES), time_range=time_ranges(), back=st.integers(-1, 8))
    def look_back(self, table: tuple[str, str], time_range: TimeRange, back: int) -> None:
        """A range of an earlier state, of the last one, or of one that is yet to come."""
        at = max(0, self.model.sequence - back)
        expected = self.model.segments(*table, time_range, at)
        if at < self.model.floor:
            with pytest.raises(SnapshotExpiredError):
                self.catalog.segments(*table, time_range, sequence=at)
            with pytest.raises(SnapshotExpiredError):
                self.catalog.page(*table, sequence=at)
        else:
            paged = [
                one for page in self.catalog.pages(*table, size=2, sequence=at) for one in page
            ]
            assert paged == sorted(
                self.model.segments(*table, ALL_TIME, at),
                key=lambda one: (one.max_timestamp_ns, one.id),
            )
            assert list(self.catalog.segments(*table, time_range, sequence=at)) == expected
        assert list(self.catalog.segments(*table, time_range)) == self.model.segments(
            *table, time_range
        )

    @rule(time_ns=st.integers(-1, 6))
    def look_up_a_time(self, time_ns: int) -> None:
        """A time stands for a commit, unless it was purged with everything of that time."""
        try:
            found = self.catalog.sequence_at(time_ns)
        except SnapshotExpiredError:
            assert self.purges
        else:
            assert found == self.model.sequence_at(time_ns)

    @invariant()
    def same_answers(self) -> None:
        """Every answer about the current state is that of the model."""
        for table in TABLES:
            expected = self.model.segments(*table, ALL_TIME)
            assert list(self.catalog.segments(*table)) == expected
            paged = [one for page in self.catalog.pages(*table, size=2) for one in page]
            assert sorted(paged, key=lambda one: (one.min_timestamp_ns, one.id)) == expected
            assert self.catalog.known([one.id for one in expected]) == {one.id for one in expected}
            assert self.catalog.snapshot(*table) == self.model.snapshot(*table)
        assert list(self.catalog.tables()) == self.model.tables()
        assert list(self.catalog.tables(ever=True)) == self.model.tables(ever=True)
        assert self.catalog.head() == Head(self.model.sequence, purged=self.model.floor)
        states = self.model.sources()
        assert self.catalog.sources(sorted(self.seen)) == {
            source: states[source] for source in self.seen if source in states
        }
        for organization in ORGANIZATIONS:
            expected_reasons = self.model.rejections(organization)
            assert list(self.catalog.rejections(organization)) == expected_reasons
        for before_ns in (3, 6):
            assert list(self.catalog.removed(before_ns)) == self.model.removed(before_ns)
            some = list(self.catalog.removed(before_ns, limit=2))
            assert some == self.model.removed(before_ns)[:2]

    def teardown(self) -> None:
        """Close the catalog at the end of a run."""
        self.catalog.close()
