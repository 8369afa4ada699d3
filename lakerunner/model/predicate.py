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


Predicate: TypeAlias = "Compare | IsIn | StartsWith | NotNull | And | Or | Opaque"

EVERYTHING = And(())
"""The predicate that every row satisfies."""
