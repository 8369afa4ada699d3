"""Which commits a recovery can make again without comparing them with any other.

To compare takes the descriptions of all that is compared at once. Of most commits every file is
there, no other speaks of them, and nobody else has their sources or stands for the same segments:
they happened, whatever becomes of the others. To tell these takes some hundred bytes a file.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    import numpy.typing as npt

    from lakerunner.model.segment import Segment
    from lakerunner.policies.recovery import Removal

    Hashes = npt.NDArray[np.int64]


class Sorted(NamedTuple):
    """Files by the number in which they were added.

    Attributes:
        alone: Of each commit that nothing has to be compared with, its files; commits are in the
            order in which their last file was put.
        entangled: All other files.
    """

    alone: Sequence[Sequence[int]]
    entangled: Sequence[int]


class _Pairs:
    """Things, each with the commit that speaks of it, as hashes."""

    def __init__(self) -> None:
        self._things, self._commits = array("q"), array("q")

    def add(self, things: Iterable[Hashable], commit: int) -> None:
        for thing in things:
            self._things.append(hash(thing))
            self._commits.append(commit)

    @property
    def things(self) -> Hashes:
        return np.frombuffer(self._things, np.int64)

    @property
    def commits(self) -> Hashes:
        return np.frombuffer(self._commits, np.int64)

    def shared(self) -> Hashes:
        """Commits that speak of something of which another one speaks."""
        order = np.lexsort((self.commits, self.things))
        things, commits = self.things[order], self.commits[order]
        differs = (things[1:] == things[:-1]) & (commits[1:] != commits[:-1])
        return np.concatenate([commits[1:][differs], commits[:-1][differs]])

    def of(self, things: Hashes) -> Hashes:
        """Commits that speak of one of these things."""
        return self.commits[np.isin(self.things, things)]


class Sieve:
    """Takes what footers say, one after the other, and keeps little of it.

    Two names with one hash can only make commits look entangled that are not.

    Example:
        >>> Sieve().sort([], frozenset())
        Sorted(alone=(), entangled=())
    """

    def __init__(self) -> None:
        self._files = _Pairs()  # each file, in the order in which they came
        self._siblings = _Pairs()
        self._sources = _Pairs()
        self._replaced = _Pairs()
        self._attested = _Pairs()
        self._compacted = array("b")
        self._modified = array("q")

    def __len__(self) -> int:
        return len(self._modified)

    def add(self, segment: Segment, modified_ns: int) -> None:
        """Note a file."""
        commit = hash(segment.commit_id)
        self._files.add((segment.id,), commit)
        self._siblings.add(segment.siblings, commit)
        self._sources.add(segment.sources, commit)
        self._replaced.add({*segment.replaces, *segment.parents}, commit)
        self._attested.add(segment.attests, commit)
        self._compacted.append(bool(segment.replaces or segment.kind not in {"", "ingest"}))
        self._modified.append(modified_ns)

    def sort(self, removals: Sequence[Removal], collected: Iterable[str]) -> Sorted:
        """Tell commits apart, when all files were noted.

        Args:
            removals: What was announced.
            collected: Ids of files that somebody may be about to delete.
        """
        if not len(self):
            return Sorted((), ())
        gone = [one for removal in removals for one in removal.removed]
        spoken = [one.id for one in gone]
        spoken += [name for removal in removals for name in removal.added]
        spoken += [name for one in gone for name in (*one.replaces, *one.siblings, *one.attests)]
        mentioned = _hashes([*spoken, *collected])
        promised = _hashes(source for one in gone for source in one.sources)
        commits = self._files.commits
        compacted = np.frombuffer(self._compacted, np.int8).astype(bool)
        bad = [
            self._not_whole(),
            self._files.of(mentioned),
            self._files.of(self._attested.things),
            self._files.of(self._replaced.things),
            self._attested.of(self._files.things),
            self._replaced.of(self._files.things),
            self._replaced.of(mentioned),
            self._replaced.shared(),
            self._sources.of(promised),
            self._sources.shared(),
            # What is neither as it was ingested nor stands for others is compared, too.
            commits[compacted & ~np.isin(commits, self._replaced.commits)],
            _hashes(one.commit_id for one in gone),
        ]
        entangled = np.isin(commits, np.unique(np.concatenate(bad)))
        return Sorted(self._grouped(~entangled), tuple(np.flatnonzero(entangled).tolist()))

    def replaced(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids for which a file stands, and perhaps a few others."""
        found = np.isin(_hashes(ids), self._replaced.things)
        return {name for name, there in zip(ids, found.tolist(), strict=True) if there}

    def _not_whole(self) -> Hashes:
        """Commits of which a file is not there, or not the one that says which there are."""
        names, places = np.unique(self._files.commits, return_inverse=True)
        said = np.searchsorted(names, self._siblings.commits)
        there, wanted = (np.zeros((len(names), 2), np.uint64) for _ in range(2))
        for sums, where, things in (
            (there, places, self._files.things),
            (wanted, said, self._siblings.things),
        ):
            np.add.at(sums[:, 0], where, np.uint64(1))
            np.add.at(sums[:, 1], where, things.view(np.uint64))
        missing: Hashes = names[(there != wanted).any(axis=1)]
        return missing

    def _grouped(self, alone: npt.NDArray[np.bool_]) -> Sequence[Sequence[int]]:
        files = np.flatnonzero(alone)
        if not len(files):
            return ()
        modified = np.frombuffer(self._modified, np.int64)[files]
        _, places = np.unique(self._files.commits[files], return_inverse=True)
        closed = np.full(places.max() + 1, np.iinfo(np.int64).min)
        np.maximum.at(closed, places, modified)
        order = np.lexsort((files, places, closed[places]))
        ends = np.flatnonzero(np.diff(places[order])) + 1
        return [group.tolist() for group in np.split(files[order], ends)]


def _hashes(names: Iterable[Hashable]) -> Hashes:
    return np.fromiter((hash(name) for name in names), np.int64)
