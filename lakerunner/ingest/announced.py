"""Announced objects on their way to an ingest: which are read at all, in which order, and by whom.

A delivery of a source may announce several objects, several deliveries the same one, and two
events two versions of one object, of which only the newer one is still there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lakerunner.store import ObjectMeta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakerunner.events import Delivery
    from lakerunner.model.event import ObjectEvent


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
