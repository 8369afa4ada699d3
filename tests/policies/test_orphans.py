"""Which objects nothing names any more."""

from __future__ import annotations

from typing import NamedTuple

import hypothesis.strategies as st
from hypothesis import given

from lakerunner.policies.recovery import orphans


class Written(NamedTuple):
    key: str
    modified_ns: int


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 100)),
    st.sets(st.sampled_from("abcdef")),
    st.integers(0, 100),
)
def test_only_old_and_unnamed_objects(objects: dict[str, int], named: set[str], grace: int) -> None:
    found = orphans([Written(*item) for item in objects.items()], named, now_ns=100, grace_ns=grace)
    assert named.isdisjoint(found)
    assert all(100 - objects[key] >= grace for key in found)
    left = objects.keys() - named - set(found)
    assert all(100 - objects[key] < grace for key in left)
