"""Read a PromQL text as a syntax tree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lakerunner.query.promql.checks import AGGREGATIONS, FUNCTIONS, check
from lakerunner.query.promql.selectors import SelectorParser
from lakerunner.query.promql.syntax import (
    COMPARISONS,
    PRECEDENCE,
    SETS,
    SIGN_BINDS,
    Aggregation,
    AtBound,
    Binary,
    Call,
    Cardinality,
    Duration,
    DurationCall,
    Matching,
    Moment,
    Node,
    Number,
    Parens,
    Place,
    Range,
    Selector,
    Subquery,
    Text,
    Unary,
    quote,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.query.promql.lexer import Token

_MAX_DEPTH = 200


def parse(text: str) -> Node:
    """Read a PromQL expression.

    Raises:
        QuerySyntaxError: It cannot be read, or its types do not fit; the message begins with line
            and column, in Prometheus' style.

    Example:
        >>> parse('rate(http_requests_total{code="500"}[5m])').name
        'rate'
    """
    parser = _Parser(text)
    node = parser.whole()
    check(text, node)
    return node


class _Parser(SelectorParser):
    """Recursive descent over the tokens, climbing by precedence for binary operators."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    # Expressions

    def whole(self) -> Node:
        if self._next.kind == "end":
            self._fail(self._next.place, "no expression found in input")
        node = self._expression(0)
        if self._next.kind != "end":
            self._unexpected("")
        return node

    def _expression(self, binds: int) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._fail(self._next.place, f"expression is nested more than {_MAX_DEPTH} levels deep")
        left = self._operand()
        while True:
            op = self._operator()
            level = PRECEDENCE.get(op, 0)
            if level <= binds:
                self._depth -= 1
                return left
            self._take()
            bool_modifier, matching = self._modifiers(op)
            right = self._expression(level - (op == "^"))
            left = Binary(
                place=Place(left.place.start, right.place.end),
                op=op,
                left=left,
                right=right,
                bool_modifier=bool_modifier,
                matching=matching,
            )

    def _operator(self) -> str:
        token = self._next
        if token.kind == "name":
            return self._keyword("and", "or", "unless", "atan2")
        return token.kind if token.kind in PRECEDENCE else ""

    def _modifiers(self, op: str) -> tuple[bool, Matching]:
        bool_modifier = False
        matching = Matching(
            cardinality=Cardinality.MANY_TO_MANY if op in SETS else Cardinality.ONE_TO_ONE
        )
        if self._keyword("bool"):
            place = self._take().place
            if op not in COMPARISONS:
                self._fail(place, "bool modifier can only be used on comparison operators")
            bool_modifier = True
        word = self._keyword("on", "ignoring")
        if word:
            self._take()
            matching = replace(matching, on=word == "on", labels=self._labels())
            group = self._keyword("group_left", "group_right")
            if group:
                place = self._take().place
                if op in SETS:
                    self._fail(place, f'no grouping allowed for "{op}" operation')
                many_left = group == "group_left"
                matching = replace(
                    matching,
                    cardinality=Cardinality.MANY_TO_ONE if many_left else Cardinality.ONE_TO_MANY,
                    include=self._labels() if self._next.kind == "(" else (),
                )
        return bool_modifier, self._fill(op, matching)

    def _fill(self, op: str, matching: Matching) -> Matching:
        while word := self._keyword("fill", "fill_left", "fill_right"):
            if self._tokens[self._at + 1].kind != "(":
                break
            place = self._take().place
            if op in SETS:
                self._fail(place, f'filling in missing series not allowed for "{op}" operation')
            self._take()
            value = self._signed_number()
            self._expect(")", f"{word} modifier")
            if word != "fill_right":
                matching = replace(matching, fill_left=value)
            if word != "fill_left":
                matching = replace(matching, fill_right=value)
        return matching

    def _signed_number(self) -> float:
        sign = -1.0 if self._next.kind == "-" else 1.0
        if self._next.kind in "+-":
            self._take()
        value = self._literal()
        if value is None:
            self._unexpected("fill modifier", "number")
        return sign * value

    def _operand(self) -> Node:
        token = self._next
        if token.kind in ("+", "-"):
            self._take()
            inner = self._expression(SIGN_BINDS)
            place = Place(token.place.start, inner.place.end)
            if isinstance(inner, Number):
                value = -inner.value if token.kind == "-" else inner.value
                return Number(place=place, value=value)
            return Unary(place=place, op=token.kind, expr=inner)
        return self._postfix(self._primary())

    def _primary(self) -> Node:
        token = self._next
        if token.kind == "(":
            self._take()
            inner = self._expression(0)
            end = self._expect(")", "parenthesized expression").place.end
            return Parens(place=Place(token.place.start, end), expr=inner)
        if token.kind == "string":
            self._take()
            return Text(place=token.place, value=token.text)
        if token.kind == "{":
            return self._selector("", token.place.start)
        if token.kind == "name":
            return self._named(token)
        value = self._literal()
        if value is not None:
            return Number(place=token.place, value=value)
        return self._unexpected("")

    def _named(self, token: Token) -> Node:
        lower = token.text.lower()
        follows = self._tokens[self._at + 1].kind
        grouped = self._tokens[self._at + 1].text.lower() in ("by", "without")
        if lower in AGGREGATIONS and (follows == "(" or (follows == "name" and grouped)):
            return self._aggregation(lower)
        if follows == "(":
            if token.text not in FUNCTIONS:
                self._fail(token.place, f"unknown function with name {quote(token.text)}")
            return self._call()
        if lower in ("inf", "nan") and follows != "{":
            value = self._literal()
            return Number(place=token.place, value=math.nan if value is None else value)
        self._take()
        return self._selector(token.text, token.place.start)

    def _call(self) -> Node:
        name = self._take()
        args, end = self._arguments(f"call to function {quote(name.text)}")
        return Call(place=Place(name.place.start, end), name=name.text, args=tuple(args))

    def _arguments(self, context: str) -> tuple[list[Node], int]:
        self._expect("(", context)
        args: list[Node] = []
        while self._next.kind != ")":
            args.append(self._expression(0))
            if not self._takes(","):
                break
            if self._next.kind == ")":
                self._fail(self._next.place, "trailing commas not allowed in function call args")
        return args, self._expect(")", context).place.end

    def _aggregation(self, op: str) -> Node:
        start = self._take().place
        grouping = self._grouping()
        args, end = self._arguments("aggregation")
        if grouping is None:
            grouping = self._grouping()
            end = self._tokens[self._at - 1].place.end
        labels, without = grouping or ((), False)
        wanted = 1 if AGGREGATIONS[op] is None else 2
        place = Place(start.start, end)
        if len(args) != wanted:
            self._fail(
                place,
                "wrong number of arguments for aggregate expression provided, "
                f"expected {wanted}, got {len(args)}",
            )
        return Aggregation(
            place=place,
            op=op,
            expr=args[-1],
            parameter=args[0] if wanted > 1 else None,
            labels=labels,
            without=without,
        )

    def _grouping(self) -> tuple[tuple[str, ...], bool] | None:
        word = self._keyword("by", "without")
        if not word:
            return None
        self._take()
        return self._labels(), word == "without"

    # What follows an operand

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._next.kind == "[":
                node = self._range(node)
            elif self._keyword("offset"):
                node = self._offset(node)
            elif self._next.kind == "@":
                node = self._at_time(node)
            elif self._keyword("anchored", "smoothed"):
                word = self._take()
                node = self._with_mode(node, word)
            else:
                return node

    def _range(self, node: Node) -> Node:
        opening = self._take()
        length = self._duration("range", closers=("]", ":"))
        if self._takes(":"):
            step = None
            if self._next.kind != "]":
                step = self._duration("subquery step", closers=("]",))
            end = self._expect("]", "subquery selector").place.end
            place = Place(node.place.start, end)
            return Subquery(place=place, expr=node, length=length, step=step)
        end = self._expect("]", "matrix selector").place.end
        if not isinstance(node, Selector):
            self._fail(node.place, "ranges only allowed for vector selectors")
        if node.moment != Moment():
            what = "@" if node.moment.at is not None else "offset"
            message = f"no {what} modifiers allowed before range"
            self._fail(Place(opening.place.start, end), message)
        return Range(place=Place(node.place.start, end), selector=node, length=length)

    def _offset(self, node: Node) -> Node:
        word = self._take()
        sign = 1.0
        if self._next.kind in ("+", "-"):
            sign = -1.0 if self._take().kind == "-" else 1.0
        value = self._duration_operand("offset")
        length: Duration = value * sign if isinstance(value, float) else value
        if not isinstance(value, float) and sign < 0:
            length = DurationCall("neg", (value,))

        def change(moment: Moment) -> Moment:
            if moment.offset != 0.0:
                self._fail(word.place, "offset may not be set multiple times")
            return replace(moment, offset=length)

        return self._moved(node, change, "offset")

    def _at_time(self, node: Node) -> Node:
        sign_token = self._take()
        bound = self._keyword("start", "end")
        at: float | AtBound
        if bound:
            self._take()
            self._expect("(", "@")
            self._expect(")", "@")
            at = AtBound(bound)
        else:
            sign = 1.0
            if self._next.kind in ("+", "-"):
                sign = -1.0 if self._take().kind == "-" else 1.0
            value = self._literal()
            if value is None:
                self._unexpected("@", "timestamp")
            at = sign * value
            if not math.isfinite(at) or abs(at) > 2**63 / 1000:
                message = f"timestamp out of bounds for @ modifier: {at:f}"
                self._fail(sign_token.place, message)

        def change(moment: Moment) -> Moment:
            if moment.at is not None:
                self._fail(sign_token.place, "@ <timestamp> may not be set multiple times")
            return replace(moment, at=at)

        return self._moved(node, change, "@")

    def _moved(self, node: Node, change: Callable[[Moment], Moment], what: str) -> Node:
        end = self._tokens[self._at - 1].place.end
        place = Place(node.place.start, end)
        match node:
            case Selector() | Subquery():
                return replace(node, moment=change(node.moment), place=place)
            case Range(selector=selector):
                moved = replace(selector, moment=change(selector.moment))
                return replace(node, selector=moved, place=place)
        name = f"{what} modifier"
        message = f"{name} must be preceded by an instant vector selector or range vector selector "
        return self._fail(node.place, f"{message}or a subquery")

    def _with_mode(self, node: Node, word: Token) -> Node:
        mode = word.text.lower()
        place = Place(node.place.start, word.place.end)
        match node:
            case Selector(mode=""):
                return replace(node, mode=mode, place=place)
            case Subquery(mode=""):
                return replace(node, mode=mode, place=place)
            case Range(selector=Selector(mode="") as selector):
                return replace(node, selector=replace(selector, mode=mode), place=place)
            case Selector() | Range() | Subquery():
                self._fail(word.place, "anchored and smoothed modifiers cannot be used together")
        return self._fail(word.place, f"{mode} modifier must follow a vector selector or a range")
