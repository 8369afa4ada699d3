"""What may name an organization, and what could leave its prefix."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lakerunner.errors import ConfigurationError
from lakerunner.model.profile import (
    check_organization,
    is_organization,
    read_prefixes,
    read_profiles,
)

HOSTILE = [
    "", ".", "..", "../acme", "a/b", "a..b", "/a", "a/", ".hidden", "-a", "a b", "a\n", "a\0",
    "é", "\u0430cme", "a\u202eb", "a%2fb", "a\\b", "a'b", 'a"b', "a*", "a" * 129, "a" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_refused_wherever_they_stand(name: str) -> None:
    assert not is_organization(name)
    with pytest.raises(ConfigurationError, match="cannot name an organization") as caught:
        check_organization(name)
    assert len(caught.value.message) < 300
    with pytest.raises(ConfigurationError, match="cannot name an organization"):
        read_prefixes([{"bucket": "s3://raw", "prefix": "a/", "organization": name}])
    quoted = "".join(f"\\U{ord(letter):08x}" for letter in name)
    with pytest.raises(ConfigurationError, match="cannot name an organization"):
        read_profiles(f'- {{bucket: raw, organization_id: "{quoted}"}}')


def test_what_is_no_text_is_refused() -> None:
    wrong: list[object] = [None, 7, b"acme", ["acme"]]
    for name in wrong:
        with pytest.raises(ConfigurationError):
            check_organization(name)  # type: ignore[arg-type] # what a careless caller gives


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_@+-]{0,127}", fullmatch=True))
def test_ordinary_names_are_taken(name: str) -> None:
    assert check_organization(name) == name


@given(st.text(max_size=40))
def test_a_name_is_one_part_of_a_key_or_refused(name: str) -> None:
    if is_organization(name):
        assert name.isascii()
        assert name not in {"", ".", ".."}
        assert not set(name) & set("/\\\0%")
