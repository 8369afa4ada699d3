"""Documents as lines: where each one stands, in a batch of payloads and in its own payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEWLINE = 10
_BLANKS = np.frombuffer(b" \t\r\n", np.uint8)


class Lines(NamedTuple):
    """The lines of a batch of payloads that are not blank.

    Attributes:
        data: All payloads, with a newline after each.
        starts: int64 per line: where it begins in `data`.
        ends: int64 per line: where it ends, before its newline.
        payload: int64 per line: position of its payload in the batch, ascending.
        number: int64 per line: its number within its payload, from 1.
    """

    data: bytes
    starts: Any
    ends: Any
    payload: Any
    number: Any

    def text(self, index: int) -> bytes:
        """One line."""
        return self.data[self.starts[index] : self.ends[index]]

    def keep(self, kept: Any) -> Lines:
        """Only some lines, written anew one after the other.

        Args:
            kept: int64: their positions, ascending.
        """
        texts = [self.text(index) for index in kept.tolist()]
        ends = np.cumsum(np.array([len(line) + 1 for line in texts], np.int64)) - 1
        starts = _starts(ends)
        data = b"\n".join([*texts, b""])
        return Lines(data, starts, ends, self.payload[kept], self.number[kept])

    def rewritten(self, data: bytes) -> Lines:
        """The same lines with other content.

        Args:
            data: Exactly as many lines, none of them blank, each with a newline.
        """
        ends = _newlines(data)
        return self._replace(data=data, starts=_starts(ends), ends=ends)


def lines_of(payloads: Sequence[bytes]) -> Lines:
    r"""Find the lines of payloads.

    Example:
        >>> lines = lines_of([b"a\n\nb", b"c\r\n"])
        >>> lines.payload.tolist(), lines.number.tolist(), lines.text(1)
        ([0, 0, 1], [1, 3, 1], b'b')
    """
    data = b"\n".join([*payloads, b""])
    ends = _newlines(data)
    starts = _starts(ends)
    begins = np.cumsum([0, *(len(payload) + 1 for payload in payloads)])[:-1]
    payload = np.searchsorted(begins, starts, "right") - 1
    first = np.searchsorted(starts, begins)  # each payload begins a line
    number = np.arange(len(starts)) - first[payload] + 1
    kept = _not_blank(data, starts, ends)
    return Lines(data, starts[kept], ends[kept], payload[kept], number[kept])


def _newlines(data: bytes) -> Any:
    return np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)


def _starts(ends: Any) -> Any:
    return np.concatenate([[0], ends[:-1] + 1])[: len(ends)]


def _not_blank(data: bytes, starts: Any, ends: Any) -> Any:
    kept = ends > starts
    heads = np.frombuffer(data, np.uint8)[starts]
    for index in np.flatnonzero(kept & np.isin(heads, _BLANKS)).tolist():
        kept[index] = bool(data[starts[index] : ends[index]].strip())
    return kept
