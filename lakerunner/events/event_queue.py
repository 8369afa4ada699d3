"""A queue in the memory of this process: from whoever hears of objects to a watcher."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

from lakerunner.errors import EventsUnavailableError
from lakerunner.events.base import Delivery, EventSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lakerunner.model.report import ObjectEvent


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
