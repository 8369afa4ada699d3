"""Which objects are ingested together, and which are no input."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lakerunner.policies.batching import batches, expected_bytes, is_input

if TYPE_CHECKING:
    from collections.abc import Iterator


class Listed(NamedTuple):
    key: str
    size: int


_OBJECTS = st.builds(Listed, st.sampled_from(["a", "b.gz", "c.binpb.ZST"]), st.integers(0, 50))


@given(st.lists(_OBJECTS), st.integers(1, 100), st.integers(1, 5), st.integers(1, 3))
def test_every_object_is_in_one_batch_of_its_group_within_bounds(
    objects: list[Listed], batch_bytes: int, batch_objects: int, open_batches: int
) -> None:
    made = list(
        batches(
            objects,
            lambda item: item.key,
            batch_bytes=batch_bytes,
            batch_objects=batch_objects,
            open_batches=open_batches,
        )
    )
    for group in {item.key for item in objects}:
        together = [item for name, batch in made if name == group for item in batch]
        assert together == [item for item in objects if item.key == group]
    assert sum(len(batch) for _, batch in made) == len(objects)
    for group, batch in made:
        total = sum(expected_bytes(*item) for item in batch)
        assert {item.key for item in batch} == {group}
        assert 1 <= len(batch) <= batch_objects
        assert total <= batch_bytes or len(batch) == 1


@given(st.lists(_OBJECTS), st.integers(1, 100), st.integers(1, 5))
def test_no_two_neighbours_would_have_fitted_into_one_batch(
    objects: list[Listed], batch_bytes: int, batch_objects: int
) -> None:
    one = lambda _: 0  # noqa: E731 - one group
    made = [
        batch
        for _, batch in batches(objects, one, batch_bytes=batch_bytes, batch_objects=batch_objects)
    ]
    for first, second in itertools.pairwise(made):
        total = sum(expected_bytes(*item) for item in first)
        full = len(first) == batch_objects
        assert full or total + expected_bytes(*second[0]) > batch_bytes


def test_objects_are_drawn_lazily() -> None:
    def endless() -> Iterator[Listed]:
        while True:
            yield Listed("a", 1)

    made = batches(endless(), lambda item: item.key, batch_bytes=10, batch_objects=3)
    assert len(next(made)[1]) == 3


def test_no_more_batches_are_open_than_allowed() -> None:
    drawn = 0

    def objects() -> Iterator[Listed]:
        nonlocal drawn
        for number in range(10):
            drawn += 1
            yield Listed(str(number), 1)

    made = batches(objects(), lambda item: item.key, batch_bytes=9, batch_objects=9, open_batches=2)
    next(made)
    assert drawn == 3


@pytest.mark.parametrize(
    ("key", "prefix", "wanted"),
    [
        ("raw/a", None, True),
        ("raw/", None, False),
        ("", None, False),
        ("lake/segments/a.parquet", "lake", False),
        ("lake/segments/a.parquet", "/lake/", False),
        ("lakes/a", "lake", True),
        ("lake", "lake", True),
        ("a", "", True),
        ("segments/a.parquet", "", False),
        ("catalog/log/1", "", False),
        ("_lakerunner/conditional-puts", "", False),
        ("raw/segments/a", "", True),
    ],
)
def test_the_lake_does_not_eat_itself(key: str, prefix: str | None, wanted: bool) -> None:
    assert is_input(key, prefix) is wanted
