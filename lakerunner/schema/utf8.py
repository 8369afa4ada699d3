"""Turn bytes that ought to be UTF-8 into text, for whole columns at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

_SURROGATE = b"\xed\xa0"
"""First byte of a surrogate, and the least its second byte can be."""


class Repaired(NamedTuple):
    """Text, and how much of it had to be mended.

    Attributes:
        text: String array of the same length and NULLs as the input.
        invalid_bytes: Bytes that were no UTF-8; each became one U+FFFD.
    """

    text: Any
    invalid_bytes: int


def repair_utf8(values: Any) -> Repaired:
    r"""Read a binary array as text, replacing every byte that is not UTF-8 by U+FFFD.

    Valid values are not changed. Lone surrogates are not valid UTF-8 and are replaced too.

    Args:
        values: `pa.BinaryArray`.

    Example:
        >>> repaired = repair_utf8(pa.array([b"ok", b"a\xffb", None], pa.binary()))
        >>> repaired.text.to_pylist(), repaired.invalid_bytes
        (['ok', 'a\ufffdb', None], 1)
    """
    try:
        return Repaired(values.cast(pa.string()), 0)
    except pa.ArrowInvalid:
        pass
    compact = pa.concat_arrays([values, pa.array([], values.type)])  # offsets now start at zero
    validity, offsets_buffer, data_buffer = compact.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[: len(compact) + 1]
    data, text_offsets, invalid = _replace_invalid(data_buffer.to_pybytes(), offsets)
    text = pa.StringArray.from_buffers(
        len(compact), pa.py_buffer(text_offsets), pa.py_buffer(data), validity, compact.null_count
    )
    return Repaired(text, invalid)


def _replace_invalid(data: bytes, offsets: Any) -> tuple[bytes, Any, int]:
    """Replace invalid bytes and move the offsets along.

    "surrogateescape" turns each invalid byte into one lone surrogate, which "surrogatepass" writes
    as three bytes beginning ED A0..BF, a sequence that valid UTF-8 never has. U+FFFD is three bytes
    too, so only those need to be overwritten, and offsets grow by two per invalid byte before them.
    """
    # A zero byte between values keeps one value's cut-off tail from joining the next one's start.
    source = np.frombuffer(data, np.uint8)
    starts = offsets[1:-1]
    separated = np.insert(source, starts, np.uint8(0)).tobytes()
    escaped = np.frombuffer(
        separated.decode("utf-8", "surrogateescape").encode("utf-8", "surrogatepass"), np.uint8
    ).copy()
    marks = np.flatnonzero((escaped[:-1] == _SURROGATE[0]) & (escaped[1:] >= _SURROGATE[1]))
    for step, byte in enumerate((0xEF, 0xBF, 0xBD)):
        escaped[marks + step] = byte
    original = marks - 2 * np.arange(len(marks))  # positions in the separated bytes
    separators = starts.astype(np.int64) + np.arange(len(starts))
    moved_separators = separators + 2 * np.searchsorted(original, separators)
    keep = np.ones(len(escaped), bool)
    keep[moved_separators] = False
    starts_moved = moved_separators - np.arange(len(starts))
    total = int(keep.sum())
    moved = np.concatenate([offsets[:1], starts_moved, [total]]).astype(np.int32)
    return escaped[keep].tobytes(), moved, len(marks)
