"""Trace and span ids: bytes to lower-case hex text, for whole columns at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
# One little-endian 16-bit word holds the two digits of a byte in reading order.
_PAIRS = _DIGITS[np.arange(256) >> 4].astype("<u2") | (
    _DIGITS[np.arange(256) & 15].astype("<u2") << 8
)


def hex_ids(values: Any) -> Any:
    r"""Write ids as lower-case hex; an empty id is absent and becomes NULL.

    Args:
        values: `pa.BinaryArray`; ids may have any length.

    Returns:
        `pa.StringArray` of the same length.

    Example:
        >>> hex_ids(pa.array([b"\x01\xff", b"", None], pa.binary())).to_pylist()
        ['01ff', None, None]
    """
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
