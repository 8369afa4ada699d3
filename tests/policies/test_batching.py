"""Which objects are ingested together, and which are no input."""

from __future__ import annotations

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


@given(st.lists(_OBJECTS), st.integers(1, 100), st.integers(1, 5))
def test_every_object_is_in_one_group_within_bounds(
    objects: list[Listed], batch_bytes: int, batch_objects: int
) -> None:
    groups = list(batches(objects, batch_bytes=batch_bytes, batch_objects=batch_objects))
    assert [item for group in groups for item in group] == objects
    totals = [sum(expected_bytes(*item) for item in group) for group in groups]
    for group, total in zip(groups, totals, strict=True):
        assert 1 <= len(group) <= batch_objects
        assert total <= batch_bytes or len(group) == 1
    # No two neighbours would have fitted into one group.
    for position, group in enumerate(groups[1:]):
        full = len(groups[position]) == batch_objects
        assert full or totals[position] + expected_bytes(*group[0]) > batch_bytes


def test_objects_are_drawn_lazily() -> None:
    def endless() -> Iterator[Listed]:
        while True:
            yield Listed("a", 1)

    groups = batches(endless(), batch_bytes=10, batch_objects=3)
    assert len(next(groups)) == 3


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
        ("a", "", False),
    ],
)
def test_the_lake_does_not_eat_itself(key: str, prefix: str | None, wanted: bool) -> None:
    assert is_input(key, prefix) is wanted
