"""Read plain text: one record per line, with stack traces kept in one piece."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.lines import last_newline, split_lines
from lakerunner.formats.records.payload_lines import join_lines, slices
from lakerunner.formats.records.read import Records
from lakerunner.limits import OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.formats.base import Part
    from lakerunner.formats.records.payload_lines import Lines

_NEWLINE = ord("\n")
_TRACEBACK = "Traceback (most recent call last)"
_JOINED = (
    r"^(Caused by: |\.\.\. \d+ (more|common frames)|--- End of |at [\w.$<>/]+\(.*\)$"
    r"|During handling of the above exception|The above exception was the direct cause)"
)
_CUT = r"^\d{4}-\S+ (stdout|stderr) P(?: |$)"
"""A piece of a longer line, as the runtimes of containers write it: its end is not trimmed, so that
all pieces together are the line again."""
_JAVA_EXCEPTION = r"^([\w$]+\.)+[\w$]+(:|$)"
_EXCEPTION = r"^[A-Za-z_][\w.]*(:|$)"
_MAY_CONTINUE = re.compile(
    rb"[ \t\r\n]|Caused by: |Traceback |During handling|The above|--- End|at |\.\.\. "
    rb"|[A-Za-z_][\w.$]*[:\n]"
)


def split_text(blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES) -> Iterator[Part]:
    r"""Cut plain text before lines that belong to no stack trace, so that traces stay whole.

    Args:
        blocks: The object's bytes, in order.
        limit: Bytes a part should not exceed. A longer line stays whole; a trace that is longer
            is cut between its lines.
        longest: Bytes that a line may have; longer ones are set aside.

    Yields:
        Parts; at least one.

    Example:
        >>> [part.data for part in split_text([b"a\n  at b\n  at c\nd\n"], 17)]
        [b'a\n  at b\n  at c\n', b'd\n']
    """
    return split_lines(blocks, limit, longest, _cut)


def _cut(buffer: bytearray, limit: int) -> int:
    """End of the last line within the limit that no line of a trace follows, or of the last."""
    last = cut = last_newline(buffer, limit)
    while cut and _MAY_CONTINUE.match(buffer, cut):
        cut = buffer.rfind(b"\n", 0, cut - 1) + 1
    return cut or last


def read_text(payloads: Sequence[bytes]) -> Records:
    r"""Read lines as records of one column, `message`.

    Indented lines and other lines of stack traces belong to the record before them; blank lines
    within a record are kept, others are passed over. A payload whose lines are all indented has a
    record per line.

    Args:
        payloads: Text; what is no UTF-8 is repaired.

    Returns:
        The records; nothing is ever set aside.

    Raises:
        ObjectTooLargeError: The payloads take more than 2 GiB.

    Example:
        >>> records = read_text([b"failed\n\tat a.b(c.java:1)\nCaused by: d\n\nnext"])
        >>> records.table["message"].to_pylist()
        ['failed\n\tat a.b(c.java:1)\nCaused by: d', 'next']
    """
    lines = join_lines(payloads)
    message, firsts = traces_together(lines)
    return Records(pa.table({"message": message}), lines.payload[firsts])


def traces_together(lines: Lines) -> tuple[Any, Any]:
    """Make one text of the lines of each stack trace.

    Args:
        lines: Those of a payload follow one another in the buffer.

    Returns:
        `pa.StringArray`, and the position of the first line of each text.
    """
    firsts = np.flatnonzero(~_continues(lines))
    lasts = np.append(firsts[1:], len(lines.starts))[: len(firsts)] - 1
    ends = lines.ends[lasts]
    text = slices(lines.data, lines.starts[firsts], ends)
    cut = np.flatnonzero(_matches(text, _CUT))
    if not len(cut):
        return text, firsts
    following = np.append(np.flatnonzero(np.frombuffer(lines.data, np.uint8) == _NEWLINE), -1)
    following[-1] = len(lines.data)
    ends[cut] = following[np.searchsorted(following, ends[cut])]
    return slices(lines.data, lines.starts[firsts], ends), firsts


def _continues(lines: Lines) -> Any:
    """Which lines belong to the record of the line before."""
    count = len(lines.starts)
    if not count:
        return np.zeros(0, bool)
    values = np.frombuffer(lines.data, np.uint8)
    indented = (lines.starts > 0) & (values[lines.starts - 1] != _NEWLINE)
    upright = np.bincount(lines.payload[~indented], minlength=int(lines.payload[-1]) + 1)
    indented &= upright[lines.payload] > 0
    text = slices(lines.data, lines.starts, lines.ends)
    joined = indented | _matches(text, _JOINED)
    joined |= _java_exceptions(text, indented, joined)
    heads = np.flatnonzero(pc.starts_with(text, _TRACEBACK).to_numpy(zero_copy_only=False))
    if len(heads):
        joined |= _python_traces(text, heads, indented, joined)
    joined[0] = False
    joined[1:] &= lines.payload[1:] == lines.payload[:-1]
    return joined


def _matches(text: Any, pattern: str) -> Any:
    return pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)


def _java_exceptions(text: Any, indented: Any, joined: Any) -> Any:
    """Lines that name an exception, before its frames and behind a line of another kind."""
    frames = np.flatnonzero(indented[1:] & ~joined[:-1])
    heads = text.take(pa.array(frames))
    behind = text.take(pa.array(frames + 1))
    named = _matches(heads, _JAVA_EXCEPTION) & _matches(behind, r"^at ")
    found = np.zeros(len(indented), bool)
    found[frames[named]] = True
    found[1:] &= ~joined[:-1]
    return found


def _python_traces(text: Any, heads: Any, indented: Any, joined: Any) -> Any:
    """Lines of Python's traces: the head joins what was logged, and the exception ends it."""
    found = np.zeros(len(indented), bool)
    upright = np.append(np.flatnonzero(~indented), len(indented))
    ends = upright[np.searchsorted(upright, heads, "right")]
    ends = ends[ends < len(indented)]
    named = _matches(text.take(pa.array(ends)), _EXCEPTION)
    found[ends[named]] = True
    # A trace that follows the end of another begins a record, unless a sentence links the two.
    after_end = np.zeros(len(indented), bool)
    after_end[1:] = found[:-1] & ~joined[:-1]
    found[heads] = ~after_end[heads]
    return found
