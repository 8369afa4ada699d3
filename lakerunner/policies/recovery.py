"""Which segments of a bucket a lost catalog knew, judged by what their footers say.

Decision 016 gives the reasons; the terms are these. A *batch* is the segments of one commit, which
may or may not have happened. It is *closed* if its closing segment is there: then all of it was
put. It is *attested* if a compacted segment speaks of one of its segments: compaction reads live
segments only, so the commit happened.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from lakerunner.limits import ORPHANS_SHARE, ORPHANS_UNUSUAL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from lakerunner.model.segment import Segment, Source


class Found(NamedTuple):
    """A segment file.

    Attributes:
        segment: What its footer says.
        modified_ns: When the store took it, by the store's clock.
    """

    segment: Segment
    modified_ns: int


class Removal(NamedTuple):
    """What somebody announced to remove, and whether it is certain that it happened.

    Attributes:
        removed: Segments that were live when it was announced, as their footers describe them.
        added: Ids of segments that came in their place.
        done: Whether it was acknowledged.
    """

    removed: tuple[Segment, ...]
    added: tuple[str, ...]
    done: bool


class Adopted(NamedTuple):
    """A commit as it is to be made again.

    Attributes:
        commit_id: Its id.
        organization: Whose.
        segments: Those of its segments that are live; none if all were replaced.
        sources: What it took, each source in one commit only.
        replaces: Ids of what its segments stand for.
        missing: Ids of segments that were part of it, and are neither there nor replaced.
    """

    commit_id: str
    organization: str
    segments: tuple[Segment, ...]
    sources: tuple[Source, ...]
    replaces: tuple[str, ...]
    missing: tuple[str, ...]


class Recovery(NamedTuple):
    """What to make of a bucket.

    Attributes:
        adopted: Commits to be made again, in the order in which they were closed.
        replaced: Segments that others stand for.
        unfinished: Segments that never were part of a whole batch.
        superseded: Segments of batches whose sources, or parents, another batch has.
        uncovered: Sources of segments that are left out, and in no commit that is adopted.
    """

    adopted: tuple[Adopted, ...]
    replaced: tuple[Segment, ...]
    unfinished: tuple[Segment, ...]
    superseded: tuple[Segment, ...]
    uncovered: tuple[Source, ...]


class _Batch(NamedTuple):
    id: str
    members: tuple[Segment, ...]
    ids: frozenset[str]
    closed_ns: int
    attested: bool
    missing: frozenset[str]

    @property
    def organization(self) -> str:
        return self.members[0].organization

    @property
    def tables(self) -> frozenset[tuple[str, str]]:
        return frozenset((one.organization, one.table) for one in self.members)

    @property
    def compacted(self) -> bool:
        return any(one.replaces for one in self.members)

    @property
    def first_hand(self) -> bool:
        """Whether its rows came from objects, and not from other segments."""
        return not self.compacted and all(one.kind in {"", "ingest"} for one in self.members)

    @property
    def rewritten(self) -> bool:
        """Whether rows of what it replaces may be missing from it."""
        return any(one.kind == "rewrite" for one in self.members)

    @property
    def sources(self) -> frozenset[Source]:
        return _sources(self.members)

    @property
    def parents(self) -> frozenset[str]:
        return frozenset(name for one in self.members for name in one.parents)

    @property
    def ancestors(self) -> frozenset[str]:
        return frozenset(name for one in self.members for name in one.replaces)


K = TypeVar("K")


def recover(
    found: Iterable[Found],
    removals: Sequence[Removal] = (),
    collected: AbstractSet[str] = frozenset(),
) -> Recovery:
    """Decide which commits happened.

    No source is in two of the commits, and no segment is live beside what replaced it.

    Args:
        found: Every segment file that can be read, of all organizations.
        removals: What was announced. Only what is live is removed, so each proves that the commits
            of what it names happened. What was acknowledged stays removed, its sources stay taken,
            and what came in its place is adopted. What was not is kept where it is still there.
        collected: Ids of files that somebody may be about to delete, because no commit named them.

    Example:
        >>> recover([])
        Recovery(adopted=(), replaced=(), unfinished=(), superseded=(), uncovered=())
    """
    everything = sorted(found, key=lambda one: (one.modified_ns, one.segment.id))
    files = [one for one in everything if one.segment.id not in collected]
    present = {one.segment.id for one in files}
    ghosts = {
        one.id: Found(one, one.created_ns)
        for removal in removals
        for one in removal.removed
        if one.id not in present
    }
    ended = {one.id for removal in removals if removal.done for one in removal.removed}
    settled = {name for removal in removals if removal.done for name in removal.added}
    named = {one.id for removal in removals for one in removal.removed}
    whole = _whole_batches([*ghosts.values(), *files], named)
    fresh = _ingested([one for one in whole if one.first_hand], _settled(whole))
    certain = [one for one in whole if not one.first_hand and one.ids & settled]
    derived = [
        one
        for one in whole
        if one.compacted and not one.ids & settled and _possible(one, present, ended)
    ]
    merged = [*certain, *_compacted(derived, present)]
    gone = {name for one in merged for name in one.ancestors} | ended | ghosts.keys()
    adopted = _adopt((*fresh, *merged), gone)
    live = {one.id for batch in adopted for one in batch.segments}
    rest = [one.segment for one in everything if one.segment.id not in live]
    left = [one for one in rest if one.id not in gone]
    in_whole = {one.id for batch in whole for one in batch.members}
    return Recovery(
        adopted=tuple(adopted),
        replaced=tuple(one for one in rest if one.id in gone),
        unfinished=tuple(one for one in left if one.id not in in_whole),
        superseded=tuple(one for one in left if one.id in in_whole),
        uncovered=tuple(sorted(_sources(left) - {s for one in adopted for s in one.sources})),
    )


def adopt_alone(segments: Sequence[Segment]) -> Adopted:
    """The commit of a batch that is whole, and with which no other has anything in common."""
    first = segments[0]
    return Adopted(
        commit_id=first.commit_id,
        organization=first.organization,
        segments=tuple(segments),
        sources=tuple(sorted(_sources(segments))),
        replaces=tuple(sorted({name for one in segments for name in one.replaces})),
        missing=(),
    )


def _possible(batch: _Batch, present: AbstractSet[str], ended: AbstractSet[str]) -> bool:
    """Whether a batch that replaces others, and that nobody acknowledged, may have happened.

    Not if another removal of the same segments was acknowledged. A rewrite that leaves rows out
    counts only if what it was made of is gone; a merge has the same rows either way.
    """
    if batch.parents & ended:
        return False
    return not (batch.rewritten and batch.parents <= present)


def _adopt(batches: Iterable[_Batch], gone: AbstractSet[str]) -> list[Adopted]:
    adopted: list[Adopted] = []
    claimed: set[Source] = set()
    for batch in sorted(batches, key=lambda one: (one.compacted, one.closed_ns, one.id)):
        one = Adopted(
            commit_id=batch.id,
            organization=batch.organization,
            segments=tuple(each for each in batch.members if each.id not in gone),
            sources=tuple(sorted(batch.sources - claimed)),
            replaces=tuple(sorted(batch.ancestors)),
            missing=tuple(sorted(batch.missing.difference(gone))),
        )
        if one.segments or one.sources:
            adopted.append(one)
            claimed |= batch.sources
    return adopted


def _sources(segments: Iterable[Segment]) -> frozenset[Source]:
    return frozenset(source for one in segments for source in one.sources)


def _whole_batches(found: Sequence[Found], named: AbstractSet[str]) -> list[_Batch]:
    """Batches that are closed or attested; those that have one of the named segments are."""
    attested = set(named)
    grouped: dict[str, list[Found]] = {}
    for one in found:
        grouped.setdefault(one.segment.commit_id, []).append(one)
        attested.update(one.segment.replaces, one.segment.attests)
    batches = []
    for commit_id, group in grouped.items():
        closing = [one for one in group if one.segment.siblings]
        # Where the closing segment was compacted away, what replaced it attests the others.
        ids = frozenset(
            closing[-1].segment.siblings
            if closing
            else (one.segment.id for one in group if one.segment.id in attested)
        )
        members = [one for one in group if one.segment.id in ids]
        if members:
            batches.append(
                _Batch(
                    commit_id,
                    tuple(one.segment for one in members),
                    ids,
                    max(one.modified_ns for one in members),
                    not ids.isdisjoint(attested),
                    ids - {one.segment.id for one in members},
                )
            )
    return batches


def _settled(whole: Sequence[_Batch]) -> frozenset[Source]:
    """Sources that certainly were taken: those of attested batches and of compacted segments."""
    certain = [one.sources for one in whole if one.attested or one.compacted]
    return frozenset().union(*certain)


def _ingested(batches: Sequence[_Batch], settled: frozenset[Source]) -> list[_Batch]:
    """Of batches that claim the same source, those that are adopted."""
    adopted = [one for one in batches if one.attested]
    open_ = [one for one in batches if not one.attested and one.sources.isdisjoint(settled)]
    for rivals in _connected(open_, lambda one: one.sources):
        # A batch that lacks a segment stands behind all others: it may be half collected.
        order = sorted(rivals, key=lambda one: (not one.missing, one.closed_ns, one.id))
        latest, earliest = _pick(reversed(order)), _pick(order)
        # All of it and something beside, made into the same tables.
        more = _covered(earliest) > _covered(latest) and len({one.tables for one in rivals}) == 1
        adopted += earliest if more and not any(one.missing for one in earliest) else latest
    return adopted


def _pick(batches: Iterable[_Batch]) -> list[_Batch]:
    """Go through batches and keep each that shares no source with one that was kept."""
    kept: list[_Batch] = []
    covered: set[Source] = set()
    for batch in batches:
        if batch.sources.isdisjoint(covered):
            kept.append(batch)
            covered |= batch.sources
    return kept


def _covered(batches: Iterable[_Batch]) -> frozenset[Source]:
    return frozenset(source for one in batches for source in one.sources)


def _compacted(batches: Sequence[_Batch], present: AbstractSet[str]) -> list[_Batch]:
    """Of compactions that replace the same segment, those that are adopted."""
    adopted = [one for one in batches if one.attested]
    # Whoever stands for a segment at one remove read what had replaced it. If that was not this
    # batch, which nobody attests, it was another one.
    spoken_for = {name for one in batches for name in one.ancestors - one.parents}
    spoken_for.update(name for one in adopted for name in one.parents)
    rivals = [one for one in batches if not one.attested and one.parents.isdisjoint(spoken_for)]
    # What is closed and lacks a segment is of use only if its parents are gone.
    rivals = [one for one in rivals if not (one.missing and one.parents <= present)]
    for group in _connected(rivals, lambda one: one.parents):
        adopted += _winners(group, present)
    return adopted


def _winners(rivals: Sequence[_Batch], present: AbstractSet[str]) -> Iterator[_Batch]:
    """Of compactions that share parents, some that share none.

    A parent that is gone was purged, so a compaction of it happened: this one, if there is only
    one. Where all parents are there, so are their rows, and any choice answers alike.
    """
    while rivals:
        claims = Counter(name for one in rivals for name in one.parents - present)
        chosen = max(
            rivals,
            key=lambda one: (any(claims[name] == 1 for name in one.parents), one.closed_ns, one.id),
        )
        yield chosen
        parents = chosen.parents
        rivals = [one for one in rivals if one.parents.isdisjoint(parents)]


def _connected(
    batches: Sequence[_Batch], keys: Callable[[_Batch], Iterable[K]]
) -> list[list[_Batch]]:
    """Groups of batches that share keys, directly or through others."""
    parent = list(range(len(batches)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[K, int] = {}
    for index, batch in enumerate(batches):
        for key in keys(batch):
            parent[root(index)] = root(first.setdefault(key, index))
    groups: dict[int, list[_Batch]] = {}
    for index, batch in enumerate(batches):
        groups.setdefault(root(index), []).append(batch)
    return list(groups.values())


# Which objects of a lake nothing names any more.


class Written(Protocol):
    """An object as far as this choice cares."""

    @property
    def key(self) -> str:
        """Its key, relative to the lake."""

    @property
    def modified_ns(self) -> int:
        """When it was written, in nanoseconds since the epoch."""


def unusual(found: int, files: int) -> bool:
    """Whether a collection would take so much of a lake that something else must be wrong.

    Example:
        >>> unusual(3, 100), unusual(80, 100), unusual(9, 9), unusual(2, 3)
        (False, True, True, False)
    """
    return found == files > 0 or (found >= ORPHANS_UNUSUAL and found > ORPHANS_SHARE * files)


def orphans(
    objects: Iterable[Written], named: Collection[str], *, now_ns: int, grace_ns: int
) -> Sequence[str]:
    """Keys of objects that no commit names and that are too old for one to be on its way.

    Args:
        objects: What lies in the lake.
        named: Keys that a commit names, of live and of removed segments.
        now_ns: The present.
        grace_ns: Age below which an object is left alone.

    Example:
        >>> from types import SimpleNamespace
        >>> written = {"a": 0, "b": 90}
        >>> objects = [SimpleNamespace(key=key, modified_ns=at) for key, at in written.items()]
        >>> orphans(objects, {"c"}, now_ns=100, grace_ns=50)
        ['a']
    """
    return [
        item.key
        for item in objects
        if item.key not in named and item.modified_ns <= now_ns - grace_ns
    ]
