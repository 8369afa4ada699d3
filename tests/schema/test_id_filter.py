"""A filter never denies an id that is there, and denies most that are not."""

from __future__ import annotations

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given

from lakerunner.limits import ID_FILTER_BITS
from lakerunner.schema.ids import id_filter, may_hold

STORED = "9IAEAgAAAAIBAAAAAAABAAQAAgAIAAEAAAAAQIAAAAAAAAQAQAAAAAAACQAgAAAAA"


def ids(count: int, first: int = 0) -> list[str]:
    return [
        f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}" for number in range(first, first + count)
    ]


@given(st.lists(st.none() | st.text(max_size=40), max_size=60))
def test_what_is_there_is_never_denied(values: list[str | None]) -> None:
    written = id_filter(pa.array(values, pa.string()))
    assert all(may_hold(written, value) for value in values if value is not None)


@pytest.mark.parametrize(
    ("count", "share"),
    [(1, 0.03), (7, 0.03), (500, 0.03), (6000, 0.03), (ID_FILTER_BITS // 4, 0.2)],
)
def test_most_of_what_is_not_there_is_denied(count: int, share: float) -> None:
    present, absent = ids(count), ids(2000, first=10**6)
    written = id_filter(pa.array(present * 2))
    assert all(may_hold(written, value) for value in present)
    assert sum(may_hold(written, value) for value in absent) <= share * len(absent)


def test_its_size_is_bounded() -> None:
    largest = id_filter(pa.array(ids(ID_FILTER_BITS // 4)))
    assert 0 < len(largest) <= ID_FILTER_BITS / 6 + 2
    assert id_filter(pa.array(ids(ID_FILTER_BITS // 4 + 1))) == ""


def test_repetition_order_and_nulls_do_not_change_it() -> None:
    values = ids(50)
    again = [*reversed(values), None, *values]
    assert id_filter(pa.array(again)) == id_filter(pa.array(values))


def test_without_a_filter_anything_may_be_there() -> None:
    assert may_hold("", "anything")


def test_what_is_stored_never_changes() -> None:
    assert id_filter(pa.array(["a", "b"])) == STORED
