"""The part of the catalog suite about what a commit does, and when it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from lakerunner.catalog.change import pending_deletions
from lakerunner.errors import ConfigurationError
from lakerunner.model.commit import Commit, Snapshot
from lakerunner.model.deletion import DELETIONS, Deletion
from lakerunner.model.segment import Source, SourceState, TakenSource
from lakerunner.testing.catalog_fixture import A, B, C, CatalogFixture, everything, ids, refused
from lakerunner.testing.values import (
    ORGANIZATION,
    make_commit,
    make_rejection,
    make_segment,
    make_source,
)

if TYPE_CHECKING:
    from lakerunner.catalog.base import Catalog

LOGS, SPANS = "logs", "spans"

CONTRADICTIONS = {
    "a segment of another organization": make_commit(
        "c", add=[make_segment("s", organization="globex")]
    ),
    "a segment that ends before it starts": make_commit(
        "c", add=[msgspec.structs.replace(make_segment("s", 5, 9), max_timestamp_ns=4)]
    ),
    "a time that 64 bits do not hold": make_commit("c", add=[make_segment("s", 0, 2**63)]),
    "a segment added twice": make_commit("c", add=[make_segment("s"), make_segment("s", 1)]),
    "a segment removed twice": make_commit("c", remove=["live", "live"]),
    "a segment added and removed": make_commit("c", add=[make_segment("s")], remove=["s"]),
    "a source taken twice": make_commit("c", take=[B, B]),
}


class CommitSuite(CatalogFixture):
    """A commit is applied whole, once, and only if nobody else was first."""

    def test_a_commit_adds_segments_and_takes_sources(self, catalog: Catalog) -> None:
        """Everything in a commit is visible when it returns."""
        segment = make_segment("s1", 10, 20)
        catalog.commit(make_commit("c1", add=[segment], take=[A], reject=[B]))
        assert list(catalog.segments(ORGANIZATION, LOGS)) == [segment]
        states = {A: SourceState.TAKEN, B: SourceState.REJECTED}
        assert catalog.sources([A, B, C]) == states

    def test_sequences_grow_across_tables(self, catalog: Catalog) -> None:
        """A later commit has a greater number, whoever makes it."""
        first = catalog.commit(make_commit("c1"))
        second = catalog.commit(make_commit("c2", organization="globex"))
        third = catalog.commit(make_commit("c3"))
        assert 0 < first < second < third

    def test_a_commit_may_change_several_tables(self, catalog: Catalog) -> None:
        """Segments come and go in all of them in the same step, or in none."""
        raw, span = make_segment("a"), make_segment("b", table=SPANS)
        first = catalog.commit(make_commit("c1", add=[raw, span]))
        assert catalog.tables() == [(ORGANIZATION, LOGS), (ORGANIZATION, SPANS)]
        tier = make_segment("t", table="metrics_rollup")
        second = catalog.commit(make_commit("c2", add=[tier], remove=["a", "b"]))
        assert catalog.tables() == [(ORGANIZATION, "metrics_rollup")]
        assert catalog.organizations() == [ORGANIZATION]
        assert [ids(catalog, table=name) for name in (LOGS, SPANS)] == [[], []]
        assert ids(catalog, table=SPANS, sequence=first) == ["b"]
        assert catalog.snapshot(ORGANIZATION, "metrics_rollup").segments == 1
        assert [one.id for one in catalog.removed(2**62)] == ["a", "b"]
        again = make_commit("c3", add=[make_segment("u", table=SPANS)], remove=["t", "a"])
        assert refused(catalog, again).context["segments"] == ("a",)
        assert catalog.snapshot(ORGANIZATION, SPANS) == Snapshot(second, 0, 0, 0, {})

    def test_deletions_are_held_in_the_order_of_commits(self, catalog: Catalog) -> None:
        """What is to be deleted comes and goes like segments, and each state has its own."""
        asked = Deletion("d1", "logs", "attr_user = 'x'", epoch=1, columns={"attr_user": "string"})
        stated = msgspec.json.encode(asked).decode()
        marker = msgspec.structs.replace(
            make_segment("m", table=DELETIONS), statement=stated, oldest=3, applied=("d0",)
        )
        before = catalog.commit(make_commit("c1", add=[make_segment("s")]))
        during = catalog.commit(make_commit("c2", add=[marker]))
        assert list(pending_deletions(catalog, ORGANIZATION)) == [asked]
        assert list(catalog.segments(ORGANIZATION, DELETIONS)) == [marker]
        assert not pending_deletions(catalog, "globex")
        after = catalog.commit(make_commit("c3", remove=["m"]))
        states = {
            one: list(pending_deletions(catalog, ORGANIZATION, LOGS, sequence=one))
            for one in (before, during, after)
        }
        assert states == {before: [], during: [asked], after: []}

    def test_segments_of_others_cannot_be_removed(self, catalog: Catalog) -> None:
        """An organization's commits end at its own tables, whatever ids they name."""
        catalog.commit(
            make_commit("c1", organization="globex", add=[make_segment("g", organization="globex")])
        )
        assert refused(catalog, make_commit("c2", remove=["g"])).context["segments"] == ("g",)
        assert catalog.tables() == [("globex", LOGS)]

    def test_the_same_commit_again_changes_nothing(self, catalog: Catalog) -> None:
        """A second sending returns the first number, even after others have committed."""
        commit = make_commit("c1", add=[make_segment("s1")], take=[A], reject=[B])
        sequence = catalog.commit(commit)
        catalog.commit(make_commit("c2", add=[make_segment("s2")], remove=["s1"], take=[B]))
        before = everything(catalog)
        assert catalog.commit(commit) == sequence
        assert everything(catalog) == before

    def test_a_commit_that_removes_can_be_sent_again(self, catalog: Catalog) -> None:
        """The second sending of a removal is no conflict with the first."""
        catalog.commit(make_commit("c1", add=[make_segment("s1")]))
        commit = make_commit("c2", remove=["s1"])
        assert catalog.commit(commit) == catalog.commit(commit)

    def test_an_empty_commit_counts(self, catalog: Catalog) -> None:
        """A commit need not carry segments; sources without rows are taken by such a one."""
        sequence = catalog.commit(Commit("c1", ORGANIZATION, 0, taken=(TakenSource(A, 0),)))
        assert catalog.snapshot(ORGANIZATION, LOGS).sequence == sequence
        assert catalog.sources([A]) == {A: SourceState.TAKEN}

    def test_a_taken_source_conflicts(self, catalog: Catalog) -> None:
        """The conflict names exactly the sources that were taken already."""
        catalog.commit(make_commit("c1", take=[A, C]))
        conflict = refused(catalog, make_commit("c2", add=[make_segment("s")], take=[A, B, C]))
        assert conflict.context["sources"] == (A, C)
        assert conflict.context["segments"] == ()
        assert A.url in str(conflict)

    def test_a_source_is_one_whoever_takes_it(self, catalog: Catalog) -> None:
        """Its identity knows no organization."""
        catalog.commit(make_commit("c1", take=[A]))
        refused(catalog, make_commit("c2", organization="globex", take=[A]))

    def test_sources_differ_in_any_part(self, catalog: Catalog) -> None:
        """Another bucket, key or version is another source."""
        others = [
            make_source("a", bucket="s3://other"),
            make_source("A"),
            make_source("a", etag="2"),
        ]
        catalog.commit(make_commit("c1", take=[A]))
        assert catalog.sources(others) == {}
        catalog.commit(make_commit("c2", take=others))
        assert catalog.sources([A, *others]) == dict.fromkeys([A, *others], SourceState.TAKEN)

    @pytest.mark.parametrize("gone", ["never", "removed", "purged", "of another table"])
    def test_removing_what_is_not_live_conflicts(self, catalog: Catalog, gone: str) -> None:
        """The conflict names exactly the segments that are not live in the commit's table."""
        catalog.commit(make_commit("c1", add=[make_segment("live"), make_segment("s1")]))
        catalog.commit(
            make_commit(
                "c2",
                organization="globex",
                add=[make_segment("of another table", organization="globex")],
            )
        )
        if gone in {"removed", "purged"}:
            catalog.commit(make_commit("c3", add=[make_segment(gone)]))
            catalog.commit(make_commit("c4", remove=[gone]))
        if gone == "purged":
            catalog.purge([gone])
        conflict = refused(
            catalog, make_commit("c5", add=[make_segment("s2")], remove=["live", gone], take=[A])
        )
        assert conflict.context["segments"] == (gone,)
        assert conflict.context["sources"] == ()
        assert ids(catalog, organization="globex") == ["of another table"]

    def test_adding_a_known_segment_conflicts(self, catalog: Catalog) -> None:
        """An id names one segment, in whatever table, live or removed."""
        catalog.commit(make_commit("c1", add=[make_segment("s1"), make_segment("s2")]))
        catalog.commit(make_commit("c2", remove=["s2"]))
        for known in ("s1", "s2"):
            foreign = make_segment(known, organization="globex")
            conflict = refused(catalog, make_commit("c3", organization="globex", add=[foreign]))
            assert conflict.context["segments"] == (known,)

    def test_a_refused_commit_can_be_planned_again(self, catalog: Catalog) -> None:
        """A conflict does not use up the id of the commit."""
        catalog.commit(make_commit("c1", take=[A]))
        refused(catalog, make_commit("c2", add=[make_segment("s2")], take=[A, B]))
        catalog.commit(make_commit("c2", add=[make_segment("s2")], take=[B]))
        assert ids(catalog) == ["s2"]

    @pytest.mark.parametrize("name", CONTRADICTIONS)
    def test_a_contradiction_is_refused(self, catalog: Catalog, name: str) -> None:
        """A commit that can never be right is a defect of its writer, not a lost race."""
        catalog.commit(make_commit("c1", add=[make_segment("live")]))
        before = everything(catalog)
        with pytest.raises(ConfigurationError, match=r"'s'|'live'|s3://raw/b"):
            catalog.commit(CONTRADICTIONS[name])
        assert everything(catalog) == before

    def test_taking_a_rejected_source_clears_it(self, catalog: Catalog) -> None:
        """What is retried with success is no longer set aside."""
        catalog.commit(make_commit("c1", reject=[A, B]))
        catalog.commit(make_commit("c2", take=[A]))
        assert catalog.sources([A, B]) == {A: SourceState.TAKEN, B: SourceState.REJECTED}
        assert [entry.source for entry in catalog.rejections(ORGANIZATION)] == [B]

    def test_rejecting_again_replaces_the_reasons(self, catalog: Catalog) -> None:
        """Only the reasons of the last attempt are listed, all of them."""
        new = (make_rejection(A, "line 3", rows=1, at_ns=9), make_rejection(A, "line 7", at_ns=9))
        catalog.commit(make_commit("c1", reject=[A]))
        catalog.commit(Commit("c2", ORGANIZATION, 9, rejected=new))
        assert catalog.rejections(ORGANIZATION) == list(new)

    def test_a_source_may_be_taken_in_part(self, catalog: Catalog) -> None:
        """What is set aside of a source stays listed though the rest is taken."""
        part = make_rejection(A, "line 3", rows=1)
        catalog.commit(Commit("c1", ORGANIZATION, 0, taken=(TakenSource(A, 9),), rejected=(part,)))
        assert catalog.sources([A]) == {A: SourceState.TAKEN}
        assert catalog.rejections(ORGANIZATION) == [part]
        refused(catalog, make_commit("c2", take=[A]))

    def test_a_taken_source_stays_taken(self, catalog: Catalog) -> None:
        """A late rejection must not open the way to taking its rows twice."""
        catalog.commit(make_commit("c1", take=[A]))
        catalog.commit(make_commit("c2", reject=[A]))
        assert catalog.sources([A]) == {A: SourceState.TAKEN}
        assert catalog.rejections(ORGANIZATION) == []

    def test_rejections_are_listed_by_time_and_source(self, catalog: Catalog) -> None:
        """The order is that of (time, source), and other organizations' are left out."""
        entries = [(B, 2), (C, 1), (A, 2), (Source("file://", "z", ""), 2)]
        rejected = tuple(make_rejection(source, at_ns=time) for source, time in entries)
        catalog.commit(Commit("c1", ORGANIZATION, 0, rejected=rejected))
        foreign = make_source("d")
        catalog.commit(make_commit("c2", organization="globex", reject=[foreign]))
        expected = [rejected[1], rejected[3], rejected[2], rejected[0]]
        assert list(catalog.rejections(ORGANIZATION)) == expected
        assert [entry.source for entry in catalog.rejections("globex")] == [foreign]

    def test_thousands_of_sources_at_once(self, catalog: Catalog) -> None:
        """A commit and a question may be of any size."""
        many = [make_source(f"{number:05d}") for number in range(3000)]
        catalog.commit(make_commit("c1", take=many[::2], reject=many[1::4]))
        states = catalog.sources(many)
        assert len(states) == 2250
        assert refused(catalog, make_commit("c2", take=many)).context["sources"] == tuple(many[::2])
