"""What a writer does about others that write at the same time: who appends, and for whom."""

from __future__ import annotations

import logging
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lakerunner.catalog.bucket.checkpoints import PENDING_PREFIX
from lakerunner.catalog.bucket.records import FORMAT_VERSION, SUFFIX, decode, encode, pause
from lakerunner.errors import CatalogError, CatalogVersionError, ObjectNotFoundError, StoreError
from lakerunner.model.commit import Commit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.store.base import ObjectStore

# Commits that lost a race, handed over to whoever appends next.

_AT_ONCE = 64
_PARALLEL = 16
_LOG = logging.getLogger(__name__)


class _Object(msgspec.Struct, frozen=True):
    version: int
    commits: tuple[Commit, ...]


_OBJECT = msgspec.json.Decoder(_Object)


class Handed(NamedTuple):
    """What one writer handed over; no commits, if the object is damaged."""

    key: str
    commits: tuple[Commit, ...]


class Pending:
    """Commits that anybody may append for their writers.

    A commit that is there twice, or was applied meanwhile, is known by its id and does no harm. So
    an object here can be appended by several, and deleted by anyone: its writer waits until it
    sees the commit in the log, and appends it itself if nobody else does.

    Args:
        store: The lake.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @staticmethod
    def new_key(writer: str) -> str:
        """The key of what a writer hands over now. They are in the order of the writers' clocks."""
        return f"{PENDING_PREFIX}{time.time_ns():020d}-{writer}{SUFFIX}"

    def hand_over(self, key: str, commits: Sequence[Commit]) -> None:
        """Put commits where others find them."""
        data = encode(_Object(FORMAT_VERSION, tuple(commits)))
        self._store.create(key, data)

    def keys(self) -> list[str]:
        """What waits, the oldest first."""
        return [meta.key for meta in self._store.list(PENDING_PREFIX) if meta.key.endswith(SUFFIX)]

    def read(self, keys: Sequence[str]) -> list[Handed]:
        """The first of what waits; without what is gone, and what a newer version handed over."""
        some = list(keys[:_AT_ONCE])
        if len(some) < 2:  # noqa: PLR2004 - one needs no threads
            found = [self._read(key) for key in some]
        else:
            with ThreadPoolExecutor(min(_PARALLEL, len(some))) as threads:
                found = list(threads.map(self._read, some))
        return [handed for handed in found if handed is not None]

    def _read(self, key: str) -> Handed | None:
        try:
            return Handed(key, decode(self._store.get(key).data, _OBJECT, key).commits)
        except (ObjectNotFoundError, CatalogVersionError):
            return None
        except CatalogError as error:
            _LOG.warning("%s; whoever handed it over appends it himself", error)
            return Handed(key, ())

    def forget(self, keys: Sequence[str]) -> None:
        """Delete what was appended, or needs not be; several at a time, for others wait."""
        if len(keys) == 1:
            self._store.delete(keys[0])
        elif keys:
            with ThreadPoolExecutor(min(_PARALLEL, len(keys))) as threads:
                list(threads.map(self._store.delete, keys))


_RACES = 30
"""Positions that a writer may lose to others before it gives up."""

_REMEMBERED_S = 2.0
"""How long a writer that met others expects to meet them again."""

_ROUNDS = 3
"""So many rounds a leader waits for who did not come back, and leaves his objects to him."""

_SHORTEST_S = 0.004
_LONGEST_S = 2.0
_ROUND_PUTS = 6
"""How long a leader takes, in puts: to list what waits, to read it, to append it, to look behind.
Who takes the turn earlier than that makes the leader lose, and both begin again."""

_GATHER_PUTS = 4
"""How long a leader waits for those who came lately, in puts: they look at the log, and put."""


class Rivals:
    """What one process knows of other writers. Used by one thread at a time.

    A writer that meets nobody appends its own commits and asks for nothing. One that lost a race
    lately either leads or follows. A leader, whose entry was the last, looks at what the others
    handed over and appends it with its own. A follower hands its commits over before it tries, and
    waits until it sees them in the log. If nobody leads, the followers do, in the order in which
    they came, one turn after the other. All of it saves races and makes waiting fair; that a commit
    is applied once is decided by its id, and by the create-only put of the entry.

    Args:
        store: The lake.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.pending = Pending(store)
        self.writer = uuid.uuid4().hex
        self.leads = False
        self.put_s = _SHORTEST_S / 2
        self.answered_s = 0.0
        self._until = 0.0
        self._appended: dict[str, int] = {}
        self._listed: frozenset[str] = frozenset()
        self._seen: dict[str, int] = {}
        self._rounds = 0

    @property
    def near(self) -> bool:
        """Whether others write at the same time, as far as we know."""
        return time.monotonic() < self._until

    def meet(self) -> None:
        """Others are there."""
        self._until = time.monotonic() + _REMEMBERED_S

    @property
    def turn_s(self) -> float:
        """How long one has the turn before the next one may take it."""
        return min(max(_ROUND_PUTS * self.put_s, _SHORTEST_S), _LONGEST_S)

    def attempt(self, commits: Sequence[Commit]) -> Attempt:
        """An attempt to append; what is no commit is never handed over."""
        return Attempt(self, commits)

    def fresh(self, listed: Sequence[str]) -> list[str]:
        """Of what waits, what we have not appended."""
        self._listed = frozenset(listed)
        return [key for key in listed if key not in self._appended]

    def missing(self, listed: Sequence[str]) -> bool:
        """Whether somebody who handed over lately has not done so again yet."""
        there = {_writer_of(key) for key in self.fresh(listed)}
        return not there.issuperset(self._seen)

    def append(self, keys: Sequence[str]) -> list[str]:
        """Note what we have appended; returns what still lies there though we did so long ago.

        Whoever handed it over deletes it when he sees it in the log, so the leader need not, for
        whom all others wait. What is left after some rounds belongs to nobody any more.
        """
        self._rounds += 1
        self._seen |= {_writer_of(key): self._rounds for key in keys}
        self._seen = {
            one: last for one, last in self._seen.items() if last > self._rounds - _ROUNDS
        }
        old = {key for key, last in self._appended.items() if last <= self._rounds - _ROUNDS}
        for key in old:
            del self._appended[key]
        self._appended |= dict.fromkeys(keys, self._rounds)
        return sorted(old & self._listed)


def _writer_of(key: str) -> str:
    return key.removesuffix(SUFFIX).rpartition("-")[2]


class Attempt:
    """One attempt to append something, until it is in the log or given up.

    Args:
        rivals: What the process knows of others.
        commits: What may be handed over.

    Attributes:
        lost: Races that were lost.
        handed_over: Whether others may append it for us.
    """

    def __init__(self, rivals: Rivals, commits: Sequence[Commit]) -> None:
        self._rivals = rivals
        self._commits = commits
        self._key = ""
        self._since = 0.0
        self.lost = 0
        self.handed_over = False

    def goes_on(self) -> bool:
        """Whether to try, or to try again."""
        return self.lost < _RACES

    def others(self) -> Sequence[Handed] | None:
        """What to append beside our own; None if it is not our turn, after a pause."""
        rivals = self._rivals
        if not self._commits or not (rivals.near or self.handed_over):
            return ()
        if not self.handed_over and (self.lost > 1 or not (rivals.leads or self.lost)):
            self._hand_over()
        waiting = self._gather() if not self.handed_over else self._wait()
        if waiting is None:
            return None
        found = rivals.pending.read([key for key in rivals.fresh(waiting) if key != self._key])
        if found:
            rivals.meet()
        return found

    def _hand_over(self) -> None:
        self._key = self._rivals.pending.new_key(self._rivals.writer)
        self._since = time.monotonic()
        self.handed_over = True  # even if the reply is lost
        with self.timed():
            self._rivals.pending.hand_over(self._key, self._commits)

    def _gather(self) -> list[str]:
        """For a leader: what waits, after as many as the last time had some time to come."""
        rivals = self._rivals
        pause_s = rivals.turn_s / _ROUND_PUTS
        deadline = time.monotonic() + _GATHER_PUTS * pause_s
        waiting = rivals.pending.keys()
        while rivals.missing(waiting) and time.monotonic() < deadline:
            time.sleep(pause_s)
            waiting = rivals.pending.keys()
        return waiting

    def _wait(self) -> list[str] | None:
        """For a follower: what waits, if the turn has come to us; else None, after a pause."""
        rivals = self._rivals
        turn_s = rivals.turn_s
        waited = time.monotonic() - self._since
        if waited < 2 * turn_s:
            # It takes about as long as the last time; a look too early is a listing in vain.
            time.sleep(min(max(rivals.answered_s * 0.75 - waited, rivals.put_s), turn_s))
            return None
        waiting = rivals.pending.keys()
        before = sum(key < self._key for key in waiting) if self._key in waiting else 0
        if waited < (2 + before) * turn_s:
            time.sleep(turn_s / 2)
            return None
        return waiting

    def lose(self) -> None:
        """Another entry was first."""
        self.lost += 1
        self._rivals.meet()
        if self.handed_over:
            self._since = time.monotonic()  # somebody leads: give him time
            self._rivals.leads = False
        elif not self._commits:
            pause(0)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around a put: how long one takes decides how long others wait."""
        begun = time.monotonic()
        yield
        self._rivals.put_s += (time.monotonic() - begun - self._rivals.put_s) / 4

    def end(self, appended: Sequence[Handed] | None = None) -> None:
        """It is in the log, or refused.

        Args:
            appended: What was appended beside it, if it was we who did.
        """
        rivals = self._rivals
        rivals.leads = appended is not None
        done = rivals.append([handed.key for handed in appended]) if appended is not None else []
        if self.handed_over:
            rivals.meet()
            done.append(self._key)
            if appended is None:
                waited_s = time.monotonic() - self._since
                rivals.answered_s += (waited_s - rivals.answered_s) / 4
        with suppress(StoreError):  # whoever reads it next finds that it is known
            rivals.pending.forget(done)
