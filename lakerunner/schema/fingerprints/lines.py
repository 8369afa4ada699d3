"""Which part of a log body counts: its first line, and the exception that a stack trace names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.limits import FINGERPRINT_CHARS

_NEWLINE = 10
_DOCUMENT = r"^\s*\{"
_FIRST_LINE = r"(?P<line>[^\r\n]*[^\s][^\r\n]*)"
# The class stands at the start of a line in the traces of the JVM (below "Caused by: ") and of
# Python (in the last line).
_EXCEPTION = (
    r"\n(?:Caused by: )?(?P<name>[A-Za-z_$][\w.$]*(?:Exception|Error|Interrupt|Exit))(?:[:\s]|$)"
)


def counted_text(bodies: Any) -> Any:
    r"""Cut each body down to the text that its fingerprint depends on.

    Of several lines that is the first one that is not blank, followed by the class of the first
    exception named at the start of a later line. A body that begins with a brace is kept whole,
    since documents are often written over several lines. Nothing after the first
    `FINGERPRINT_CHARS` characters counts.

    Args:
        bodies: `pa.StringArray`, or another array of text.

    Returns:
        `pa.StringArray` of the same length, without NULLs: those are empty texts.

    Example:
        >>> counted_text(pa.array(["charge failed\nTimeoutError: 3 s\n\tat Pay.go", None]))[0]
        <pyarrow.StringScalar: 'charge failed TimeoutError'>
    """
    texts = _compact(pc.fill_null(bodies.cast(pa.string()), ""))
    long = np.diff(_offsets(texts)) > FINGERPRINT_CHARS  # bytes; a character has at least one
    if long.any():
        short = pc.utf8_slice_codeunits(texts.filter(long), 0, FINGERPRINT_CHARS)
        texts = _compact(_replaced(texts, long, short))
    offsets = _offsets(texts)
    raw = texts.buffers()[2] or b""
    breaks = np.flatnonzero(np.frombuffer(raw, np.uint8)[: offsets[-1]] == _NEWLINE)
    row = np.searchsorted(offsets, breaks, "right") - 1
    several = np.zeros(len(texts), bool)
    several[row[breaks + 1 < offsets[row + 1]]] = True  # a break at the end begins no line
    if not several.any():
        return texts
    rows = texts.filter(several)
    whole = pc.match_substring_regex(rows, _DOCUMENT)
    return _replaced(texts, several, pc.if_else(whole, rows, _one_line(rows)))


def _one_line(rows: Any) -> Any:
    line = pc.fill_null(pc.struct_field(pc.extract_regex(rows, _FIRST_LINE), "line"), "")
    name = pc.struct_field(pc.extract_regex(rows, _EXCEPTION), "name")
    return pc.binary_join_element_wise(line, name, " ", null_handling="skip")


def _compact(texts: Any) -> Any:
    """The same texts, with offsets that start at zero."""
    return pa.concat_arrays([texts, pa.array([], pa.string())])


def _offsets(texts: Any) -> Any:
    if not len(texts):
        return np.zeros(1, np.int32)
    return np.frombuffer(texts.buffers()[1], np.int32)[: len(texts) + 1]


def _replaced(texts: Any, rows: Any, by: Any) -> Any:
    return pc.replace_with_mask(texts, pa.array(rows), by)
