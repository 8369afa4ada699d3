"""Trace and span ids: bytes or text to lower-case hex text, for whole columns at once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.limits import ID_FILTER_BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
# One little-endian 16-bit word holds the two digits of a byte in reading order.
_PAIRS = _DIGITS[np.arange(256) >> 4].astype("<u2") | (
    _DIGITS[np.arange(256) & 15].astype("<u2") << 8
)
_IS_DIGIT = np.zeros(256, bool)
_IS_DIGIT[np.frombuffer(b"0123456789abcdefABCDEF", np.uint8)] = True
_BASE64 = np.full(256, 255, np.uint8)
for _code, _letter in enumerate(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
):
    _BASE64[_letter] = _code
_BASE64[np.frombuffer(b"-_", np.uint8)] = 62, 63  # the alphabet for URLs
_BASE64_IDS = {24: 16, 22: 16, 12: 8, 11: 8}  # characters, with padding or without, and bytes


def hex_ids(values: Any) -> Any:
    r"""Write ids as lower-case hex; an empty id is absent and becomes NULL.

    Args:
        values: `pa.BinaryArray` or, with ids that are text already, `pa.StringArray`; ids may have
            any length. Text is taken as hex; if it cannot be that, and is as long as the base64 of
            8 or 16 bytes, as base64; and if it is neither, as it is.

    Returns:
        `pa.StringArray` of the same length.

    Example:
        >>> hex_ids(pa.array([b"\x01\xff", b"", None], pa.binary())).to_pylist()
        ['01ff', None, None]
        >>> hex_ids(pa.array(["01FF", "7uGbfsPBsXQ=", "", "my-trace"])).to_pylist()
        ['01ff', 'eee19b7ec3c1b174', None, 'my-trace']
    """
    if pa.types.is_string(values.type):
        return _from_text(values)
    compact = pa.concat_arrays([values, pa.array([], values.type)])
    validity, offsets_buffer, data_buffer = compact.buffers()
    if data_buffer is None or not len(compact):
        return pa.nulls(len(compact), pa.string())
    offsets = np.frombuffer(offsets_buffer, np.int32)[: len(compact) + 1]
    if int(offsets[-1]) > np.iinfo(np.int32).max // 2:
        raise pa.ArrowInvalid("more than 1 GiB of ids in one batch")
    digits = _PAIRS[np.frombuffer(data_buffer, np.uint8)[: int(offsets[-1])]]
    text = pa.StringArray.from_buffers(
        len(compact), pa.py_buffer(offsets * 2), pa.py_buffer(digits), validity, compact.null_count
    )
    empty = np.diff(offsets) == 0
    return pc.if_else(pa.array(empty), pa.scalar(None, pa.string()), text) if empty.any() else text


def _from_text(values: Any) -> Any:
    compact = pa.concat_arrays([values, pa.array([], values.type)])
    data_buffer = compact.buffers()[2]
    if data_buffer is None or not len(compact):
        return pa.nulls(len(compact), pa.string())
    lower = pc.ascii_lower(compact)
    if not _IS_DIGIT[np.frombuffer(data_buffer, np.uint8)].all():
        is_hex = pc.match_substring_regex(compact, "^[0-9a-fA-F]*$")
        lower = pc.if_else(is_hex, lower, compact)
        for length, size in _BASE64_IDS.items():
            lower = _from_base64(lower, is_hex, length, size)
    empty = pc.equal(lower, "")
    return (
        pc.if_else(empty, pa.scalar(None, pa.string()), lower) if pc.any(empty).as_py() else lower
    )


def _from_base64(values: Any, is_hex: Any, length: int, size: int) -> Any:
    """Replace texts that are the base64 of ids of one size by their hex."""
    candidate = pc.and_(pc.equal(pc.binary_length(values), length), pc.invert(is_hex))
    positions = pc.indices_nonzero(candidate).to_numpy()
    if not len(positions):
        return values
    digits = -(-size * 4 // 3)
    letters = np.frombuffer(values.take(pa.array(positions)).buffers()[2], np.uint8)
    letters = letters[: len(positions) * length].reshape(-1, length)
    codes = _BASE64[letters[:, :digits]]
    good = (codes < _BASE64.max()).all(axis=1) & (letters[:, digits:] == ord("=")).all(axis=1)
    bits = np.unpackbits(codes[good][:, :, None], axis=2)[:, :, 2:].reshape(-1, digits * 6)
    ids = np.packbits(bits[:, : size * 8], axis=1)
    offsets = np.arange(len(ids) + 1, dtype=np.int32) * size
    found = pa.BinaryArray.from_buffers(
        pa.binary(),
        len(ids),
        [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(ids))],
    )
    mask = np.zeros(len(values), bool)
    mask[positions[good]] = True
    return pc.replace_with_mask(values, pa.array(mask), hex_ids(found))


# Stable 64-bit hashes of whole columns: the same on every machine, in every process, for ever.
#
# Fingerprints and series ids are stored, so the functions here may never change what they return.
# Bytes are read as little-endian 64-bit words; each word is mixed together with its position by the
# finaliser of SplitMix64 (https://prng.di.unimi.it/splitmix64.c), the mixed words are added up, and
# the sum is mixed with the length.

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORD = 8
_FEW_WORDS = 8
_ALL_BITS = 2**64 - 1
_WORDS_AT_ONCE = 1 << 18  # a piece of this many words stays in the processor's cache
_TAIL = np.array([(1 << (8 * count)) - 1 for count in range(_WORD)] + [2**64 - 1], np.uint64)


def mix64(values: Any) -> Any:
    """Scatter the bits of 64-bit values; a bijection.

    Args:
        values: uint64 array. It is not changed.

    Example:
        >>> hex(int(mix64(np.array([1], np.uint64))[0]))
        '0x5692161d100b05e5'
    """
    mixed = values ^ (values >> np.uint64(30))
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def hash_slices(data: Any, starts: Any, ends: Any) -> Any:
    """Hash slices of one run of bytes.

    Args:
        data: uint8 array.
        starts: int64 array: where each slice begins.
        ends: int64 array: where it ends; slices may overlap and come in any order.

    Returns:
        uint64 array, one hash per slice; equal slices have equal hashes wherever they lie.

    Example:
        >>> data = np.frombuffer(b"abcabc", np.uint8)
        >>> first, second = hash_slices(data, np.array([0, 3]), np.array([3, 6]))
        >>> bool(first == second)
        True
    """
    padded = np.concatenate([data, np.zeros(_WORD, np.uint8)])
    # One word for every byte position: x86 and ARM read unaligned words at full speed.
    words = np.ndarray((len(data) + 1,), "<u8", padded.data, strides=(1,))
    lengths = (ends - starts).astype(np.int64)
    counts = (lengths + _WORD - 1) // _WORD
    sums = np.zeros(len(starts), np.uint64)
    most = int(counts.max(initial=0))
    if most <= _FEW_WORDS:
        sums = _sum_few(words, starts, lengths, most)
        return mix64(sums + lengths.astype(np.uint64) * _GOLDEN)
    stops = np.cumsum(counts)
    begin = 0
    while begin < len(starts):
        done = int(stops[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(stops, done + _WORDS_AT_ONCE, "right")))
        piece = slice(begin, end)
        sums[piece] = _sum_words(words, starts[piece], lengths[piece], counts[piece])
        begin = end
    return mix64(sums + lengths.astype(np.uint64) * _GOLDEN)


def _sum_few(words: Any, starts: Any, lengths: Any, most: int) -> Any:
    """The same as `_sum_words` for slices of a few words at most, one word of all after another."""
    sums = np.zeros(len(starts), np.uint64)
    for number in range(most):
        done = number * _WORD
        whole = int(lengths.min()) >= done + _WORD
        rows = slice(None) if whole else np.flatnonzero(lengths > done)
        taken = words[starts[rows] + done]
        if not whole:
            taken &= _TAIL[np.minimum(lengths[rows] - done, _WORD)]
        taken += np.uint64((number + 1) * int(_GOLDEN) & _ALL_BITS)
        sums[rows] += mix64(taken)
    return sums


def _sum_words(words: Any, starts: Any, lengths: Any, counts: Any) -> Any:
    """Sum of the mixed words of each slice; 0 for an empty one."""
    sums = np.zeros(len(starts), np.uint64)
    filled = np.flatnonzero(counts)
    if not len(filled):
        return sums
    counts = counts[filled]
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    position = np.arange(int(counts.sum())) - np.repeat(firsts, counts)
    taken = words[np.repeat(starts[filled], counts) + position * _WORD]
    lasts = firsts + counts - 1
    taken[lasts] &= _TAIL[lengths[filled] - (counts - 1) * _WORD]
    position += 1
    mixed = mix64(taken + position.astype(np.uint64) * _GOLDEN)
    sums[filled] = np.add.reduceat(mixed, firsts)
    return sums


def hash_text(values: Any) -> Any:
    """Hash each text, or each run of bytes, of an array.

    Args:
        values: `pa.StringArray` or `pa.BinaryArray`.

    Returns:
        uint64 array of the same length; 0 for NULL.

    Example:
        >>> [hex(value) for value in hash_text(pa.array(["checkout", "", None])).tolist()]
        ['0x5c7f8c802e2d7398', '0x0', '0x0']
    """
    compact = pa.concat_arrays([values, pa.array([], values.type)])  # offsets now start at zero
    _, offsets_buffer, data_buffer = compact.buffers()
    if not len(compact):
        return np.zeros(0, np.uint64)
    offsets = np.frombuffer(offsets_buffer, np.int32)[: len(compact) + 1].astype(np.int64)
    raw = b"" if data_buffer is None else data_buffer
    data = np.frombuffer(raw, np.uint8)[: int(offsets[-1])]
    hashes = hash_slices(data, offsets[:-1], offsets[1:])
    if compact.null_count:
        hashes[~np.asarray(compact.is_valid())] = 0
    return hashes


# Filters that say of an id that it is certainly not in a column: Bloom filters written as text.
#
# The catalog keeps one for each segment, inside a JSON document that is read for every query, so it
# is text whose characters are looked at one by one: nothing is unpacked to test an id. The first
# character is the number of bits per id; each further one holds six bits of the filter, lowest
# first.
# https://en.wikipedia.org/wiki/Bloom_filter

_FILTER_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_BITS = 6
_VALUE = {chr(digit): value for value, digit in enumerate(_FILTER_DIGITS)}
_ALPHABET = np.frombuffer(_FILTER_DIGITS, np.uint8)
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
