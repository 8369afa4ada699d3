"""Looking into DataFusion's expressions: their kind, their operands, and the values in them."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import pyarrow as pa

from lakerunner.schema.arrays import TIMESTAMP

if TYPE_CHECKING:
    from datafusion import Expr

    from lakerunner.model.predicate import Value

_LEAVES = frozenset({"Column", "Literal"})


class _NoValue(Enum):
    NO_VALUE = "no value"


NO_VALUE: Final = _NoValue.NO_VALUE
"""Said of an expression that is no constant, or one of a type that predicates have no word for."""

Constant: TypeAlias = "Value | Literal[_NoValue.NO_VALUE] | None"


def kind_of(expression: Expr) -> str:
    """DataFusion's name for the kind of an expression, such as `BinaryExpr` or `Column`."""
    return expression.variant_name()


def operator_of(expression: Expr) -> str:
    """The operator or function of an expression, or an empty text where it has none."""
    try:
        return expression.rex_call_operator()
    except (TypeError, RuntimeError, ValueError):
        return ""


def operands_of(expression: Expr) -> list[Expr]:
    """What an expression is applied to; nothing where DataFusion does not tell."""
    if kind_of(expression) in _LEAVES:
        return []
    try:
        return list(expression.rex_call_operands())
    except (TypeError, RuntimeError, ValueError):
        return []


def constant(expression: Expr) -> Constant:
    """The value of a literal: None for NULL, `NO_VALUE` if it is none or cannot be told.

    Text, numbers and booleans are themselves. Times are nanoseconds, and only those of the type
    that timestamp columns have.
    """
    if kind_of(expression) != "Literal":
        return NO_VALUE
    try:
        scalar = expression.python_value()
    except Exception:  # noqa: BLE001 - a type that DataFusion cannot turn into Arrow is no value
        return NO_VALUE
    if not scalar.is_valid:
        return None
    dtype = scalar.type
    types = pa.types
    if dtype == TIMESTAMP:
        value: Value = scalar.value
        return value
    if (
        types.is_integer(dtype)
        or types.is_float64(dtype)
        or types.is_boolean(dtype)
        or is_text(dtype)
    ):
        plain: Value = scalar.as_py()
        return plain
    return NO_VALUE


def is_text(dtype: Any) -> bool:
    """Whether a type is one of the many that text has."""
    types = pa.types
    if types.is_dictionary(dtype):
        return is_text(dtype.value_type)
    return bool(
        types.is_string(dtype) or types.is_string_view(dtype) or types.is_large_string(dtype)
    )
