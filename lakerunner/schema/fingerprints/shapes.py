"""A key for each text that is equal where only words with a digit differ, at memory speed.

Most rows of a log repeat a few messages with other numbers in them. The rules that make a template
are regular expressions and cost microseconds a text; with this key they run once for each shape
instead of once for each row. The key decides nothing: texts with equal keys are equal after the
first rule of `masking`, so every later rule gives them the same template.

A text is cut into words; each word is taken together with the separators behind it. A word without
a digit is hashed with them, and of a word with a digit only the separators are. Keys are compared
within one call and never stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from lakerunner.schema.ids import hash_slices, mix64

_BLOCK_BYTES = 1 << 17  # the arrays of a block of this size stay in the processor's cache
_LAST_ASCII = 0x7F
_ROW = "\n\x1e"
"""Written before each row: a separator, which ends the row before, and a byte that counts as part
of a word in this place, so that each row begins with a word of its own."""

_INSIDE, _FIRST = 1, 2


def _class_of(byte: int) -> int:
    letter = byte > _LAST_ASCII or chr(byte).isalnum() or byte == ord("_")
    return _INSIDE if letter else 0


_CLASSES = bytes(map(_class_of, range(256)))
_WORD = 8  # bytes in a machine word
_NINE = np.uint8(9)
_KEPT = np.array([(1 << (8 * count)) - 1 for count in range(_WORD)] + [2**64 - 1], np.uint64)
_MIX_WORD = np.uint64(0x9E3779B97F4A7C15)
_MIX_PLACE = np.uint64(0xBF58476D1CE4E5B9)
_MIX_LENGTH = np.uint64(0x94D049BB133111EB)


def shape_keys(texts: Any) -> Any:
    """Key of each text.

    Args:
        texts: `pa.StringArray` without NULLs, with offsets that start at zero.

    Returns:
        uint64 array of the same length.

    Example:
        >>> import pyarrow as pa
        >>> first, second, third = shape_keys(pa.array(["took 5 ms", "took 31 ms", "took 5 s"]))
        >>> bool(first == second), bool(first == third)
        (True, False)
    """
    if not len(texts):
        return np.zeros(0, np.uint64)
    ends = np.frombuffer(texts.buffers()[1], np.int32)[1 : len(texts) + 1]
    keys, begin = [], 0
    while begin < len(texts):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK_BYTES, "right")))
        end = min(end, begin + _BLOCK_BYTES)  # empty texts take no bytes, but their keys do
        keys.append(_block_keys(texts.slice(begin, end - begin)))
        begin = end
    return np.concatenate(keys)


def _block_keys(texts: Any) -> Any:
    joined = pc.binary_join_element_wise("", texts, _ROW)
    offsets = np.frombuffer(joined.buffers()[1], np.int32)[: len(joined) + 1]
    size = int(offsets[-1])
    data = np.zeros(size + 1 + _WORD, np.uint8)
    data[:size] = np.frombuffer(joined.buffers()[2], np.uint8)[:size]
    data[size] = ord("\n")  # so that the last row ends as the others do
    classes = np.frombuffer(bytearray(data[: size + 1]).translate(_CLASSES), np.uint8)
    classes[offsets[:-1] + 1] = _FIRST
    inside = classes != 0
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    edges += 1
    starts, stops = edges[0::2], edges[1::2]
    digits = np.cumsum(data - np.uint8(ord("0")) <= _NINE, dtype=np.int32)
    variable = digits[stops - 1] != digits[starts - 1]
    begins = np.where(variable, stops, starts)
    lengths = np.append(starts[1:], size + 1) - begins
    firsts = np.flatnonzero(classes[starts] > _INSIDE)
    place = np.arange(len(starts)) - np.repeat(firsts, np.diff(np.append(firsts, len(starts))))
    hashes = _hashes(data, begins, lengths)
    hashes += place.astype(np.uint64) * _MIX_PLACE
    hashes += variable
    return np.add.reduceat(mix64(hashes), firsts)


def _hashes(data: Any, begins: Any, lengths: Any) -> Any:
    """Hash slices, of which most fit into one machine word and nearly all into two."""
    words = np.ndarray((len(data) - _WORD + 1,), "<u8", data.data, strides=(1,))
    hashes = words[begins]
    hashes &= _KEPT[np.minimum(lengths, _WORD)]
    hashes *= _MIX_WORD
    hashes += lengths.astype(np.uint64) * _MIX_LENGTH
    longer = np.flatnonzero(lengths > _WORD)
    second, left = begins[longer] + _WORD, lengths[longer] - _WORD
    more = words[second]
    more &= _KEPT[np.minimum(left, _WORD)]
    hashes[longer] += mix64(more)
    rest = np.flatnonzero(left > _WORD)
    if len(rest):
        start = second[rest] + _WORD
        hashes[longer[rest]] += hash_slices(data, start, second[rest] + left[rest])
    return hashes
