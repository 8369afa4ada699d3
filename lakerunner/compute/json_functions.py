"""SQL functions that take JSON text apart: `json_get` and its family.

Each has two arguments, a text and an array of keys, which is how the SQL front end puts calls and
arrows. DataFusion has no such functions of its own. Texts repeat, so each distinct one is looked at
once.
"""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from datafusion import udf

from lakerunner.compute.json_scan import JsonColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datafusion import ScalarUDF


_PIECE_BYTES = 1024 * 1024  # what a scan looks at stays in the processor's cache
_INTEGER = r"^-?(?:0|[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?$"
# Halves of surrogate pairs are left out with the rest that is no JSON string.
_STRING = (
    r'^"(?:[^"\\]|\\["\\/bfnrt]|\\u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})'
    r'|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*"$'
)

Read = "Callable[[JsonColumn, Spans], Any]"


def json_functions() -> list[ScalarUDF]:
    """The functions, to be registered with a session."""
    returned: dict[str, tuple[Any, Any]] = {
        "json_get": (pa.string(), _raw),
        "json_as_text": (pa.string(), _as_text),
        "json_get_str": (pa.string(), _strings),
        "json_get_int": (pa.int64(), _integers),
        "json_get_float": (pa.float64(), _floats),
        "json_get_bool": (pa.bool_(), _booleans),
    }
    made = [_function(name, dtype, partial(_values, read, dtype)) for name, (dtype, read) in
            returned.items()]  # fmt: skip
    return [
        *made,
        _function("json_contains", pa.bool_(), _contained),
        _function("json_length", pa.int64(), _lengths),
        _function("json_object_keys", pa.list_(pa.string()), _keys),
    ]


def _function(name: str, dtype: Any, compute: Callable[[Any, list[str]], Any]) -> ScalarUDF:
    def call(texts: Any, paths: Any) -> Any:
        return _by_path(texts, paths, dtype, compute)

    return udf(call, [pa.string(), pa.list_(pa.string())], dtype, "immutable", name)


def _by_path(texts: Any, paths: Any, dtype: Any, compute: Callable[[Any, list[str]], Any]) -> Any:
    """Apply a function of texts and one path to texts and the path of each."""
    if not len(texts):
        return pa.array([], dtype)
    written = pc.binary_join(pc.fill_null(paths, []), "\x1f").dictionary_encode()
    answers = []
    places = []
    for number in range(len(written.dictionary)):
        mine = np.flatnonzero(np.asarray(written.indices) == number)
        first = paths[int(mine[0])]
        path = [str(key) for key in first.as_py() or ()]
        places.append(mine)
        some = texts if len(mine) == len(texts) else texts.take(pa.array(mine))
        answers.append(_distinct(some, path, compute))
    if len(answers) == 1:
        return answers[0]
    order = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_arrays(answers).take(pa.array(order))


def _distinct(texts: Any, path: list[str], compute: Callable[[Any, list[str]], Any]) -> Any:
    encoded = texts.dictionary_encode()
    answers = [compute(piece, path) for piece in _pieces(encoded.dictionary)]
    whole = answers[0] if len(answers) == 1 else pa.concat_arrays(answers)
    return whole.take(encoded.indices)


def _pieces(texts: Any) -> Iterator[Any]:
    if texts.nbytes <= _PIECE_BYTES:
        yield texts
        return
    ends = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False))
    first = 0
    while first < len(texts):
        passed = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, passed + _PIECE_BYTES)), first + 1)
        yield texts.slice(first, last - first)
        first = last


def _values(read: Callable[[Any], Any], dtype: Any, texts: Any, path: list[str]) -> Any:
    column = JsonColumn(texts)
    spans = column.at(path)
    return _spread(read(column.texts(spans)), spans.rows, len(texts), dtype)


def _spread(values: Any, rows: Any, count: int, dtype: Any) -> Any:
    """Values at their rows; NULL elsewhere."""
    if not len(values):
        return pa.nulls(count, dtype)
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    return values.take(pa.array(place, mask=place < 0)).cast(dtype)


def _where(mask: Any, values: Any) -> Any:
    return pc.if_else(mask, values, pa.scalar(None, values.type))


def _raw(values: Any) -> Any:
    return values


def _strings(values: Any) -> Any:
    """Text of JSON strings; NULL for all others."""
    quoted = _where(pc.starts_with(values, '"'), values)
    plain = pc.utf8_slice_codeunits(quoted, 1, -1)
    escaped = pc.fill_null(pc.match_substring(quoted, "\\"), fill_value=False)
    if not pc.any(escaped).as_py():
        return plain
    whole = _where(pc.match_substring_regex(quoted, _STRING), quoted)
    whole = _where(escaped, whole)
    # Arrow reads the escapes, a line for each value.
    lines = pc.binary_join_element_wise('{"v":', pc.fill_null(whole, "null"), "}\n", "")
    data = b"".join(lines.cast(pa.binary()).to_pylist())
    read = pyarrow.json.read_json(
        BytesIO(data),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=pa.schema([("v", pa.string())]), unexpected_field_behavior="ignore"
        ),
    )
    return pc.if_else(escaped, read["v"].combine_chunks(), plain)


def _as_text(values: Any) -> Any:
    """Strings without quotes, `null` as NULL, and all else as JSON."""
    strings = _strings(values)
    others = _where(pc.invert(pc.starts_with(values, '"')), values)
    return pc.coalesce(strings, _where(pc.not_equal(others, "null"), others))


def _integers(values: Any) -> Any:
    return _where(pc.match_substring_regex(values, _INTEGER), values).cast(pa.int64())


def _floats(values: Any) -> Any:
    return _where(pc.match_substring_regex(values, _NUMBER), values).cast(pa.float64())


def _booleans(values: Any) -> Any:
    known = pc.is_in(values, pa.array(["true", "false"]))
    return _where(known, pc.equal(values, "true"))


def _contained(texts: Any, path: list[str]) -> Any:
    found = np.zeros(len(texts), bool)
    found[JsonColumn(texts).at(path).rows] = True
    return _where(texts.is_valid(), pa.array(found))


def _lengths(texts: Any, path: list[str]) -> Any:
    column = JsonColumn(texts)
    rows, lengths = column.lengths(column.at(path))
    return _spread(pa.array(lengths, pa.int64()), rows, len(texts), pa.int64())


def _keys(texts: Any, path: list[str]) -> Any:
    column = JsonColumn(texts)
    objects = column.objects(column.at(path))
    rows, keys = column.keys(objects)
    counts = np.bincount(rows, minlength=len(texts))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), keys)
    there = np.full(len(texts), -1)
    there[objects.rows] = objects.rows
    return lists.take(pa.array(there, mask=there < 0))
