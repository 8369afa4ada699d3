"""Ingest what is announced, until stopped: gather, ingest, and only then acknowledge."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

from msgspec.structs import replace

from lakerunner.errors import (
    CatalogUnavailableError,
    CommitUnknownError,
    ConfigurationError,
    ErrorCode,
    EventsUnavailableError,
    LakerunnerError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.ingest.announced import Waiting, Wanted, is_described, meta_of, rounds, wanted
from lakerunner.limits import (
    MISSING_ATTEMPTS,
    WATCH_BACKOFF_SECONDS,
    WATCH_POLL_SECONDS,
    WATCH_REPORTED,
)
from lakerunner.model.report import IngestReport, ProgressEvent
from lakerunner.model.segment import Rejection, Source
from lakerunner.policies.batching import (
    Gathered,
    GatherLimits,
    expected_bytes,
    retry_delay_s,
    wait_s,
)
from lakerunner.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lakerunner.events import Delivery, EventSource
    from lakerunner.ingest.announced import Screen
    from lakerunner.model.config import Config
    from lakerunner.model.report import ObjectEvent, Progress
    from lakerunner.store import ObjectMeta, ObjectStore

# Keep what an event source handed out while long work goes on.

_SHARE = 3  # a lease is kept when a third of it has passed, so that two failures do no harm


class LeaseKeeper:
    """Extends the deliveries it was given until they are let go, in a thread of its own.

    There is no thread if the source knows no leases. A lease that cannot be kept does no harm but
    to have the delivery handed out twice, so that is only logged.

    Args:
        source: Where the deliveries come from.
    """

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self._held: dict[str, Delivery] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._pause_s = (source.lease_seconds or 0) / _SHARE

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Keep deliveries from now on."""
        with self._lock:
            self._held.update((each.handle, each) for each in deliveries)

    def drop(self, deliveries: Iterable[Delivery]) -> None:
        """Let deliveries go."""
        with self._lock:
            for each in deliveries:
                self._held.pop(each.handle, None)

    def __enter__(self) -> Self:
        if self._source.lease_seconds is not None:
            self._thread = threading.Thread(target=self._run, name="lakerunner-leases", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            with self._lock:
                held = list(self._held.values())
            if not held:
                continue
            try:
                self._source.extend(held)
            except LakerunnerError as error:
                _LOG.warning("%s: leases were not kept: %s", self._source.url, error)


_LOG = logging.getLogger(__name__)
_RECEIVED = 1000  # deliveries asked for at a time: one look-up in the catalog
_REMEMBERED = 10_000  # objects whose failures are counted
_PASSING = (
    CatalogUnavailableError,
    CommitUnknownError,
    EventsUnavailableError,
    StoreUnavailableError,
)


class WatchSettings(NamedTuple):
    """How to watch.

    Attributes:
        limits: What ends a gathering.
        stop: Ends the watch when set; what was gathered is ingested first.
        until_idle_s: End as well when nothing was announced for so many seconds.
        progress: Called after each gathering.
    """

    limits: GatherLimits
    stop: threading.Event
    until_idle_s: float | None = None
    progress: Progress | None = None


def gather_limits(
    config: Config, max_bytes: int | None, max_objects: int | None, max_age_s: float | None
) -> GatherLimits:
    """What ends a gathering: what the caller says, else what a batch of all workers may hold.

    Raises:
        ConfigurationError: A limit is out of bounds.
    """
    limits = GatherLimits(
        config.batch_bytes * config.workers if max_bytes is None else max_bytes,
        config.batch_objects * config.workers if max_objects is None else max_objects,
        config.watch_seconds if max_age_s is None else max_age_s,
    )
    if limits.max_bytes < 1 or limits.max_objects < 1 or limits.max_age_s < 0:
        raise ConfigurationError(f"nothing can be gathered within {limits}")
    return limits


class Watcher:
    """Takes the announced objects of one source; used once, by one thread.

    Args:
        source: What announces them.
        screen: Tells which of them are new.
        take: Ingests objects of a bucket and commits them; what is not there counts as failed.
        config: How often to try again what fails.
        settings: How to watch.
    """

    def __init__(
        self,
        source: EventSource,
        screen: Screen,
        take: Callable[[ObjectStore, Sequence[ObjectMeta]], IngestReport],
        config: Config,
        settings: WatchSettings,
    ) -> None:
        self._source = source
        self._screen = screen
        self._take = take
        self._config = config
        self._settings = settings
        self._keeper = LeaseKeeper(source)
        self._waiting: list[Waiting] = []
        self._gathered = Gathered()
        self._report = IngestReport()
        self._tries: dict[Wanted, int] = {}
        self._failing: dict[Wanted, Rejection] = {}
        self._troubles = 0
        self._heard_s = time.monotonic()
        self._listened = False

    def run(self) -> IngestReport:
        """Watch until stopped.

        Raises:
            LakerunnerError: Something failed in a way that does not pass; nothing is lost.
        """
        begun = time.perf_counter()
        with drained_on_sigterm(self._settings.stop), self._keeper:
            try:
                while not self._ended():
                    self._step()
                self._patiently(self._ingest)
            except BaseException:
                self._give_up(0.0)
                raise
        failing = tuple(self._failing.values())[:WATCH_REPORTED]
        return replace(self._report, failed=failing, seconds=time.perf_counter() - begun)

    def _ended(self) -> bool:
        return self._settings.stop.is_set() or (self._is_idle() and not self._waiting)

    def _is_idle(self) -> bool:
        idle_s = self._settings.until_idle_s
        if idle_s is None or not self._listened:
            return False
        return time.monotonic() - self._heard_s >= idle_s

    def _step(self) -> None:
        left = wait_s(self._gathered, self._settings.limits, time.monotonic())
        if left == 0 or (self._waiting and self._is_idle()):
            self._patiently(self._ingest)
            return
        wait = WATCH_POLL_SECONDS if left is None else min(left, WATCH_POLL_SECONDS)
        if self._settings.until_idle_s is not None:
            wait = min(wait, self._settings.until_idle_s)
        self._patiently(lambda: self._receive(wait))

    def _patiently(self, action: Callable[[], None]) -> None:
        """Do something; if it fails in a way that may pass, pause.

        Unless only the source does not answer, what was gathered is given back before.
        """
        try:
            action()
        except _PASSING as error:
            self._troubles += 1
            _LOG.warning("%s: trying again in a while: %s", self._source.url, error)
            pause = retry_delay_s(self._troubles, WATCH_BACKOFF_SECONDS)
            if not isinstance(error, EventsUnavailableError):
                self._give_up(pause)
                self._heard_s = time.monotonic() + pause
            elif self._waiting:
                pause = min(pause, 1.0)  # what was gathered need not wait for the source
            self._settings.stop.wait(pause)
        else:
            self._troubles = 0

    # -- gathering -------------------------------------------------------------------------------

    def _receive(self, wait_seconds: float) -> None:
        room = self._settings.limits.max_objects - self._gathered.objects
        deliveries = self._source.receive(max(1, min(room, _RECEIVED)), wait_seconds)
        self._listened = True
        if not deliveries:
            return
        now = self._heard_s = time.monotonic()
        self._keeper.add(deliveries)
        # Kept in any case before anything can fail, so that what fails gives all of it back.
        self._waiting += [Waiting(delivery, delivery.events) for delivery in deliveries]
        for delivery in deliveries:
            for text in delivery.problems:
                self._reject(delivery, text)
        screened = self._screen.new(deliveries)
        for delivery, text in screened.problems:
            self._reject(delivery, text)
        del self._waiting[-len(deliveries) :]
        self._waiting += screened.waiting
        for each in screened.waiting:
            for event in each.events:
                expected = expected_bytes(event.key, event.size or 0)
                self._gathered = self._gathered.plus(expected, now)
        self._report += IngestReport(skipped=screened.known)
        self._settle(screened.settled)

    def _reject(self, delivery: Delivery, text: str) -> None:
        """Report what cannot be read. It is settled: to hear it again would not help."""
        _LOG.warning("%s: %s: %s", self._source.url, delivery.label, text)
        source = Source(self._source.url, delivery.label, "")
        rejection = Rejection(source, ErrorCode.INPUT.value, text, time.time_ns())
        self._add(IngestReport(rejected=(rejection,)))

    # -- ingesting -------------------------------------------------------------------------------

    def _ingest(self) -> None:
        if not self._waiting:
            return
        failed: dict[Wanted, Rejection] = {}
        for events in rounds(self._waiting):
            failed |= self._ingest_round(events)
        waiting, self._waiting, self._gathered = self._waiting, [], Gathered()
        settled, delayed = [], defaultdict(list)
        for each in waiting:
            delay = self._delay(each, failed)
            if delay is None:
                settled.append(each.delivery)
            else:
                delayed[delay].append(each.delivery)
        self._settle(settled)
        for delay, deliveries in delayed.items():
            self._release(deliveries, delay)
        self._heard_s = time.monotonic()  # nobody was listening meanwhile
        if self._settings.progress is not None:
            done, rows, read = self._report.objects, self._report.rows, self._report.bytes_read
            self._settings.progress(ProgressEvent("watch", done, None, rows, read))

    def _ingest_round(self, events: Sequence[ObjectEvent]) -> dict[Wanted, Rejection]:
        """Ingest events that name each object once; those that failed, and why."""
        failed: dict[Wanted, Rejection] = {}
        buckets: dict[str, dict[str, ObjectEvent]] = defaultdict(dict)
        for event in events:
            buckets[event.bucket][event.key] = event
        for bucket, named in buckets.items():
            store = self._screen.store(bucket)
            metas = []
            for event in named.values():
                try:
                    metas.append(self._describe(store, event))
                except StoreError as error:
                    source = Source(event.bucket, event.key, event.etag or "")
                    failed[wanted(event)] = Rejection(
                        source, error.code.value, error.message, time.time_ns()
                    )
            report = self._take(store, metas) if metas else IngestReport()
            for rejection in report.failed:
                failed[wanted(named[rejection.source.key])] = rejection
            self._add(replace(report, failed=()))
        for event in events:
            if wanted(event) not in failed:
                self._tries.pop(wanted(event), None)
                self._failing.pop(wanted(event), None)
        return self._counted(failed)

    def _describe(self, store: ObjectStore, event: ObjectEvent) -> ObjectMeta:
        if is_described(event):
            return meta_of(event)
        return retrying(lambda: store.head(event.key), self._config)

    def _counted(self, failed: dict[Wanted, Rejection]) -> dict[Wanted, Rejection]:
        """The failures to be tried again; what is not there after some tries is gone."""
        again = {}
        for item, rejection in failed.items():
            tries = self._tries.pop(item, 0) + 1
            if rejection.code == ErrorCode.OBJECT_NOT_FOUND and tries >= MISSING_ATTEMPTS:
                _LOG.warning("%s/%s was announced and is not there", item.bucket, item.key)
                self._failing.pop(item, None)
                self._report += IngestReport(gone=1)
                continue
            self._tries[item] = tries
            self._failing[item] = again[item] = rejection
        for counts in (self._tries, self._failing):
            while len(counts) > _REMEMBERED:
                del counts[next(iter(counts))]
        return again

    def _delay(self, waiting: Waiting, failed: dict[Wanted, Rejection]) -> float | None:
        """When to hear of a delivery again; None if each of its events is settled."""
        tries = [
            self._tries.get(wanted(event), 1) for event in waiting.events if wanted(event) in failed
        ]
        return retry_delay_s(max(tries), WATCH_BACKOFF_SECONDS) if tries else None

    def _add(self, report: IngestReport) -> None:
        total = self._report + report
        self._report = replace(total, rejected=total.rejected[-WATCH_REPORTED:])

    # -- settling --------------------------------------------------------------------------------

    def _settle(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        self._keeper.drop(deliveries)
        try:
            self._source.acknowledge(deliveries)
        except EventsUnavailableError as error:
            # They are handed out again, and the catalog knows by then what they announce.
            _LOG.warning("%s: not acknowledged: %s", self._source.url, error)

    def _release(self, deliveries: Sequence[Delivery], delay_seconds: float) -> None:
        if not deliveries:
            return
        self._keeper.drop(deliveries)
        try:
            self._source.release(deliveries, delay_seconds)
        except LakerunnerError as error:
            # They are handed out again when their lease ends.
            _LOG.warning("%s: not released: %s", self._source.url, error)

    def _give_up(self, delay_seconds: float) -> None:
        waiting, self._waiting, self._gathered = self._waiting, [], Gathered()
        self._release([each.delivery for each in waiting], delay_seconds)


@contextmanager
def drained_on_sigterm(stop: threading.Event) -> Iterator[None]:
    """Let SIGTERM set `stop`, where a signal can be taken: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield
    finally:
        # None is what a handler looks like that was not set by Python.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
