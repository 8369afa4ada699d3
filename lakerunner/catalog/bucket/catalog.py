"""The catalog in the lake's own bucket."""

from __future__ import annotations

import logging
import threading
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from lakerunner.catalog.admission import check_commit, require_readable
from lakerunner.catalog.base import ALL_TIME, PAGE, Catalog, Place
from lakerunner.catalog.bucket.checkpoints import collect_garbage
from lakerunner.catalog.bucket.claims import Kind, segment_digest
from lakerunner.catalog.bucket.delta import Delta
from lakerunner.catalog.bucket.follower import Follower
from lakerunner.catalog.bucket.parts import Checkpointer
from lakerunner.catalog.bucket.records import PREFIX, DamagedCheckpointError, translated
from lakerunner.catalog.bucket.writer import Writer
from lakerunner.catalog.leases import Leases
from lakerunner.catalog.ledger import source_digest
from lakerunner.errors import CatalogError, ObjectExistsError, ObjectNotFoundError, StoreError
from lakerunner.limits import CATALOG_GRACE_NS
from lakerunner.model.times import MAX_NS, MIN_NS, NANOS
from lakerunner.store import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.bucket.checkpoints import Manifest
    from lakerunner.catalog.bucket.delta import TableKey
    from lakerunner.catalog.bucket.state import State
    from lakerunner.model.commit import Commit, Head, Snapshot
    from lakerunner.model.segment import Rejection, Segment, Source, SourceState
    from lakerunner.model.times import TimeRange
    from lakerunner.store import ObjectStore

# Leases for work as create-only objects, by the clock of the store.

_PREFIX = f"{PREFIX}leases/"
_CLOCK = f"{PREFIX}clock"


class _Held(msgspec.Struct, frozen=True):
    owner: str
    seconds: float


_HELD = msgspec.json.Decoder(_Held)


class _Last(NamedTuple):
    """The newest object of a piece of work: who has it, and until when by the store's clock."""

    number: int
    owner: str
    expires_ns: float


class BucketLeases(Leases):
    """Leases among all who use a bucket.

    Each piece of work has numbered objects, and whoever creates the next number has it: to take, to
    renew and to release are a create-only put each, and a look whether it came too late. The time
    of the object is when it was put.

    Args:
        store: The lake.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def take(
        self, kind: str, keys: Sequence[str], owner: str, seconds: float, *, limit: int = 1
    ) -> list[str]:
        """Create the next number of what nobody has."""
        taken: list[str] = []
        with translated(self._store.url):
            now_ns = self._store.put(_CLOCK, b"").modified_ns if keys else 0
            for key in dict.fromkeys(keys):
                if len(taken) == limit:
                    break
                last = self._last(kind, key)
                free = last is None or last.expires_ns <= now_ns
                if free and self._put(kind, key, last, _Held(owner, seconds)):
                    taken.append(key)
        return taken

    def renew(self, kind: str, keys: Sequence[str], owner: str, seconds: float) -> list[str]:
        """Create the next number of what the owner has."""
        kept: list[str] = []
        with translated(self._store.url):
            for key in dict.fromkeys(keys):
                last = self._last(kind, key)
                own = last is not None and last.owner == owner
                if own and self._put(kind, key, last, _Held(owner, seconds)):
                    kept.append(key)
        return kept

    def release(self, kind: str, keys: Sequence[str], owner: str) -> None:
        """Create a number that nobody has."""
        with translated(self._store.url):
            for key in dict.fromkeys(keys):
                last = self._last(kind, key)
                if last is not None and last.owner == owner:
                    self._put(kind, key, last, _Held("", 0))

    def _last(self, kind: str, key: str) -> _Last | None:
        prefix = _place(kind, key)
        names = [meta.key for meta in self._store.list(prefix)]
        for name in reversed(names):
            try:
                found = self._store.get(name)
            except ObjectNotFoundError:
                continue  # a newer one is there by now; to create its number will fail
            held = _HELD.decode(found.data)
            ends_ns = found.meta.modified_ns + held.seconds * NANOS
            return _Last(int(name.removeprefix(prefix)), held.owner, ends_ns)
        return None

    def _put(self, kind: str, key: str, last: _Last | None, held: _Held) -> bool:
        prefix = _place(kind, key)
        number = last.number + 1 if last else 0
        try:
            self._store.create(f"{prefix}{number:020d}", msgspec.json.encode(held))
        except ObjectExistsError:
            return False
        # The number may have been free because it was used and deleted since we looked. Then a
        # later one is there: each is deleted after the next one was put.
        if next(iter(self._store.list(prefix, start_after=f"{prefix}{number:020d}")), None):
            self._store.delete(f"{prefix}{number:020d}")
            return False
        if last is not None:
            self._store.delete(f"{prefix}{last.number:020d}")
        return True


def _place(kind: str, key: str) -> str:
    # A digest: the key may be longer than a key of an object.
    return f"{_PREFIX}{quote(kind, safe='')}/{blake2b(key.encode(), digest_size=16).hexdigest()}/"


CHECKPOINT_EVERY = 100
"""Positions of the log between two checkpoints. Rarer ones make opening a lake slower."""

_LOG = logging.getLogger(__name__)


class BucketCatalog(Catalog):
    """A catalog kept in an object store by create-only puts, beside the segments of the lake.

    Any number of processes on any machines may read and write it at once; there is no lock and no
    server. Threads of one process that commit at the same time share one object of the log. A
    question costs one listing, and one read for each object that others have written since; the
    first one reads the newest checkpoint as well. A commit costs one put, if nobody else wrote
    meanwhile. It can be pickled if the store can. See decision 013 for how it works.

    Args:
        store: The lake. It must refuse a create-only put of a key that exists, which is tried out
            before the very first commit. `close` leaves it open.
        checkpoint_every: Positions of the log between two checkpoints.
        grace_ns: Age, in nanoseconds and by the clock of the store, below which nothing of the
            catalog's own is deleted. A courtesy: who reads for longer has to begin again.

    Example:
        >>> from lakerunner.model.commit import Commit
        >>> catalog = BucketCatalog(open_store("memory://doc/bucket"))
        >>> catalog.commit(Commit("c1", "acme", committed_ns=0))
        1
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        checkpoint_every: int = CHECKPOINT_EVERY,
        grace_ns: int = CATALOG_GRACE_NS,
    ) -> None:
        self.store = store
        self.url = f"bucket+{store.url}"
        self._interval = checkpoint_every
        self._grace_ns = grace_ns
        self._follower = Follower(store, checkpoint_every)
        self._writer = Writer(store, self._follower)
        self._checkpointing = threading.Lock()

    def commit(self, commit: Commit) -> int:
        """Apply a commit: durable, and visible to all, as soon as its object is created."""
        commit = check_commit(commit)
        with translated(self.url):
            sequence = self._writer.commit(commit)
            self._checkpoint_if_due(sequence)
        return sequence

    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Find segments in sorted arrays; only their own entries are decoded."""
        key = organization, table
        with translated(self.url):
            self._follower.refresh()
            return self._follower.ask(lambda state: _segments(state, key, time_range, sequence))

    def page(
        self,
        organization: str,
        table: str,
        *,
        after: Place | None = None,
        limit: int = PAGE,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Take the next ones from each part."""
        key = organization, table
        with translated(self.url):
            self._follower.refresh()
            return self._follower.ask(lambda state: _page(state, key, after, limit, sequence))

    def known(self, segment_ids: Sequence[str]) -> set[str]:
        """Look ids up by their digests."""
        digests = {segment_id: segment_digest(segment_id) for segment_id in segment_ids}
        with translated(self.url):
            self._follower.refresh()
            claims = self._follower.ask(lambda state: state.claims(list(digests.values())))
        return {
            segment_id
            for segment_id, digest in digests.items()
            if digest in claims and claims[digest].kind in {Kind.LIVE, Kind.REMOVED}
        }

    def tables(self, *, ever: bool = False) -> Sequence[tuple[str, str]]:
        """List the tables, from their totals."""
        with translated(self.url):
            self._follower.refresh()
            return self._follower.ask(lambda state: state.tables(ever=ever))

    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        """Look sources up by their digests."""
        digests = {source: source_digest(source) for source in sources}
        if not digests:
            return {}
        with translated(self.url):
            self._follower.refresh()
            states = self._follower.ask(lambda state: state.sources(list(digests.values())))
        return {source: states[digest] for source, digest in digests.items() if digest in states}

    def forget(self, sources: Sequence[Source]) -> None:
        """Forget sources, by an entry of the log."""
        with translated(self.url):
            self._writer.change(lambda admission: admission.forget(sources))
            self._checkpoint_if_due()

    def snapshot(self, organization: str, table: str) -> Snapshot:
        """Describe a table from its totals."""
        with translated(self.url):
            self._follower.refresh()
            return self._follower.ask(lambda state: state.snapshot((organization, table)))

    def sequence_at(self, time_ns: int) -> int:
        """Find the state at a time among the times that the checkpoint keeps."""
        time_ns = max(MIN_NS, min(time_ns, MAX_NS))
        with translated(self.url):
            self._follower.refresh()
            return self._follower.ask(lambda state: state.sequence_at(time_ns))

    def rejections(self, organization: str) -> Sequence[Rejection]:
        """List what is set aside."""
        with translated(self.url):
            self._follower.refresh()
            return self._follower.ask(lambda state: state.rejections(organization))

    def removed(self, before_ns: int, *, limit: int | None = None) -> Sequence[Segment]:
        """List removed segments, of all organizations."""
        with translated(self.url):
            self._follower.refresh()
            return self._follower.ask(lambda state: state.removed(before_ns, limit))

    def purge(self, segment_ids: Sequence[str]) -> None:
        """Forget removed segments, and delete what the catalog itself no longer needs."""
        with translated(self.url):
            self._writer.change(lambda admission: admission.purge(segment_ids))
            self._checkpoint_if_due()
            collect_garbage(self.store, grace_ns=self._grace_ns)

    def head(self) -> Head:
        """Say where the catalog stands."""
        with translated(self.url):
            self._follower.refresh()
            return self._follower.ask(lambda state: state.delta.head)

    def condemn(
        self, segment_ids: Sequence[str], incarnation: int, *, floor: int = 0
    ) -> Sequence[str]:
        """Condemn what no commit has added, by an entry of the log."""
        with translated(self.url):
            free = self._writer.change(
                lambda admission: admission.condemn(segment_ids, incarnation, floor)
            )
            self._checkpoint_if_due()
        return free

    def settle(self, lake: str, incarnation: int, *, whole: bool) -> None:
        """Become the catalog of an incarnation of a lake."""
        with translated(self.url):
            self._writer.change(lambda admission: admission.settle(lake, incarnation, whole=whole))

    def leases(self) -> Leases:
        """Leases among all who use this bucket, by the clock of the store."""
        return BucketLeases(self.store)

    def checkpoint(self) -> bool:
        """Write a checkpoint of everything committed so far; False if there was nothing new.

        Commits do so by themselves; it is of use before a copy of the bucket, or for tests.

        Raises:
            CatalogError: The checkpoint that it would stand on cannot be read.
        """
        with translated(self.url), self._checkpointing:
            self._follower.refresh()
            return self._checkpoint()

    def _checkpoint_if_due(self, sequence: int = -1) -> None:
        """Write a checkpoint if it is this commit's turn, or if whoever had the turn did not."""
        behind = self._follower.ask(lambda state: state.position - state.manifest.position)
        turn = sequence % self._interval == 0
        if not turn and behind < self._interval + (self._interval + 1) // 2:
            return
        if not self._checkpointing.acquire(blocking=False):
            return
        try:
            self._checkpoint(1 if turn else self._interval)
        except (StoreError, CatalogError) as error:
            _LOG.warning("no checkpoint was written, a later commit tries again: %s", error)
        finally:
            self._checkpointing.release()

    def _checkpoint(self, at_least: int = 1) -> bool:
        """Write a checkpoint if at least so many positions have none, as far as we know."""
        follower = self._follower
        follower.adopt_hint()
        base, delta = follower.ask(_since_checkpoint)
        if delta.position - base.position < at_least:
            return False
        try:
            manifest = Checkpointer(follower.checkpoints, follower.cache).extend(base, delta)
        except DamagedCheckpointError as error:
            follower.abandon(base.position, error)
            raise
        if follower.checkpoints.write(manifest):
            follower.adopt(manifest)
            collect_garbage(self.store, grace_ns=self._grace_ns)
        return True

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.store, self._interval, self._grace_ns)


def _segments(
    state: State, key: TableKey, time_range: TimeRange, sequence: int | None
) -> list[Segment]:
    require_readable(sequence, state.delta.head.purged)
    return state.segments(key, time_range, sequence)


def _page(
    state: State, key: TableKey, after: Place | None, limit: int, sequence: int | None
) -> list[Segment]:
    require_readable(sequence, state.delta.head.purged)
    return state.page(key, after, limit, sequence)


def _since_checkpoint(state: State) -> tuple[Manifest, Delta]:
    """The checkpoint, and what followed as a copy that nobody changes."""
    base = state.manifest
    delta = Delta(
        ((table.organization, table.table) for table in base.tables),
        position=base.position,
        sequence=base.sequence,
        entry_id=base.entry_id,
        entry_position=base.entry_position,
        newest_ns=base.newest_ns,
        head=base.head,
    )
    for entry in state.tail:
        delta.apply(entry)
    return base, delta


def _reopen(store: ObjectStore, checkpoint_every: int, grace_ns: int) -> BucketCatalog:
    return BucketCatalog(store, checkpoint_every=checkpoint_every, grace_ns=grace_ns)


def open_bucket_catalog(url: str) -> BucketCatalog:
    """Open the catalog in the lake at a URL, with the credentials of the environment.

    Args:
        url: `bucket+` and the URL of a lake: `bucket+s3://acme-telemetry/lake`.

    Example:
        >>> open_bucket_catalog("bucket+memory://doc/lake")
        BucketCatalog('bucket+memory://doc/lake')
    """
    return BucketCatalog(open_store(url.removeprefix("bucket+")))
