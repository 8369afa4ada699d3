"""Texts have one key exactly when they are equal once their words with digits are masked."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from lakerunner.schema.fingerprints.masking import DIGITS, rewrite
from lakerunner.schema.fingerprints.shapes import shape_keys

# Few characters, so that texts often come close to each other without being equal.
TEXTS = st.lists(st.text("ab1 .\x00\x1e\x01é\n_-9Z", max_size=24), max_size=40)
WORDS = st.lists(st.text("abcdefghi1", min_size=5, max_size=30), max_size=20)


def partition(keys: list[object]) -> list[int]:
    """For each key, the position of its first occurrence."""
    return [keys.index(key) for key in keys]


@given(TEXTS | WORDS)
@example(["1", "1\x1e"])
def test_keys_agree_with_the_first_rule(texts: list[str]) -> None:
    texts = [*texts, *(text.replace("1", "22") for text in texts)]
    array = pa.array(texts, pa.string())
    masked = rewrite(array, (DIGITS,)).to_pylist()
    # A body's own \x01 looks like a masked word; keys may tell them apart.
    plain = [position for position, text in enumerate(texts) if "\x01" not in text]
    keys = shape_keys(array).tolist()
    assert partition([keys[p] for p in plain]) == partition([masked[p] for p in plain])


def test_blocks_do_not_matter() -> None:
    texts = [f"{'word ' * (n % 50)}{n} {n % 3 * 'x'}" for n in range(5000)]
    whole = shape_keys(pa.array(texts))
    parts = [shape_keys(pa.array(texts[start : start + 7])) for start in range(0, 5000, 7)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_nothing() -> None:
    assert len(shape_keys(pa.array([], pa.string()))) == 0
    first, second = shape_keys(pa.array(["", ""])).tolist()
    assert first == second
