"""Bounded work on any executor."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lakerunner.executors import InlineExecutor, bounded_map

if TYPE_CHECKING:
    from concurrent.futures import Executor


@given(items=st.lists(st.integers()), in_flight=st.integers(1, 5), inline=st.booleans())
def test_every_item_is_mapped_once(items: list[int], in_flight: int, *, inline: bool) -> None:
    executor: Executor = InlineExecutor() if inline else ThreadPoolExecutor(3)
    with executor:
        found = list(bounded_map(executor, lambda item: item * 2, items, in_flight=in_flight))
    assert sorted(found) == sorted(item * 2 for item in items)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_no_more_than_allowed_is_in_flight(in_flight: int) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def task(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return item

    with ThreadPoolExecutor(8) as executor:
        assert len(list(bounded_map(executor, task, range(20), in_flight=in_flight))) == 20
    assert most <= in_flight


def test_an_endless_source_is_drawn_lazily() -> None:
    source = itertools.count()
    results = bounded_map(InlineExecutor(), abs, source, in_flight=2)
    assert len([next(results) for _ in range(10)]) == 10
    results.close()  # type: ignore[attr-defined]
    assert next(source) < 15


def test_a_failure_is_raised_after_what_runs_has_ended() -> None:
    ended = []

    def task(item: int) -> int:
        if item == 0:
            raise ValueError("no")
        time.sleep(0.05)
        ended.append(item)
        return item

    with ThreadPoolExecutor(2) as executor:
        with pytest.raises(ValueError, match="no"):
            list(bounded_map(executor, task, range(50), in_flight=4))
        seen = list(ended)
        time.sleep(0.1)
        assert ended == seen  # nothing runs on behind the caller's back
    assert len(ended) < 10


def test_inline_failures_travel_in_the_future() -> None:
    future: Future[float] = InlineExecutor().submit(lambda: 1 / 0)
    assert isinstance(future.exception(), ZeroDivisionError)


def test_an_interrupt_leaves_submit() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().submit(interrupted)
