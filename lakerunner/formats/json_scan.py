"""Where the structure of JSON text is: quotes, brackets, commas and colons outside of strings."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

QUOTE, BACKSLASH, NEWLINE = ord('"'), ord("\\"), ord("\n")
_BLANK = ord(" ")
_RUN = 64
_DEPTH = np.zeros(256, np.int8)
_DEPTH[[ord("{"), ord("[")]] = 1
_DEPTH[[ord("}"), ord("]")]] = -1
_INTERESTING = np.zeros(256, bool)
_INTERESTING[[ord(character) for character in '"{}[],:']] = True


class Structure(NamedTuple):
    """The structural characters of some JSON text.

    Attributes:
        quotes: int64: where strings begin and end.
        places: int64: where brackets, commas and colons outside of strings are.
        kinds: uint8: which character each is.
        depth: int32: brackets open behind each.
        in_string: Whether the text ends inside of a string.
    """

    quotes: Any
    places: Any
    kinds: Any
    depth: Any
    in_string: bool


def scan(values: Any, *, depth: int = 0, in_string: bool = False) -> Structure:
    r"""Find the structure of JSON text.

    Args:
        values: uint8 array; it does not begin behind a backslash.
        depth: Brackets open before it.
        in_string: Whether it begins inside of a string.

    Example:
        >>> found = scan(np.frombuffer(b'{"a}":[1,"\\""]}', np.uint8))
        >>> bytes(found.kinds), found.depth.tolist(), found.quotes.tolist()
        (b'{:[,]}', [1, 1, 2, 2, 1, 0], [1, 4, 9, 12])
    """
    places = np.flatnonzero(_INTERESTING[values])
    kinds = values[places]
    is_quote = kinds == QUOTE
    escaped = _escaped(values, places[is_quote])
    if escaped is not None:
        marks = np.flatnonzero(is_quote)[escaped]
        is_quote[marks] = False
    quoted = np.bitwise_xor.accumulate(is_quote) ^ in_string
    outside = ~quoted & ~is_quote & (kinds != QUOTE)
    quotes, ends_inside = places[is_quote], bool(quoted[-1]) if len(quoted) else in_string
    places, kinds = places[outside], kinds[outside]
    levels = depth + np.cumsum(_DEPTH[kinds], dtype=np.int32)
    return Structure(quotes, places, kinds, levels, ends_inside)


class Brackets(NamedTuple):
    """Brackets of one window.

    Attributes:
        positions: int64, ascending, counted from the window's first byte.
        depths: int32: how many brackets are open behind each of them.
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
        values = np.frombuffer(window, np.uint8)
        if self._escaped and len(values) and values[0] in (QUOTE, BACKSLASH):
            # The backslash before the window takes what it means from its first byte.
            values = values.copy()
            values[0] = _BLANK
        found = scan(values, depth=self._depth, in_string=self._in_string)
        self._in_string = found.in_string
        if len(values):
            end = values[max(len(values) - _RUN, 0) :].tobytes()
            run = len(end) - len(end.rstrip(b"\\"))
            if run == _RUN:  # hardly anybody writes so many
                run = len(values) - len(values.tobytes().rstrip(b"\\"))
            self._escaped = run % 2 == 1
        brackets = _DEPTH[found.kinds] != 0
        depths = found.depth[brackets]
        if len(depths):
            self._depth = int(depths[-1])
        return Brackets(
            found.places[brackets], depths, _DEPTH[found.kinds[brackets]] > 0, self._depth
        )


def unescaped_quotes(values: Any) -> Any:
    r"""Where quotes are that no backslash escapes.

    Example:
        >>> unescaped_quotes(np.frombuffer(b'"a\\"b"', np.uint8)).tolist()
        [0, 5]
    """
    quotes = np.flatnonzero(values == QUOTE)
    escaped = _escaped(values, quotes)
    return quotes if escaped is None else quotes[~escaped]


def _escaped(values: Any, quotes: Any) -> Any:
    """Which quotes stand behind an odd number of backslashes; None if none stands behind any."""
    behind = quotes[quotes > 0]
    suspects = np.flatnonzero(values[behind - 1] == BACKSLASH)
    if not len(suspects):
        return None
    backslashes = np.flatnonzero(values == BACKSLASH)
    order = np.arange(len(backslashes))
    begins = np.ones(len(backslashes), bool)
    begins[1:] = np.diff(backslashes) != 1
    first = np.maximum.accumulate(np.where(begins, order, 0))
    last = np.searchsorted(backslashes, behind[suspects] - 1)
    odd = (last - first[last]) % 2 == 0
    escaped = np.zeros(len(quotes), bool)
    escaped[suspects[odd] + (len(quotes) - len(behind))] = True
    return escaped
