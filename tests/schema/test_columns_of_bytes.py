"""Whole columns of bytes as text: base64, hexadecimal ids, repaired UTF-8."""

from __future__ import annotations

import base64

import hypothesis.strategies as st
import pyarrow as pa
from hypothesis import given

from lakerunner.schema.ids import hex_ids
from lakerunner.schema.text import base64_text, repair_utf8

_VALUES = st.lists(st.none() | st.binary(max_size=12), max_size=8)
# Beginnings, middles and ends of characters, so that neighbours could join to one by mistake.
_PIECES = st.lists(
    st.sampled_from([b"a", b"\xc3", b"\xa4", b"\xf0\x9f", b"\xa6\x9c", b"\xed\xa0\x80", b"\xff"])
    | st.sampled_from([b"\xef\xbf\xbd", b"\x00", "🦜".encode(), b"\xed\x9f\xbf"])
).map(b"".join)
_BROKEN = st.lists(st.none() | _PIECES | st.binary(max_size=6), max_size=6)


def sliced(values: list[bytes | None]) -> pa.Array:
    """The values as a part of a longer array, whose offsets do not begin at zero."""
    return pa.array([b"before", None, *values, b"after"], pa.binary()).slice(2, len(values))


@given(_VALUES)
def test_base64_is_the_standard_one(values: list[bytes | None]) -> None:
    wanted = [None if value is None else base64.b64encode(value).decode() for value in values]
    assert base64_text(sliced(values)).to_pylist() == wanted
    assert base64_text(pa.array(values, pa.binary())).to_pylist() == wanted


@given(_VALUES)
def test_ids_are_lower_case_hexadecimal(values: list[bytes | None]) -> None:
    wanted = [value.hex() if value else None for value in values]
    assert hex_ids(sliced(values)).to_pylist() == wanted
    assert hex_ids(pa.array(values, pa.binary())).to_pylist() == wanted


@given(_BROKEN)
def test_each_invalid_byte_becomes_one_replacement_character(values: list[bytes | None]) -> None:
    wanted, invalid = [], 0
    for value in values:
        read = (value or b"").decode("utf-8", "surrogateescape")
        marks = sum("\ud800" <= character <= "\udfff" for character in read)
        invalid += marks
        text = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in read)
        wanted.append(None if value is None else text)
    for column in (sliced(values), pa.array(values, pa.binary())):
        repaired = repair_utf8(column)
        repaired.text.validate(full=True)
        assert repaired.text.to_pylist() == wanted
        assert repaired.invalid_bytes == invalid
