"""Base64 for whole columns (RFC 4648, standard alphabet, padded)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

_ALPHABET = np.frombuffer(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8
)


def base64_text(values: Any) -> Any:
    """Write every value as base64.

    Args:
        values: `pa.BinaryArray`.

    Returns:
        `pa.StringArray` with the same NULLs.

    Example:
        >>> base64_text(pa.array([b"hi", b"", None], pa.binary())).to_pylist()
        ['aGk=', '', None]
    """
    compact = pa.concat_arrays([values, pa.array([], values.type)])
    validity, offsets_buffer, data_buffer = compact.buffers()
    if data_buffer is None or not len(compact):
        return compact.cast(pa.string())
    offsets = np.frombuffer(offsets_buffer, np.int32)[: len(compact) + 1].astype(np.int64)
    data = np.frombuffer(data_buffer, np.uint8)[: offsets[-1]]
    lengths = np.diff(offsets)
    groups = -(-lengths // 3)
    group_offsets = np.concatenate([[0], np.cumsum(groups)])
    owner = np.repeat(np.arange(len(lengths)), groups)
    within = np.arange(group_offsets[-1]) - group_offsets[owner]
    first = offsets[owner] + 3 * within
    padded = np.concatenate([data, np.zeros(2, np.uint8)])
    left = offsets[owner + 1] - first  # bytes of the value from this group on
    second, third = (left > further for further in (1, 2))
    a = padded[first].astype(np.uint32)
    b = np.where(second, padded[first + 1], 0).astype(np.uint32)
    c = np.where(third, padded[first + 2], 0).astype(np.uint32)
    word = a << 16 | b << 8 | c
    digits = np.stack([_ALPHABET[word >> shift & 63] for shift in (18, 12, 6, 0)], axis=1)
    digits[~second, 2] = ord("=")
    digits[~third, 3] = ord("=")
    text_offsets = (group_offsets * 4).astype(np.int32)
    return pa.StringArray.from_buffers(
        len(compact),
        pa.py_buffer(text_offsets),
        pa.py_buffer(np.ascontiguousarray(digits)),
        validity,
        compact.null_count,
    )
