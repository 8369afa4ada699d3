"""Stable 64-bit hashes of whole columns: the same on every machine, in every process, for ever.

Fingerprints and series ids are stored, so the functions here may never change what they return.
Bytes are read as little-endian 64-bit words; each word is mixed together with its position by the
finaliser of SplitMix64 (https://prng.di.unimi.it/splitmix64.c), the mixed words are added up, and
the sum is mixed with the length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORD = 8
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
    stops = np.cumsum(counts)
    begin = 0
    while begin < len(starts):
        done = int(stops[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(stops, done + _WORDS_AT_ONCE, "right")))
        piece = slice(begin, end)
        sums[piece] = _sum_words(words, starts[piece], lengths[piece], counts[piece])
        begin = end
    return mix64(sums + lengths.astype(np.uint64) * _GOLDEN)


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
