"""What PromQL's parser takes, and what it says of what it does not take."""

from __future__ import annotations

import pytest

from lakerunner.errors import QuerySyntaxError
from lakerunner.query.promql.parser import parse
from lakerunner.query.promql.syntax import Binary, Call, Node, Number, Selector, Unary


def shape(node: Node) -> str:
    match node:
        case Number(value=value):
            return f"{value:g}"
        case Selector(name=name):
            return name
        case Unary(op=op, expr=expr):
            return f"({op}{shape(expr)})"
        case Binary(op=op, left=left, right=right):
            return f"({shape(left)}{op}{shape(right)})"
        case Call(name=name, args=args):
            return f"{name}({','.join(map(shape, args))})"
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a + b * c", "(a+(b*c))"),
        ("a ^ b ^ c", "(a^(b^c))"),
        ("-a ^ b", "(-(a^b))"),
        ("-a * b", "((-a)*b)"),
        ("a - b - c", "((a-b)-c)"),
        ("a or b and c", "(aor(bandc))"),
        ("a unless b and c", "((aunlessb)andc)"),
        ("a == b > c", "((a==b)>c)"),
        ("a % b atan2 c", "((a%b)atan2c)"),
        ("a > b + c", "(a>(b+c))"),
        ("sum", "sum"),
        ("bool + by", "(bool+by)"),
        ("abs(offset)", "abs(offset)"),
        ("1h30m", "5400"),
        ("-2", "-2"),
        ("inf", "inf"),
    ],
)
def test_how_tightly_operators_bind(text: str, wanted: str) -> None:
    assert shape(parse(text)) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: parse error: no expression found in input"),
        ("sum(rate(x[5m])", "1:16: parse error: unexpected end of input"),
        ("foo{", "1:5: parse error: unexpected end of input in label matching"),
        ('foo{a="b', "1:7: parse error: unterminated quoted string"),
        ("rate(x)", "1:6: parse error: expected type range vector in call to function"),
        ("nosuch(x)", '1:1: parse error: unknown function with name "nosuch"'),
        ("abs()", "1:1: parse error: expected 1 argument(s) in call to"),
        ("round(x, 1, 2)", "1:1: parse error: expected at most 2 argument(s)"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ('{a=~".*"}', "1:1: parse error: vector selector must contain at least one non-empty"),
        ('foo{a=~"("}', "1:8: parse error: error parsing regexp: missing )"),
        ('foo{a=~"(?=x)"}', "1:8: parse error: error parsing regexp: invalid perl operator"),
        ("1 == 1", "1:1: parse error: comparisons between scalars must use BOOL modifier"),
        ("a and 1", '1:1: parse error: set operator "and" not allowed'),
        ("a + bool b", "1:5: parse error: bool modifier can only be used on comparison"),
        ("x[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant"),
        ("x[0s]", "1:3: parse error: duration must be greater than 0"),
        ("x[5]m", "1:5: parse error: unexpected identifier"),
        ("(a + b)[5m]", "1:1: parse error: ranges only allowed for vector selectors"),
        ("a offset 5m offset 5m", "1:13: parse error: offset may not be set multiple times"),
        ("sum(a) offset 5m", "1:1: parse error: offset modifier must be preceded by"),
        ("a @ 1 @ 2", "1:7: parse error: @ <timestamp> may not be set multiple times"),
        ("a + on(x) group_left(x) b", 'label "x" must not occur in ON and GROUP clause at once'),
        ("a and on(x) group_left b", 'no grouping allowed for "and" operation'),
        ("topk(a)", "1:1: parse error: wrong number of arguments for aggregate expression"),
        ("count_values(1, a)", "1:14: parse error: expected type string in aggregation parameter"),
        ("sum(a,\nb)", "1:1: parse error: wrong number"),
        ("a +\n  $", "2:3: parse error: unexpected character"),
        ('a{__name__="b"}', "metric name must not be set twice"),
        ("(" * 300 + "1" + ")" * 300, "nested more than"),
    ],
)
def test_errors_say_where_and_what(text: str, message: str) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_names_and_labels_of_any_characters() -> None:
    node = parse('{"my.metric", "http.method"="GET", ünïcode="x"}'.replace("ünïcode", "plain"))
    assert isinstance(node, Selector)
    assert [one.name for one in node.matchers] == ["__name__", "http.method", "plain"]
