"""Trace and span ids: bytes or text to lower-case hex text, for whole columns at once."""

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
