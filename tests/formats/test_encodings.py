"""UTF-16 and UTF-32 with a byte order mark, in any blocks, and what only begins like them."""

from __future__ import annotations

import codecs

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.detect import to_utf8

ENCODED = [
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
]


@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    how=st.sampled_from(ENCODED),
    sizes=st.lists(st.integers(1, 9), max_size=6),
)
def test_text_with_a_mark_becomes_utf8(text: str, how: tuple[bytes, str], sizes: list[int]) -> None:
    mark, name = how
    data, blocks = mark + text.encode(name), []
    for size in sizes:
        blocks.append(data[:size])
        data = data[size:]
    assert b"".join(to_utf8(filter(None, [*blocks, data]))) == text.encode()


@pytest.mark.parametrize("blocks", [[], [b"a"], [b"\xff"], [b"abc", b"d", b"\xff\xfe"]])
def test_all_else_passes_as_it_came(blocks: list[bytes]) -> None:
    assert list(to_utf8(blocks)) == blocks


def test_large_blocks_come_out_in_steps() -> None:
    data = codecs.BOM_UTF16_LE + ("é€" * 3_000_000).encode("utf-16-le")
    blocks = list(to_utf8([data]))
    assert max(map(len, blocks)) <= 8 * 2**20
    assert b"".join(blocks) == ("é€" * 3_000_000).encode()


def test_half_a_surrogate_pair_is_repaired() -> None:
    text = "plain text of some length " * 3
    data = codecs.BOM_UTF16_LE + text.encode("utf-16-le") + b"\x00\xd8"
    assert b"".join(to_utf8([data])).decode() == text + "\ufffd"


@pytest.mark.parametrize("mark", [mark for mark, _ in ENCODED])
def test_what_only_begins_like_it_is_refused(mark: bytes) -> None:
    with pytest.raises(CorruptObjectError, match="no text"):
        list(to_utf8([mark + np.random.default_rng(7).bytes(4000)]))
