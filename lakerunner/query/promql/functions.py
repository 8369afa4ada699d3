"""The functions and aggregations of PromQL: their arguments and what they return."""

from __future__ import annotations

from typing import NamedTuple

from lakerunner.query.promql.syntax import ValueType

_SCALAR, _VECTOR, _MATRIX, _STRING = (
    ValueType.SCALAR,
    ValueType.VECTOR,
    ValueType.MATRIX,
    ValueType.STRING,
)


class Signature(NamedTuple):
    """How a function is called.

    Attributes:
        args: Types of the arguments; the last one may be left out or repeated if `extra` says so.
        returns: Type of the result.
        extra: 0 for exactly `args`; n for up to n fewer from the end; -1 for the last any number of
            times, also none.
    """

    args: tuple[ValueType, ...]
    returns: ValueType
    extra: int = 0


def _each(names: str, signature: Signature) -> dict[str, Signature]:
    return dict.fromkeys(names.split(), signature)


FUNCTIONS: dict[str, Signature] = {
    **_each(
        "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor histogram_avg "
        "histogram_count histogram_stddev histogram_stdvar histogram_sum ln log10 log2 rad sgn sin "
        "sinh sort sort_desc sqrt tan tanh timestamp",
        Signature((_VECTOR,), _VECTOR),
    ),
    **_each(
        "absent_over_time avg_over_time changes count_over_time delta deriv first_over_time idelta "
        "increase irate last_over_time mad_over_time max_over_time min_over_time "
        "present_over_time rate resets stddev_over_time stdvar_over_time sum_over_time "
        "ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time",
        Signature((_MATRIX,), _VECTOR),
    ),
    **_each(
        "day_of_month day_of_week day_of_year days_in_month hour minute month year",
        Signature((_VECTOR,), _VECTOR, 1),
    ),
    **_each("end pi range start step time", Signature((), _SCALAR)),
    **_each("max_of min_of", Signature((_SCALAR, _SCALAR), _SCALAR)),
    **_each("clamp_max clamp_min", Signature((_VECTOR, _SCALAR), _VECTOR)),
    "clamp": Signature((_VECTOR, _SCALAR, _SCALAR), _VECTOR),
    "double_exponential_smoothing": Signature((_MATRIX, _SCALAR, _SCALAR), _VECTOR),
    "histogram_fraction": Signature((_SCALAR, _SCALAR, _VECTOR), _VECTOR),
    "histogram_quantile": Signature((_SCALAR, _VECTOR), _VECTOR),
    "histogram_quantiles": Signature((_VECTOR, _STRING, _SCALAR, _SCALAR), _VECTOR, -1),
    "info": Signature((_VECTOR, _VECTOR), _VECTOR, 1),
    "label_join": Signature((_VECTOR, _STRING, _STRING, _STRING), _VECTOR, -1),
    "label_replace": Signature((_VECTOR, _STRING, _STRING, _STRING, _STRING), _VECTOR),
    "predict_linear": Signature((_MATRIX, _SCALAR), _VECTOR),
    "quantile_over_time": Signature((_SCALAR, _MATRIX), _VECTOR),
    "round": Signature((_VECTOR, _SCALAR), _VECTOR, 1),
    "scalar": Signature((_VECTOR,), _SCALAR),
    "sort_by_label": Signature((_VECTOR, _STRING), _VECTOR, -1),
    "sort_by_label_desc": Signature((_VECTOR, _STRING), _VECTOR, -1),
    "vector": Signature((_SCALAR,), _VECTOR),
}
"""Every function by name."""

AGGREGATIONS: dict[str, ValueType | None] = {
    **dict.fromkeys(["avg", "count", "group", "max", "min", "stddev", "stdvar", "sum"]),
    **dict.fromkeys(["bottomk", "limit_ratio", "limitk", "quantile", "topk"], _SCALAR),
    "count_values": _STRING,
}
"""Every aggregation by name, with the type of its parameter if it takes one."""

PICKING = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
"""Aggregations that give back some of the series they are given, instead of new ones."""

EXTENDED = {
    "anchored": ("changes", "delta", "increase", "rate", "resets"),
    "smoothed": ("delta", "increase", "rate"),
}
"""The functions that are defined over ranges with each modifier."""
