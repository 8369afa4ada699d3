"""The conformance suite of catalogs: each sentence of the contract, as a test."""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lakerunner.model.segment import ColumnStats, SourceState
from lakerunner.testing.catalog_commits import CommitSuite
from lakerunner.testing.catalog_fences import FenceSuite
from lakerunner.testing.catalog_fixture import A, B, ids
from lakerunner.testing.catalog_machine import CatalogMachine, attempt
from lakerunner.testing.catalog_reads import ReadSuite
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.catalog.base import Catalog
    from lakerunner.errors import CommitConflictError
    from lakerunner.model.commit import Commit

T = TypeVar("T")
LOGS = "logs"
WRITERS = 4


class CatalogSuite(CommitSuite, ReadSuite, FenceSuite):
    """Subclass it, name the subclass `Test…`, and say how to open a catalog.

    `class TestMine(CatalogSuite)` needs one method, `open_catalog(self, place)`; see
    `CatalogFixture.open_catalog`, and for what can be set besides.
    """

    def test_a_catalog_says_where_it_lives(self, catalog: Catalog) -> None:
        """The URL is part of the representation."""
        assert "://" in catalog.url
        assert catalog.url in repr(catalog)

    def test_everything_is_there_after_reopening(self, place: Path) -> None:
        """What was acknowledged does not depend on the object that wrote it."""
        commit = make_commit("c1", add=[make_segment("a"), make_segment("b", 1)], take=[A])
        with self.open_catalog(place) as catalog:
            first = catalog.commit(commit)
            catalog.commit(make_commit("c2", remove=["b"], reject=[B], committed_ns=5))
            before = catalog.snapshot(ORGANIZATION, LOGS)
        with self.open_catalog(place) as catalog:
            assert catalog.commit(commit) == first
            assert catalog.snapshot(ORGANIZATION, LOGS) == before
            assert ids(catalog) == ["a"]
            assert ids(catalog, sequence=first) == ["a", "b"]
            assert catalog.sources([A, B]) == {A: SourceState.TAKEN, B: SourceState.REJECTED}
            assert [entry.source for entry in catalog.rejections(ORGANIZATION)] == [B]
            assert [segment.id for segment in catalog.removed(6)] == ["b"]

    def test_two_open_catalogs_see_each_other(self, place: Path) -> None:
        """A commit is visible to everybody as soon as it is acknowledged."""
        with self.open_catalog(place) as one, self.open_catalog(place) as other:
            one.commit(make_commit("c1", add=[make_segment("a")], take=[A]))
            assert ids(other) == ["a"]
            other.commit(make_commit("c2", remove=["a"]))
            assert ids(one) == []

    @pytest.mark.parametrize("shared", [True, False], ids=["one catalog", "a catalog each"])
    def test_one_of_many_takers_wins(self, place: Path, *, shared: bool) -> None:
        """Of writers that race for the same source, one commits and the others change nothing."""
        catalogs = [self.open_catalog(place)]
        catalogs += [catalogs[0] if shared else self.open_catalog(place) for _ in range(1, WRITERS)]
        for number in range(self.races):
            source = make_source(f"contested {number}")
            commits = [
                make_commit(f"{number}-{n}", add=[make_segment(f"{number}-{n}")], take=[source])
                for n in range(WRITERS)
            ]
            outcomes = race([committing(*pair) for pair in zip(catalogs, commits, strict=True)])
            assert_one_wins(outcomes)
        assert catalogs[0].snapshot(ORGANIZATION, LOGS).segments == self.races
        assert len(ids(catalogs[0])) == self.races
        for catalog in catalogs:
            catalog.close()

    def test_one_of_many_compactors_wins(self, catalog: Catalog) -> None:
        """Of writers that race to replace the same segment, one does."""
        catalog.commit(make_commit("c0", add=[make_segment("0")]))
        for number in range(self.races):
            (live,) = ids(catalog)
            commits = [
                make_commit(f"{number}-{n}", add=[make_segment(f"{number}-{n}")], remove=[live])
                for n in range(WRITERS)
            ]
            outcomes = race([committing(catalog, commit) for commit in commits])
            assert_one_wins(outcomes)

    def test_one_commit_sent_by_many_is_applied_once(self, catalog: Catalog) -> None:
        """A retry may overtake the first attempt; both hear the same number."""
        commit = make_commit("c1", add=[make_segment("a")], take=[A])
        outcomes = race([committing(catalog, commit)] * WRITERS)
        assert outcomes == [catalog.snapshot(ORGANIZATION, LOGS).sequence] * WRITERS
        assert ids(catalog) == ["a"]

    def test_writers_that_do_not_meet_all_commit(self, catalog: Catalog) -> None:
        """Writers of different sources wait for each other and need not try again."""

        def write(writer: int) -> list[int]:
            return [
                catalog.commit(
                    make_commit(
                        f"{writer}-{n}",
                        add=[make_segment(f"{writer}-{n}", n)],
                        take=[make_source(f"{writer}-{n}")],
                    )
                )
                for n in range(20)
            ]

        with ThreadPoolExecutor(WRITERS) as threads:
            sequences = list(threads.map(write, range(WRITERS)))
        assert all(sorted(own) == own for own in sequences)
        assert len({number for own in sequences for number in own}) == 20 * WRITERS
        assert catalog.snapshot(ORGANIZATION, LOGS).rows == 20 * WRITERS

    def test_readers_see_whole_commits_only(self, catalog: Catalog) -> None:
        """While segments are replaced, every reader sees the old ones or the new one."""
        columns = {"x": ColumnStats("string")}

        def pair(number: int) -> list[str]:
            return [f"{number}-a", f"{number}-b"]

        def add(number: int, remove: Sequence[str]) -> Commit:
            segments = [make_segment(name, columns=columns) for name in pair(number)]
            return make_commit(f"c{number}", add=segments, remove=remove)

        def write() -> None:
            for number in range(1, 60):
                catalog.commit(add(number, pair(number - 1)))

        catalog.commit(add(0, []))
        with ThreadPoolExecutor(2) as threads:
            writer = threads.submit(write)
            while not writer.done():
                first, second = ids(catalog)
                assert first[:-1] == second[:-1]
                snapshot = catalog.snapshot(ORGANIZATION, LOGS)
                assert (snapshot.segments, snapshot.rows) == (2, 2)
                assert snapshot.columns["x"].physical == 2
            writer.result()

    def test_any_history(self) -> None:
        """A random history gives the answers of a naive list of commits."""
        with tempfile.TemporaryDirectory() as directory:

            class Machine(CatalogMachine):
                def __init__(run) -> None:  # noqa: N805 - `self` is the suite
                    place = Path(tempfile.mkdtemp(dir=directory))
                    super().__init__(lambda: self.open_catalog(place))

            examples = max(1, settings().max_examples // self.histories)
            run_state_machine_as_test(
                Machine, settings=settings(max_examples=examples, stateful_step_count=20)
            )


def committing(catalog: Catalog, commit: Commit) -> Callable[[], int | CommitConflictError]:
    """A call that commits, and returns the conflict if there is one."""
    return partial(attempt, partial(catalog.commit, commit))


def assert_one_wins(outcomes: Sequence[int | CommitConflictError]) -> None:
    """Exactly one of the racing commits was applied."""
    assert [type(outcome) for outcome in outcomes].count(int) == 1, outcomes


def race(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run calls at the same moment, each in a thread of its own, that give way all the time."""
    start = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        start.wait()
        return call()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(run, calls))
    finally:
        sys.setswitchinterval(interval)
