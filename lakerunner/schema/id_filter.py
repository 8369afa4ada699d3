"""Filters that say of an id that it is certainly not in a column: Bloom filters written as text.

The catalog keeps one for each segment, inside a JSON document that is read for every query, so it
is text whose characters are looked at one by one: nothing is unpacked to test an id. The first
character is the number of bits per id; each further one holds six bits of the filter, lowest first.
https://en.wikipedia.org/wiki/Bloom_filter
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from lakerunner.limits import ID_FILTER_BITS
from lakerunner.schema.hashing import hash_text

_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_BITS = 6
_VALUE = {chr(digit): value for value, digit in enumerate(_DIGITS)}
_ALPHABET = np.frombuffer(_DIGITS, np.uint8)
_WEIGHTS = np.left_shift(1, np.arange(_BITS)).astype(np.uint8)

_BITS_PER_ID, _LEAST_BITS_PER_ID = 10, 4  # wrong for 1 absent id in 100, and for 1 in 7
_MANY_PROBES = 9
_LEAST_SIZE = 384
# Added to the even steps, which alone would visit few bits where they divide the size: "enhanced
# double hashing" of Dillinger and Manolios, Bloom Filters in Probabilistic Verification (2004).
_STRIDES = tuple(np.uint64((number**3 - number) // 6) for number in range(_MANY_PROBES + 1))
_HALF, _LOW = 32, 2**32 - 1


def id_filter(values: Any) -> str:
    """Write the filter of a column.

    Args:
        values: String array of ids.

    Returns:
        The filter; empty if the column holds so many ids that a filter of bounded size would not
        exclude most others.

    Example:
        >>> text = id_filter(pa.array(["d4cda95b652f4a15", "92b449d5929fda1b", None]))
        >>> may_hold(text, "92b449d5929fda1b"), may_hold(text, "0000000000000001")
        (True, False)
    """
    ids, most = values.drop_null(), ID_FILTER_BITS // _LEAST_BITS_PER_ID
    # The first rows alone tell if there are too many, and spare the others their hashes.
    hashes = np.unique(hash_text(ids.slice(0, 2 * most)))
    if len(hashes) <= most < len(ids):
        hashes = np.unique(hash_text(ids))
    if len(hashes) > most:
        return ""
    size = min(max(len(hashes) * _BITS_PER_ID, _LEAST_SIZE), ID_FILTER_BITS)
    size += -size % _BITS
    first, step = hashes & np.uint64(_LOW), hashes >> np.uint64(_HALF) | np.uint64(1)
    probes = min(_MANY_PROBES, max(1, round(size / max(len(hashes), 1) * float(np.log(2)))))
    bits = np.zeros(size, np.uint8)
    for number in range(probes):
        bits[(first + np.uint64(number) * step + _STRIDES[number]) % np.uint64(size)] = 1
    digits = _ALPHABET[bits.reshape(-1, _BITS) @ _WEIGHTS]
    return f"{probes}{digits.tobytes().decode()}"


def may_hold(written: str, value: str) -> bool:
    """Whether a column may hold an id; never False for one that it holds.

    Args:
        written: What `id_filter` wrote of the column; an empty text excludes nothing.
        value: The id.
    """
    if not written:
        return True
    size = (len(written) - 1) * _BITS
    first, step = _halves(value)
    for number in range(int(written[0])):
        bit = (first + number * step + int(_STRIDES[number])) % size
        if not _VALUE[written[1 + bit // _BITS]] >> bit % _BITS & 1:
            return False
    return True


@lru_cache(maxsize=4096)
def _halves(value: str) -> tuple[int, int]:
    """The hash of one id as `id_filter` uses it: the first bit, and the step to each further."""
    (number,) = hash_text(pa.array([value])).tolist()
    return number & _LOW, number >> _HALF | 1
