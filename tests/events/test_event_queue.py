"""The queue in memory: handed out until settled, never before its time."""

from __future__ import annotations

import threading
import time

import pytest

from lakerunner.errors import EventsUnavailableError
from lakerunner.events import EventQueue
from lakerunner.model.report import ObjectEvent

A, B = ObjectEvent("s3://raw", "a"), ObjectEvent("s3://raw", "b")


def test_messages_come_in_order_and_only_once() -> None:
    queue = EventQueue()
    queue.put([A])
    queue.put([B, A], ["a problem"])
    first, second = queue.receive(10, 0)
    assert (first.events, second.events, second.problems) == ((A,), (B, A), ("a problem",))
    assert not queue.receive(10, 0)


def test_no_more_come_than_were_asked_for() -> None:
    queue = EventQueue()
    for _ in range(3):
        queue.put([A])
    assert [len(queue.receive(2, 0)) for _ in range(3)] == [2, 1, 0]


def test_what_is_released_comes_again_when_its_time_has_come() -> None:
    queue = EventQueue()
    done = queue.put([A])
    deliveries = queue.receive(1, 0)
    queue.release(deliveries, 0.2)
    assert not queue.receive(1, 0)
    begun = time.monotonic()
    again = queue.receive(1, 5)
    assert 0.1 < time.monotonic() - begun < 2
    assert again == deliveries
    assert not done.done()
    queue.acknowledge(again)
    queue.acknowledge(again)
    assert done.result(0) is None
    queue.release(again)
    assert not queue.receive(1, 0)


def test_receive_waits_for_a_put() -> None:
    queue = EventQueue()
    timer = threading.Timer(0.1, queue.put, ([A],))
    timer.start()
    assert [each.events for each in queue.receive(1, 10)] == [(A,)]
    timer.join()


def test_a_full_queue_says_so() -> None:
    queue = EventQueue(capacity=1)
    queue.put([A])
    with pytest.raises(EventsUnavailableError):
        queue.put([B])
    queue.acknowledge(queue.receive(1, 0))
    queue.put([B])


def test_closing_cancels() -> None:
    with EventQueue() as queue:
        done = queue.put([A])
    assert done.cancelled()


def test_who_waits_may_lose_patience() -> None:
    queue = EventQueue()
    done = queue.put([A])
    assert done.cancel()
    queue.acknowledge(queue.receive(1, 0))
