"""A fingerprint depends on its body alone, and never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.limits import TEMPLATE_CHARS
from lakerunner.schema.fingerprints import log_fingerprints

if TYPE_CHECKING:
    import random

GOLDEN = [
    ("", "", 0),
    ("17", "<*>", 4032158763959584194),
    (
        "order 17 placed for 12.50 USD in 8 ms",
        "order <*> placed for <*> USD in <*> ms",
        1787584653101051350,
    ),
    (
        '1.2.3.4 - - [28/Dec/2020:19:06:11 +0000] "GET / HTTP/1.1" 200',
        '<*> - - [<*>] "GET <*> HTTP/<*>" <*>',
        4752711096103084374,
    ),
    (
        "Failed password for invalid user ann from 10.0.0.1 port 22 ssh2",
        "Failed password for invalid user <*> from <*> port <*>",
        -4549383299857616386,
    ),
    (
        '{"level": "info", "msg": "user created"}',
        'user created {"level": <*>, "msg": <*>}',
        5305982913401445325,
    ),
    ("größe überschritten 😀", "größe überschritten 😀", -3230458358383349921),
    ("failed\n\tat x\nCaused by: a.BError: y", "failed a.BError", -8024954750367325019),
]
"""Body, template and fingerprint, as they stand in segments: never to be changed."""

WORD = st.sampled_from(["order", "user", "for", "a.b", "é😀", "x=y", "'q'", "/p/q", "\n", '{"k":'])
NUMBER = st.integers(0, 10**12).map(str)
BODY = st.lists(WORD | NUMBER | st.text(max_size=6), max_size=8).map(" ".join)
CONSTANT = st.sampled_from(["started", "stopped", "lost", "order", "größe", "shard", "GiB"])
IDS = (
    "{}",
    "blk_-{}",
    "0x{}f",
    "10.0.{}.1:80",
    "worker-{}",
    "{}ms",
    "f{}e-4a3a-abcd-{}",
    "a{}.log",
)


def answers(bodies: list[str | None]) -> list[tuple[Any, Any]]:
    found = log_fingerprints(pa.array(bodies, pa.string()))
    return list(zip(found.fingerprint.to_pylist(), found.template.to_pylist(), strict=True))


@pytest.mark.parametrize(("body", "template", "fingerprint"), GOLDEN)
def test_golden(body: str, template: str, fingerprint: int) -> None:
    assert answers([body]) == [(fingerprint, template)]


@given(st.lists(BODY | st.none(), max_size=12), st.randoms(use_true_random=False))
def test_neither_order_nor_company_matters(
    bodies: list[str | None], shuffler: random.Random
) -> None:
    alone = {body: answers([body])[0] for body in bodies}
    shuffler.shuffle(bodies)
    assert answers(bodies) == [alone[body] for body in bodies]


@given(st.lists(st.text(), max_size=8))
def test_templates_and_fingerprints_are_one_to_one(bodies: list[str]) -> None:
    found = answers([*bodies])
    assert len({key for key, _ in found}) == len({text for _, text in found}) == len(set(found))
    assert all(len(text) <= TEMPLATE_CHARS * 3 for _, text in found)


@given(
    st.lists(CONSTANT | st.sampled_from(IDS), min_size=1, max_size=8),
    st.integers(0, 10**15),
    st.integers(0, 10**15),
)
def test_digits_do_not_matter(parts: list[str], first: int, second: int) -> None:
    body = " ".join(parts)
    one, other = answers([body.replace("{}", str(number)) for number in (first, second)])
    assert one == other


@given(st.lists(CONSTANT, min_size=1, max_size=8), st.data())
def test_constant_words_matter(words: list[str], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(words) - 1))
    changed = [*words[:position], "replaced", *words[position + 1 :]]
    one, other = answers([" 7 ".join(words), " 7 ".join(changed)])
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_null_has_neither() -> None:
    assert answers([None, "a", None])[0] == (None, None)
    empty = log_fingerprints(pa.array([], pa.string()))
    assert (len(empty.fingerprint), len(empty.template)) == (0, 0)
    assert answers([None, None]) == [(None, None)] * 2


def test_types() -> None:
    found = log_fingerprints(pa.array(["a"]))
    assert found.fingerprint.type == pa.int64()
    assert found.template.type == pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize("kind", ["slice", "large", "dictionary", "dictionary of NULL"])
def test_every_kind_of_array(kind: str) -> None:
    bodies = ["a 1", None, "a 2", "b\nc", "", None, "a 1"]
    plain = pa.array(bodies)
    array = {
        "slice": pa.array(["x\ny", *bodies, "z"]).slice(1, len(bodies)),
        "large": plain.cast(pa.large_string()),
        "dictionary": plain.dictionary_encode().slice(0),
        "dictionary of NULL": pa.DictionaryArray.from_arrays(
            [0, 1, 2, 3, 4, None, 0], pa.array(["a 1", None, "a 2", "b\nc", ""])
        ),
    }[kind]
    assert log_fingerprints(array).fingerprint.to_pylist() == [key for key, _ in answers(bodies)]
    assert log_fingerprints(array).template.to_pylist() == [text for _, text in answers(bodies)]


HOSTILE = {
    "one word": "a" * 1_000_000,
    "one number": "1" * 1_000_000,
    "dots": "." * 100_000,
    "open quotes": '"' * 50_001,
    "open braces": '{"' * 20_000,
    "brackets": "1(" * 50_000,
    "equals": "x=" * 50_000,
    "breaks": "\n" * 100_000,
    "hyphens": "a-" * 50_000 + "1",
    "own marks": "\x1e1\x1e \x01\x02\x03 a\x00b",
    "names": "for user " * 10_000,
    "host": "a." * 50_000,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bodies(body: str) -> None:
    alone = answers([body])
    assert answers(["x 1", body, "y\nz"])[1:2] == alone
    assert len(alone[0][1]) <= TEMPLATE_CHARS * 3
