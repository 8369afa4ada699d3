"""Filters that say of an id that it is certainly not in a column: Bloom filters written as text.

The catalog keeps one for each segment, inside a JSON document that is read for every query, so it
is text whose characters are looked at one by one: nothing is unpacked to test an id. The first
character is the number of bits per id; each further one holds six bits of the filter, lowest first.
https://en.wikipedia.org/wiki/Bloom_filter
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lakerunner.limits import ID_FILTER_BITS
from lakerunner.schema.hashing import hash_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_BITS = 6
_VALUE = {chr(digit): value for value, digit in enumerate(_DIGITS)}
_ALPHABET = np.frombuffer(_DIGITS, np.uint8)
_WEIGHTS = np.left_shift(1, np.arange(_BITS)).astype(np.uint8)

_BITS_PER_ID, _LEAST_BITS_PER_ID = 10, 4  # wrong for 1 absent id in 100, and for 1 in 7
_MANY_PROBES = 9
_MOST = ID_FILTER_BITS // _LEAST_BITS_PER_ID
_LEAST_SIZE = 384
# Added to the even steps, which alone would visit few bits where they divide the size: "enhanced
# double hashing" of Dillinger and Manolios, Bloom Filters in Probabilistic Verification (2004).
_STRIDES = tuple(np.uint64((number**3 - number) // 6) for number in range(_MANY_PROBES + 1))
_HALF, _LOW = 32, 2**32 - 1


class IdFilter:
    """The filter of a column whose values come in parts, in any order.

    Holds eight bytes for each distinct id, and nothing once there are too many. Not safe to change
    from several threads at once.

    Example:
        >>> seen = IdFilter()
        >>> seen.add(pa.array(["d4cda95b652f4a15"]))
        >>> seen.add(pa.array(["92b449d5929fda1b", None]))
        >>> may_hold(seen.text(), "92b449d5929fda1b"), may_hold(seen.text(), "0000000000000001")
        (True, False)
    """

    def __init__(self) -> None:
        self._hashes: NDArray[np.uint64] | None = np.empty(0, np.uint64)

    def add(self, values: pa.Array) -> None:
        """See the ids of a string array, or of a dictionary of strings."""
        if self._hashes is None:
            return
        ids = values.cast(pa.string()).drop_null()
        # The first rows alone may tell that there are too many, and spare the others their hashes.
        for start in range(0, len(ids), 2 * _MOST):
            if not self._union(hash_text(ids.slice(start, 2 * _MOST))):
                return

    def merge(self, other: IdFilter) -> None:
        """See all that another filter has seen."""
        if other._hashes is None:
            self._hashes = None
        else:
            self._union(other._hashes)

    def _union(self, hashes: NDArray[np.uint64]) -> bool:
        """Add hashes; whether there are few enough."""
        if self._hashes is not None:
            union = np.union1d(self._hashes, hashes)
            self._hashes = None if len(union) > _MOST else union
        return self._hashes is not None

    def text(self) -> str:
        """The filter; empty if the column holds so many ids that it would not exclude most others.

        It depends on the distinct ids alone, not on the parts in which they came.
        """
        hashes = self._hashes
        if hashes is None:
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


def id_filter(values: pa.Array) -> str:
    """Write the filter of a column that is there as a whole; see `IdFilter.text`.

    Example:
        >>> may_hold(id_filter(pa.array(["92b449d5929fda1b"])), "92b449d5929fda1b")
        True
    """
    seen = IdFilter()
    seen.add(values)
    return seen.text()


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
    """The hash of one id as `IdFilter` uses it: the first bit, and the step to each further."""
    (number,) = hash_text(pa.array([value])).tolist()
    return number & _LOW, number >> _HALF | 1
