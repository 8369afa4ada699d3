"""What every catalog refuses: commits that contradict themselves, and commits that lost a race."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lakerunner.errors import CommitConflictError, ConfigurationError
from lakerunner.model.times import MAX_NS, MIN_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Segment
    from lakerunner.model.source import Source

_NAMED = 3
"""Sources or segments spelled out in a message; `context` always has all of them."""


def check_commit(commit: Commit) -> None:
    """Refuse a commit that could not be right in any state of the catalog.

    Such a commit is a defect of the writer and not a lost race, so it must not look like one.

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
) -> None:
    """Say over what a commit lost its race, if it did.

    Args:
        commit: The commit that was tried.
        taken: Sources it takes that are already taken.
        gone: Segments it removes that are not live.
        known: Segments it adds that the catalog has already.

    Raises:
        CommitConflictError: One of them is not empty. `context` holds `commit`, the `sources` and
            the `segments`, in the commit's order.
    """
    reasons = [
        f"{what} {_named(names)}"
        for what, names in (
            ("already taken:", [source.url for source in taken]),
            ("no longer live:", gone),
            ("already there:", known),
        )
        if names
    ]
    if reasons:
        raise CommitConflictError(
            f"commit {commit.id!r} changed nothing; {'; '.join(reasons)}",
            commit=commit.id,
            sources=tuple(taken),
            segments=(*gone, *known),
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
