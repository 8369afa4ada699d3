"""Which commits happened, judged by footers alone: small histories, each with its answer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lakerunner.policies.entangled import Sieve
from lakerunner.policies.recovery import Found, Removal, adopt_alone, recover
from lakerunner.testing.values import make_segment, make_source

if TYPE_CHECKING:
    from lakerunner.policies.recovery import Recovery


def batch(name: str, sources: str, at: int, *, ids: str = "12", closed: bool = True) -> list[Found]:
    """The segments of a batch, one for each character of `ids`, put one after the other."""
    names = tuple(f"{name}{one}" for one in ids)
    return [
        Found(
            replace(
                make_segment(one),
                commit_id=name,
                sources=tuple(make_source(source) for source in sources),
                siblings=names if closed and one == names[-1] else (),
            ),
            at,
        )
        for one in names
    ]


def compacted(name: str, parents: list[Found], at: int, *, closed: bool = True) -> list[Found]:
    """One segment in place of others."""
    read = [one.segment for one in parents]
    ancestors = {one.id for one in read} | {n for one in read for n in one.replaces}
    segment = replace(
        make_segment(name),
        commit_id=f"compact {name}",
        sources=tuple({source for one in read for source in one.sources}),
        parents=tuple(one.id for one in read),
        replaces=tuple(ancestors),
        attests=tuple({n for one in read for n in (*one.siblings, *one.attests)}),
        siblings=(name,) if closed else (),
        level=1,
    )
    return [Found(segment, at)]


def live(recovery: Recovery) -> list[str]:
    return sorted(segment.id for one in recovery.adopted for segment in one.segments)


def taken(recovery: Recovery) -> str:
    names = [source.key for one in recovery.adopted for source in one.sources]
    assert len(names) == len(set(names))
    return "".join(sorted(names))


def uncovered(recovery: Recovery) -> str:
    return "".join(source.key for source in recovery.uncovered)


def test_a_batch_that_is_not_closed_counts_for_nothing() -> None:
    found = recover(batch("a", "xy", 1, closed=False))
    assert (live(found), taken(found), uncovered(found)) == ([], "", "xy")
    assert [segment.id for segment in found.unfinished] == ["a1", "a2"]


def test_what_belongs_to_a_commit_id_and_not_to_the_commit() -> None:
    """A large object that failed leaves segments that its batch does not name."""
    left = replace(make_segment("a0"), commit_id="a", sources=(make_source("z"),))
    found = recover([Found(left, 1), *batch("a", "x", 2)])
    assert (live(found), taken(found), uncovered(found)) == (["a1", "a2"], "x", "z")


@pytest.mark.parametrize(
    ("sources", "winners"),
    [
        (["xy", "xy"], "b"),  # the first died before its commit: it was taken again
        (["xy", "yz"], "b"),
        (["xy", "x", "y"], "bc"),
        (["x", "xy"], "b"),
        (["xy", "x"], "a"),  # either may have happened, and both rows are in the first
        (["xy", "yz", "x"], "bc"),
        (["xy", "yz", "z"], "ac"),
        (["xy", "yz", "zw"], "ac"),
        (["x", "y"], "ab"),
    ],
)
def test_rivals(sources: list[str], winners: str) -> None:
    found = [batch(n, s, at) for at, (n, s) in enumerate(zip("abc", sources, strict=False))]
    for order in itertools.permutations(found):
        recovery = recover(itertools.chain(*order))
        assert live(recovery) == [f"{name}{n}" for name in winners for n in "12"]


def test_a_batch_that_lacks_a_segment_gives_way() -> None:
    whole, lacking = batch("a", "x", 1), batch("b", "x", 2)[1:]
    assert live(recover([*whole, *lacking])) == ["a1", "a2"]
    alone = recover(lacking)
    assert (live(alone), alone.adopted[0].missing) == (["b2"], ("b1",))


def test_what_was_compacted_did_happen() -> None:
    """Even if it is not closed any more, and though a later batch claims its source."""
    a, rival = batch("a", "x", 1), batch("b", "x", 2)
    merged = compacted("c", a[1:], 3)  # the closing segment, which then is purged
    for found in ([*a, *merged, *rival], [a[0], *merged, *rival]):
        assert live(recover(found)) == ["a1", "c"]
        assert taken(recover(found)) == "x"


def test_a_compaction_that_is_not_closed_proves_its_parents() -> None:
    a, rival = batch("a", "x", 1), batch("b", "x", 2)
    merged = compacted("c", a, 3, closed=False)
    assert live(recover([*a, *merged, *rival])) == ["a1", "a2"]


def test_replaced_segments_stay_replaced_for_ever() -> None:
    a, b = batch("a", "x", 1), batch("b", "y", 1)
    c = compacted("c", [a[0], b[0]], 2)
    d = compacted("d", [*c, a[1]], 3)
    for gone in (set(), {"c"}, {"a1", "c"}, {"a1", "b1", "c", "a2"}):
        found = [one for one in [*a, *b, *c, *d] if one.segment.id not in gone]
        assert live(recover(found)) == ["b2", "d"], gone
        assert taken(recover(found)) == "xy"


@pytest.mark.parametrize("later", [True, False])
def test_of_rival_compactions_the_one_whose_parents_are_gone(later: bool) -> None:
    a = batch("a", "x", 1, ids="1234")
    won = compacted("w", a[1:3], 2 + later)
    lost = compacted("l", a[:2], 3 - later)
    both = recover([*a, *won, *lost])
    assert live(both) in (["a1", "a4", "w"], ["a3", "a4", "l"])
    assert live(recover([a[0], a[3], *won, *lost])) == ["a1", "a4", "w"]
    further = compacted("f", won, 9)
    assert live(recover([a[0], a[3], *further, *lost])) == ["a1", "a4", "f"]
    assert live(recover([*a, *further, *lost])) == ["a1", "a4", "f"]


@given(data=st.data())
def test_one_ingestor_and_any_crashes(data: st.DataObject) -> None:
    """Whatever was taken is found, each source once; nothing depends on the order."""
    names = "uvwxyz"
    committed: set[str] = set()
    found: list[Found] = []
    for run in range(data.draw(st.integers(1, 6))):
        new = [name for name in names if name not in committed]
        size = data.draw(st.integers(1, 3))
        for number in range(0, len(new), size):
            sources = "".join(new[number : number + size])
            died = data.draw(st.sampled_from(["", "", "first put", "last put", "commit"]))
            one = batch(f"{run}.{number}.", sources, len(found), closed=died != "last put")
            found += one[:1] if died == "first put" else one
            if died:
                break
            committed |= set(sources)
    decided = recover(data.draw(st.permutations(found)))
    assert committed <= set(taken(decided))
    assert decided == recover(found)


def test_a_rival_for_another_organization_is_no_stand_in() -> None:
    """The later of two is right where an object was taken for somebody else by mistake."""
    wrong = [
        one._replace(segment=replace(one.segment, organization="globex"))
        for one in batch("a", "xy", 1)
    ]
    assert live(recover([*wrong, *batch("b", "x", 2)])) == ["b1", "b2"]


@st.composite
def lakes(draw: st.DrawFn) -> tuple[list[Found], list[Removal], frozenset[str]]:
    """Batches that may share sources, merges of some, files that are gone, and announcements."""
    batches = [
        batch(f"b{number}", "".join(draw(st.sets(st.sampled_from("uvwxyz"), max_size=2))), number)
        for number in range(draw(st.integers(1, 5)))
    ]
    if draw(st.booleans()):
        batches += [batch(f"c{number}", str(number), 10 + number) for number in range(4)]
    merges: list[list[Found]] = []
    for number in range(draw(st.integers(0, 3))):
        there = [one for some in (*batches, *merges) for one in some]
        parents = draw(st.lists(st.sampled_from(there), min_size=1, max_size=3, unique_by=id))
        merges.append(compacted(f"m{number}", parents, 20 + number, closed=draw(st.booleans())))
    everything = [one for some in (*batches, *merges) for one in some]
    files = [one for one in everything if draw(st.integers(0, 5))]
    removed = draw(st.lists(st.sampled_from(everything), max_size=2, unique_by=id))
    removals = [Removal(tuple(one.segment for one in removed), (), draw(st.booleans()))]
    collected = draw(st.sets(st.sampled_from([one.segment.id for one in everything]), max_size=1))
    return files, removals if removed else [], frozenset(collected)


@given(lakes())
def test_what_is_alone_needs_no_comparison(
    lake: tuple[list[Found], list[Removal], frozenset[str]],
) -> None:
    """The commits that are told apart are those that a comparison of all would find."""
    files, removals, collected = lake
    sieve = Sieve()
    for one in files:
        sieve.add(*one)
    told = sieve.sort(removals, collected)
    alone = [adopt_alone([files[n].segment for n in some]) for some in told.alone]
    rest = recover([files[number] for number in told.entangled], removals, collected)
    whole = recover(files, removals, collected)
    both = (*alone, *rest.adopted)
    assert {one.commit_id: one for one in both} == {one.commit_id: one for one in whole.adopted}
    assert len(both) == len(whole.adopted)
    assert rest[1:] == whole[1:]


def test_most_is_alone() -> None:
    """Whole batches of sources of their own are not compared, and a merge of all that is gone."""
    files = [one for number in range(9) for one in batch(f"b{number}", str(number), number)]
    merged = compacted("m", batch("gone", "g", 1), 10)
    sieve = Sieve()
    for one in (*files, *merged):
        sieve.add(*one)
    told = sieve.sort([], ())
    assert (len(told.alone), len(told.entangled)) == (10, 0)
    sieve.add(*files[0])  # a file that another one says it is
    assert len(sieve.sort([], ()).entangled) == 3
