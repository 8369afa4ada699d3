"""What every catalog refuses: commits that contradict themselves, and commits that lost a race."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from lakerunner.errors import (
    CatalogMismatchError,
    CommitConflictError,
    ConfigurationError,
    SnapshotExpiredError,
)
from lakerunner.model.commit import epoch_of, incarnation_of
from lakerunner.model.segment import SourceState, decode_segment
from lakerunner.model.times import MAX_NS, MIN_NS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from lakerunner.model.commit import Commit, Head, Unchanged
    from lakerunner.model.segment import Segment, Source

_NAMED = 3
"""Sources or segments spelled out in a message; `context` always has all of them."""


def check_commit(commit: Commit) -> Commit:
    """Refuse a commit that could not be right in any state of the catalog.

    Such a commit is a defect of the writer and not a lost race, so it must not look like one.

    Returns:
        The commit as catalogs keep it: its segments do not list their sources. Of these `taken`
        speaks, once; hundreds in each segment would be read with every plan. Files list them.

    Raises:
        ConfigurationError: A segment belongs to another organization than the commit, or its
            times are impossible; or a segment or a taken source is listed twice.

    Example:
        >>> from lakerunner.model.commit import Commit
        >>> check_commit(Commit("c1", "acme", 0, remove=("s1", "s1")))
        Traceback (most recent call last):
        ...
        lakerunner.errors.ConfigurationError: commit 'c1' lists segment 's1' twice
    """
    for segment in commit.add:
        _check_segment(commit, segment)
    ids = Counter([segment.id for segment in commit.add])
    ids.update(commit.remove)
    if twice := [segment_id for segment_id, times in ids.items() if times > 1]:
        raise ConfigurationError(
            f"commit {commit.id!r} lists segment {twice[0]!r} twice", commit=commit.id
        )
    sources = Counter([taken.source for taken in commit.taken])
    if again := [source for source, times in sources.items() if times > 1]:
        raise ConfigurationError(
            f"commit {commit.id!r} takes source {again[0].url!r} twice", commit=commit.id
        )
    if not any(segment.sources for segment in commit.add):
        return commit
    return replace(commit, add=tuple(replace(segment, sources=()) for segment in commit.add))


def _check_segment(commit: Commit, segment: Segment) -> None:
    if segment.organization != commit.organization:
        raise ConfigurationError(
            f"segment {segment.id!r} is of {segment.organization!r}, but its commit changes tables "
            f"of {commit.organization!r}",
            commit=commit.id,
            segment=segment.id,
        )
    if not MIN_NS <= segment.min_timestamp_ns <= segment.max_timestamp_ns <= MAX_NS:
        raise ConfigurationError(
            f"segment {segment.id!r} spans {segment.min_timestamp_ns} to "
            f"{segment.max_timestamp_ns}, which is no range of times",
            commit=commit.id,
            segment=segment.id,
        )


def refuse_conflicts(
    commit: Commit,
    *,
    taken: Sequence[Source] = (),
    gone: Sequence[str] = (),
    known: Sequence[str] = (),
    condemned: Sequence[str] = (),
    late: Sequence[str] = (),
    changed: Sequence[Unchanged] = (),
) -> None:
    """Say over what a commit lost its race, if it did.

    Args:
        commit: The commit that was tried.
        taken: Sources it takes that are already taken.
        gone: Segments it removes, or requires to be live, that are not.
        known: Segments it adds that the catalog has already.
        condemned: Segments it adds that are condemned.
        late: Segments it adds with an epoch below the floor.
        changed: What it requires to be unchanged, and is not.

    Raises:
        CommitConflictError: One of them is not empty. `context` holds `commit`, the `sources`, the
            `segments` and the `tables`, in the commit's order.
    """
    reasons = [
        f"{what} {_named(names)}"
        for what, names in (
            ("already taken:", [source.url for source in taken]),
            ("no longer live:", gone),
            ("already there:", known),
            ("given up, their files may be deleted:", condemned),
            ("so old that their files may be deleted:", late),
            ("changed meanwhile:", [one.table for one in changed]),
        )
        if names
    ]
    if reasons:
        raise CommitConflictError(
            f"commit {commit.id!r} changed nothing; {'; '.join(reasons)}",
            commit=commit.id,
            sources=tuple(taken),
            segments=tuple(dict.fromkeys([*gone, *known, *condemned, *late])),
            tables=tuple(one.table for one in changed),
        )


class SegmentRow(NamedTuple):
    """What a database says of a segment: whether it may be added, removed or purged.

    Attributes:
        id: Its id.
        removed: The commit that removed it, if any did.
        payload: Its description.
    """

    id: str
    removed: int | None
    payload: bytes

    @property
    def live(self) -> bool:
        """Whether it is part of the current state."""
        return self.removed is None


def segments_to_remove(
    commit: Commit,
    *,
    head: Head,
    states: Mapping[Source, SourceState],
    rows: Mapping[str, SegmentRow],
    condemned: AbstractSet[str],
    changed: Sequence[Unchanged],
) -> list[Segment]:
    """The segments that a commit removes, if it may be applied.

    Args:
        commit: What is to be applied.
        head: Where the catalog stands.
        states: What the catalog knows of its sources.
        rows: What the catalog has of the segments that it names.
        condemned: Of the segments that it adds, those that are condemned.
        changed: What it requires to be unchanged, and is not.

    Raises:
        CommitConflictError: As `refuse_conflicts` says.
    """
    live = {
        row.id: segment
        for row in rows.values()
        if row.live and (segment := decode_segment(row.payload)).organization == commit.organization
    }
    added = [segment.id for segment in commit.add]
    taken = [one.source for one in commit.taken]
    refuse_conflicts(
        commit,
        taken=[source for source in taken if states.get(source) is SourceState.TAKEN],
        gone=[name for name in (*commit.remove, *commit.require_live) if name not in live],
        known=[name for name in added if name in rows],
        condemned=[name for name in added if name in condemned],
        late=late_segments(commit, head),
        changed=changed,
    )
    return [live[name] for name in commit.remove]


def refuse_strangers(commit: Commit, head: Head) -> None:
    """Refuse what was not begun in this incarnation of the lake.

    Raises:
        CatalogMismatchError: A segment was written for another one, or the commit makes something
            again on behalf of a recovery that is not the last one.
    """
    epochs = () if commit.adopts else (epoch_of(segment.id) for segment in commit.add)
    found = {incarnation_of(epoch) for epoch in epochs if epoch is not None}
    if commit.adopts:
        found = {commit.adopts}
    if found - {head.incarnation}:
        raise CatalogMismatchError(
            f"commit {commit.id!r} was begun in incarnation {min(found)} of the lake, and the "
            f"catalog is of {head.incarnation}: the lake was recovered meanwhile, or the catalog "
            "lost; nothing was changed, begin again",
            commit=commit.id,
        )


def refuse_unfinished(head: Head, adopts: int = 0) -> None:
    """Refuse everybody but the recovery that is under way.

    Raises:
        CatalogMismatchError: The catalog does not hold all of its lake yet.
    """
    if not head.whole and adopts != head.incarnation:
        raise CatalogMismatchError(
            f"the catalog of lake {head.lake} is being recovered, or its recovery broke off; run "
            "`recover` with merge=True, and try again afterwards"
        )


def late_segments(commit: Commit, head: Head) -> list[str]:
    """Segments of a commit with an epoch below the floor."""
    if commit.adopts:
        return []
    epochs = ((segment.id, epoch_of(segment.id)) for segment in commit.add)
    return [name for name, epoch in epochs if epoch is not None and epoch < head.floor]


def condemnable(incarnation: int, head: Head) -> None:
    """Refuse to condemn for somebody who looked in another incarnation.

    Raises:
        CatalogMismatchError: The catalog is of another one, or is being recovered.
    """
    refuse_unfinished(head)
    if incarnation != head.incarnation:
        raise CatalogMismatchError(
            f"nothing was condemned: that was planned in incarnation {incarnation} of the lake, "
            f"and the catalog is of {head.incarnation}",
        )


def settled(head: Head, lake: str, incarnation: int) -> None:
    """Refuse to become the catalog of another lake, or of an earlier incarnation.

    Raises:
        CatalogMismatchError: It is that of another lake, or of a later incarnation.
    """
    if head.lake not in {"", lake} or incarnation < head.incarnation:
        raise CatalogMismatchError(
            f"this is the catalog of incarnation {head.incarnation} of lake {head.lake!r}, and "
            f"cannot become that of incarnation {incarnation} of {lake!r}"
        )


def require_readable(sequence: int | None, head_purged: int) -> None:
    """Refuse to show a state from which purged segments may be missing.

    Raises:
        SnapshotExpiredError: It lies before a removal that was forgotten.
    """
    if sequence is not None and sequence < head_purged:
        raise SnapshotExpiredError(
            f"the state after commit {sequence} cannot be read any more: segments that were "
            f"removed by commit {head_purged} or before are deleted; ask for a later one",
            sequence=sequence,
            oldest=head_purged,
        )


def refuse_live(live: Sequence[str]) -> None:
    """Refuse to purge segments that are part of the current state.

    Raises:
        CommitConflictError: There are any; `context["segments"]` holds them.
    """
    if live:
        raise CommitConflictError(
            f"nothing was purged; still live: {_named(live)}", segments=tuple(live)
        )


def _named(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
