"""Announced objects on their way to an ingest: which are read at all, in which order, and by whom.

A delivery of a source may announce several objects, several deliveries the same one, and two
events two versions of one object, of which only the newer one is still there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from lakerunner.errors import ConfigurationError
from lakerunner.ingest.inputs import lake_prefix_in
from lakerunner.model.segment import Source
from lakerunner.policies.batching import is_input
from lakerunner.retrying import retrying
from lakerunner.store import ObjectMeta
from lakerunner.store.urls import check_key, locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.events import Delivery
    from lakerunner.ingest.inputs import OpenBucket
    from lakerunner.model.config import Config
    from lakerunner.model.report import ObjectEvent
    from lakerunner.model.segment import SourceState
    from lakerunner.store import ObjectStore


class Waiting(NamedTuple):
    """A delivery, and those of its events that are still to be ingested."""

    delivery: Delivery
    events: tuple[ObjectEvent, ...]


class Wanted(NamedTuple):
    """One announced version of an object, however often it was announced."""

    bucket: str
    key: str
    etag: str | None


def wanted(event: ObjectEvent) -> Wanted:
    """What an event announces, without what may differ between two events of the same."""
    return Wanted(event.bucket, event.key, event.etag)


def rounds(waiting: Iterable[Waiting]) -> Iterator[list[ObjectEvent]]:
    """Events in rounds that name each object once, each version in one round only.

    A read takes the version that is there. To read an object twice in one commit could take the
    same version twice; in the next round the catalog knows what this one took.
    """
    events: dict[Wanted, ObjectEvent] = {}
    for each in waiting:
        for event in each.events:
            events.setdefault(wanted(event), event)
    left = list(events.values())
    while left:
        once = {event.url: event for event in reversed(left)}
        yield [event for event in left if once[event.url] is event]
        left = [event for event in left if once[event.url] is not event]


def is_described(event: ObjectEvent) -> bool:
    """Whether an event tells enough of an object to read it."""
    return event.etag is not None and event.size is not None


def meta_of(event: ObjectEvent) -> ObjectMeta:
    """What an event says of an object, as a listing would say it."""
    return ObjectMeta(event.key, event.size or 0, event.etag or "", event.time_ns)


# Which announced objects are to be read: input, of a bucket that can be opened, and not known.


class Screened(NamedTuple):
    """What became of some deliveries.

    Attributes:
        waiting: Those with events to be ingested.
        settled: Those without.
        known: How many events announced what was taken or set aside before.
        problems: Events that no store can serve, by delivery.
    """

    waiting: list[Waiting]
    settled: list[Delivery]
    known: int
    problems: list[tuple[Delivery, str]]


class Screen:
    """Sorts announced objects; used by one thread, as a context that closes the buckets.

    Args:
        catalog: Knows what was taken and what was set aside.
        lake: The lake, whose own objects are never input.
        open_bucket: Opens the bucket of an event, once each, with the options of the lake.
        config: How often to ask the catalog.
    """

    def __init__(
        self, catalog: Catalog, lake: ObjectStore, open_bucket: OpenBucket, config: Config
    ) -> None:
        self._catalog = catalog
        self._lake = lake
        self._open_bucket = open_bucket
        self._config = config
        self._stores: dict[str, ObjectStore] = {}
        self._prefixes: dict[str, str | None] = {}

    def new(self, deliveries: Sequence[Delivery]) -> Screened:
        """Sort deliveries, with one look-up in the catalog.

        Raises:
            CatalogUnavailableError: It cannot be looked up.
        """
        problems: list[tuple[Delivery, str]] = []
        inputs = [
            (each, [event for event in each.events if self._is_input(each, event, problems)])
            for each in deliveries
        ]
        known = self._known([event for _, events in inputs for event in events])
        waiting, settled, skipped = [], [], 0
        for delivery, events in inputs:
            new = tuple(event for event in events if _source(event) not in known)
            skipped += len(events) - len(new)
            if new:
                waiting.append(Waiting(delivery, new))
            else:
                settled.append(delivery)
        return Screened(waiting, settled, skipped, problems)

    def store(self, bucket: str) -> ObjectStore:
        """The bucket of an event.

        Raises:
            ConfigurationError: It cannot be opened.
        """
        store = self._stores.get(bucket)
        if store is None:
            store = self._open_bucket(bucket, self._lake.storage_options)
            self._stores[bucket] = store
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for store in self._stores.values():
            store.close()

    def _is_input(
        self, delivery: Delivery, event: ObjectEvent, problems: list[tuple[Delivery, str]]
    ) -> bool:
        try:
            if not is_input(event.key, self._lake_prefix(event.bucket)):
                return False
            check_key(event.key)
            self.store(event.bucket)
        except ConfigurationError as error:
            problems.append((delivery, f"{event.url}: {error}"))
            return False
        return True

    def _lake_prefix(self, bucket: str) -> str | None:
        if bucket not in self._prefixes:
            self._prefixes[bucket] = lake_prefix_in(locate(bucket), locate(self._lake.url))
        return self._prefixes[bucket]

    def _known(self, events: Sequence[ObjectEvent]) -> dict[Source, SourceState]:
        sources = list({_source(event): None for event in events if event.etag is not None})
        return retrying(lambda: self._catalog.sources(sources), self._config) if sources else {}


def _source(event: ObjectEvent) -> Source:
    return Source(event.bucket, event.key, event.etag or "")
