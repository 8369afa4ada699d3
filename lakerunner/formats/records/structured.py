"""The structured data of syslog (RFC 5424): elements in brackets, each with its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator

STRUCTURED = "structured_data"
"""The column in which the structured data of lines is, and what its parameters are named after."""

_NAME = r'[^ ="\]]+'
_VALUE = r'(?:[^"\\]|\\.)*'
_PARAMETER = rf' {_NAME}="{_VALUE}"'
ELEMENT = rf"\[{_NAME}(?:{_PARAMETER})*\]"
"""One element, as a pattern."""

_FIRST_ELEMENT = rf"^\[(?P<name>{_NAME})(?P<value>(?:{_PARAMETER})*)\](?P<rest>(?s:.*))$"
_FIRST_PARAMETER = rf'^ (?P<name>{_NAME})="(?P<value>{_VALUE})"(?P<rest>(?s:.*))$'
_ESCAPED = r'\\(["\\\]])'
_MOST_COLUMNS = 256
_MOST_ROUNDS = 64


class _TooManyError(Exception):
    """There are more parameters than columns are made of."""


def read_elements(texts: Any) -> dict[str, Any] | None:
    r"""Take structured data apart.

    Args:
        texts: `pa.StringArray` of elements without anything between them; NULL or `-` for none.

    Returns:
        A column of text for each parameter of each element, and one of empty text for each element
        that has none. None if there are more of them than columns are made of, or very many in one
        record.

    Example:
        >>> found = read_elements(pa.array(['[a@1 x="1" y="\\"2\\""][b z="3"]', "-", None]))
        >>> found["structured_data.a@1.y"].to_pylist(), found["structured_data.b.z"].to_pylist()
        (['"2"', None, None], ['3', None, None])
    """
    found: dict[str, Any] = {}
    try:
        rows = np.flatnonzero(np.asarray(pc.starts_with(pc.fill_null(texts, ""), "[")))
        for element, at, inside in _peeled(rows, texts.take(pa.array(rows)), _FIRST_ELEMENT):
            key = f"{STRUCTURED}.{element}"
            bare = np.asarray(pc.equal(inside, ""))
            if bare.any():
                _put(found, key, _placed(at[bare], inside.filter(pa.array(bare)), len(texts)))
            for name, where, value in _peeled(at, inside, _FIRST_PARAMETER):
                plain = pc.replace_substring_regex(value, _ESCAPED, r"\1")
                _put(found, f"{key}.{name}", _placed(where, plain, len(texts)))
    except _TooManyError:
        return None
    return found


def _peeled(rows: Any, texts: Any, pattern: str) -> Iterator[tuple[str, Any, Any]]:
    """Take the first thing off all texts, and again, until nothing is left.

    Yields:
        A name, the rows that have it in this round, and their values.
    """
    for _ in range(_MOST_ROUNDS):
        parts = pc.extract_regex(texts, pattern)
        there = np.asarray(parts.is_valid())
        if not there.any():
            return
        parts, rows = parts.filter(pa.array(there)), rows[there]
        coded = parts.field("name").dictionary_encode()
        if len(coded.dictionary) > _MOST_COLUMNS:
            raise _TooManyError
        codes = coded.indices.to_numpy(zero_copy_only=False)
        for code, name in enumerate(coded.dictionary.to_pylist()):
            mine = np.flatnonzero(codes == code)
            yield name, rows[mine], parts.field("value").take(pa.array(mine))
        texts = parts.field("rest")
    raise _TooManyError


def _placed(rows: Any, values: Any, count: int) -> Any:
    """Values of some rows as a column of all rows."""
    dense = np.full(count, -1, np.int64)
    dense[rows] = np.arange(len(rows))
    return values.take(pa.array(dense, mask=dense < 0))


def _put(found: dict[str, Any], key: str, values: Any) -> None:
    """Add a column; where a record has the same parameter twice, the second is numbered."""
    turn, name = 1, key
    while name in found and _clash(found[name], values):
        turn += 1
        name = f"{key}#{turn}"
    found[name] = pc.coalesce(found[name], values) if name in found else values
    if len(found) > _MOST_COLUMNS:
        raise _TooManyError


def _clash(ours: Any, theirs: Any) -> bool:
    return bool(np.any(np.asarray(ours.is_valid()) & np.asarray(theirs.is_valid())))
