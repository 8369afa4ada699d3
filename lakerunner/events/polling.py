"""Events made by listing a prefix again and again: for buckets that send no notifications."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

from lakerunner.errors import ConfigurationError, EventsUnavailableError, StoreUnavailableError
from lakerunner.events.base import Delivery, EventSource
from lakerunner.limits import POLL_REMEMBERED
from lakerunner.model.report import ObjectEvent
from lakerunner.policies.ownership import is_below
from lakerunner.registry import EVENT_SOURCES, STORES, load_adapter, split_scheme
from lakerunner.store.urls import locate, open_store, refuse_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import PathLike

    from lakerunner.store.base import ObjectMeta, ObjectStore

_NS = 10**9


class PrefixPoller(EventSource):
    """Announces each object under a prefix when a listing shows it, and each new version of one.

    A poll lists the keys behind the cursor, which follows the listed keys at a distance: it never
    passes an object that is younger than `overlap_seconds`. That finds new objects early where keys
    grow with time (`year=…/month=…/day=…`). Where they do not, and for what comes late, every
    `relist_every`th poll lists the whole prefix. Keys announced before are not announced again as
    long as they are remembered; beyond that, and after a restart, a watcher asks the catalog, which
    costs one look-up for a thousand objects and reads none.

    Args:
        url: A bucket with a prefix: whole parts of a path, `s3://raw/logs` finds no `logs-raw/a`.
        options: Credentials and endpoints of the bucket, in fsspec's words.
        cursor: Where an earlier poller stood; the first poll of all lists what lies behind it.
        interval_seconds: From the end of a poll to the start of the next.
        relist_every: 1 lists everything every time.
        overlap_seconds: How late an object may show up behind one with a greater key, and still be
            found by the next poll.
        store: The bucket itself, for a store of your own.

    Example:
        >>> store = open_store("memory://doc-poll")
        >>> _ = store.put("raw/a.json", b"{}")
        >>> poller = PrefixPoller("memory://doc-poll/raw/")
        >>> [event.key for delivery in poller.receive(10, 0) for event in delivery.events]
        ['doc-poll/raw/a.json']
    """

    def __init__(
        self,
        url: str | PathLike[str],
        options: Mapping[str, object] | None = None,
        *,
        cursor: str = "",
        interval_seconds: float = 30.0,
        relist_every: int = 10,
        overlap_seconds: float = 300.0,
        store: ObjectStore | None = None,
    ) -> None:
        if relist_every < 1:
            raise ConfigurationError("relist_every must be at least 1", setting="relist_every")
        location = locate(url)
        self.url = os.fspath(url)
        self._bucket = location.bucket
        self._prefix = location.key
        self._store = store or open_store(location.bucket, options)
        self._interval = interval_seconds
        self._relist_every = relist_every
        self._overlap_ns = round(overlap_seconds * _NS)
        self._position = cursor
        self._polls = 1 if cursor else 0
        self._listing: Iterator[ObjectMeta] | None = None
        self._next_poll = time.monotonic()
        self._seen: dict[str, str] = {}
        self._out: dict[str, tuple[Delivery, str]] = {}  # unsettled, and the key listed before
        self._previous = ""
        self._back: list[tuple[float, int, Delivery]] = []
        self._numbers = itertools.count()

    @property
    def cursor(self) -> str:
        """Where to begin after a restart: every object up to it was announced and settled."""
        first = min(self._out, default=None)
        return self._position if first is None else min(self._position, self._out[first][1])

    def receive(self, maximum: int, wait_seconds: float) -> Sequence[Delivery]:
        """New objects, in the order of the listing; those given back come first."""
        until = time.monotonic() + wait_seconds
        while not (found := self._returned(maximum)):
            found = self._listed(maximum)
            now = time.monotonic()
            if found or now >= until:
                break
            due = min(self._next_poll, self._back[0][0] if self._back else until, until)
            time.sleep(max(0.0, due - now))
        return found

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Let the cursor pass objects."""
        for delivery in deliveries:
            if self._is_out(delivery):
                del self._out[delivery.handle]

    def release(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        """Announce objects again."""
        due = time.monotonic() + delay_seconds
        for delivery in deliveries:
            if self._is_out(delivery):
                heapq.heappush(self._back, (due, next(self._numbers), delivery))

    def close(self) -> None:
        """Close the bucket; a closed poller may be used again."""
        self._listing = None
        self._store.close()

    def is_ready(self, meta: ObjectMeta) -> bool:
        """Whether a listed object is to be announced now; a later poll asks again."""
        return not meta.key.endswith("/")

    def _is_out(self, delivery: Delivery) -> bool:
        """Whether an object is unsettled; a newer version may have taken its place."""
        out = self._out.get(delivery.handle)
        return out is not None and out[0] is delivery

    def _returned(self, maximum: int) -> list[Delivery]:
        found: list[Delivery] = []
        now = time.monotonic()
        while self._back and self._back[0][0] <= now and len(found) < maximum:
            delivery = heapq.heappop(self._back)[2]
            if self._is_out(delivery):
                found.append(delivery)
        return found

    def _listed(self, maximum: int) -> list[Delivery]:
        """New objects of the listing under way, or of a new one if it is time."""
        if self._listing is None and time.monotonic() < self._next_poll:
            return []
        try:
            if self._listing is None:
                whole = self._polls % self._relist_every == 0
                self._previous = start_after = "" if whole else self._position
                self._listing = self._store.list(self._prefix, start_after=start_after)
            found = []
            for meta in self._listing:
                previous, self._previous = self._previous, meta.key
                if self._is_new(meta):
                    found.append(self._announce(meta, previous))
                    if len(found) == maximum:
                        return found
        except StoreUnavailableError as error:
            self._end_poll()
            raise EventsUnavailableError(f"{self.url}: {error}", url=self.url) from error
        self._polls += 1
        self._end_poll()
        return found

    def _end_poll(self) -> None:
        self._listing = None
        self._next_poll = time.monotonic() + self._interval
        while len(self._seen) > POLL_REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def is_new(self, meta: ObjectMeta) -> bool:
        """Whether a version of an object was not announced, as far as that is remembered."""
        return self._seen.get(meta.key) != meta.etag

    def _is_new(self, meta: ObjectMeta) -> bool:
        if not is_below(meta.key, self._prefix):
            return False
        if not self.is_new(meta):
            self._seen[meta.key] = self._seen.pop(meta.key)  # the longest unseen goes first
            self._advance(meta)
            return False
        return self.is_ready(meta)

    def _announce(self, meta: ObjectMeta, previous: str) -> Delivery:
        event = ObjectEvent(self._bucket, meta.key, meta.size, meta.etag, meta.modified_ns)
        delivery = Delivery(meta.key, (event,), (), meta.key)
        self._seen.pop(meta.key, None)
        self._seen[meta.key] = meta.etag
        self._out[meta.key] = (delivery, previous)
        self._advance(meta)
        return delivery

    def _advance(self, meta: ObjectMeta) -> None:
        if meta.key > self._position and meta.modified_ns < time.time_ns() - self._overlap_ns:
            self._position = meta.key


# A queue in the memory of this process: from whoever hears of objects to a watcher.


class EventQueue(EventSource):
    """Hands what one thread puts to the watcher that runs in another.

    Every method may be called from any thread at once. It forgets everything when the process dies,
    so whoever puts should not tell the sender that all is well before the events are settled.

    Args:
        capacity: Unsettled messages at most.

    Example:
        >>> from lakerunner.model.report import ObjectEvent
        >>> queue = EventQueue()
        >>> settled = queue.put([ObjectEvent("s3://raw", "logs-raw/a.json")])
        >>> deliveries = queue.receive(10, 0)
        >>> settled.done(), queue.acknowledge(deliveries), settled.done()
        (False, None, True)
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self.url = "queue://"
        self._capacity = capacity
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, Delivery]] = []
        self._settled: dict[str, Future[None]] = {}

    def put(self, events: Iterable[ObjectEvent], problems: Sequence[str] = ()) -> Future[None]:
        """Queue events as one message.

        Returns:
            Is done once the message is acknowledged: a webhook may answer its sender now. It is
            cancelled if the queue is closed before.

        Raises:
            EventsUnavailableError: There are too many; a webhook answers 503.
        """
        done: Future[None] = Future()
        with self._changed:
            if len(self._settled) >= self._capacity:
                raise EventsUnavailableError(f"{self._capacity:,} messages wait already")
            number = next(self._numbers)
            delivery = Delivery(str(number), tuple(events), tuple(problems), f"message {number}")
            self._settled[delivery.handle] = done
            heapq.heappush(self._waiting, (time.monotonic(), number, delivery))
            self._changed.notify()
        return done

    def receive(self, maximum: int, wait_seconds: float) -> Sequence[Delivery]:
        """The oldest messages whose time has come."""
        until = time.monotonic() + wait_seconds
        with self._changed:
            while not (due := self._due(maximum)):
                left = until - time.monotonic()
                if left <= 0:
                    break
                next_s = self._waiting[0][0] - time.monotonic() if self._waiting else left
                self._changed.wait(max(0.0, min(left, next_s)))
        return due

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle messages, and what `put` returned for them."""
        with self._changed:
            settled = [self._settled.pop(delivery.handle, None) for delivery in deliveries]
        for done in settled:
            if done is not None and done.set_running_or_notify_cancel():
                done.set_result(None)

    def release(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        """Put messages back."""
        due = time.monotonic() + delay_seconds
        with self._changed:
            for delivery in deliveries:
                if delivery.handle in self._settled:
                    heapq.heappush(self._waiting, (due, int(delivery.handle), delivery))
            self._changed.notify()

    def close(self) -> None:
        """Forget all messages, and cancel what `put` returned for them."""
        with self._changed:
            forgotten = list(self._settled.values())
            self._settled.clear()
            self._waiting.clear()
        for done in forgotten:
            done.cancel()

    def _due(self, maximum: int) -> list[Delivery]:
        due: list[Delivery] = []
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now and len(due) < maximum:
            due.append(heapq.heappop(self._waiting)[2])
        return due


# From a URL to an event source.


def open_source(
    url: str | PathLike[str], options: Mapping[str, object] | None = None
) -> EventSource:
    """Open the event source that a URL names. Nothing is requested yet.

    Args:
        url: A queue (`sqs://…`, `pubsub://…`, or the `https://` URL of an SQS queue), a directory
            to be watched, or any other URL of a store: a prefix to be listed again and again.
        options: Credentials and endpoints, in fsspec's words.

    Raises:
        UnknownSchemeError: There is no adapter for the scheme; the message lists those there are.
        MissingExtraError: The adapter is not installed; the message says how to.
        ConfigurationError: The URL cannot be read, or holds credentials.

    Example:
        >>> open_source("/var/telemetry"), open_source("memory://raw/logs/")
        (DirectoryWatcher('/var/telemetry/'), PrefixPoller('memory://raw/logs/'))
    """
    url = os.fspath(url)
    refuse_credentials(url)
    scheme = split_scheme(url)[0]
    if scheme in STORES and scheme not in EVENT_SOURCES:
        return PrefixPoller(url, options)
    source: EventSource = load_adapter("events", scheme)(url, options)
    return source
