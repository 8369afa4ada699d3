"""The part of the catalog suite about what a catalog answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from lakerunner.errors import CommitConflictError
from lakerunner.model.commit import ColumnSummary, Snapshot
from lakerunner.model.segment import ColumnStats, Segment
from lakerunner.model.times import MAX_NS, MIN_NS, TimeRange
from lakerunner.testing.catalog_fixture import CatalogFixture, ids
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

if TYPE_CHECKING:
    from lakerunner.catalog.base import Catalog

LOGS, SPANS = "logs", "spans"
FAR_FUTURE_NS = 2**62

FULL = Segment(
    id="01J",
    organization=ORGANIZATION,
    table=LOGS,
    key="acme/logs/é.parquet",
    window_start_ns=-3600,
    window_ns=7200,
    min_timestamp_ns=-3600,
    max_timestamp_ns=3599,
    rows=2**40,
    bytes=2**41,
    sort=("resource_service_name", "timestamp"),
    columns={
        "body": ColumnStats("string", nulls=1, min="", max="\x00'\"\U0001f600", values=("", "é")),
        "attr_n": ColumnStats("int64", min=-(2**63), max=2**63 - 1, key="N", types=("int",)),
        "attr_f": ColumnStats("double", min=-1e308, max=0.1, overflow=True),
        "attr_b": ColumnStats("bool", min=False, max=True),
    },
    created_ns=2**61,
    commit_id="c1",
    sources=(make_source("a"), make_source("b", etag="")),
    parents=("p1", "p2"),
    level=3,
    siblings=("01J", "01K"),
    replaces=("p0", "p1", "p2"),
    attests=("p3",),
    resolution_ns=10**10,
    inputs=("r1", "r2"),
    beside=("r0",),
    made_by="rollup/1",
    fingerprint_rules=(1, 2),
)


class ReadSuite(CatalogFixture):
    """Answers are those of one table, one range and one moment."""

    def test_an_empty_catalog(self, catalog: Catalog) -> None:
        """Whatever is asked of it, the answer is empty and no error."""
        assert catalog.segments(ORGANIZATION, LOGS) == []
        assert catalog.segments(ORGANIZATION, LOGS, sequence=7) == []
        assert catalog.snapshot(ORGANIZATION, LOGS) == Snapshot(0, 0, 0, 0, {})
        assert catalog.sources([make_source("a")]) == {}
        assert catalog.sources([]) == {}
        assert catalog.rejections(ORGANIZATION) == []
        assert catalog.removed(FAR_FUTURE_NS) == []
        catalog.purge(["unknown"])
        catalog.purge([])

    def test_a_segment_comes_back_as_it_was(self, catalog: Catalog) -> None:
        """Every field survives."""
        catalog.commit(make_commit("c1", add=[FULL]))
        assert list(catalog.segments(ORGANIZATION, LOGS)) == [replace(FULL, sources=())]

    @pytest.mark.parametrize(
        ("start", "end", "found"),
        [
            (10, 21, True),
            (12, 13, True),
            (0, 10, False),  # ends where the segment starts: half-open
            (0, 11, True),
            (20, 30, True),  # starts at the last timestamp, which is inclusive
            (21, 30, False),
            (MIN_NS, MAX_NS, True),
            (MIN_NS, 10, False),
            (21, MAX_NS, False),
            (-(2**70), 2**70, True),
        ],
    )
    def test_ranges_are_half_open(
        self, catalog: Catalog, start: int, end: int, *, found: bool
    ) -> None:
        """A segment is found exactly if it may hold a row with `start <= timestamp < end`."""
        catalog.commit(make_commit("c1", add=[make_segment("s", 10, 20)]))
        assert ids(catalog, TimeRange(start, end)) == ["s"] * found

    def test_long_and_short_segments_are_found_together(self, catalog: Catalog) -> None:
        """A long segment is found from its middle, among many short ones."""
        short = [make_segment(f"s{n}", n * 10, n * 10 + 9) for n in range(50)]
        catalog.commit(make_commit("c1", add=[make_segment("long", 0, 499)]))
        catalog.commit(make_commit("c2", add=short))
        assert ids(catalog, TimeRange(250, 260)) == ["long", "s25"]
        catalog.commit(make_commit("c3", remove=["long"]))
        assert ids(catalog, TimeRange(250, 260)) == ["s25"]

    def test_the_ends_of_time(self, catalog: Catalog) -> None:
        """Times at the edge of 64 bits neither overflow nor hide others."""
        segments = [
            make_segment("all", MIN_NS, MAX_NS),
            make_segment("first", MIN_NS, MIN_NS),
            make_segment("last", MAX_NS - 1, MAX_NS),
            make_segment("zero", 0, 0),
        ]
        catalog.commit(make_commit("c1", add=segments))
        assert ids(catalog) == ["all", "first", "zero", "last"]
        assert ids(catalog, TimeRange(MIN_NS, MIN_NS + 1)) == ["all", "first"]
        assert ids(catalog, TimeRange(MAX_NS - 1, MAX_NS)) == ["all", "last"]
        assert ids(catalog, TimeRange(-1, 1)) == ["all", "zero"]

    def test_segments_are_ordered(self, catalog: Catalog) -> None:
        """The order is that of (min timestamp, id), not that of arrival."""
        catalog.commit(make_commit("c1", add=[make_segment("b", 5), make_segment("z", -1)]))
        catalog.commit(make_commit("c2", add=[make_segment("a", 5, 99), make_segment("B", 5)]))
        assert ids(catalog) == ["z", "B", "a", "b"]

    def test_tables_are_apart(self, catalog: Catalog) -> None:
        """Nothing of another organization or table shows, however alike the names."""
        names = ["acme", "ACME", "acme ", "%", "acm_", ""]
        for number, name in enumerate(names):
            segment = make_segment(f"s{number}", organization=name)
            catalog.commit(make_commit(f"c{number}", organization=name, add=[segment]))
        span = make_segment("span", table=SPANS)
        catalog.commit(make_commit("cs", add=[span]))
        for number, name in enumerate(names):
            assert ids(catalog, organization=name) == [f"s{number}"]
            assert catalog.snapshot(name, LOGS).segments == 1
        assert ids(catalog, table=SPANS) == ["span"]
        assert ids(catalog, organization="globex") == []

    def test_an_earlier_sequence_shows_the_past(self, catalog: Catalog) -> None:
        """What was added later is not there yet; what was removed later still is."""
        first = catalog.commit(make_commit("c1", add=[make_segment("a"), make_segment("b", 1)]))
        other = catalog.commit(make_commit("c2", organization="globex"))
        second = catalog.commit(make_commit("c3", add=[make_segment("ab")], remove=["a", "b"]))
        assert ids(catalog, sequence=first - 1) == []
        assert ids(catalog, sequence=first) == ids(catalog, sequence=other) == ["a", "b"]
        assert ids(catalog, sequence=second) == ids(catalog) == ["ab"]
        assert ids(catalog, sequence=second + 9) == ["ab"]
        assert ids(catalog, TimeRange(1, 2), sequence=first) == ["b"]

    def test_a_time_stands_for_the_last_commit_before_it(self, catalog: Catalog) -> None:
        """Also one to another table; the time itself belongs to what was before it."""
        assert catalog.sequence_at(FAR_FUTURE_NS) == catalog.sequence_at(MIN_NS) == 0
        first = catalog.commit(make_commit("c1", add=[make_segment("a")], committed_ns=10))
        other = catalog.commit(make_commit("c2", organization="globex", committed_ns=20))
        same = catalog.commit(make_commit("c3", add=[make_segment("b")], committed_ns=20))
        last = catalog.commit(make_commit("c4", remove=["a"], committed_ns=30))
        assert other < same
        found = [catalog.sequence_at(at) for at in (-1, 9, 10, 19, 20, 29, 30, FAR_FUTURE_NS)]
        assert found == [0, 0, first, first, same, same, last, last]
        assert ids(catalog, sequence=catalog.sequence_at(25)) == ["a", "b"]
        assert catalog.sequence_at(2**70) == last
        assert catalog.sequence_at(-(2**70)) == 0

    def test_a_clock_that_is_ahead(self, catalog: Catalog) -> None:
        """What follows a commit of the future is not there before it."""
        first = catalog.commit(make_commit("c1", committed_ns=10))
        catalog.commit(make_commit("c2", committed_ns=99))
        last = catalog.commit(make_commit("c3", committed_ns=11))
        assert [catalog.sequence_at(at) for at in (11, 98, 99)] == [first, first, last]

    def test_times_long_ago_and_many_commits_since(self, catalog: Catalog) -> None:
        """However many commits there are, the state at the time of each is found."""
        numbers = [
            catalog.commit(make_commit(f"c{n}", committed_ns=n // 2)) for n in range(self.many)
        ]
        for n in range(0, self.many, 7):
            assert catalog.sequence_at(n // 2) == numbers[n | 1]

    def test_live_segments_are_not_purged(self, catalog: Catalog) -> None:
        """A purge that names a live segment does nothing at all."""
        first = catalog.commit(make_commit("c1", add=[make_segment("a"), make_segment("b", 1)]))
        catalog.commit(make_commit("c2", remove=["a"]))
        with pytest.raises(CommitConflictError) as conflict:
            catalog.purge(["a", "b"])
        assert conflict.value.context["segments"] == ("b",)
        assert ids(catalog, sequence=first) == ["a", "b"]

    def test_a_purged_id_is_free(self, catalog: Catalog) -> None:
        """Nothing is remembered of what was purged."""
        catalog.commit(make_commit("c1", add=[make_segment("a")]))
        catalog.commit(make_commit("c2", remove=["a"]))
        catalog.purge(["a"])
        catalog.commit(make_commit("c3", add=[make_segment("a", 7)]))
        assert catalog.segments(ORGANIZATION, LOGS)[0].min_timestamp_ns == 7

    def test_removed_lists_what_was_removed_before(self, catalog: Catalog) -> None:
        """The time that counts is that of the removing commit; it must lie before."""
        names = ["c", "b", "a"]
        catalog.commit(make_commit("c1", add=[make_segment(n) for n in names], committed_ns=50))
        foreign = make_segment("x", organization="globex")
        catalog.commit(make_commit("c2", organization="globex", add=[foreign]))
        catalog.commit(make_commit("c3", remove=["b", "a"], committed_ns=100))
        catalog.commit(make_commit("c4", organization="globex", remove=["x"], committed_ns=80))
        assert catalog.removed(80) == []
        assert list(catalog.removed(81)) == [foreign]
        assert list(catalog.removed(100)) == [foreign]
        assert [segment.id for segment in catalog.removed(101)] == ["x", "a", "b"]

    def test_a_snapshot_counts_up_and_down(self, catalog: Catalog) -> None:
        """Totals and columns follow every commit, in both directions."""
        text, number = ColumnStats("string"), ColumnStats("int64")
        spilled = ColumnStats("int64", overflow=True)
        one = make_segment("1", rows=10, size=100, columns={"x": text, "y": text})
        two = make_segment("2", rows=5, size=50, columns={"x": number, "z": spilled})
        three = make_segment("3", rows=1, size=1, columns={"x": spilled})
        catalog.commit(make_commit("c1", add=[one]))
        catalog.commit(make_commit("c2", organization="globex"))
        last = catalog.commit(make_commit("c3", add=[two, three]))
        assert catalog.snapshot(ORGANIZATION, LOGS) == Snapshot(
            sequence=last,
            segments=3,
            rows=16,
            bytes=151,
            columns={
                "x": ColumnSummary(("int64", "string"), physical=2, overflow=1),
                "y": ColumnSummary(("string",), physical=1, overflow=0),
                "z": ColumnSummary(("int64",), physical=0, overflow=1),
            },
        )
        last = catalog.commit(make_commit("c4", remove=["1", "3"]))
        assert catalog.snapshot(ORGANIZATION, LOGS) == Snapshot(
            sequence=last,
            segments=1,
            rows=5,
            bytes=50,
            columns={
                "x": ColumnSummary(("int64",), physical=1, overflow=0),
                "z": ColumnSummary(("int64",), physical=0, overflow=1),
            },
        )
        last = catalog.commit(make_commit("c5", remove=["2"]))
        assert catalog.snapshot(ORGANIZATION, LOGS) == Snapshot(last, 0, 0, 0, {})

    def test_a_snapshot_has_the_catalogs_sequence(self, catalog: Catalog) -> None:
        """The number is that of the last commit to any table, as `segments` takes it."""
        catalog.commit(make_commit("c1"))
        last = catalog.commit(make_commit("c2", organization="globex"))
        assert catalog.snapshot(ORGANIZATION, LOGS).sequence == last
        assert catalog.snapshot("nobody", SPANS).sequence == last

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
    def test_pages_are_the_whole_table_in_order(self, catalog: Catalog, size: int) -> None:
        """Each live segment is on one page, by its end and its id; of others there is nothing."""
        ends = [5, 3, 5, 5, 9, 1, 5]
        segments = [make_segment(f"s{n}", 0, end) for n, end in enumerate(ends)]
        catalog.commit(make_commit("c1", add=[*segments, make_segment("gone", 0, 5)]))
        catalog.commit(make_commit("c2", remove=["gone"]))
        other = make_segment("other", organization="globex")
        catalog.commit(make_commit("c3", organization="globex", add=[other]))
        pages = list(catalog.pages(ORGANIZATION, LOGS, size=size))
        assert [one for page in pages for one in page] == sorted(
            segments, key=lambda one: (one.max_timestamp_ns, one.id)
        )
        assert all(len(page) == size for page in pages[:-1])
        assert list(catalog.pages("nobody", LOGS)) == []

    def test_known_segments_are_live_or_removed(self, catalog: Catalog) -> None:
        """Whoever collects files asks about some of them, and not for all that there are."""
        added = [make_segment(f"s{n:04d}", n) for n in range(1200)]
        catalog.commit(make_commit("c1", add=added))
        catalog.commit(make_commit("c2", remove=["s0001", "s0002"]))
        catalog.purge(["s0002"])
        asked = [*(one.id for one in added), "unknown"]
        assert catalog.known(asked) == {one.id for one in added} - {"s0002"}
        assert catalog.known([]) == set()
