"""How long work reports how far it is: one event, one callback."""

from __future__ import annotations

from typing import Protocol

import msgspec


class ProgressEvent(msgspec.Struct, frozen=True):
    """How far one stage of a piece of work has come. Numbers are totals, never increments.

    Attributes:
        stage: What is being done, in one word for a person: `list`, `read`, `write`, `commit`.
        done: Units of the stage that are finished (objects, segments).
        total: Units there will be, or None while that is unknown; it may grow.
        rows: Rows handled so far.
        bytes: Bytes read so far, as stored.
    """

    stage: str
    done: int
    total: int | None = None
    rows: int = 0
    bytes: int = 0


class Progress(Protocol):
    """A callback that long work calls now and then, at most once for each finished unit.

    It is called by the thread that does the work, so it must return quickly. If several threads
    share the work it may be called from any of them, one call at a time. What it raises ends the
    work as any other error would, with nothing half done; that is a way to cancel.

    Example:
        >>> def show(event: ProgressEvent) -> None:
        ...     print(f"{event.stage}: {event.done} of {event.total}")
        >>> show(ProgressEvent("read", 3, 10))
        read: 3 of 10
    """

    def __call__(self, event: ProgressEvent, /) -> None:
        """Take notice of an event."""
