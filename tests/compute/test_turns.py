"""Turns among organizations, and the time of a query."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.compute.turns import Allowance, Turns, Waiting, next_turn
from lakerunner.errors import QueryBusyError, QueryTimeoutError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = st.sampled_from(["a", "b", "c"])


@given(st.lists(NAMES), st.dictionaries(NAMES, st.integers(0, 4)), st.integers(1, 4))
def test_who_has_least_goes_next(names: list[str], running: Mapping[str, int], each: int) -> None:
    waiting = [Waiting(name, number) for number, name in enumerate(names)]
    chosen = next_turn(waiting, running, each)
    free = [one for one in waiting if running.get(one.who, 0) < each]
    if not free:
        assert chosen is None
        return
    assert chosen in free
    least = min(running.get(one.who, 0) for one in free)
    assert running.get(chosen.who, 0) == least
    assert chosen.number == min(one.number for one in free if running.get(one.who, 0) == least)


def test_turns_are_bounded_and_nobody_starves() -> None:
    turns = Turns("query_concurrency", total=3, each=2, patience=60)
    lock = threading.Lock()
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    done: Counter[str] = Counter()

    def work(who: str) -> None:
        for _ in range(50):
            with turns.turn(who):
                with lock:
                    running[who] += 1
                    most[who] = max(most[who], running[who])
                    most["all"] = max(most["all"], running.total())
                with lock:
                    running[who] -= 1
                    done[who] += 1

    names = ["loud"] * 8 + ["quiet"]
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert done == {"loud": 400, "quiet": 50}
    assert most["all"] <= 3
    assert most["loud"] <= 2


def test_who_waits_too_long_is_told_to_come_later() -> None:
    turns = Turns("query_concurrency", total=4, each=1, patience=0.01)
    with turns.turn("acme"):
        with pytest.raises(QueryBusyError, match="raise query_concurrency") as caught:
            turns.turn("acme").__enter__()
        with turns.turn("beta"):
            pass
    assert caught.value.context["limit"] == "query_concurrency"
    with turns.turn("acme"):
        pass


def test_waiting_counts_as_time_of_the_query() -> None:
    turns = Turns("query_concurrency", total=1, each=1, patience=60)
    allowance = Allowance("acme", 0.01, turns, "SELECT 1")
    with turns.turn("beta"), pytest.raises(QueryTimeoutError, match="than the 0") as caught:
        allowance.turn().__enter__()
    assert caught.value.context == {"query": "SELECT 1", "limit": "query_timeout"}
    with pytest.raises(QueryTimeoutError):
        allowance.turn().__enter__()
    with allowance.again().turn() as left:
        assert left is not None
        assert 0 < left <= 0.01
