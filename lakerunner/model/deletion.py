"""Rows that are to be deleted by a condition, and the proof that they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from lakerunner.errors import CatalogVersionError
from lakerunner.model.times import MAX_NS, MIN_NS, isoformat
from lakerunner.printable import printable

if TYPE_CHECKING:
    from lakerunner.model.segment import Segment

DELETIONS, DELETED = "_deletions", "_deleted"
"""Tables of a lake's own: what is to be deleted, and what was. Queries know neither."""

VERSION = 1
"""What this lakerunner understands of `Deletion.version`."""


class Deletion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A deletion that was asked for: rows of one table for which a condition is true.

    It concerns rows whose writer began before it was asked for: whatever had been acknowledged by
    then, and of what was under way what is committed before the deletion is complete.

    Attributes:
        id: Unique.
        table: Whose rows.
        where: The condition, in SQL. A row for which it is NULL stays.
        start_ns: Start of the time range, in nanoseconds since the epoch.
        end_ns: Its end, which is not part of it.
        asked_ns: When it was asked for, by the clock of whoever asked.
        epoch: Where the catalog stood then; see `lakerunner.model.commit`.
        columns: Type of each column that the condition speaks of, as it was then: whatever types
            come later, it is judged by these.
        version: Of how this is to be understood.
    """

    id: str
    table: str
    where: str
    start_ns: int = MIN_NS
    end_ns: int = MAX_NS
    asked_ns: int = 0
    epoch: int = 0
    columns: dict[str, str] = {}
    version: int = VERSION

    def __str__(self) -> str:
        start = f" from {isoformat(self.start_ns)}" if self.start_ns > MIN_NS else ""
        end = f" to {isoformat(self.end_ns)}" if self.end_ns < MAX_NS else ""
        return printable(f"{self.id}: {self.table}{start}{end} where {self.where}")


class Proof(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a commit did for a deletion: some segments were rewritten, or it is complete.

    Attributes:
        deletion: What was asked for.
        commit_id: The commit.
        done_ns: When, by the clock of whoever did it.
        rows: Rows that it removed; of a complete deletion, all that were removed.
        segments: Segments that had such rows and were replaced; of a complete one, how many.
        clean: Ids of segments that were read and have no such rows.
        complete: Whether no live segment has rows of it any more.
    """

    deletion: Deletion
    commit_id: str
    done_ns: int
    rows: int
    segments: int
    clean: tuple[str, ...] = ()
    complete: bool = False

    def __str__(self) -> str:
        if not self.commit_id:
            return printable(f"{self.deletion}; nothing done yet")
        state = "complete" if self.complete else "under way"
        done = f"{self.rows:,} rows of {self.segments:,} segments, {isoformat(self.done_ns)}"
        return printable(f"{self.deletion}; {state}: {done}, commit {self.commit_id}")


def applies(deletion: Deletion, segment: Segment) -> bool:
    """Whether a segment may have rows that a deletion concerns.

    A rewrite that had read the segment before the deletion was committed would undo it, so its
    commit demands that no deletion came meanwhile. Those that it knew are in `Segment.applied`;
    and those that came while it was under way concern it by its oldest rows.
    """
    return (
        deletion.table == segment.table
        and deletion.id not in segment.applied
        and age_of(segment) < deletion.epoch
        and segment.min_timestamp_ns < deletion.end_ns
        and segment.max_timestamp_ns >= deletion.start_ns
    )


def age_of(segment: Segment) -> int:
    """The epoch of the writer that began first of those whose rows a segment has."""
    return segment.oldest or segment.epoch


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(Deletion)
msgspec.json.Decoder(Proof)


S = TypeVar("S", Deletion, Proof)


def statement_of(segment: Segment, kind: type[S]) -> S:
    """What a segment of `DELETIONS` or `DELETED` states.

    Raises:
        CatalogVersionError: A newer lakerunner wrote it, or it is damaged.
    """
    try:
        said = msgspec.json.decode(segment.statement, type=kind)
    except msgspec.MsgspecError as error:
        raise CatalogVersionError(
            f"the deletion in segment {segment.id!r} cannot be understood ({error}): upgrade",
            segment=segment.id,
        ) from error
    deletion = _deletion_of(said)
    if deletion.version > VERSION:
        raise CatalogVersionError(
            f"the deletion {deletion.id!r} was asked for by a newer lakerunner (version "
            f"{deletion.version}, this one knows {VERSION}): to answer without it would show what "
            "was deleted; upgrade",
            segment=segment.id,
        )
    return said


def _deletion_of(said: Deletion | Proof) -> Deletion:
    return said if isinstance(said, Deletion) else said.deletion
