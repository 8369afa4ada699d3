"""Stable hashes: known values, independence of layout, and agreement with a plain computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.schema.ids import hash_slices, hash_text, mix64

_MASK = 2**64 - 1


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _plain(data: bytes) -> int:
    total = len(data) * 0x9E3779B97F4A7C15
    for position in range(0, len(data), 8):
        word = int.from_bytes(data[position : position + 8], "little")
        total += _mix((word + (position // 8 + 1) * 0x9E3779B97F4A7C15) & _MASK)
    return _mix(total & _MASK)


@given(st.lists(st.binary(max_size=70) | st.none()))
def test_equals_the_plain_computation(values: list[bytes | None]) -> None:
    expected = [0 if value is None else _plain(value) for value in values]
    assert hash_text(pa.array(values, pa.binary())).tolist() == expected


@given(st.lists(st.text() | st.none(), min_size=1), st.data())
def test_a_slice_of_an_array_hashes_as_the_whole_does(
    values: list[str | None], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(values)))
    array = pa.array(values, pa.string())
    whole: Any = hash_text(array)
    assert hash_text(array.slice(start)).tolist() == whole[start:].tolist()


def test_one_value_longer_than_a_piece() -> None:
    long = b"0123456789" * 500_000
    hashes = hash_text(pa.array([b"a", long, b"a"], pa.binary()))
    assert hashes[0] == hashes[2] == _plain(b"a")
    assert hashes[1] == _plain(long)


def test_slices_may_overlap_and_come_in_any_order() -> None:
    data = np.frombuffer(b"abcdefghijkl", np.uint8)
    hashes = hash_slices(data, np.array([3, 0, 3]), np.array([12, 12, 5]))
    assert hashes.tolist() == [_plain(b"defghijkl"), _plain(b"abcdefghijkl"), _plain(b"de")]


def test_values_never_change() -> None:
    assert hash_text(pa.array(["checkout", "a" * 9])).tolist() == [
        0x5C7F8C802E2D7398,
        _plain(b"a" * 9),
    ]
    assert int(mix64(np.array([1], np.uint64))[0]) == 0x5692161D100B05E5
