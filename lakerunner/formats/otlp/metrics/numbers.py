"""Number points, of gauges and sums: a double, or a 64-bit integer that is kept exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from lakerunner.formats.otlp.metrics.points import Points

NO_RECORDED_VALUE = 1
"""Bit of `flags`: the series has no value at this time, whatever number is sent with it."""


def number_columns(points: Points) -> dict[str, Any]:
    """`value` and `value_int` of each point; NULL in both where it has no recorded value."""
    value, integer = number_values(points.values)
    flags = points.values.field("flags").to_numpy()
    stale = (flags & NO_RECORDED_VALUE).astype(bool)
    if stale.any():
        recorded = pa.array(~stale)
        value = pc.if_else(recorded, value, pa.scalar(None, value.type))
        integer = pc.if_else(recorded, integer, pa.scalar(None, integer.type))
    return {"value": value, "value_int": integer}


def number_values(holders: Any) -> tuple[Any, Any]:
    """The number in each message that has `as_double` and `as_int`.

    Returns:
        The number as a double, which beyond 2**53 is the nearest one, and the integer where an
        integer was sent.

    Example:
        >>> both = pa.array([{"as_double": 0.5}, {"as_int": 2**53 + 1}, {}])
        >>> value, integer = number_values(both)
        >>> value.to_pylist(), integer.to_pylist()
        ([0.5, 9007199254740992.0, None], [None, 9007199254740993, None])
    """
    double, integer = holders.field("as_double"), holders.field("as_int")
    if integer.null_count == len(integer):
        return double, integer
    rounded = integer.cast(pa.float64(), safe=False)
    if double.null_count == len(double):
        return rounded, integer
    return pc.coalesce(double, rounded), integer
