"""What patterns say of the texts that match them: LIKE patterns and regular expressions.

Expressions are those of the engine. What is not certain of every text that matches is left out, so
whoever looks for the pieces that are told never misses a text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

_LONGEST = 1000
"""Characters of a pattern that is looked into."""

_FLAGS = re.compile(r"\(\?([is]+)\)")
_BREAKS = frozenset("dDwWsS")
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_COUNTED = re.compile(r"\{\d+(?:,\d*)?\}")
_ODD = re.compile(r"\\[<>bB]")
_LIKE = re.compile(r"\\[%_\\]|.", re.DOTALL)
_UNCLEAR = re.compile(r"^(?:[^\\]|\\[%_\\])*\\(?:[^%_\\]|$)", re.DOTALL)
"""A backslash before something else: whether it stands for itself depends on the pattern."""


class Piece(NamedTuple):
    """A text that every match holds.

    Attributes:
        text: Which.
        start: A match begins with it.
        end: A match ends with it.
    """

    text: str
    start: bool = False
    end: bool = False


class Pattern(NamedTuple):
    """What is known of all texts that match.

    Attributes:
        branches: Of at least one of these every match holds all pieces.
        any_case: In upper or lower case.
    """

    branches: tuple[tuple[Piece, ...], ...]
    any_case: bool = False


@lru_cache(maxsize=1024)
def like_pieces(pattern: str) -> tuple[Piece, ...]:
    r"""The pieces of a LIKE pattern, between its wildcards, in order.

    Example:
        >>> like_pieces(r"GET %\_id%")
        (Piece(text='GET ', start=True, end=False), Piece(text='_id', start=False, end=False))
    """
    if _UNCLEAR.search(pattern):
        return ()
    parts = [""]
    for one in _LIKE.findall(pattern):
        if one in ("%", "_"):
            parts.append("")
        else:
            parts[-1] += one[-1]
    last = len(parts) - 1
    pieces = (Piece(text, place == 0, place == last) for place, text in enumerate(parts))
    return tuple(piece for piece in pieces if piece.text)


@lru_cache(maxsize=1024)
def regex_pieces(pattern: str) -> Pattern | None:
    """The pieces of a regular expression, for each of the alternatives it begins with.

    Returns:
        None where nothing is known.

    Example:
        >>> regex_pieces("^took [0-9]+ms|(a|b)+ failed$").branches
        ((Piece(text='took ', start=True, end=False), Piece(text='ms', start=False, end=False)), \
(Piece(text=' failed', start=False, end=True),))
    """
    if len(pattern) > _LONGEST:
        return None
    flags = _FLAGS.match(pattern)
    try:
        branches = _Reader(pattern, flags.end() if flags else 0).branches()
    except (ValueError, IndexError):
        return None
    return Pattern(branches, any_case=bool(flags and "i" in flags[1])) if all(branches) else None


class _Reader:
    """Reads the outermost level of a regular expression; ValueError where it is not understood."""

    def __init__(self, pattern: str, place: int) -> None:
        self._pattern = pattern
        self._place = place
        self._text = ""
        self._start = False
        self._pieces: list[Piece] = []
        self._begun = self._ended = False

    def branches(self) -> tuple[tuple[Piece, ...], ...]:
        found = []
        while self._place < len(self._pattern):
            character = self._pattern[self._place]
            if character == "|":
                found.append(self._branch())
                self._place += 1
            elif self._ended:
                raise ValueError("something follows the end")
            elif character == "^":
                if self._begun:
                    raise ValueError("something comes before the start")
                self._start = self._begun = True
                self._place += 1
            elif character == "$":
                self._close(end=bool(self._text))
                self._ended = True
                self._place += 1
            else:
                self._atom(character)
        return (*found, self._branch())

    def _branch(self) -> tuple[Piece, ...]:
        self._close()
        pieces, self._pieces = tuple(self._pieces), []
        self._begun = self._ended = False
        return pieces

    def _close(self, *, end: bool = False) -> None:
        if self._text:
            self._pieces.append(Piece(self._text, self._start, end))
        self._text, self._start = "", False

    def _atom(self, character: str) -> None:
        """One thing that a quantifier may follow."""
        self._begun = True
        literal = self._literal(character)
        quantifier = self._quantifier()
        if literal and quantifier in ("", "+"):
            self._text += literal
        if quantifier or not literal:
            self._close()

    def _literal(self, character: str) -> str:
        """The character that the next thing stands for; empty if it is not one alone."""
        pattern = self._pattern
        if character in "*+?{}])":
            raise ValueError("nothing to repeat, or to close")
        self._place += 1
        if character == "[":
            self._place = _behind_class(pattern, self._place)
        elif character == "(":
            self._place = _behind_group(pattern, self._place)
        elif character == "\\":
            escaped = pattern[self._place]
            self._place += 1
            if escaped in _CONTROLS:
                return _CONTROLS[escaped]
            if escaped.isascii() and not escaped.isalnum() and escaped not in "<>":
                return escaped
            if escaped not in _BREAKS:
                raise ValueError("another escape")
        elif character != ".":
            return character
        return ""

    def _quantifier(self) -> str:
        rest = self._pattern[self._place : self._place + 1]
        counted = _COUNTED.match(self._pattern, self._place)
        if rest and rest in "*+?":
            self._place += 1
        elif counted:
            self._place = counted.end()
        else:
            return ""
        if self._pattern[self._place : self._place + 1] == "?":  # as few as possible
            self._place += 1
        return rest


def _behind_class(pattern: str, place: int) -> int:
    """Behind a class `[…]` whose bracket was read. Classes within classes are not understood."""
    place += pattern[place] == "^"
    place += pattern[place] == "]"
    while pattern[place] != "]":
        if pattern[place] == "[":
            raise ValueError("a class within a class")
        place += 2 if pattern[place] == "\\" else 1
    return place + 1


def _behind_group(pattern: str, place: int) -> int:
    """Behind a group `(…)` whose parenthesis was read."""
    if pattern[place] == "?" and not pattern.startswith(("?:", "?P<", "?<"), place):
        raise ValueError("flags")
    while pattern[place] != ")":
        character = pattern[place]
        place += 1
        if character == "\\":
            place += 1
        elif character == "[":
            place = _behind_class(pattern, place)
        elif character == "(":
            place = _behind_group(pattern, place)
    return place + 1


@lru_cache(maxsize=4096)
def matching(
    values: tuple[str, ...], pattern: str, *, like: bool, any_case: bool
) -> tuple[bool, bool] | None:
    """Whether some of a few values match a pattern, and whether some do not.

    Args:
        values: The values.
        pattern: A LIKE pattern or a regular expression.
        like: Which of both.
        any_case: Whether it matches in upper and lower case alike.

    Returns:
        None where the engine might see it otherwise: of characters beyond ASCII not all agree on
        what is a word, a digit, or another case.

    Example:
        >>> matching(("cart", "checkout"), "c%t", like=True, any_case=False)
        (True, False)
    """
    plain = pattern.isascii() and all(value.isascii() for value in values)
    if len(pattern) > _LONGEST or (not plain and (any_case or not like)):
        return None
    if (_UNCLEAR if like else _ODD).search(pattern):
        return None
    expression = _as_regex(pattern) if like else pattern
    try:
        found = pc.match_substring_regex(pa.array(values), expression, ignore_case=any_case)
    except (pa.ArrowInvalid, UnicodeEncodeError):
        return None
    return pc.any(found).as_py(), not pc.all(found).as_py()


def _as_regex(pattern: str) -> str:
    """A LIKE pattern as a regular expression."""
    wild = {"%": ".*", "_": "."}
    written = (wild.get(one) or re.escape(one[-1]) for one in _LIKE.findall(pattern))
    return rf"(?s)\A{''.join(written)}\z"
