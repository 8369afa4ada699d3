"""Appending to the log: what the threads of a process commit at the same time, in one object."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, TypeVar

from lakerunner.catalog.bucket.admitting import Admission
from lakerunner.catalog.bucket.records import FORMAT_VERSION, CommitRecord, Entry
from lakerunner.catalog.bucket.rivals import Attempt, Rivals
from lakerunner.errors import (
    CatalogError,
    CatalogMismatchError,
    CatalogUnavailableError,
    CommitConflictError,
    CommitUnknownError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.store.probe import check_conditional_puts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.catalog.bucket.follower import Follower
    from lakerunner.catalog.bucket.rivals import Handed
    from lakerunner.catalog.bucket.state import State
    from lakerunner.model.commit import Commit
    from lakerunner.store.base import ObjectStore

T = TypeVar("T")

_GROUP_WEIGHT = 10_000
"""Segments and sources in one object at most, unless a single commit has more."""


class _Ticket:
    """A commit that waits for its turn, and what became of it."""

    def __init__(self, commit: Commit) -> None:
        self.commit = commit
        self.weight = 1 + len(commit.add) + len(commit.taken) + len(commit.rejected)
        self.outcome: int | Exception | None = None


class _Judged:
    """Changes as they were judged against one state, one's own and those of others behind them."""

    def __init__(self, state: State) -> None:
        self.admission = Admission(state)
        self.previous = state.delta.entry_id
        self.position = self.admission.position
        self.outcomes: list[int | CatalogError] = []
        self.own = 0

    @property
    def refused(self) -> bool:
        """Whether a conflict was found, which may be over by now."""
        return any(isinstance(outcome, CatalogError) for outcome in self.outcomes)

    def commit(self, commit: Commit) -> int | CatalogError:
        """Judge one commit."""
        try:
            return self.admission.commit(commit)
        except (CommitConflictError, CatalogMismatchError) as refusal:
            return refusal

    def append(self, handed: Sequence[Handed]) -> None:
        """Judge what others handed over; they see for themselves what became of it."""
        self.own = len(self.admission.records)
        for each in handed if self.own else ():
            for commit in each.commits:
                self.commit(commit)


class Writer:
    """Appends commits and purges. Safe to use from several threads, which form groups.

    Args:
        store: The lake.
        follower: The state to judge by.
    """

    def __init__(self, store: ObjectStore, follower: Follower) -> None:
        self._store = store
        self._follower = follower
        self._rivals = Rivals(store)
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
            for refusal in self._append(judge, self._rivals.attempt(())):
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
        commits = [ticket.commit for ticket in group]

        def judge(state: State) -> _Judged:
            judged = _Judged(state)
            judged.outcomes += map(judged.commit, commits)
            return judged

        failure: Exception = CommitUnknownError("the thread that wrote the group was stopped")
        try:
            outcomes = self._append(judge, self._rivals.attempt(commits))
            for ticket, outcome in zip(group, outcomes, strict=True):
                ticket.outcome = outcome
        except Exception as error:  # noqa: BLE001 - raised again in the threads of all tickets
            failure = error
        finally:
            for ticket in group:
                ticket.outcome = failure if ticket.outcome is None else ticket.outcome

    def _append(
        self, judge: Callable[[State], _Judged], attempt: Attempt
    ) -> Sequence[int | CatalogError]:
        """Judge, and write what was admitted behind the state it was judged by."""
        try:
            return self._race(judge, attempt)
        except (StoreError, CatalogUnavailableError) as error:
            if not attempt.handed_over:
                raise
            raise CommitUnknownError(
                f"whether another writer appends the commit is not known: {error}"
            ) from error

    def _race(
        self, judge: Callable[[State], _Judged], attempt: Attempt
    ) -> Sequence[int | CatalogError]:
        self._follower.open()
        fresh = False
        while attempt.goes_on():
            others = attempt.others()
            if others is None or (fresh is False and attempt.lost):
                self._follower.refresh()  # what we handed over may be in by now
                fresh = True

            def judge_all(state: State, others: Sequence[Handed] = tuple(others or ())) -> _Judged:
                judged = judge(state)
                judged.append(others)
                return judged

            judged = self._follower.ask(judge_all)
            if judged.refused and not fresh:
                # The state may be older than this call: what is missing may be there by now.
                self._follower.refresh()
                fresh = True
                continue
            if not judged.own:
                attempt.end()
                return judged.outcomes
            if others is None:
                continue  # it is somebody else's turn
            if self._write(judged, attempt):
                attempt.end(others)
                return judged.outcomes
            attempt.lose()
            fresh = False
        raise CatalogUnavailableError(
            f"gave up after {attempt.lost} races with other writers; nothing was changed"
        )

    def _write(self, judged: _Judged, attempt: Attempt) -> bool:
        # Whoever wrote before may have done so elsewhere: a copied lake has entries, too.
        check_conditional_puts(self._store)
        entry = Entry(
            version=FORMAT_VERSION,
            id=uuid.uuid4().hex,
            previous=judged.previous,
            position=judged.position,
            records=tuple(judged.admission.records),
        )
        with attempt.timed():
            appended = self._follower.log.append(entry)
        if not appended or not self._proven(entry):
            return False
        self._follower.advance(entry)
        return True

    def _proven(self, entry: Entry) -> bool:
        """Whether our position was free because nobody had used it, and not because it was deleted.

        An entry is deleted only when a checkpoint of its position or a later one is there, and the
        newest checkpoint never is. So where there is none, ours is the first of its position. Where
        there is one, somebody was very quick, or we were very slow: the checkpoint tells.

        Raises:
            CommitUnknownError: The store does not answer.
        """
        try:
            behind = self._follower.checkpoints.behind(entry.position - 1)
            if behind.waiting:
                self._rivals.meet()
            if not behind.positions:
                return True
            self._follower.reopen()
            commits = [r.commit.id for r in entry.records if isinstance(r, CommitRecord)]
            known = self._follower.ask(lambda state: state.knows(commits))
            if commits and known:
                return True
        except (StoreUnavailableError, CatalogUnavailableError) as error:
            raise CommitUnknownError(
                f"entry {entry.position} was written, and may be too late: {error}"
            ) from error
        return False
