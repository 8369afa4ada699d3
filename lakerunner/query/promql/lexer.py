"""Cut a PromQL text into tokens."""

from __future__ import annotations

import math
import operator
import re
import sys
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from lakerunner.errors import QuerySyntaxError
from lakerunner.query.promql.syntax import PRECEDENCE, SIGN_BINDS, DurationCall, Place, quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.query.promql.syntax import Duration


class Token(NamedTuple):
    """A piece of the text.

    Attributes:
        kind: `name`, `number`, `duration`, `string`, `end`, or the operator itself.
        text: As it stands there; for a string, its value.
        place: Where.
    """

    kind: str
    text: str
    place: Place


_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_DURATION_PART = r"[0-9]+(?:ms|s|m|h|d|w|y)"
_DURATION = re.compile(rf"(?:{_DURATION_PART})+(?![a-zA-Z0-9_.])")
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F_]+(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9]+)?"
    r"|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?"
)
_BAD_NUMBER_TAIL = re.compile(r"[a-zA-Z0-9_.]")
_OPERATORS = ("==", "!=", "=~", "!~", "<=", ">=", *"+-*/%^<>(){}[],=:@")

_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_ORDERED_DURATION = re.compile(
    "".join(rf"(?:(?P<{unit}>[0-9]+){unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms"))
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))"
)
_SIMPLE_ESCAPES = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))

_MAX_BYTE = 0xFF
_SURROGATES = range(0xD800, 0xE000)
_MAX_DURATION_MS = 2**63 // 1_000_000


def syntax_error(text: str, place: Place, message: str) -> QuerySyntaxError:
    """An error in Prometheus' style: line, column, and what is wrong there."""
    line, column = position(text, place.start)
    return QuerySyntaxError(
        f"{line}:{column}: parse error: {message}", query=text, line=line, column=column
    )


def position(text: str, offset: int) -> tuple[int, int]:
    r"""Line and column of a character, both counted from 1.

    Example:
        >>> position("sum(\nfoo)", 5)
        (2, 1)
    """
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def duration_seconds(text: str) -> float | None:
    """The length of a duration such as `1h30m`, in seconds; None if it is none.

    Example:
        >>> duration_seconds("1m30s500ms")
        90.5
    """
    found = _ORDERED_DURATION.fullmatch(text)
    if found is None or not text:
        return None
    total = sum(int(n) * _UNITS_MS[unit] for unit, n in found.groupdict().items() if n)
    return None if total > _MAX_DURATION_MS else total / 1000


def tokenize(text: str) -> list[Token]:
    """All tokens of a text, with one of kind `end` behind them.

    Raises:
        QuerySyntaxError: Something in it is no token, or a string is not closed.
    """
    tokens = []
    offset = _skip(text, 0)
    while offset < len(text):
        token = _token(text, offset)
        tokens.append(token)
        offset = _skip(text, token.place.end)
    tokens.append(Token("end", "", Place(len(text), len(text))))
    return tokens


def _skip(text: str, offset: int) -> int:
    found = _SPACE.match(text, offset)
    return offset if found is None else found.end()


def _token(text: str, offset: int) -> Token:
    char = text[offset]
    if char in "\"'`":
        return _string(text, offset)
    if char.isdigit() or (char == "." and text[offset + 1 : offset + 2].isdigit()):
        return _number(text, offset)
    found = _NAME.match(text, offset)
    if found is not None and char != ":":
        return Token("name", found.group(), Place(offset, found.end()))
    for symbol in _OPERATORS:
        if text.startswith(symbol, offset):
            return Token(symbol, symbol, Place(offset, offset + len(symbol)))
    raise syntax_error(text, Place(offset, offset + 1), f"unexpected character: {char!r}")


def _number(text: str, offset: int) -> Token:
    found = _DURATION.match(text, offset)
    if found is not None:
        return Token("duration", found.group(), Place(offset, found.end()))
    found = _NUMBER.match(text, offset)
    end = offset + 1 if found is None else found.end()
    if found is None or _BAD_NUMBER_TAIL.match(text, end):
        while end < len(text) and _BAD_NUMBER_TAIL.match(text, end):
            end += 1
        place = Place(offset, end)
        raise syntax_error(text, place, f"bad number or duration syntax: {text[offset:end]!r}")
    return Token("number", found.group(), Place(offset, end))


def _string(text: str, offset: int) -> Token:
    mark = text[offset]
    end = offset + 1
    while end < len(text) and text[end] != mark:
        if mark != "`" and text[end] == "\n":
            break
        end += 2 if text[end] == "\\" and mark != "`" else 1
    if end >= len(text) or text[end] != mark:
        kind = "raw string" if mark == "`" else "quoted string"
        raise syntax_error(text, Place(offset, len(text)), f"unterminated {kind}")
    place = Place(offset, end + 1)
    inside = text[offset + 1 : end]
    value = inside if mark == "`" else _unescape(text, place, inside)
    return Token("string", value, place)


def _unescape(text: str, place: Place, inside: str) -> str:
    if "\\" not in inside:
        return inside
    parts = bytearray()
    at = 0
    while at < len(inside):
        if inside[at] != "\\":
            parts += inside[at].encode()
            at += 1
            continue
        found = _ESCAPE.match(inside, at)
        if found is None:
            raise syntax_error(text, place, f"unknown escape sequence {inside[at : at + 2]!r}")
        simple, hexa, octal, short, long = found.groups()
        if simple:
            parts += _SIMPLE_ESCAPES[simple].encode()
        elif hexa or octal:
            code = int(hexa, 16) if hexa else int(octal, 8)
            if code > _MAX_BYTE:
                raise syntax_error(text, place, f"unknown escape sequence {found.group()!r}")
            parts.append(code)
        else:
            parts += _scalar_value(text, place, int(short or long, 16))
        at = found.end()
    # A string may hold bytes that are no text; they are kept apart from any real character.
    return parts.decode(errors="surrogateescape")


def _scalar_value(text: str, place: Place, code: int) -> bytes:
    if code > sys.maxunicode or code in _SURROGATES:
        raise syntax_error(text, place, "escape sequence is an invalid Unicode code point")
    return chr(code).encode()


def number_value(text: str) -> float | None:
    """The value of a number in any notation; None if it cannot be read.

    Example:
        >>> number_value("1_000"), number_value("0x8f"), number_value("017"), number_value("1e3")
        (1000.0, 143.0, 15.0, 1000.0)
    """
    plain = text.replace("_", "")
    try:
        if plain[:2].lower() == "0x":
            return float.fromhex(plain)
        if len(plain) > 1 and plain[0] == "0" and plain.isdigit():
            return float(int(plain, 8)) if "8" not in plain and "9" not in plain else float(plain)
        return float(plain)
    except (ValueError, OverflowError):
        return None


class TokenReader:
    """Goes through the tokens of a text, one after the other.

    Args:
        text: The text.

    Raises:
        QuerySyntaxError: Something in it is no token.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._at = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _takes(self, kind: str) -> bool:
        if self._next.kind != kind:
            return False
        self._take()
        return True

    def _expect(self, kind: str, context: str) -> Token:
        if self._next.kind != kind:
            self._unexpected(context, kind)
        return self._take()

    def _keyword(self, *words: str) -> str:
        """The keyword that comes next, in lower case, or nothing."""
        token = self._next
        lower = token.text.lower() if token.kind == "name" else ""
        return lower if lower in words else ""

    def _fail(self, place: Place, message: str) -> NoReturn:
        raise syntax_error(self._text, place, message)

    def _unexpected(self, context: str, expected: str = "") -> NoReturn:
        token = self._next
        what = {
            "end": "end of input",
            "name": f'identifier "{token.text}"',
            "number": f'number "{token.text}"',
            "duration": f'duration "{token.text}"',
            "string": f"string {quote(token.text)}",
        }.get(token.kind, f'"{token.text}"')
        wanted = f', expected "{expected}"' if expected else ""
        where = f" in {context}" if context else ""
        self._fail(token.place, f"unexpected {what}{where}{wanted}")

    def _literal(self) -> float | None:
        """Take a number, a duration, `Inf` or `NaN`; None if something else is next."""
        token = self._next
        if token.kind == "number":
            value = number_value(token.text)
            if value is None:
                self._fail(token.place, f"error parsing number: {token.text!r}")
        elif token.kind == "duration":
            value = self._duration_value(token)
        elif self._keyword("inf", "nan"):
            value = math.inf if self._keyword("inf") else math.nan
        else:
            return None
        self._take()
        return value

    def _duration_value(self, token: Token) -> float:
        seconds = duration_seconds(token.text)
        if seconds is None:
            self._fail(token.place, f"not a valid duration string: {quote(token.text)}")
        return seconds


# Durations that are computed: `[2 * step()]`, `offset (1h - 5m)`.


class DurationParser(TokenReader):
    """Reads durations."""

    def _duration(self, what: str, closers: tuple[str, ...]) -> Duration:
        start = self._next.place.start
        value = self._duration_expression(0)
        if self._next.kind not in closers:
            self._unexpected(what, closers[0])
        if isinstance(value, float) and value <= 0:
            place = Place(start, self._tokens[self._at - 1].place.end)
            self._fail(place, "duration must be greater than 0")
        return value

    def _duration_expression(self, binds: int) -> Duration:
        left = self._duration_operand("duration")
        while True:
            op = self._next.kind
            level = PRECEDENCE.get(op, 0) if op in "+-*/%^" else 0
            if level <= binds:
                return left
            self._take()
            right = self._duration_expression(level - (op == "^"))
            left = DurationCall(op, (left, right))
            if isinstance(left.operands[0], float) and isinstance(right, float):
                folded = compute_duration(left, step=0.0, length=0.0)
                if folded is None:
                    self._fail(self._tokens[self._at - 1].place, "division by zero")
                left = folded

    def _duration_operand(self, context: str) -> Duration:
        token = self._next
        if token.kind in ("+", "-"):
            self._take()
            inner = self._duration_expression(SIGN_BINDS)
            if token.kind == "+":
                return inner
            return -inner if isinstance(inner, float) else DurationCall("neg", (inner,))
        if token.kind == "(":
            self._take()
            inner = self._duration_expression(0)
            self._expect(")", context)
            return inner
        word = self._keyword("step", "range", "min", "max", "min_of", "max_of")
        if word in ("step", "range"):
            self._take()
            self._expect("(", context)
            self._expect(")", context)
            return DurationCall(word)
        if word:
            self._take()
            self._expect("(", context)
            first = self._duration_expression(0)
            self._expect(",", context)
            second = self._duration_expression(0)
            self._expect(")", context)
            return DurationCall(word[:3], (first, second))
        value = self._literal() if token.kind in ("number", "duration") else None
        if value is None:
            self._unexpected(context, "number or duration")
        return value


_OPERATIONS: dict[str, Callable[[float, float], float | None]] = {
    "min": min,
    "max": max,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else None,
    "%": lambda a, b: math.fmod(a, b) if b else None,
    "^": lambda a, b: float(a**b),
}


def compute_duration(duration: Duration, *, step: float, length: float) -> float | None:
    """A duration in seconds; None if it divides by zero.

    Args:
        duration: The duration.
        step: Seconds of the query's step.
        length: Seconds from the query's start to its end.
    """
    if not isinstance(duration, DurationCall):
        return duration
    values = [compute_duration(one, step=step, length=length) for one in duration.operands]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if duration.op in ("step", "range"):
        return step if duration.op == "step" else length
    if duration.op == "neg":
        return -known[0]
    return _OPERATIONS[duration.op](*known)
