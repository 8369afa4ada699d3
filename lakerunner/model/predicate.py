"""A small algebra of row conditions, shared by the query front ends and by pruning.

It is three-valued like SQL: a comparison with NULL is neither true nor false, and only rows for
which the whole predicate is true are wanted.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Value: TypeAlias = "str | int | float | bool"


class Compare(msgspec.Struct, frozen=True):
    """`column operator value`; timestamps are compared as integer nanoseconds."""

    column: str
    operator: Operator
    value: Value


class IsIn(msgspec.Struct, frozen=True):
    """`column IN (values)`."""

    column: str
    values: tuple[Value, ...]


class StartsWith(msgspec.Struct, frozen=True):
    """`column LIKE 'prefix%'`."""

    column: str
    prefix: str


class Contains(msgspec.Struct, frozen=True):
    """`contains(column, text)`; negated, that the column has a value which does not."""

    column: str
    text: str
    negated: bool = False


class Like(msgspec.Struct, frozen=True):
    """`column LIKE pattern`, with a backslash before what is no wildcard; `ILIKE` in any case."""

    column: str
    pattern: str
    any_case: bool = False
    negated: bool = False


class Matches(msgspec.Struct, frozen=True):
    """`column ~ pattern`: a part of the text matches a regular expression of the engine."""

    column: str
    pattern: str
    any_case: bool = False
    negated: bool = False


class HasWord(msgspec.Struct, frozen=True):
    """The text has a word, regardless of the case of ASCII; see `lakerunner.schema.words`.

    Several words in `word`, with anything between them, must follow one another in the text with
    nothing between them that is in a word.
    """

    column: str
    word: str


class NotNull(msgspec.Struct, frozen=True):
    """`column IS NOT NULL`; also what any strict function of a column implies."""

    column: str


class And(msgspec.Struct, frozen=True):
    """Every part is true; `And(())` is always true."""

    parts: tuple[Predicate, ...]


class Or(msgspec.Struct, frozen=True):
    """At least one part is true; `Or(())` is never true."""

    parts: tuple[Predicate, ...]


class Opaque(msgspec.Struct, frozen=True):
    """Something pruning cannot judge; it may be true for any row."""

    text: str


Condition: TypeAlias = "Compare | IsIn | StartsWith | Contains | Like | Matches | HasWord | NotNull"
"""A condition on one column, `column`. Each needs a value there."""

Predicate: TypeAlias = "Condition | And | Or | Opaque"

EVERYTHING = And(())
"""The predicate that every row satisfies."""
