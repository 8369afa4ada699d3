"""Whatever a text holds is found among what is told of its words."""

from __future__ import annotations

import string
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from datafusion import SessionContext
from hypothesis import event, example, given

from lakerunner.schema import words
from lakerunner.schema.words import (
    LONG,
    LONG_BYTES,
    ODD_CASE,
    WORD_BYTES,
    Needle,
    find_words,
    hash_value,
    hash_values,
    hash_word,
    needle,
    word_in_pattern,
    word_pattern,
)

LETTERS = string.ascii_letters + string.digits + " -_/=\nßéÜж\u017f\u212a—“\u00d7「語🦜"
TEXTS = st.text(LETTERS, max_size=60)


def told(texts: list[str | None]) -> tuple[set[int], set[int], int]:
    found = find_words(pa.array(texts, pa.string()))
    return set(found.words.tolist()), set(found.grams.tolist()), found.facts


def excluded(texts: list[str | None], sought: Needle) -> bool:
    """Whether what is told of some texts says that none of them has what is sought."""
    known, grams, facts = told(texts)
    if (sought.inside and facts & LONG) or (sought.odd_case and facts & ODD_CASE):
        return False
    return not (known.issuperset(sought.words) and grams.issuperset(sought.grams))


@given(st.lists(TEXTS | st.none(), max_size=5), st.data())
def test_what_a_text_holds_is_never_excluded(texts: list[str | None], data: st.DataObject) -> None:
    there = [text for text in texts if text]
    if not there:
        return
    text = data.draw(st.sampled_from(there))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    sought = needle(text[start:end], start=start == 0, end=end == len(text))
    assert not excluded(texts, sought)
    event(f"words: {bool(sought.words)}, grams: {bool(sought.grams)}")


@given(TEXTS, TEXTS)
@example("the K of Kelvin", "k")
@example("Größe", "GRÖ")
def test_what_the_engine_finds_in_any_case_is_never_excluded(text: str, part: str) -> None:
    for sought in (part, text.swapcase()[3:9]):
        if found("ILIKE", text, f"%{words_escaped(sought)}%"):
            assert not excluded([text], needle(sought, any_case=True))


ENGINE = SessionContext()


def found(operator: str, text: str, pattern: str) -> bool:
    row = pa.table({"text": [text], "pattern": [pattern]})
    query = f"SELECT text {operator} pattern AS found FROM row"
    ENGINE.from_arrow(row, name="row")
    try:
        return bool(ENGINE.sql(query).to_pydict()["found"][0])
    finally:
        ENGINE.deregister_table("row")


def words_escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


@given(TEXTS, TEXTS)
@example("Connection REFUSED by peer", "connection refused")
@example("größe 12ms", "größe")
@example("“quoted”", "quoted")
def test_words_are_what_their_pattern_finds(text: str, phrase: str) -> None:
    for sought in (phrase, text[3:20]):
        pattern = word_pattern(sought)
        if pattern is None:
            continue
        assert word_in_pattern(pattern) is not None
        if found("~", text, pattern):
            assert not excluded([text], needle(sought, start=True, end=True))


def test_a_single_word_is_found_exactly_where_it_is_told() -> None:
    text = "GET /cart/items?id=4711 took 12.5ms “Größe” «ok» 語「x」 user_name"
    for word in ("get", "cart", "ID", "4711", "5ms", "Größe", "ok", "x", "user", "name"):
        assert hash_word(word) in told([text])[0]
        assert found("~", text, str(word_pattern(word)))
    for word in ("car", "471", "ms", "größ", "GRÖßE", "us"):
        assert hash_word(word) not in told([text])[0]
        assert not found("~", text, str(word_pattern(word)))


def test_an_id_is_found_inside_of_other_words() -> None:
    text = "xxd4cda95b652f4a1592b449d5929fda1byy"
    assert not excluded([text], needle("d4cda95b652f4a15"))
    assert not excluded([text], needle("52F4A1592B449D59", any_case=True))
    assert excluded([text], needle("d4cda95b652f4a16"))
    assert excluded([text], needle("zebra"))
    # Nothing is known of the ends of fewer than three letters.
    assert needle("ab") == needle("", start=True) == Needle()


@pytest.mark.parametrize("length", [LONG_BYTES, LONG_BYTES + 1, words._AT_ONCE, 3 * words._AT_ONCE])
@pytest.mark.parametrize("letter", ["a", "é", "語", " ", "“"])
def test_texts_of_any_length_are_cut_nowhere_that_shows(length: int, letter: str) -> None:
    text = f"first {letter * length} last"
    assert not excluded([text, "next"], needle("first"))
    for word in ("first", "last", "next"):
        assert hash_word(word) in told([text, "next"])[0]
        assert not excluded([text, "next"], needle(word))
    if letter.isalpha():
        whole = letter * length
        assert hash_word(whole) in told([text])[0]
        assert hash_word(whole) == hash_word(whole[:WORD_BYTES])
        assert told([text])[2] & LONG or len(whole.encode()) <= LONG_BYTES


def test_parts_tell_what_the_whole_does() -> None:
    rng = np.random.default_rng(5)
    texts = [f"request {number} of user{number % 97}" for number in rng.integers(0, 9**9, 30_000)]
    whole = find_words(pa.array(texts))
    parts = [find_words(pa.array(texts[start : start + 1000])) for start in range(0, 30_000, 1000)]
    assert set(whole.words.tolist()) == set().union(*(one.words.tolist() for one in parts))
    assert set(whole.grams.tolist()) == set().union(*(one.grams.tolist() for one in parts))


def test_values_are_told_apart_by_their_columns() -> None:
    values: Any = pa.array(["a", "A", "é", ""])
    many = hash_values("attr_x", values).tolist()
    assert many == [hash_value("attr_x", text) for text in values.to_pylist()]
    assert len({*many, *hash_values("attr_y", values).tolist()}) == 8
    assert hash_value("attr_x", "\ud800") not in many


def test_hashes_are_those_that_were_stored() -> None:
    """These stand in files: another number here would hide rows that are there."""
    assert hash_word("timeout") == STORED["timeout"]
    assert hash_value("trace_id", "4711") == STORED["value"]
    assert needle("d4cda95b652f4a15").words == STORED["piece"]
    assert needle("abc").grams == STORED["gram"]


STORED: dict[str, Any] = {
    "timeout": 2200361328546448252,
    "value": 2256156276041380856,
    "piece": (9332824773585501401,),
    "gram": (13266112140307635894,),
}
