"""Values that are bound to a query: they travel beside the text and are never part of it.

Placeholders are `$1`, `$2`, …, or `?` (each the next one), or `$name`. A list fills `IN ($ids)` or
`= ANY($ids)`. Values are compared as if they were written out, with their own type, and segments
are pruned by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pyarrow as pa

from lakerunner.errors import QuerySyntaxError
from lakerunner.limits import QUERY_LISTED_VALUES
from lakerunner.query.sql.tokens import Edit, Kind
from lakerunner.schema.arrays import TIMESTAMP

if TYPE_CHECKING:
    from lakerunner.query.sql.tokens import Token

Params: TypeAlias = Sequence[Any] | Mapping[str, Any]
"""Values by their order, or by name."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN = (bool, int, float, str, bytes, date, Decimal, pa.Scalar)
_MARK = "?"


class Bound(NamedTuple):
    """What a query's placeholders stand for.

    Attributes:
        values: By name without the `$`: a scalar, or an array for a list that is read as a table.
        edits: What becomes of placeholders in the text, where they do not stay as they are.
    """

    values: dict[str, Any]
    edits: list[Edit]


def bind(tokens: Sequence[Token], params: Params | None) -> Bound:
    """Give each placeholder of a query its value.

    Args:
        tokens: Of the query.
        params: The values.

    Raises:
        QuerySyntaxError: A placeholder has no value, a value no placeholder, or a value is of a
            kind that no column has.

    Example:
        >>> from lakerunner.query.sql.tokens import tokens
        >>> bind(tokens("SELECT body FROM logs WHERE level = $level"), {"level": "ERROR"}).values
        {'level': 'ERROR'}
    """
    given = _by_name(params)
    marks = [(place, token) for place, token in enumerate(tokens) if token.kind is Kind.PLACEHOLDER]
    if not marks and not given:
        return Bound({}, [])
    names = _names([token for _, token in marks])
    _check(names, given)
    values: dict[str, Any] = {}
    edits: list[Edit] = []
    for name, (place, token) in zip(names, marks, strict=True):
        value = given[name]
        if not _is_list(value):
            values[name] = _scalar(name, value)
            if token.text == _MARK:
                edits.append(Edit(token.start, token.end, f"${name}"))
            continue
        text, more = _list(name, value, is_in=_follows_in(tokens, place))
        values |= more
        edits.append(Edit(token.start, token.end, text))
    return Bound(values, edits)


def _by_name(params: Params | None) -> dict[str, Any]:
    if params is None:
        return {}
    if isinstance(params, Mapping):
        return {str(name).removeprefix("$"): value for name, value in params.items()}
    if isinstance(params, str | bytes) or not isinstance(params, Sequence):
        raise QuerySyntaxError(
            f"params is a {type(params).__name__}; give a list, or a mapping of names to values"
        )
    return {str(number): value for number, value in enumerate(params, start=1)}


def _names(marks: Sequence[Token]) -> list[str]:
    unnamed = [token for token in marks if token.text == _MARK]
    if unnamed and len(unnamed) < len(marks):
        raise QuerySyntaxError("a query uses ? or $1 for its values, not both")
    if unnamed:
        return [str(number) for number in range(1, len(marks) + 1)]
    return [token.text[1:] for token in marks]


def _check(names: Iterable[str], given: Mapping[str, Any]) -> None:
    wanted = dict.fromkeys(names)
    missing = [name for name in wanted if name not in given]
    if missing:
        raise QuerySyntaxError(f"there is no value for ${missing[0]}: give it in params")
    unused = [name for name in given if name not in wanted]
    if unused:
        raise QuerySyntaxError(f"the query has no placeholder ${unused[0]} for a value in params")


def _is_list(value: object) -> bool:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return True
    return isinstance(value, Iterable) and not isinstance(
        value, str | bytes | bytearray | pa.Scalar | Mapping
    )


def _follows_in(tokens: Sequence[Token], place: int) -> bool | None:
    """Whether a list stands in the parentheses of IN (True), right behind IN (None), or not."""
    before = tokens[place - 1] if place else None
    if before is not None and before.is_word("in"):
        return None
    after = tokens[place + 1] if place + 1 < len(tokens) else None
    return (
        place > 1
        and tokens[place - 1].is_symbol("(")
        and tokens[place - 2].is_word("in")
        and after is not None
        and after.is_symbol(")")
    )


def _list(name: str, value: Any, *, is_in: bool | None) -> tuple[str, dict[str, Any]]:
    array = _array(name, value)
    if is_in is False:
        return f"${name}", {name: pa.scalar(array.to_pylist(), pa.list_(array.type))}
    if 0 < len(array) <= QUERY_LISTED_VALUES:
        values = {f"{name}__{number}": one for number, one in enumerate(array)}
        text = ", ".join(f"${each}" for each in values)
    else:  # too many to be planned one by one; and `IN ()` is no SQL
        values = {name: array}
        text = f'SELECT "value" FROM "${name}"'  # noqa: S608 - a name, and of a placeholder
    return (f"({text})" if is_in is None else text), values


def _array(name: str, value: Any) -> Any:
    if isinstance(value, pa.ChunkedArray):
        return value.combine_chunks()
    if isinstance(value, pa.Array):
        return value
    items = value.tolist() if hasattr(value, "tolist") else list(value)
    try:
        if any(isinstance(one, datetime) for one in items):
            times = [None if one is None else _nanoseconds(one) for one in items]
            return pa.array(times, TIMESTAMP)
        array = pa.array(items)
    except (pa.ArrowException, TypeError, AttributeError, OverflowError) as error:
        raise QuerySyntaxError(f"the values of ${name} are not of one type: {error}") from error
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _scalar(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return pa.scalar(_nanoseconds(value), TIMESTAMP)
    if isinstance(value, timedelta):
        return pa.scalar(value, pa.duration("ns"))
    if hasattr(value, "item") and not isinstance(value, pa.Scalar):  # a number of numpy
        value = value.item()
    if value is None or isinstance(value, _PLAIN):
        return value
    raise QuerySyntaxError(f"the value of ${name} is a {type(value).__name__}, which no column has")


def _nanoseconds(time: datetime) -> int:
    """Nanoseconds since the epoch; a time without a zone is UTC."""
    if hasattr(time, "value"):  # a timestamp of pandas, to the nanosecond
        return int(time.value)
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000
