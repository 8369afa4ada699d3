"""Shell patterns over keys."""

from __future__ import annotations

import fnmatch

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lakerunner.errors import ConfigurationError
from lakerunner.policies.batching import compile_glob, literal_prefix

MATCHES = [
    ("raw/*.gz", "raw/a.gz", "raw/a/b.gz"),
    ("raw/**", "raw/a/b", "law/a"),
    ("raw/**/x", "raw/x", "raw/ax"),
    ("raw/**/x", "raw/a/b/x", "raw/a/b/xx"),
    ("**/x", "a/x", "a/ax"),
    ("a?c", "abc", "a/c"),
    ("[a-c]x", "bx", "dx"),
    ("[!a-c]x", "dx", "bx"),
    ("[^a]x", "bx", "ax"),
    ("[!a]x", "bx", "/x"),
    ("a.b", "a.b", "axb"),
    ("a+(b)|c$", "a+(b)|c$", "aab"),
    ("a\\*", "a\\bc", "a*"),
    ("[", "[", "a"),
    ("a[]]b", "a]b", "a[b"),
    ("*", "a\nb", "a/b"),
    ("größe-*", "größe-🦜", "größe"),
]


@pytest.mark.parametrize(("pattern", "yes", "no"), MATCHES)
def test_patterns(pattern: str, yes: str, no: str) -> None:
    compiled = compile_glob(pattern)
    assert compiled.fullmatch(yes)
    assert not compiled.fullmatch(no)


_PARTS = st.text("ab.*?[]!-", max_size=8)


@given(_PARTS, st.text("ab.*?[]!-", max_size=6))
def test_within_one_part_it_is_fnmatch(pattern: str, name: str) -> None:
    if "**" in pattern or "--" in pattern:
        return
    try:
        compiled = compile_glob(pattern)
    except ConfigurationError:
        return  # a range that runs backwards; fnmatch drops it
    wanted = fnmatch.fnmatchcase(name, pattern)
    assert bool(compiled.fullmatch(name)) == wanted


@given(st.text("ab/*?[]", max_size=8), st.text("ab/", max_size=6))
def test_what_matches_begins_with_the_literal_prefix(pattern: str, key: str) -> None:
    if compile_glob(pattern).fullmatch(key):
        assert key.startswith(literal_prefix(pattern))


def test_a_backward_range_is_the_callers_mistake() -> None:
    with pytest.raises(ConfigurationError, match=r"\[z-a\]"):
        compile_glob("raw/[z-a]")
