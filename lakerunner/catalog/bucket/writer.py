"""Appending to the log: what the threads of a process commit at the same time, in one object."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, TypeVar

from lakerunner.catalog.bucket.admitting import Admission
from lakerunner.catalog.bucket.log import pause
from lakerunner.catalog.bucket.records import FORMAT_VERSION, Entry
from lakerunner.errors import (
    CatalogError,
    CatalogMismatchError,
    CatalogUnavailableError,
    CommitConflictError,
    CommitUnknownError,
)
from lakerunner.store.probe import check_conditional_puts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.catalog.bucket.follower import Follower
    from lakerunner.catalog.bucket.log import Stored
    from lakerunner.catalog.bucket.state import State
    from lakerunner.model.commit import Commit
    from lakerunner.store.base import ObjectStore

T = TypeVar("T")

_RACES = 30
"""Positions that a writer may lose to others before it gives up."""

_GROUP_WEIGHT = 10_000
"""Segments and sources in one object at most, unless a single commit has more."""


class _Ticket:
    """A commit that waits for its turn, and what became of it."""

    def __init__(self, commit: Commit) -> None:
        self.commit = commit
        self.weight = 1 + len(commit.add) + len(commit.taken) + len(commit.rejected)
        self.outcome: int | Exception | None = None


class _Judged:
    """Changes as they were judged against one state."""

    def __init__(self, state: State) -> None:
        self.admission = Admission(state)
        self.previous = state.delta.entry_id
        self.previous_position = state.delta.entry_position
        self.previous_ns = state.modified_ns
        self.position = self.admission.position
        self.outcomes: list[int | CatalogError] = []

    @property
    def refused(self) -> bool:
        """Whether a conflict was found, which may be over by now."""
        return any(isinstance(outcome, CatalogError) for outcome in self.outcomes)


class Writer:
    """Appends commits and purges. Safe to use from several threads, which form groups.

    Args:
        store: The lake.
        follower: The state to judge by.
        grace_ns: Age that a log entry reaches at least before it is deleted.
    """

    def __init__(self, store: ObjectStore, follower: Follower, grace_ns: int) -> None:
        self._store = store
        self._follower = follower
        self._grace_ns = grace_ns
        self._waiting: list[_Ticket] = []
        self._waiting_lock = threading.Lock()
        self._turn = threading.Lock()

    def commit(self, commit: Commit) -> int:
        """Apply a commit, with whatever waits beside it; returns its sequence.

        Raises:
            CommitConflictError: It was refused.
            CommitUnknownError: It may or may not have been applied.
            CatalogUnavailableError: It was not applied.
        """
        ticket = _Ticket(commit)
        with self._waiting_lock:
            self._waiting.append(ticket)
        with self._turn:
            while ticket.outcome is None:
                self._lead(self._next_group())
        if isinstance(ticket.outcome, Exception):
            raise ticket.outcome
        return ticket.outcome

    def change(self, admit: Callable[[Admission], T]) -> T:
        """Apply what is no commit; returns what `admit` did, the last time it was asked.

        Raises:
            CommitConflictError: `admit` refused.
            CatalogMismatchError: Likewise.
        """
        answers: list[T] = []

        def judge(state: State) -> _Judged:
            judged = _Judged(state)
            answers.clear()
            try:
                answers.append(admit(judged.admission))
            except (CommitConflictError, CatalogMismatchError) as refusal:
                judged.outcomes.append(refusal)
            return judged

        with self._turn:
            for refusal in self._append(judge):
                if isinstance(refusal, Exception):
                    raise refusal
        return answers[0]

    def _next_group(self) -> list[_Ticket]:
        group: list[_Ticket] = []
        weight = 0
        with self._waiting_lock:
            while self._waiting and (not group or weight < _GROUP_WEIGHT):
                ticket = self._waiting.pop(0)
                weight += ticket.weight
                group.append(ticket)
        return group

    def _lead(self, group: Sequence[_Ticket]) -> None:
        """Write a group; each ticket has an outcome afterwards, whatever happens."""

        def judge(state: State) -> _Judged:
            judged = _Judged(state)
            for ticket in group:
                try:
                    judged.outcomes.append(judged.admission.commit(ticket.commit))
                except (CommitConflictError, CatalogMismatchError) as refusal:
                    judged.outcomes.append(refusal)
            return judged

        failure: Exception = CommitUnknownError("the thread that wrote the group was stopped")
        try:
            for ticket, outcome in zip(group, self._append(judge), strict=True):
                ticket.outcome = outcome
        except Exception as error:  # noqa: BLE001 - raised again in the threads of all tickets
            failure = error
        finally:
            for ticket in group:
                ticket.outcome = failure if ticket.outcome is None else ticket.outcome

    def _append(self, judge: Callable[[State], _Judged]) -> Sequence[int | CatalogError]:
        """Judge, and write what was admitted behind the state it was judged by."""
        self._follower.open()
        fresh = False
        for race in range(_RACES):
            judged = self._follower.ask(judge)
            if judged.refused and not fresh:
                # The state may be older than this call: what is missing may be there by now.
                self._follower.refresh()
                fresh = True
                continue
            if not judged.admission.records or self._write(judged):
                return judged.outcomes
            pause(race)
            self._follower.refresh()
            fresh = True
        raise CatalogUnavailableError(
            f"gave up after {_RACES} races with other writers; nothing was changed"
        )

    def _write(self, judged: _Judged) -> bool:
        if judged.position == 1:
            check_conditional_puts(self._store)
        entry = Entry(
            version=FORMAT_VERSION,
            id=uuid.uuid4().hex,
            previous=judged.previous,
            position=judged.position,
            records=tuple(judged.admission.records),
        )
        stored = self._follower.log.append(entry)
        if stored is None:
            return False
        if not self._proven(judged, stored):
            self._follower.restart()
            return False
        self._follower.advance(stored)
        return True

    def _proven(self, judged: _Judged, stored: Stored) -> bool:
        """Whether our position was free because nobody had used it, and not because it was deleted.

        The log is deleted in ascending order, and never its younger half of the grace period: if
        the predecessor is young, or still there, nothing after it was deleted.
        """
        before_ns = judged.previous_ns
        if before_ns is not None and stored.modified_ns - before_ns < self._grace_ns // 2:
            return True
        if judged.position == 1:
            return self._follower.checkpoints.newest(trust_hint=False).position == 0
        return self._follower.log.exists(judged.previous_position)
