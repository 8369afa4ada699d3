"""Functions and operators of other SQL dialects, and how they are put here.

Only what means the same is put another way; what would mean nearly the same has an error that names
the equivalent (`EQUIVALENTS`). Arguments stay where they are and are never repeated.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.query.sql.tokens import Edit, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.query.sql.tokens import Token

_UNITS = ("year", "quarter", "month", "week", "day", "hour", "minute", "second")
_STARTS = {f"tostartof{unit}": f"date_trunc('{unit}', {{}})" for unit in _UNITS}
_PARTS = {unit: f"date_part('{unit}', {{}})" for unit in _UNITS}
_LATEST = "first_value({} ORDER BY {} DESC NULLS LAST) IGNORE NULLS"
_EARLIEST = "first_value({} ORDER BY {} ASC NULLS LAST) IGNORE NULLS"
_QUANTILE = "approx_percentile_cont({}, {})"
_GROUP = "regexp_match({}, concat('(', {}, ')'))[1 + {}]"
_WHOLE = "regexp_match({}, concat('(', {}, ')'))[1]"
_CASE = "(CASE WHEN {} THEN {} ELSE {} END)"
_WHEN = "(CASE WHEN {} THEN {} END)"

_TEMPLATES: dict[str, tuple[str, ...]] = {
    **{name: (text,) for name, text in (_STARTS | _PARTS).items()},
    **dict.fromkeys(("arg_max", "argmax", "max_by"), (_LATEST,)),
    **dict.fromkeys(("arg_min", "argmin", "min_by"), (_EARLIEST,)),
    **dict.fromkeys(("count_if", "countif"), ("count(*) FILTER (WHERE {})",)),
    **dict.fromkeys(("sum_if", "sumif"), ("sum({}) FILTER (WHERE {})",)),
    **dict.fromkeys(("avg_if", "avgif"), ("avg({}) FILTER (WHERE {})",)),
    **dict.fromkeys(("if", "iff", "iif"), (_CASE, _WHEN)),
    **dict.fromkeys(("quantile", "approx_quantile", "approx_percentile"), (_QUANTILE,)),
    **dict.fromkeys(("regexp_extract", "regexp_substr"), (_GROUP, _WHOLE)),
    **dict.fromkeys(("uniq", "approx_count_distinct"), ("approx_distinct({})",)),
    **dict.fromkeys(("len", "strlen", "char_len"), ("length({})",)),
    **dict.fromkeys(("epoch", "unix_timestamp", "to_unix_timestamp"), ("to_unixtime({})",)),
    **dict.fromkeys(("group_concat", "listagg"), ("string_agg({}, {})", "string_agg({}, ',')")),
    **dict.fromkeys(("string_split", "str_split"), ("string_to_array({}, {})",)),
    "date": ("CAST({} AS DATE)",),
    "endswith": ("ends_with({}, {})",),
    "every": ("bool_and({})",),
    "isnull": ("(({}) IS NULL)",),
    "lcase": ("lower({})",),
    "mod": ("(({}) % ({}))",),
    "safe_divide": ("({}) / nullif({}, 0)",),
    "startswith": ("starts_with({}, {})",),
    "time_bucket": ("date_bin({}, {})", "date_bin({}, {}, {})"),
    "ucase": ("upper({})",),
    "variance": ("var({})",),
}
"""By name, how a call is put: one `{}` for each argument, in their order."""

_JSON = {
    **dict.fromkeys(("json_get_json", "json_get_array"), "json_get"),
    **dict.fromkeys(("json_extract", "json_query", "jsonextractraw"), "json_get"),
    **dict.fromkeys(("jsonb_extract_path", "json_extract_path"), "json_get"),
    **dict.fromkeys(("json_as_text", "json_value", "get_json_object"), "json_as_text"),
    **dict.fromkeys(("json_extract_string", "json_extract_scalar"), "json_as_text"),
    **dict.fromkeys(("json_extract_path_text", "jsonextractstring"), "json_as_text"),
    **dict.fromkeys(("jsonextractint", "jsonextractuint"), "json_get_int"),
    "jsonextractfloat": "json_get_float",
    "jsonextractbool": "json_get_bool",
    "json_array_length": "json_length",
    "jsonlength": "json_length",
    "jsonhas": "json_contains",
    "json_exists": "json_contains",
    "json_keys": "json_object_keys",
    **{name: name for name in ("json_get", "json_get_str", "json_get_int", "json_get_float")},
    **{name: name for name in ("json_get_bool", "json_length", "json_contains")},
    "json_object_keys": "json_object_keys",
}
"""Functions of JSON text, and ours: a call has the text first and then any number of keys."""

_PATH = re.compile(r"\$((?:\.\w+|\.?\[\d+\]|\[\"[^\"]+\"\])*)")
_STEP = re.compile(r"\.?(?:\[(\d+)\]|\[\"([^\"]+)\"\]|(\w+))")

EQUIVALENTS = {
    "date_add": "timestamp + interval '1 day'",
    "date_diff": "date_part('epoch', b) - date_part('epoch', a), in seconds",
    "date_sub": "timestamp - interval '1 day'",
    "dateadd": "timestamp + interval '1 day'",
    "datediff": "date_part('epoch', b) - date_part('epoch', a), in seconds",
    "date_histogram": "date_bin(interval '5 minutes', timestamp)",
    "bin": "date_bin(interval '5 minutes', timestamp)",
    "time_slice": "date_bin(interval '5 minutes', timestamp)",
    "tostartofinterval": "date_bin(interval '5 minutes', timestamp)",
    "time_bucket_gapfill": "date_bin(interval '5 minutes', timestamp), without the gaps filled",
    "timestamp_trunc": "date_trunc('minute', timestamp)",
    "timestampdiff": "date_part('epoch', b) - date_part('epoch', a), in seconds",
    "earliest": "first_value(x ORDER BY timestamp)",
    "first": "first_value(x ORDER BY timestamp)",
    "last": "last_value(x ORDER BY timestamp)",
    "latest": "last_value(x ORDER BY timestamp)",
    "getdate": "now()",
    "sysdate": "now()",
    "histogram": "date_bin() or floor(x / width) with GROUP BY",
    "mode": "GROUP BY x ORDER BY count(*) DESC LIMIT 1",
    "p50": "approx_percentile_cont(x, 0.50)",
    "p90": "approx_percentile_cont(x, 0.90)",
    "p95": "approx_percentile_cont(x, 0.95)",
    "p99": "approx_percentile_cont(x, 0.99)",
    "parse_json": "json_get(x, 'key'), or x ->> 'key'",
    "percentile": "approx_percentile_cont(x, 0.95), with a fraction",
    "quantiles": "approx_percentile_cont(x, 0.95), once for each",
    "rate": "count(*) / seconds, with date_bin() in GROUP BY",
    "regexp_matches": "regexp_like(x, 'pattern'), or regexp_match() for the groups",
    "size": "array_length(x), or json_length(x) for JSON text",
    "split": "split_part(x, ',', 1), or string_to_array(x, ',')",
    "strftime": "to_char(timestamp, '%Y-%m-%d')",
    "format_timestamp": "to_char(timestamp, '%Y-%m-%d')",
    "parse_timestamp": "to_timestamp(x)",
    "from_iso8601_timestamp": "to_timestamp(x)",
    "locate": "strpos(text, part)",
    "typeof": "arrow_typeof(x)",
    "tostring": "CAST(x AS TEXT)",
    "toint": "CAST(x AS BIGINT)",
    "div": "CAST(a / b AS BIGINT)",
    "hex": "to_hex(x)",
    "isnotnull": "x IS NOT NULL",
}
"""What to write in place of functions that exist elsewhere."""

_NO_NAMES = frozenset(
    {"select", "distinct", "all", "from", "where", "and", "or", "not", "in", "on", "by", "as"}
    | {"having", "case", "when", "then", "else", "between", "like", "ilike", "is", "limit"}
    | {"union", "except", "intersect", "values", "over", "filter", "exists", "interval", "with"}
)
_OPENING, _CLOSING = {"(": ")", "[": "]"}, frozenset({")", "]"})


class Call(NamedTuple):
    """A call: its name, its parentheses, and where its arguments begin and end."""

    name: Token
    opening: Token
    closing: Token
    commas: tuple[Token, ...]
    arguments: tuple[tuple[Token, ...], ...]


class CallReader:
    """The brackets of a text: where each is closed."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.partner: dict[int, int] = {}
        open_places: list[int] = []
        for place, token in enumerate(tokens):
            if token.kind is not Kind.SYMBOL:
                continue
            if token.text in _OPENING:
                open_places.append(place)
            elif token.text in _CLOSING and open_places:
                opened = open_places.pop()
                self.partner[opened], self.partner[place] = place, opened

    def call(self, place: int) -> Call | None:
        """The call whose name stands at a place, if it is one."""
        tokens, opened = self.tokens, place + 1
        if (
            opened not in self.partner
            or tokens[place].kind is not Kind.WORD
            or not tokens[opened].is_symbol("(")
            or (place and tokens[place - 1].is_symbol("."))
        ):
            return None
        closed = self.partner[opened]
        commas, inside = [], opened + 1
        while inside < closed:
            if tokens[inside].is_symbol(","):
                commas.append(inside)
            inside = max(self.partner.get(inside, inside), inside) + 1
        borders = [opened, *commas, closed]
        arguments = tuple(
            tuple(tokens[start + 1 : end]) for start, end in itertools.pairwise(borders)
        )
        return Call(
            tokens[place],
            tokens[opened],
            tokens[closed],
            tuple(tokens[comma] for comma in commas),
            arguments if arguments != ((),) else (),
        )


def foreign_edits(tokens: Sequence[Token]) -> list[Edit]:
    """Edits that put functions and operators of other dialects as they are put here."""
    reader = CallReader(tokens)
    edits: list[Edit] = []
    for place, token in enumerate(tokens):
        if token.kind is not Kind.WORD:
            continue
        name = token.name
        if name in _TEMPLATES or name in _JSON:
            call = reader.call(place)
            if call is not None and call.arguments:
                edits += _json_call(call) if name in _JSON else _templated(call)
        elif name in ("rlike", "regexp"):
            edits += _matches(tokens, place)
    return [*_arrows(reader), *edits]


def _templated(call: Call) -> Iterator[Edit]:
    wanted = len(call.arguments)
    template = next((t for t in _TEMPLATES[call.name.name] if t.count("{}") == wanted), None)
    if template is None:
        return
    first, *between, last = template.split("{}")
    yield Edit(call.name.start, call.opening.end, first)
    for comma, text in zip(call.commas, between, strict=True):
        yield Edit(comma.start, comma.end, text)
    yield Edit(call.closing.start, call.closing.end, last)


def _json_call(call: Call) -> Iterator[Edit]:
    """Keys become one array: a function of ours has two arguments."""
    yield Edit(call.name.start, call.name.end, _JSON[call.name.name])
    if not call.commas:
        yield Edit(call.closing.start, call.closing.start, ", make_array()")
        return
    comma = call.commas[0]
    yield Edit(comma.end, comma.end, " make_array(")
    yield from _json_path(call)
    for key in call.arguments[1:]:
        if len(key) == 1:
            yield from _number_key(key[0])
    yield Edit(call.closing.start, call.closing.start, ")")


def _number_key(token: Token) -> Iterator[Edit]:
    """A place in an array as text, like all keys: an array has one type."""
    if token.kind is Kind.NUMBER:
        yield Edit(token.start, token.end, f"'{token.text}'")


def _json_path(call: Call) -> Iterator[Edit]:
    """Keys in place of a path such as `'$.a[0]'`."""
    if len(call.arguments) != 2 or len(call.arguments[1]) != 1:  # noqa: PLR2004 - text and path
        return
    (path,) = call.arguments[1]
    match = _PATH.fullmatch(path.value or "")
    if match is not None:
        steps = (next(filter(None, groups)) for groups in _STEP.findall(match[1]))
        yield Edit(path.start, path.end, ", ".join(f"'{step}'" for step in steps))


def _matches(tokens: Sequence[Token], place: int) -> Iterator[Edit]:
    """`a RLIKE 'x'` is `a ~ 'x'`."""
    token, before = tokens[place], tokens[place - 1] if place else None
    after = tokens[place + 1] if place + 1 < len(tokens) else None
    if before is None or after is None or after.is_symbol("(", ",", ")", "."):
        return
    if before.is_word("not"):
        yield Edit(before.start, token.end, "!~")
    elif before.kind is not Kind.SYMBOL or before.text in _CLOSING:
        yield Edit(token.start, token.end, "~")


def _arrows(reader: CallReader) -> list[Edit]:
    """`a -> 'k'` is the JSON at a key, `a ->> 'k'` the text of it."""
    opening: list[Edit] = []
    others: list[Edit] = []
    chains: dict[int, int] = {}
    tokens = reader.tokens
    for place, token in enumerate(tokens):
        if not token.is_symbol("->", "->>") or not place or place + 1 >= len(tokens):
            continue
        start, end = _left(reader, place - 1, chains), _right(reader, place + 1)
        if start is None or end is None:
            continue
        chains[end] = start
        function = "json_as_text(" if token.text == "->>" else "json_get("
        # The last arrow of a chain is the outermost call.
        opening.insert(0, Edit(tokens[start].start, tokens[start].start, function))
        others.append(Edit(token.start, token.end, ", make_array("))
        if end == place + 1:
            others += _number_key(tokens[end])
        others.append(Edit(tokens[end].end, tokens[end].end, "))"))
    return [*opening, *others]


def _left(reader: CallReader, place: int, chains: dict[int, int]) -> int | None:
    """Where the operand begins that ends at a place."""
    if place in chains:
        return chains[place]
    tokens = reader.tokens
    token = tokens[place]
    start: int | None = place
    if token.text in _CLOSING and token.kind is Kind.SYMBOL:
        opened = reader.partner.get(place)
        if opened is None:
            return None
        before = tokens[opened - 1] if opened else None
        called = before is not None and before.name and before.name not in _NO_NAMES
        subscript = tokens[opened].text == "["
        start = _left(reader, opened - 1, chains) if called or subscript else opened
    elif token.kind is Kind.SYMBOL or token.name in _NO_NAMES:
        return None
    while start is not None and start > 1 and tokens[start - 1].is_symbol(".", "::"):
        start = _left(reader, start - 2, chains)
    return start


def _right(reader: CallReader, place: int) -> int | None:
    """Where the operand ends that begins at a place."""
    token, tokens = reader.tokens[place], reader.tokens
    if token.is_symbol("("):
        return reader.partner.get(place)
    if token.is_symbol("-") and place + 1 < len(tokens):
        return place + 1 if tokens[place + 1].kind is Kind.NUMBER else None
    return None if token.kind is Kind.SYMBOL else place
