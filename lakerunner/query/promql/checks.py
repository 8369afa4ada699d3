"""Whether the parts of an expression fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.query.promql.lexer import syntax_error
from lakerunner.query.promql.syntax import (
    COMPARISONS,
    SETS,
    Aggregation,
    Binary,
    Call,
    Cardinality,
    Matcher,
    Node,
    Number,
    Parens,
    Range,
    Selector,
    Subquery,
    Text,
    Unary,
    ValueType,
    children,
    quote,
    unwrap,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# The functions and aggregations of PromQL: their arguments and what they return.

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


_SIMPLE = (ValueType.SCALAR, ValueType.VECTOR)


def type_of(node: Node) -> ValueType:
    """What an expression evaluates to."""
    match node:
        case Parens(expr=expr) | Unary(expr=expr):
            found = type_of(expr)
        case Call(name=name):
            found = FUNCTIONS[name].returns
        case Binary(left=left, right=right):
            both = {type_of(left), type_of(right)}
            found = ValueType.SCALAR if both == {ValueType.SCALAR} else ValueType.VECTOR
        case _:
            found = _TYPES[type(node)]
    return found


_TYPES: dict[type[Node], ValueType] = {
    Number: ValueType.SCALAR,
    Text: ValueType.STRING,
    Selector: ValueType.VECTOR,
    Aggregation: ValueType.VECTOR,
    Range: ValueType.MATRIX,
    Subquery: ValueType.MATRIX,
}


def check(text: str, node: Node) -> None:
    """Refuse an expression whose parts do not fit.

    Raises:
        QuerySyntaxError: With the place of the part that is wrong.
    """
    for child in children(node):
        check(text, child)
    match node:
        case Selector():
            _check_selector(text, node)
        case Subquery():
            _check_subquery(text, node)
        case Unary(expr=expr):
            if type_of(expr) not in _SIMPLE:
                message = "unary expression only allowed on expressions of type scalar or instant "
                raise syntax_error(text, node.place, f"{message}vector, got {_quoted(expr)}")
        case Binary():
            _check_binary(text, node)
        case Aggregation():
            _check_aggregation(text, node)
        case Call():
            _check_call(text, node)


def _quoted(node: Node) -> str:
    return f'"{type_of(node)}"'


def _check_selector(text: str, node: Selector) -> None:
    if not any(map(_is_selective, node.matchers)):
        message = "vector selector must contain at least one non-empty matcher"
        raise syntax_error(text, node.place, message)


def _check_subquery(text: str, node: Subquery) -> None:
    if node.mode:
        message = f"{node.mode} modifier is not defined for subqueries"
        raise syntax_error(text, node.place, message)
    if type_of(node.expr) is not ValueType.VECTOR:
        message = "subquery is only allowed on instant vector, got "
        raise syntax_error(text, node.place, f"{message}{type_of(node.expr)} instead")


def _is_selective(matcher: Matcher) -> bool:
    """Whether a condition excludes series that lack the label."""
    return not matches_empty(matcher)


def matches_empty(matcher: Matcher) -> bool:
    """Whether a condition holds for a label that is not there."""
    if matcher.op in ("=", "!="):
        return (matcher.value == "") == (matcher.op == "=")
    pattern = f"^(?s:{matcher.value})$"
    found = pc.match_substring_regex(pa.array([""]), pattern)[0].as_py()
    return bool(found) == (matcher.op == "=~")


def _check_binary(text: str, node: Binary) -> None:
    types = type_of(node.left), type_of(node.right)
    for side in (node.left, node.right):
        if type_of(side) not in _SIMPLE:
            message = "binary expression must contain only scalar and instant vector types"
            raise syntax_error(text, side.place, message)
    scalars = types.count(ValueType.SCALAR)
    if node.op in COMPARISONS and scalars == len(types) and not node.bool_modifier:
        raise syntax_error(text, node.place, "comparisons between scalars must use BOOL modifier")
    if node.op in SETS and scalars:
        message = f'set operator "{node.op}" not allowed in binary scalar expression'
        raise syntax_error(text, node.place, message)
    matching = node.matching
    grouped = matching.cardinality in (Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY)
    if scalars and (matching.on or matching.labels or grouped):
        message = "vector matching only allowed between instant vectors"
        raise syntax_error(text, node.place, message)
    if scalars and (matching.fill_left is not None or matching.fill_right is not None):
        message = "filling in missing series only allowed between instant vectors"
        raise syntax_error(text, node.place, message)
    if matching.on and grouped:
        both = sorted(set(matching.labels) & set(matching.include))
        if both:
            message = f'label "{both[0]}" must not occur in ON and GROUP clause at once'
            raise syntax_error(text, node.place, message)


def _check_aggregation(text: str, node: Aggregation) -> None:
    if type_of(node.expr) is not ValueType.VECTOR:
        _wrong_type(text, node.expr, "aggregation expression", ValueType.VECTOR)
    wanted = AGGREGATIONS[node.op]
    if wanted is not None and node.parameter is not None and type_of(node.parameter) is not wanted:
        _wrong_type(text, node.parameter, "aggregation parameter", wanted)


def _wrong_type(text: str, node: Node, where: str, wanted: ValueType) -> None:
    message = f"expected type {wanted} in {where}, got {type_of(node)}"
    raise syntax_error(text, node.place, message)


def _check_call(text: str, node: Call) -> None:
    signature = FUNCTIONS[node.name]
    most = _check_arity(text, node, signature)
    for place, arg in enumerate(node.args[:most]):
        wanted = signature.args[min(place, len(signature.args) - 1)]
        if type_of(arg) is not wanted:
            _wrong_type(text, arg, f'call to function "{node.name}"', wanted)
        _check_mode(text, node, arg)
    if node.name == "info" and len(node.args) > 1 and not isinstance(node.args[1], Selector):
        message = 'expected label selectors only in second argument of function "info"'
        raise syntax_error(text, node.args[1].place, message)


def _check_mode(text: str, node: Call, arg: Node) -> None:
    """Refuse a function that is not defined over anchored or smoothed ranges."""
    inner = unwrap(arg)
    mode = inner.selector.mode if isinstance(inner, Range) else ""
    if mode and node.name not in EXTENDED[mode]:
        message = f"{mode} modifier can only be used with: {', '.join(EXTENDED[mode])}"
        raise syntax_error(text, arg.place, f"{message} - not with {node.name}")


def _check_arity(text: str, node: Call, signature: Signature) -> int:
    """Refuse a wrong number of arguments; returns how many are allowed."""
    given = len(node.args)
    least = len(signature.args) - abs(signature.extra)
    most = len(signature.args) if signature.extra >= 0 else given
    if least == most and given != least:
        _wrong_arity(text, node, f"expected {least} argument(s)")
    if given < least:
        _wrong_arity(text, node, f"expected at least {least} argument(s)")
    if given > most:
        _wrong_arity(text, node, f"expected at most {most} argument(s)")
    return most


def _wrong_arity(text: str, node: Call, expected: str) -> None:
    message = f"{expected} in call to {quote(node.name)}, got {len(node.args)}"
    raise syntax_error(text, node.place, message)


def equal_values(matchers: Sequence[Matcher]) -> dict[str, str]:
    """Labels that conditions fix to one value, as `absent` reports them."""
    fixed = {one.name: one.value for one in matchers if one.op == "=" and one.name != "__name__"}
    names = [one.name for one in matchers]
    return {name: value for name, value in fixed.items() if names.count(name) == 1 and value}
