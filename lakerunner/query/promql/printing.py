"""PromQL trees written down: as text in Prometheus' own form, and as the JSON of `parse_query`."""

from __future__ import annotations

import math
import re
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from lakerunner.errors import QuerySyntaxError
from lakerunner.query.promql.checks import FUNCTIONS, type_of
from lakerunner.query.promql.labels import NAME
from lakerunner.query.promql.syntax import (
    Aggregation,
    AtBound,
    Binary,
    Call,
    Cardinality,
    DurationCall,
    Matcher,
    Moment,
    Node,
    Number,
    Parens,
    Range,
    Selector,
    Subquery,
    Text,
    Unary,
    ValueType,
    quote,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lakerunner.query.promql.syntax import Duration

_MOST_CHARACTERS = 100
"""A line that is longer is split."""

_INDENT = "  "
_TYPES = {
    ValueType.SCALAR: "scalar",
    ValueType.VECTOR: "vector",
    ValueType.MATRIX: "matrix",
    ValueType.STRING: "string",
}
_UNITS = (
    ("y", 31_536_000_000, True),
    ("w", 604_800_000, True),
    ("d", 86_400_000, False),
    ("h", 3_600_000, False),
    ("m", 60_000, False),
    ("s", 1_000, False),
    ("ms", 1, False),
)
"""Units of durations in milliseconds; the long ones only where they tell all of it."""

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_GROUPS = {Cardinality.MANY_TO_ONE: "left", Cardinality.ONE_TO_MANY: "right"}


def formatted(node: Node, level: int = 0) -> str:
    """An expression as Prometheus' `format_query` writes it: what is long takes several lines.

    Example:
        >>> from lakerunner.query.promql.parser import parse
        >>> formatted(parse("sum by(job)(rate( up [ 5m ] ))/2"))
        'sum by (job) (rate(up[5m])) / 2'
    """
    indent, whole = _INDENT * level, written(node)
    if isinstance(node, Unary):
        return f"{indent}{node.op}{formatted(node.expr, level).strip()}"
    return indent + whole if len(whole) <= _MOST_CHARACTERS else _split(node, level)


def _split(node: Node, level: int) -> str:
    """An expression that is too long for one line."""
    indent, text = _INDENT * level, ""
    match node:
        case Subquery(expr=expr):
            text = formatted(expr, level) + _subquery_suffix(node)
        case Aggregation(expr=expr, parameter=parameter):
            inner = [] if parameter is None else [parameter]
            text = f"{indent}{_head(node)}(\n{_lines([*inner, expr], level)}\n{indent})"
        case Call(name=name, args=args) if args:
            text = f"{indent}{name}(\n{_lines(args, level)}\n{indent})"
        case Parens(expr=expr):
            text = f"{indent}(\n{formatted(expr, level + 1)}\n{indent})"
        case Binary(left=left, right=right):
            before, after = formatted(left, level + 1), formatted(right, level + 1)
            text = f"{before}\n{indent}{_operator(node)}\n{after}"
        case _:
            text = indent + written(node)
    return text


def _lines(nodes: Iterable[Node], level: int) -> str:
    return ",\n".join(formatted(one, level + 1) for one in nodes)


@singledispatch
def written(node: Node) -> str:
    """An expression in one line.

    Example:
        >>> from lakerunner.query.promql.parser import parse
        >>> written(parse("up{b='1',a!=''} offset 90s"))
        'up{a!="",b="1"} offset 1m30s'
    """
    raise TypeError(node)


@written.register
def _(node: Number) -> str:
    return number_text(node.value)


@written.register
def _(node: Text) -> str:
    return quote(node.value)


@written.register
def _(node: Parens) -> str:
    return f"({written(node.expr)})"


@written.register
def _(node: Unary) -> str:
    return f"{node.op}{written(node.expr)}"


@written.register
def _(node: Selector) -> str:
    return f"{_conditions(node)}{_mode(node.mode)}{_moment(node.moment)}"


@written.register
def _(node: Range) -> str:
    inner = node.selector
    reach = f"[{_duration(node.length)}]{_mode(inner.mode)}"
    return f"{_conditions(inner)}{reach}{_moment(inner.moment)}"


@written.register
def _(node: Subquery) -> str:
    return written(node.expr) + _subquery_suffix(node)


@written.register
def _(node: Call) -> str:
    return f"{node.name}({', '.join(map(written, node.args))})"


@written.register
def _(node: Aggregation) -> str:
    first = "" if node.parameter is None else f"{written(node.parameter)}, "
    return f"{_head(node)}({first}{written(node.expr)})"


@written.register
def _(node: Binary) -> str:
    return f"{written(node.left)} {_operator(node)} {written(node.right)}"


def _head(node: Aggregation) -> str:
    if not (node.labels or node.without):
        return node.op
    return f"{node.op} {'without' if node.without else 'by'} ({_names(node.labels)}) "


def _operator(node: Binary) -> str:
    matching, text = node.matching, node.op + (" bool" if node.bool_modifier else "")
    group = _GROUPS.get(matching.cardinality)
    if matching.labels or matching.on or group:
        text += f" {'on' if matching.on else 'ignoring'} ({_names(matching.labels)})"
    if group:
        text += f" group_{group} ({_names(matching.include)})"
    left, right = matching.fill_left, matching.fill_right
    if left is not None and left == right:
        return f"{text} fill ({number_text(left)})"
    for side, value in (("left", left), ("right", right)):
        text += "" if value is None else f" fill_{side} ({number_text(value)})"
    return text


def _names(labels: Sequence[str]) -> str:
    return ", ".join(map(_name, labels))


def _name(name: str) -> str:
    return name if _LABEL.fullmatch(name) else quote(name)


def _conditions(node: Selector) -> str:
    plain = not node.name or _METRIC.fullmatch(node.name) is not None
    shown = [
        f"{_name(one.name)}{one.op}{quote(one.value)}"
        for one in node.matchers
        if one != Matcher(NAME, "=", node.name) or not node.name
    ]
    shown = sorted(shown) if plain else [quote(node.name), *sorted(shown)]
    name = node.name if plain else ""
    return f"{name}{{{','.join(shown)}}}" if shown or not name else name


def _mode(mode: str) -> str:
    return f" {mode}" if mode else ""


def _moment(moment: Moment) -> str:
    at = ""
    if isinstance(moment.at, AtBound):
        at = f" @ {moment.at.value}()"
    elif moment.at is not None:
        at = f" @ {moment.at:.3f}"
    return at + (f" offset {_duration(moment.offset)}" if moment.offset else "")


def _subquery_suffix(node: Subquery) -> str:
    step = "" if node.step is None else _duration(node.step)
    return f"[{_duration(node.length)}:{step}]{_moment(node.moment)}"


def _duration(duration: Duration, *, inner: bool = False) -> str:
    if not isinstance(duration, DurationCall):
        return duration_text(duration)
    operands = [_duration(one, inner=True) for one in duration.operands]
    if duration.op == "neg":
        return f"-{operands[0]}"
    if duration.op in ("step", "range", "min", "max"):
        return f"{duration.op}({', '.join(operands)})"
    text = f" {duration.op} ".join(operands)
    return f"({text})" if inner else text


def duration_text(seconds: float) -> str:
    """A length of time as Prometheus writes it.

    Example:
        >>> duration_text(5400), duration_text(-0.5), duration_text(604800)
        ('1h30m', '-500ms', '1w')
    """
    left = round(abs(seconds) * 1000)
    if not left:
        return "0s"
    text = "-" if seconds < 0 else ""
    for unit, length, whole in _UNITS:
        if whole and left % length:
            continue
        count, left = divmod(left, length)
        text += f"{count}{unit}" if count else ""
    return text


def number_text(value: float) -> str:
    """A number as Go prints it.

    Example:
        >>> number_text(2.0), number_text(1e6), number_text(1.5e-7), number_text(float("-inf"))
        ('2', '1e+06', '1.5e-07', '-Inf')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    size = abs(value)
    if size and not 1e-4 <= size < 1e6:  # noqa: PLR2004 - where Go begins to write exponents
        mantissa, _, exponent = np.format_float_scientific(value, trim="-").partition("e")
        return f"{mantissa}e{int(exponent):+03d}"
    return _digits(value)


def _digits(value: float) -> str:
    """A finite number with all of its digits, and without an exponent."""
    text = repr(value)
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        places = max(0, len(mantissa.partition(".")[2]) - int(exponent))
        text = f"{value:.{places}f}"
    return text.removesuffix(".0")


@singledispatch
def syntax_json(node: Node) -> dict[str, Any]:
    """An expression as the value that Prometheus' `parse_query` answers.

    Raises:
        QuerySyntaxError: A duration depends on the query, which that answer has no form for.

    Example:
        >>> from lakerunner.query.promql.parser import parse
        >>> syntax_json(parse("-1"))
        {'type': 'numberLiteral', 'val': '-1'}
    """
    raise TypeError(node)


@syntax_json.register
def _(node: Number) -> dict[str, Any]:
    value = node.value
    shown = _digits(value) if math.isfinite(value) else number_text(value)
    return {"type": "numberLiteral", "val": shown}


@syntax_json.register
def _(node: Text) -> dict[str, Any]:
    return {"type": "stringLiteral", "val": node.value}


@syntax_json.register
def _(node: Parens) -> dict[str, Any]:
    return {"type": "parenExpr", "expr": syntax_json(node.expr)}


@syntax_json.register
def _(node: Unary) -> dict[str, Any]:
    return {"type": "unaryExpr", "op": node.op, "expr": syntax_json(node.expr)}


@syntax_json.register
def _(node: Selector) -> dict[str, Any]:
    return {"type": "vectorSelector", **_selector_json(node)}


@syntax_json.register
def _(node: Range) -> dict[str, Any]:
    reach = {"range": _milliseconds(node.length)}
    return {"type": "matrixSelector", **reach, **_selector_json(node.selector)}


@syntax_json.register
def _(node: Subquery) -> dict[str, Any]:
    return {
        "type": "subquery",
        "expr": syntax_json(node.expr),
        "range": _milliseconds(node.length),
        "step": 0 if node.step is None else _milliseconds(node.step),
        **_moment_json(node.moment),
    }


@syntax_json.register
def _(node: Call) -> dict[str, Any]:
    signature = FUNCTIONS[node.name]
    function = {
        "name": node.name,
        "argTypes": [_TYPES[one] for one in signature.args],
        "variadic": signature.extra,
        "returnType": _TYPES[signature.returns],
    }
    return {"type": "call", "func": function, "args": [*map(syntax_json, node.args)]}


@syntax_json.register
def _(node: Aggregation) -> dict[str, Any]:
    return {
        "type": "aggregation",
        "op": node.op,
        "expr": syntax_json(node.expr),
        "param": None if node.parameter is None else syntax_json(node.parameter),
        "grouping": list(node.labels),
        "without": node.without,
    }


@syntax_json.register
def _(node: Binary) -> dict[str, Any]:
    return {
        "type": "binaryExpr",
        "op": node.op,
        "lhs": syntax_json(node.left),
        "rhs": syntax_json(node.right),
        "matching": _matching_json(node),
        "bool": node.bool_modifier,
    }


def _selector_json(node: Selector) -> dict[str, Any]:
    # The name comes last, as in Prometheus.
    ordered = sorted(node.matchers, key=lambda one: one == Matcher(NAME, "=", node.name))
    matchers = [{"name": one.name, "value": one.value, "type": one.op} for one in ordered]
    return {"name": node.name, "matchers": matchers, **_moment_json(node.moment)}


def _moment_json(moment: Moment) -> dict[str, Any]:
    bound = moment.at.value if isinstance(moment.at, AtBound) else None
    time = None if bound or moment.at is None else round(float(moment.at) * 1000)
    return {"offset": _milliseconds(moment.offset), "timestamp": time, "startOrEnd": bound}


def _milliseconds(duration: Duration) -> int:
    if isinstance(duration, DurationCall):
        raise QuerySyntaxError("a duration that depends on the query has no form in this answer")
    return round(duration * 1000)


def _matching_json(node: Binary) -> dict[str, Any] | None:
    if {type_of(node.left), type_of(node.right)} != {ValueType.VECTOR}:
        return None
    matching = node.matching
    shown: dict[str, Any] = {
        "card": matching.cardinality.value,
        "labels": list(matching.labels),
        "on": matching.on,
        "include": list(matching.include),
    }
    if (matching.fill_left, matching.fill_right) != (None, None):
        shown["fillValues"] = {"lhs": matching.fill_left, "rhs": matching.fill_right}
    return shown
