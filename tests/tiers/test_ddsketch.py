"""Sketches as messages: there and back, and as others write them."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest

from lakerunner.errors import CorruptObjectError
from lakerunner.schema.sketch import (
    GAMMA,
    quantiles,
    read_sketches,
    sketch_column,
    sketch_values,
)
from lakerunner.tiers.ddsketch import decode_ddsketches, encode_ddsketches


def test_there_and_back() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(0, 100, 5000), np.zeros(10), [1e-300, 1e300, -1e300]])
    group = rng.integers(0, 50, len(values))
    column = sketch_column(sketch_values(values, group, 51))
    assert column[50].as_py() is None
    assert decode_ddsketches(encode_ddsketches(column)).equals(column)


def varint(number: int) -> bytes:
    """A number as the protocol writes it."""
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, data: bytes) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def double(number: int, value: float) -> bytes:
    """A field of eight bytes."""
    return varint(number << 3 | 1) + struct.pack("<d", value)


def mapping(gamma: float = GAMMA, offset: float = 0.0) -> bytes:
    """The field of a mapping."""
    return field(1, double(1, gamma) + double(2, offset))


def test_a_message_of_contiguous_bins_as_agents_write_them() -> None:
    # Five values of the bin of 1, none of the next, seven of that after it; two of -1; one zero.
    contiguous = field(2, struct.pack("<3d", 5, 0, 7)) + varint(3 << 3) + varint(0)
    sparse = field(1, varint(1 << 3) + varint(0) + double(2, 2.0))
    message = mapping() + field(2, contiguous) + field(3, sparse) + double(4, 1.0)
    column = decode_ddsketches(pa.array([message], pa.binary()))
    assert column.to_pylist() == [{"bins": [-40000, 0, 40000, 40002], "counts": [2, 1, 5, 7]}]
    (low, middle, high) = quantiles(read_sketches(column), [0, 0.5, 1])[0]
    assert (round(low, 9), round(middle, 9)) == (-1.01, 1.01)
    assert high == pytest.approx(GAMMA**2 * 1.01)
    shifted = mapping(offset=3.0) + field(2, field(1, varint(8) + varint(6) + double(2, 1.0)))
    assert decode_ddsketches(pa.array([shifted])).field("bins").to_pylist() == [[40000]]


def test_what_would_be_guessed_is_refused() -> None:
    filled = field(2, field(1, varint(8) + varint(2) + double(2, 1.0)))
    half = field(2, field(1, varint(8) + varint(2) + double(2, 0.5)))
    for message, reason in (
        (mapping(1.5) + filled, "other bins"),
        (mapping(offset=0.25) + filled, "other bins"),
        (mapping() + half, "no whole number"),
        (b"\xff\xff", "not a DDSketch"),
    ):
        with pytest.raises(CorruptObjectError, match=reason):
            decode_ddsketches(pa.array([message], pa.binary()))
