"""Names of attribute columns."""

from __future__ import annotations

import re

import hypothesis.strategies as st
from hypothesis import given

from lakerunner.schema.attribute import assign_names, column_name

_KEYS = st.text(max_size=5) | st.sampled_from(["a.b", "a_b", "A.B", "a-b", "a_b__80b05e", ""])


@given(st.sets(_KEYS), st.sets(st.sampled_from(["attr_a_b", "attr_a_b__80b05e", "attr_"])))
def test_every_key_has_a_name_of_its_own(keys: set[str], reserved: set[str]) -> None:
    names = assign_names("attr_", keys, reserved)
    assert names.keys() == keys
    assert len(set(names.values())) == len(keys)
    assert reserved.isdisjoint(names.values())
    assert all(re.fullmatch(r"attr_[a-z0-9_]*", name) for name in names.values())
    assert all(names[key].startswith(column_name("attr_", key)) for key in keys)


@given(
    st.lists(_KEYS, unique=True).flatmap(
        lambda keys: st.tuples(st.just(keys), st.permutations(keys))
    )
)
def test_names_do_not_depend_on_the_order_of_keys(both: tuple[list[str], list[str]]) -> None:
    assert assign_names("attr_", both[0]) == assign_names("attr_", both[1])


def test_the_first_key_keeps_the_name() -> None:
    names = assign_names("attr_", ["http_method", "http.method"])
    assert names["http.method"] == "attr_http_method"
    assert names["http_method"].startswith("attr_http_method__")
