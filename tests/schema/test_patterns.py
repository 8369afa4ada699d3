"""What patterns are said to hold, every text that matches them holds."""

from __future__ import annotations

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from datafusion import SessionContext
from hypothesis import assume, event, example, given

from lakerunner.schema.patterns import Piece, like_pieces, matching, regex_pieces

TEXTS = st.text("abAB1 .%_\\é\n", max_size=8)
PARTS = st.sampled_from(
    [
        *("a", "b", "A", "1", " ", "é", ".", "a*", "b+", "1?", "a{2}", "b{0,1}", "(ab)", "(a|b)*"),
        *("[ab]", "[^a]", r"\.", r"\d", r"\w+", "^", "$", "|", "a+?", ".*", "(?:1)", r"\n"),
        *("[]a]", "(?i)", r"\bA"),
    ]
)
ENGINE = SessionContext()


def matches(text: str, operator: str, pattern: str) -> bool | None:
    """Whether the engine says so; None if it cannot read the pattern."""
    ENGINE.from_arrow(pa.table({"text": [text], "pattern": [pattern]}), name="row")
    try:
        return bool(ENGINE.sql(f"SELECT text {operator} pattern AS m FROM row").to_pydict()["m"][0])
    except Exception:  # noqa: BLE001 - whatever it says of a pattern that is none
        return None
    finally:
        ENGINE.deregister_table("row")


def holds(text: str, piece: Piece, *, any_case: bool) -> bool:
    said, wanted = (text.lower(), piece.text.lower()) if any_case else (text, piece.text)
    if piece.start and piece.end:
        return said == wanted
    if piece.start or piece.end:
        return said.startswith(wanted) if piece.start else said.endswith(wanted)
    return wanted in said


@given(TEXTS, TEXTS)
@example("a%b", r"a\%b")
@example(r"a\xb", r"a\xb")
@example("ab", "a%b")
def test_like_pieces_are_in_every_match(text: str, pattern: str) -> None:
    found = matches(text, "LIKE", pattern)
    event(f"matches: {found}")
    if found:
        assert all(holds(text, piece, any_case=False) for piece in like_pieces(pattern))
    told = matching((text,), pattern, like=True, any_case=False)
    assert found is None or told is None or told == (found, not found)


@given(TEXTS, st.lists(PARTS, max_size=6).map("".join))
@example("xab", "b$|a")
@example("A", "(?i)a")
def test_regex_pieces_are_in_every_match(text: str, pattern: str) -> None:
    found = matches(text, "~", pattern)
    assume(found is not None)
    event(f"matches: {found}")
    known = regex_pieces(pattern)
    if found and known is not None:
        assert any(
            all(holds(text, piece, any_case=known.any_case) for piece in branch)
            for branch in known.branches
        )
    told = matching((text,), pattern, like=False, any_case=False)
    assert told is None or told == (found, not found)


@pytest.mark.parametrize(
    ("pattern", "branches"),
    [
        ("^took [0-9]+ms", ((Piece("took ", start=True), Piece("ms")),)),
        ("a+b", ((Piece("a"), Piece("b")),)),
        (r"GET /cart\?id=\d+$", ((Piece("GET /cart?id="),),)),
        ("timeout|refused$", ((Piece("timeout"),), (Piece("refused", end=True),))),
        ("time(out)?s", ((Piece("time"), Piece("s")),)),
    ],
)
def test_pieces_are_as_long_as_can_be(pattern: str, branches: object) -> None:
    found = regex_pieces(pattern)
    assert found is not None
    assert found.branches == branches


@pytest.mark.parametrize(
    "pattern", ["", "a|", "(?x)a b", "a(?i)b", "[a[b]c]", "(", r"\u0041", "a" * 9999]
)
def test_of_what_is_not_understood_nothing_is_said(pattern: str) -> None:
    assert regex_pieces(pattern) is None
