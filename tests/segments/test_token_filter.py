"""Token filters tell what is in rows, whatever parts these come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakerunner.limits import FILTER_CHUNK_BYTES, FILTER_FALSE_SHARE, FILTER_GRAMS
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.attribute import OVERFLOW
from lakerunner.schema.ids import mix64
from lakerunner.schema.tables import OVERFLOW_TYPE
from lakerunner.schema.words import LONG, hash_value, hash_word
from lakerunner.segments import token_filter
from lakerunner.segments.token_filter import (
    Bloom,
    TokenFilterWriter,
    chunk_of,
    holds,
    is_whole,
    place_of,
)


def hashes(count: int, seed: int = 0) -> Any:
    return mix64(np.arange(count, dtype=np.uint64) + np.uint64(seed << 40))


def held(made: Bloom, token: int) -> bool:
    return holds(made.chunks[chunk_of(token, made.shape[0])], made.shape, token)


@pytest.mark.parametrize("count", [1, 100, 60_000])
def test_a_filter_holds_what_it_was_made_of_and_little_else(count: int) -> None:
    made = Bloom.of(hashes(count), FILTER_FALSE_SHARE)
    assert all(held(made, token) for token in hashes(count).tolist())
    wrong = sum(held(made, token) for token in hashes(5000, seed=1).tolist())
    assert wrong <= 5000 * FILTER_FALSE_SHARE * 1.6
    size = sum(map(len, made.chunks))
    assert size <= count * 9.6 / 8 + len(made.chunks) * 5 + 16
    assert all(len(chunk) == made.shape[1] <= FILTER_CHUNK_BYTES for chunk in made.chunks)


def test_a_chunk_knows_whether_it_is_whole_and_the_right_one() -> None:
    made = Bloom.of(hashes(30_000), FILTER_FALSE_SHARE)
    first, second = made.chunks[:2]
    assert is_whole(first, 0)
    assert not is_whole(first, 1)
    assert not is_whole(bytes([first[0] ^ 1]) + first[1:], 0)
    assert not is_whole(second[:-1], 1)
    assert not is_whole(b"", 0)


def rows(start: int, count: int) -> pa.Table:
    numbers = range(start, start + count)
    overflow = [
        [("attr_rare", f"rare{n}"), ("attr_none", None)] if n % 5 == 0 else None for n in numbers
    ]
    return pa.table(
        {
            "organization": pa.array(["acme"] * count).dictionary_encode(),
            "timestamp": pa.array(list(numbers)).cast(TIMESTAMP),
            "resource_service_name": pa.array([f"s{n // 40}" for n in numbers]).dictionary_encode(),
            "body": [None if n % 7 == 0 else f"request {n} done" for n in numbers],
            "attr_id": [f"id-{n}" for n in numbers],
            OVERFLOW: pa.array(overflow, OVERFLOW_TYPE),
        }
    )


SORT = ("resource_service_name", "timestamp")


def written(parts: list[pa.Table]) -> tuple[tuple[Any, ...], bytes]:
    sink = pa.BufferOutputStream()
    sink.write(b"before")
    made = TokenFilterWriter(("body",), SORT)
    for part in parts:
        made.add(part, sink)
    return made.finish(sink), sink.getvalue().to_pybytes()


def tells(section: Any, data: bytes, token: int) -> bool:
    count, width, probes = section.words
    if not count:
        return bool(probes)
    number = chunk_of(token, count)
    start = place_of(section, number)
    chunk = data[start : start + width]
    assert is_whole(chunk, number)
    return holds(chunk, section.words, token)


@pytest.mark.parametrize("step", [7, 50, 64, 1000])
def test_sections_tell_their_own_rows(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(token_filter, "FILTER_ROWS", 64)
    total = 64 * 4 + 20  # what is left is less than half a section, and joins the one before
    parts = [rows(start, min(step, total - start)) for start in range(0, total, step)]
    sections, data = written(parts)
    assert [section.rows for section in sections] == [64, 64, 64, 84]
    begin = 0
    for section in sections:
        for number in range(begin, begin + section.rows):
            assert tells(section, data, hash_value("attr_id", f"id-{number}"))
            assert number % 7 == 0 or tells(section, data, hash_word(str(number)))
            assert number % 5 or tells(section, data, hash_value("attr_rare", f"rare{number}"))
        assert section.low == (f"s{begin // 40}", begin)
        assert section.high == (f"s{(begin + section.rows - 1) // 40}", begin + section.rows - 1)
        begin += section.rows
    absent = [hash_value("attr_id", f"id-{number}") for number in range(1000, 2000)]
    assert sum(tells(section, data, token) for section in sections for token in absent) < 30


def test_parts_make_no_difference() -> None:
    whole, data = written([rows(0, 300)])
    assert written([rows(0, 100), rows(100, 1), rows(101, 199)]) == (whole, data)
    assert len(whole) == 1


def test_no_text_makes_a_filter_that_holds_nothing() -> None:
    (section,), data = written([pa.table({"timestamp": pa.array([1]).cast(TIMESTAMP)})])
    assert section.words == section.grams == (0, 0, 0)
    assert not tells(section, data, hash_word("x"))
    assert section.low == section.high == (None, 1)
    assert written([]) == ((), b"before")


def test_of_too_many_parts_of_words_nothing_is_said() -> None:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz0123456789"))
    rng = np.random.default_rng(3)
    texts = ["".join(rng.choice(letters, 200)) for _ in range(FILTER_GRAMS // 100)]
    (section,), _ = written([pa.table({"body": [*texts, "a" * 300]})])
    assert section.grams == (0, 0, 1)
    assert section.facts == LONG
