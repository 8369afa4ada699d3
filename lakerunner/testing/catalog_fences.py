"""The part of the catalog suite about what keeps deletions and commits from missing each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lakerunner.errors import CatalogMismatchError, SnapshotExpiredError
from lakerunner.model.commit import EPOCH_BITS, Commit, Head, Unchanged
from lakerunner.segments.layout import segment_id
from lakerunner.testing.catalog_fixture import (
    A,
    B,
    CatalogFixture,
    everything,
    ids,
    refused,
)
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.catalog.base import Catalog

LAKE = "7f1c"


def name_of(number: int, *, incarnation: int = 0, sequence: int = 0) -> str:
    """An id as writers make them."""
    return segment_id(number, (incarnation << EPOCH_BITS) + sequence, bytes(8))


class FenceSuite(CatalogFixture):
    """Condemned ids, floors, incarnations, preconditions, and the past that cannot be read."""

    def test_a_head_says_where_the_catalog_stands(self, catalog: Catalog) -> None:
        """Of an empty one, and after commits and purges."""
        assert catalog.head() == Head(sequence=0)
        last = catalog.commit(make_commit("c1", add=[make_segment("a"), make_segment("b")]))
        assert catalog.head() == Head(sequence=last)
        removed = catalog.commit(make_commit("c2", remove=["a"]))
        last = catalog.commit(make_commit("c3", remove=["b"]))
        catalog.purge(["a"])
        assert catalog.head() == Head(sequence=last, purged=removed)

    def test_a_condemned_segment_is_never_added(self, catalog: Catalog) -> None:
        """The commit that comes too late changes nothing, and its sources stay free."""
        assert list(catalog.condemn(["a", "b", "a"], 0)) == ["a", "b"]
        late = make_commit("c1", add=[make_segment("b"), make_segment("c")], take=[A])
        assert refused(catalog, late).context["segments"] == ("b",)
        assert list(catalog.condemn(["b"], 0)) == ["b"]
        catalog.commit(make_commit("c2", add=[make_segment("c")], take=[A]))

    def test_what_is_known_cannot_be_condemned(self, catalog: Catalog) -> None:
        """Neither what is live nor what the past still shows."""
        catalog.commit(make_commit("c1", add=[make_segment("a"), make_segment("b")]))
        catalog.commit(make_commit("c2", remove=["b"]))
        assert list(catalog.condemn(["a", "x", "b"], 0)) == ["x"]
        assert ids(catalog) == ["a"]
        catalog.purge(["b"])
        assert list(catalog.condemn(["b"], 0)) == ["b"]
        refused(catalog, make_commit("c3", add=[make_segment("b")]))

    def test_what_was_committed_can_be_sent_again(self, catalog: Catalog) -> None:
        """A floor and a condemnation are no reason to doubt what had happened before."""
        commit = make_commit("c1", add=[make_segment(name_of(1))], take=[A])
        first = catalog.commit(commit)
        assert list(catalog.condemn([name_of(1), name_of(2)], 0, floor=9)) == [name_of(2)]
        assert catalog.commit(commit) == first

    def test_nothing_below_the_floor_is_added(self, catalog: Catalog) -> None:
        """Whoever began before it has to begin again; the floor never sinks."""
        catalog.condemn([], 0, floor=5)
        catalog.condemn([], 0, floor=3)
        assert catalog.head().floor == 5
        low, high = name_of(1, sequence=4), name_of(2, sequence=5)
        conflict = refused(catalog, make_commit("c1", add=[make_segment(low), make_segment(high)]))
        assert conflict.context["segments"] == (low,)
        catalog.commit(make_commit("c2", add=[make_segment(high), make_segment("no epoch")]))
        assert set(ids(catalog)) == {high, "no epoch"}

    def test_a_floor_does_not_free_what_is_condemned_above_it(self, catalog: Catalog) -> None:
        """What lies below may be forgotten, for it is refused all the same."""
        low, high = name_of(1, sequence=4), name_of(2, sequence=6)
        catalog.condemn([low, high, "no epoch"], 0)
        catalog.condemn([], 0, floor=5)
        for name in (low, high, "no epoch"):
            refused(catalog, make_commit("c1", add=[make_segment(name)]))

    def test_condemned_ids_survive_much_that_follows(self, place: Path) -> None:
        """Reopening, many commits, whatever a catalog does to stay small."""
        with self.open_catalog(place) as catalog:
            catalog.condemn(["a"], 0)
            for number in range(self.many // 2):
                catalog.commit(make_commit(f"c{number}", add=[make_segment(f"s{number}")]))
            catalog.condemn(["b"], 0, floor=7)
        with self.open_catalog(place) as catalog:
            for name in ("a", "b"):
                refused(catalog, make_commit("late", add=[make_segment(name)]))
            assert catalog.head() == Head(sequence=catalog.head().sequence, floor=7)

    def test_a_lake_settles_once(self, place: Path) -> None:
        """Identity and incarnation stay; neither another lake nor an older life takes over."""
        with self.open_catalog(place) as catalog:
            catalog.settle(LAKE, 1, whole=True)
            catalog.settle(LAKE, 1, whole=True)
            with pytest.raises(CatalogMismatchError):
                catalog.settle("another", 2, whole=True)
            catalog.settle(LAKE, 3, whole=True)
            with pytest.raises(CatalogMismatchError):
                catalog.settle(LAKE, 2, whole=True)
        with self.open_catalog(place) as catalog:
            head = catalog.head()
            assert (head.lake, head.incarnation, head.whole) == (LAKE, 3, True)
            assert head.epoch == (3 << EPOCH_BITS) + head.sequence

    def test_segments_of_another_incarnation_are_refused(self, catalog: Catalog) -> None:
        """Whoever began before a recovery, or with a catalog that was lost, begins again."""
        catalog.settle(LAKE, 2, whole=True)
        before = everything(catalog)
        for incarnation in (0, 1, 3):
            stranger = make_segment(name_of(1, incarnation=incarnation))
            with pytest.raises(CatalogMismatchError):
                catalog.commit(make_commit("c1", add=[stranger], take=[A]))
            with pytest.raises(CatalogMismatchError):
                catalog.condemn(["x"], incarnation)
        assert everything(catalog) == before
        catalog.commit(make_commit("c2", add=[make_segment(name_of(1, incarnation=2))], take=[A]))

    def test_while_it_is_recovered_a_catalog_takes_nothing_else(self, catalog: Catalog) -> None:
        """Not even what it knows; the recovery itself may add what is older."""
        own, old = name_of(1, incarnation=2), name_of(2, incarnation=1)
        known = make_commit("c1", take=[B])
        first = catalog.commit(known)
        catalog.settle(LAKE, 2, whole=False)
        for commit in (known, make_commit("c2", add=[make_segment(own)])):
            with pytest.raises(CatalogMismatchError):
                catalog.commit(commit)
        with pytest.raises(CatalogMismatchError):
            catalog.condemn(["x"], 2)
        for adopts in (1, 3):
            with pytest.raises(CatalogMismatchError):
                catalog.commit(Commit("c3", ORGANIZATION, 0, (make_segment(old),), adopts=adopts))
        again = Commit("c3", ORGANIZATION, 0, (make_segment(old),), adopts=2)
        assert catalog.commit(again) == catalog.commit(again)
        catalog.settle(LAKE, 2, whole=True)
        assert catalog.commit(known) == first
        assert ids(catalog) == [old]

    def test_what_must_be_live_is_live(self, catalog: Catalog) -> None:
        """Segments that a commit was made of, and does not replace."""
        catalog.commit(make_commit("c1", add=[make_segment("a"), make_segment("b")]))
        catalog.commit(
            make_commit("c2", organization="globex", add=[make_segment("g", organization="globex")])
        )

        def needs(name: str, *live: str) -> Commit:
            return Commit(name, ORGANIZATION, 0, (make_segment(name),), require_live=live)

        catalog.commit(needs("c3", "a", "b"))
        assert refused(catalog, needs("c4", "a", "g", "x")).context["segments"] == ("g", "x")
        catalog.commit(make_commit("c5", remove=["b"]))
        assert refused(catalog, needs("c6", "b", "a")).context["segments"] == ("b",)

    def test_what_must_not_change_did_not(self, catalog: Catalog) -> None:
        """Neither by what came nor by what went, within the range and the table."""
        first = catalog.commit(make_commit("c1", add=[make_segment("a", 10, 20)]))

        def since(name: str, sequence: int, start: int, end: int, table: str = "logs") -> Commit:
            wanted = (Unchanged(sequence, table, start, end),)
            return Commit(name, ORGANIZATION, 0, unchanged_since=wanted)

        catalog.commit(since("c2", first, 0, 100))
        catalog.commit(make_commit("c3", add=[make_segment("b", 50, 60)]))
        assert refused(catalog, since("c4", first, 0, 100)).context["tables"] == ("logs",)
        refused(catalog, since("c4", first, 60, 61))
        catalog.commit(since("c5", first, 0, 50))
        catalog.commit(since("c6", first, 61, 100))
        catalog.commit(since("c7", first, 0, 100, "spans"))
        second = catalog.commit(make_commit("c8", remove=["a"]))
        refused(catalog, since("c9", first, 0, 50))
        catalog.commit(since("c10", second, 0, 100))
        catalog.commit(
            make_commit(
                "c11", add=[make_segment("g", 0, organization="globex")], organization="globex"
            )
        )
        catalog.commit(since("c12", second, 0, 100))

    def test_a_purge_leaves_nothing_to_compare(self, catalog: Catalog) -> None:
        """What cannot be told any more counts as changed."""
        first = catalog.commit(make_commit("c1", add=[make_segment("a", 10, 20)]))
        removal = catalog.commit(make_commit("c2", remove=["a"]))
        catalog.purge(["a"])
        for sequence in (first, removal - 1):
            refused(
                catalog,
                Commit(
                    "c3", ORGANIZATION, 0, unchanged_since=(Unchanged(sequence, "logs", 90, 99),)
                ),
            )
        catalog.commit(
            Commit("c4", ORGANIZATION, 0, unchanged_since=(Unchanged(removal, "logs", 0, 99),))
        )

    def test_a_state_before_a_purge_cannot_be_read(self, place: Path) -> None:
        """An answer without what was purged would look right."""
        with self.open_catalog(place) as catalog:
            first = catalog.commit(make_commit("c1", add=[make_segment("a"), make_segment("b")]))
            removal = catalog.commit(make_commit("c2", remove=["a"]))
            last = catalog.commit(make_commit("c3", remove=["b"]))
            assert ids(catalog, sequence=first) == ["a", "b"]
            catalog.purge(["a", "unknown", "a"])
            assert ids(catalog, sequence=removal) == ["b"]
        with self.open_catalog(place) as catalog:
            for sequence in (0, first, removal - 1):
                with pytest.raises(SnapshotExpiredError):
                    ids(catalog, sequence=sequence)
            catalog.purge(["b"])
            assert catalog.head().purged == last
            assert ids(catalog) == []

    def test_leases_are_shared_by_all_who_open_it(self, place: Path) -> None:
        """What one has taken, nobody else gets."""
        with self.open_catalog(place) as one, self.open_catalog(place) as other:
            assert one.leases().take("compact", ["a", "b"], "one", 60) == ["a"]
            assert other.leases().take("compact", ["a", "b"], "two", 60) == ["b"]
            one.leases().release("compact", ["a"], "one")
            assert other.leases().take("compact", ["a"], "two", 60) == ["a"]
