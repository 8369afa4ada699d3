"""Find the brackets of JSON text outside of its strings, with numpy, window by window."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

_QUOTE, _BACKSLASH = 0x22, 0x5C
_OPENING, _CLOSING = 0x7B, 0x7D  # braces, and square brackets too once bit 5 is set
_BIT_5 = np.uint8(0x20)


class Brackets(NamedTuple):
    """Brackets of one window.

    Attributes:
        positions: int64, ascending, counted from the window's first byte.
        depths: int64: how many brackets are open behind each of them.
        opens: bool: which of them open.
        depth: How many are open at the window's end.
    """

    positions: Any
    depths: Any
    opens: Any
    depth: int


class Scanner:
    r"""Follows JSON text through windows of any size; what it has seen is kept between them.

    Example:
        >>> scanner = Scanner()
        >>> scanner.feed(b'{"a":["]\\').depth, scanner.feed(b'"}"]}').positions.tolist()
        (2, [3, 4])
    """

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, window: bytes | bytearray | memoryview) -> Brackets:
        """Read the next window."""
        data = np.frombuffer(window, np.uint8)
        quotes = self._quotes(data)
        folded = data | _BIT_5
        opening = folded == _OPENING
        positions = np.flatnonzero(opening | (folded == _CLOSING))
        before = np.searchsorted(quotes, positions)
        positions = positions[(before & 1) == int(self._in_string)]
        opens = opening[positions]
        depths = self._depth + np.cumsum(np.where(opens, 1, -1))
        self._in_string ^= bool(len(quotes) & 1)
        if len(depths):
            self._depth = int(depths[-1])
        return Brackets(positions, depths, opens, self._depth)

    def _quotes(self, data: Any) -> Any:
        """Positions of the quotes that begin or end a string."""
        quotes = np.flatnonzero(data == _QUOTE)
        backslashes = np.flatnonzero(data == _BACKSLASH)
        if not self._escaped and not len(backslashes):
            return quotes
        first = 0
        if self._escaped and len(data):  # its first byte belongs to the backslash before it
            first = 1
            backslashes = backslashes[backslashes > 0]
            quotes = quotes[quotes > 0]
        self._escaped = len(data) == 0 and self._escaped
        begins = np.flatnonzero(np.diff(backslashes, prepend=first - 2) != 1)
        lengths = np.diff(np.concatenate([begins, [len(backslashes)]]))
        behind = backslashes[begins] + lengths  # the byte behind each run of backslashes
        escaped = behind[(lengths & 1) == 1]
        if len(escaped) and escaped[-1] == len(data):
            self._escaped = True
        return quotes[~np.isin(quotes, escaped, assume_unique=True)]
