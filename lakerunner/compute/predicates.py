"""DataFusion's filter expressions as predicates that pruning can judge.

What comes out is never stronger than what went in: it is true for every row for which the
expression is. What is not understood becomes `Opaque`. Negation is carried down to the comparisons,
never applied to a result, because the negation of something weaker would be stronger. All of it is
three-valued: a comparison with NULL is neither true nor false, and its negation is not either.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from lakerunner.compute.expressions import (
    NO_VALUE,
    constant,
    kind_of,
    operands_of,
    operator_of,
)
from lakerunner.compute.metric_functions import step_bounds
from lakerunner.model.predicate import (
    EVERYTHING,
    And,
    Compare,
    Contains,
    HasWord,
    IsIn,
    Like,
    Matches,
    NotNull,
    Opaque,
    Operator,
    Or,
    Predicate,
    StartsWith,
)
from lakerunner.schema.patterns import regex_pieces
from lakerunner.schema.words import word_in_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from datafusion import Expr

    from lakerunner.compute.table import Table
    from lakerunner.model.predicate import Value

NOTHING = Or(())
"""The predicate that no row satisfies."""

_MAX_DEPTH = 100
"""Deeper expressions are opaque: each look at an operand copies it, so depth costs its square."""

_WIDEST = 64
"""Bits of the widest integers."""

_MAX_TEXT = 200
"""Characters of an opaque expression that are kept for messages."""

_MAX_EXCLUDED = 64
"""`NOT IN` lists longer than this are opaque."""

_INVERSE: dict[Operator, Operator] = {
    "=": "!=",
    "!=": "=",
    "<": ">=",
    ">=": "<",
    ">": "<=",
    "<=": ">",
}
_MIRRORED: dict[Operator, Operator] = {
    "=": "=",
    "!=": "!=",
    "<": ">",
    ">": "<",
    ">=": "<=",
    "<=": ">=",
}
# Expressions and functions that are NULL where their column is: they need a value to be true.
_STRICT_KINDS = frozenset({"Cast", "TryCast", "Negative"})
_STRICT_OPERATORS = frozenset({"+", "-", "*", "/", "%", "||", "~", "~*", "!~", "!~*"})
_STRICT_FUNCTIONS = frozenset(
    {"abs", "character_length", "contains", "date_bin", "date_part", "date_trunc", "ends_with"}
    | {"length", "lower", "regexp_like", "round", "starts_with", "substr", "trim", "btrim", "upper"}
)


_LIKES = frozenset({"like", "not like", "ilike", "not ilike"})
_MATCHES = frozenset({"~", "~*", "!~", "!~*"})
_HOLDING = frozenset({"contains", "ends_with"})


class _Side(NamedTuple):
    """Which side of an expression is asked about, and how deep it lies in its filter."""

    negated: bool
    depth: int

    @property
    def inner(self) -> _Side:
        return _Side(self.negated, self.depth + 1)

    @property
    def inverse(self) -> _Side:
        return _Side(not self.negated, self.depth + 1)


class PredicateReader:
    """Reads the filters of the scans of one table.

    Args:
        table: The table; its schema says which casts keep the order of values.
        computed: The names of its computed columns, by the text of their expression in a plan.
    """

    def __init__(self, table: Table, computed: Mapping[str, str]) -> None:
        self._types = {field.name: field.type for field in table.schema}
        self._computed = computed
        self._readers: dict[str, Callable[[Expr, _Side], Predicate]] = {
            "Not": self._not,
            "Literal": self._literal,
            "BinaryExpr": self._binary,
            "IsNull": self._null_test,
            "IsNotNull": self._null_test,
            "IsTrue": self._truth_test,
            "IsNotTrue": self._truth_test,
            "IsFalse": self._truth_test,
            "IsNotFalse": self._truth_test,
            "InList": self._in_list,
            "Like": self._like,
            "ScalarFunction": self._function,
        }

    def read(self, expression: Expr) -> Predicate:
        """A predicate that is true for every row for which a filter is true."""
        return self._read(expression, _Side(negated=False, depth=0))

    def _read(self, expression: Expr, side: _Side) -> Predicate:
        if (column := self._column(expression)) is not None:
            return Compare(column, "=", not side.negated)
        reader = self._readers.get(kind_of(expression))
        if reader is None or side.depth > _MAX_DEPTH:
            return _opaque(expression, side)
        return reader(expression, side)

    def _not(self, expression: Expr, side: _Side) -> Predicate:
        (inner,) = operands_of(expression)
        return self._read(inner, side.inverse)

    def _literal(self, expression: Expr, side: _Side) -> Predicate:
        value = constant(expression)
        if value is NO_VALUE:
            return _opaque(expression, side)
        return EVERYTHING if value is (not side.negated) else NOTHING

    def _binary(self, expression: Expr, side: _Side) -> Predicate:
        operator = operator_of(expression)
        operands = operands_of(expression)
        if operator in ("AND", "OR"):
            parts = tuple(self._read(one, side.inner) for one in operands)
            # NOT (a AND b) is NOT a OR NOT b, also where a or b is NULL.
            return And(parts) if (operator == "AND") is not side.negated else Or(parts)
        if operator in _INVERSE:
            return self._compare(expression, _INVERSE[operator] if side.negated else operator, side)
        if operator in _MATCHES:
            return self._matches(expression, side)
        if operator in _STRICT_OPERATORS:
            return self._with_values(operands, _opaque(expression, side))
        return _opaque(expression, side)

    def _compare(self, expression: Expr, operator: Operator, side: _Side) -> Predicate:
        left, right = operands_of(expression)
        if kind_of(left) == "Literal":
            left, right, operator = right, left, _MIRRORED[operator]
        value = constant(right)
        if value is None:
            return NOTHING
        if value is not NO_VALUE and (column := self._compared(left, value)) is not None:
            return Compare(column, operator, value)
        bounds = step_bounds(left, operator, right, self._types)
        return self._with_values([left, right], _opaque(expression, side), *bounds)

    def _null_test(self, expression: Expr, side: _Side) -> Predicate:
        wants_null = (kind_of(expression) == "IsNull") is not side.negated
        if wants_null:
            return _opaque(expression, side)
        return self._with_values(operands_of(expression))

    def _truth_test(self, expression: Expr, side: _Side) -> Predicate:
        kind = kind_of(expression)
        # Only the tests that NULL fails say something about the inner expression.
        if (kind in ("IsTrue", "IsFalse")) is side.negated:
            return _opaque(expression, side)
        (inner,) = operands_of(expression)
        return self._read(inner, _Side(kind in ("IsFalse", "IsNotFalse"), side.depth + 1))

    def _in_list(self, expression: Expr, side: _Side) -> Predicate:
        tested, *members = operands_of(expression)
        constants = [constant(member) for member in members]
        excludes = expression.to_variant().negated() is not side.negated
        if excludes and None in constants:
            return NOTHING  # x NOT IN (…, NULL) is never true
        values = [one for one in constants if one is not None and one is not NO_VALUE]
        columns = {self._compared(tested, value) for value in values}
        column = columns.pop() if len(columns) == 1 else None
        if NO_VALUE in constants or column is None or (excludes and len(values) > _MAX_EXCLUDED):
            return self._with_values([tested], _opaque(expression, side))
        if excludes:
            return And(tuple(Compare(column, "!=", value) for value in values))
        return IsIn(column, tuple(values))

    def _like(self, expression: Expr, side: _Side) -> Predicate:
        tested, pattern = operands_of(expression)
        text = constant(pattern)
        if text is None:
            return NOTHING
        # The kind of an ILIKE is `Like` too, and so is that of what is negated: the operator tells.
        operator = operator_of(expression)
        column = self._column(tested)
        plain = operator in _LIKES and not expression.to_variant().escape_char()
        if column is None or not plain or not isinstance(text, str):
            return self._with_values([tested], _opaque(expression, side))
        negated = operator.startswith("not ") is not side.negated
        any_case = operator.endswith("ilike")
        like = Like(column, text, any_case, negated)
        prefix = "" if any_case or negated else _literal_prefix(text)
        return And((StartsWith(column, prefix), like)) if prefix else like

    def _matches(self, expression: Expr, side: _Side) -> Predicate:
        tested, pattern = operands_of(expression)
        text, column = constant(pattern), self._column(tested)
        if text is None:
            return NOTHING
        if column is None or not isinstance(text, str):
            return self._with_values([tested, pattern], _opaque(expression, side))
        operator = operator_of(expression)
        negated = operator.startswith("!") is not side.negated
        if not negated and operator == "~" and (word := word_in_pattern(text)) is not None:
            return HasWord(column, word)
        matches = Matches(column, text, operator.endswith("*"), negated)
        known = None if negated or matches.any_case else regex_pieces(text)
        if known is None or known.any_case:
            return matches
        # What an expression begins with is known of its first piece, in each alternative.
        prefixes = [branch[0].text if branch[0].start else "" for branch in known.branches]
        if not all(prefixes):
            return matches
        return And((Or(tuple(StartsWith(column, one) for one in prefixes)), matches))

    def _function(self, expression: Expr, side: _Side) -> Predicate:
        operator, operands = operator_of(expression), operands_of(expression)
        if operator not in _STRICT_FUNCTIONS:
            return _opaque(expression, side)
        if operator in _HOLDING and len(operands) == 2:  # noqa: PLR2004 - a text, and a part of it
            column, text = self._column(operands[0]), constant(operands[1])
            if column is not None and isinstance(text, str):
                if operator == "contains":
                    return Contains(column, text, side.negated)
                return Like(column, f"%{escape_like(text)}", negated=side.negated)
        return self._with_values(operands, _opaque(expression, side))

    def _with_values(self, operands: Iterable[Expr], *parts: Predicate) -> Predicate:
        """The given parts, and that the columns have values which the operands need one of."""
        needed = dict.fromkeys(chain.from_iterable(map(self._needed, operands)))
        return And((*map(NotNull, needed), *parts))

    def _needed(self, expression: Expr) -> list[str]:
        """Columns that must not be NULL for the expression not to be."""
        if (column := self._column(expression)) is not None:
            return [column]
        kind = kind_of(expression)
        strict = (
            kind in _STRICT_KINDS
            or (kind == "BinaryExpr" and operator_of(expression) in _STRICT_OPERATORS)
            or (kind == "ScalarFunction" and operator_of(expression) in _STRICT_FUNCTIONS)
        )
        if not strict:
            return []
        return list(chain.from_iterable(map(self._needed, operands_of(expression))))

    def _column(self, expression: Expr) -> str | None:
        """The column that an expression is, if it is one."""
        if kind_of(expression) == "Column":
            name: str = expression.to_variant().name()
            return name
        return self._computed.get(str(expression)) if self._computed else None

    def _compared(self, expression: Expr, value: Value) -> str | None:
        """The column whose values are compared with a value, if they are compared as they are.

        A cast is looked through only where it keeps the order of all values: from integers to wider
        ones, and from integers to floats, which pruning compares as the engine does.
        """
        if (column := self._column(expression)) is not None:
            return column
        if kind_of(expression) not in ("Cast", "TryCast"):
            return None
        (inner,) = operands_of(expression)
        name = inner.to_variant().name() if kind_of(inner) == "Column" else ""
        dtype = self._types.get(name)
        if dtype is None or not pa.types.is_integer(dtype) or isinstance(value, bool):
            return None
        widened = isinstance(value, int) and dtype.bit_width < _WIDEST
        return name if widened or isinstance(value, float) else None


def _opaque(expression: Expr, side: _Side) -> Opaque:
    text = str(expression).removeprefix("Expr(").removesuffix(")")[:_MAX_TEXT]
    return Opaque(f"NOT ({text})" if side.negated else text)


def escape_like(text: str) -> str:
    r"""A LIKE pattern that only one text matches.

    Example:
        >>> print(escape_like("50%_"))
        50\%\_
    """
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _literal_prefix(pattern: str) -> str:
    r"""The text that whatever matches a LIKE pattern starts with.

    Example:
        >>> _literal_prefix("check%"), _literal_prefix("a_c"), _literal_prefix(r"50\%%")
        ('check', 'a', '50')
    """
    for position, character in enumerate(pattern):
        if character in "%_\\":
            return pattern[:position]
    return pattern
