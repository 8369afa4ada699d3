"""What a comparison of a rounded-down time says about the time itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from lakerunner.compute.expressions import constant, kind_of, operands_of, operator_of
from lakerunner.model.predicate import Compare
from lakerunner.model.times import MAX_NS, MIN_NS, NANOS
from lakerunner.schema.arrays import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datafusion import Expr

    from lakerunner.model.predicate import Operator, Predicate

_DAY = 86_400 * NANOS
# The longest that a step can last; a month is at most 31 days.
_STEPS = {
    "microsecond": 1000,
    "millisecond": 10**6,
    "second": NANOS,
    "minute": 60 * NANOS,
    "hour": 3600 * NANOS,
    "day": _DAY,
    "week": 7 * _DAY,
    "month": 31 * _DAY,
    "quarter": 92 * _DAY,
    "year": 366 * _DAY,
}


def step_bounds(
    expression: Expr, operator: Operator, value: Expr, types: Mapping[str, object]
) -> list[Predicate]:
    """Bounds on a column that follow from comparing its time, rounded down, with a constant.

    Understood are `date_trunc('hour', column)` and `CAST(column AS DATE)`. A rounded time lies less
    than one step before the time itself, so the bounds are too wide by up to a step, never too
    narrow.

    Args:
        expression: What is compared.
        operator: How.
        value: With what.
        types: Arrow types of the columns.
    """
    found = _rounded(expression)
    start = _nanoseconds(value)
    if found is None or start is None or types.get(found[0]) != TIMESTAMP:
        return []
    column, step_ns = found
    bounds: list[Predicate] = []
    if operator in ("=", ">", ">="):
        # Engines differ in the direction in which times before 1970 are rounded.
        first = start if start > 0 else start - step_ns
        bounds.append(Compare(column, ">=", max(first, MIN_NS)))
    if operator in ("=", "<", "<="):
        bounds.append(Compare(column, "<=", min(start + step_ns, MAX_NS)))
    return bounds


def _rounded(expression: Expr) -> tuple[str, int] | None:
    operands = operands_of(expression)
    if kind_of(expression) == "Cast" and str(expression).endswith(" AS Date32))"):
        (column,) = operands
        return (column.to_variant().name(), _DAY) if kind_of(column) == "Column" else None
    if kind_of(expression) == "ScalarFunction" and operator_of(expression) == "date_trunc":
        unit, column = operands
        step = _STEPS.get(str(constant(unit)).lower())
        if step is not None and kind_of(column) == "Column":
            return column.to_variant().name(), step
    return None


def _nanoseconds(expression: Expr) -> int | None:
    if kind_of(expression) != "Literal":
        return None
    scalar = expression.python_value()
    if not scalar.is_valid:
        return None
    if pa.types.is_date32(scalar.type):
        return int(scalar.value) * _DAY
    value = constant(expression)
    is_time = pa.types.is_timestamp(scalar.type)
    return value if is_time and isinstance(value, int) else None
