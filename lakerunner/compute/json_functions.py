"""SQL functions that take JSON text apart: `json_get` and its family.

Each has two arguments, a text and an array of keys, which is how the SQL front end puts calls and
arrows. DataFusion has no such functions of its own. Texts repeat, so each distinct one is looked at
once.
"""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from datafusion import SessionConfig, SessionContext, col, udf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from datafusion import ScalarUDF

# JSON text taken apart, a whole column at a time: the value at a path of each text.
#
# Nothing is parsed. One look over all texts finds quotes, brackets, commas and colons; a path then
# goes down level by level, over all rows at once. Text that is no JSON has no value at any path. Of
# a
# key that stands twice in an object, the last counts.

_QUOTE, _BACKSLASH, _COLON, _COMMA = b'"\\:,'
_OBJECT, _OBJECT_END, _LIST, _LIST_END = b"{}[]"
_BLANK = np.zeros(256, bool)
_BLANK[[ord(each) for each in " \t\r\n"]] = True
_INTERESTING = np.zeros(256, bool)
_INTERESTING[[_QUOTE, _COLON, _COMMA, _OBJECT, _OBJECT_END, _LIST, _LIST_END]] = True
_STEP = np.zeros(256, np.int8)
_STEP[[_OBJECT, _LIST]] = 1
_STEP[[_OBJECT_END, _LIST_END]] = -1
_INDEX_DIGITS = 9


class Spans(NamedTuple):
    """Values in the scanned text.

    Attributes:
        rows: int64, ascending: the row of each; a row has at most one.
        starts: int64: where each begins.
        ends: int64: where each ends.
    """

    rows: Any
    starts: Any
    ends: Any

    def take(self, places: Any) -> Spans:
        """Some of them, by mask or position."""
        return Spans(self.rows[places], self.starts[places], self.ends[places])


class JsonColumn:
    """Some texts, scanned once, in which any number of paths can be looked up.

    Args:
        texts: `pa.StringArray`; NULL has no value.

    Example:
        >>> column = JsonColumn(pa.array(['{"a": {"b": [1, "x"]}}', "no JSON", None]))
        >>> found = column.at(["a", "b", "1"])
        >>> column.texts(found).to_pylist(), found.rows.tolist()
        (['"x"'], [0])
    """

    def __init__(self, texts: Any) -> None:
        # A newline behind each text: no backslash of one escapes the quote of the next.
        lines = pc.binary_join_element_wise(pc.fill_null(texts, ""), "", "\n").cast(
            pa.large_binary()
        )
        offsets = np.frombuffer(lines.buffers()[1], np.int64)[lines.offset :][: len(lines) + 1]
        self._data = np.frombuffer(lines.buffers()[2] or b"", np.uint8)
        self._starts, self._ends = offsets[:-1], offsets[1:]
        self._solid: Any = None  # places of all that is not blank, once they are needed
        self._find_structure()

    def _find_structure(self) -> None:
        data = self._data
        places = np.flatnonzero(_INTERESTING[data])
        kinds = data[places]
        is_quote = kinds == _QUOTE
        self._quotes = _unescaped(data, places[is_quote])
        if len(self._quotes) < np.count_nonzero(is_quote):
            is_quote = np.isin(places, self._quotes, assume_unique=True)
        seen = np.concatenate([[0], np.cumsum(is_quote, dtype=np.int32)])
        first = np.searchsorted(places, self._starts)
        counts = np.diff(np.append(first, len(places)))
        odd = (seen[1:] - np.repeat(seen[first], counts)) & 1
        outside = (odd == 0) & (kinds != _QUOTE)
        self._places, self._kinds = places[outside], kinds[outside]
        total = np.concatenate([[0], np.cumsum(_STEP[self._kinds], dtype=np.int32)])
        first = np.searchsorted(self._places, self._starts)
        counts = np.diff(np.append(first, len(self._places)))
        self._depth = total[1:] - np.repeat(total[first], counts)

    def roots(self) -> Spans:
        """The objects and arrays that the texts are."""
        spans = self._trimmed(
            Spans(np.arange(len(self._starts)), self._starts, self._ends - 1)  # no newline
        )
        data = self._data
        opening = data[spans.starts]
        spans = spans.take((opening == _OBJECT) | (opening == _LIST))
        # Whole if the first bracket is closed by the last character, and by no other before.
        begin = np.searchsorted(self._places, spans.starts)
        end = np.searchsorted(self._places, spans.ends) - 1
        outermost = np.concatenate([[0], np.cumsum(self._depth <= 0)])
        closed = outermost[end + 1] - outermost[begin] == 1
        last = (self._depth[end] == 0) & (self._places[end] == spans.ends - 1)
        return spans.take(closed & last)

    def at(self, path: Sequence[str]) -> Spans:
        """The value of each text at a path of keys; a number is the place in an array, too."""
        spans = self.roots()
        for key in path:
            spans = self._trimmed(_merged(self._members(spans, key), self._elements(spans, key)))
        return spans

    def _trimmed(self, spans: Spans) -> Spans:
        """Values without the blanks around them; those that are nothing but blanks are left out."""
        spans = spans.take(spans.ends > spans.starts)
        blank = _BLANK[self._data[spans.starts]]
        starts = spans.starts + (blank & (spans.ends - spans.starts > 1))  # most often it is one
        spans = spans._replace(starts=starts)
        if not (_BLANK[self._data[starts]] | _BLANK[self._data[spans.ends - 1]]).any():
            return spans
        solid = self._all_solid()
        first = np.searchsorted(solid, spans.starts)
        last = np.searchsorted(solid, spans.ends) - 1
        spans = spans.take(some := last >= first)
        return Spans(spans.rows, solid[first[some]], solid[last[some]] + 1)

    def _all_solid(self) -> Any:
        if self._solid is None:
            self._solid = np.flatnonzero(~_BLANK[self._data])
        return self._solid

    def _is_blank(self, starts: Any, ends: Any) -> Any:
        """Whether there is nothing but blanks from each start to its end."""
        solid = self._all_solid()
        return np.searchsorted(solid, starts) == np.searchsorted(solid, ends)

    def objects(self, spans: Spans) -> Spans:
        """Those values that are objects."""
        return self._of_kind(spans, _OBJECT)

    def _of_kind(self, spans: Spans, kind: int) -> Spans:
        return spans.take(self._data[spans.starts] == kind)

    def _separators(self, spans: Spans) -> tuple[Any, Any]:
        """Colons, commas and the closing bracket of containers: structure index, and container."""
        begin = np.searchsorted(self._places, spans.starts)
        end = np.searchsorted(self._places, spans.ends)
        counts = end - begin - 1
        owner = np.repeat(np.arange(len(begin)), counts)
        index = np.arange(counts.sum()) + np.repeat(
            begin + 1 - (np.cumsum(counts) - counts), counts
        )
        level = self._depth[begin]
        outer = self._depth[index] == level[owner]
        flat = (self._kinds[index] == _COLON) | (self._kinds[index] == _COMMA)
        closing = index == (end - 1)[owner]
        kept = (outer & flat) | closing
        return index[kept], owner[kept]

    def _keys(self, spans: Spans) -> tuple[Any, Any, Any, Any]:
        """Pairs of objects: object, bounds of the key without its quotes, index of separators."""
        index, owner = self._separators(spans)
        colons = np.flatnonzero(self._kinds[index] == _COLON)
        behind = np.searchsorted(self._quotes, self._places[index[colons]])
        starts, ends = self._quotes[behind - 2] + 1, self._quotes[behind - 1]
        # A colon without a key before it, or without a value behind it, is no JSON.
        proper = (behind >= 2) & (starts > spans.starts[owner[colons]])  # noqa: PLR2004 - quotes
        proper &= self._kinds[index[colons + 1]] != _COLON
        apart = np.flatnonzero(proper & (ends + 1 < self._places[index[colons]]))
        if len(apart):
            proper[apart] = self._is_blank(ends[apart] + 1, self._places[index[colons[apart]]])
        return owner[colons][proper], starts[proper], ends[proper], (index, colons[proper])

    def _members(self, spans: Spans, key: str) -> Spans:
        objects = self._of_kind(spans, _OBJECT)
        owner, starts, ends, (index, colons) = self._keys(objects)
        wanted = np.frombuffer(msgspec.json.encode(key)[1:-1], np.uint8)
        same = np.flatnonzero(ends - starts == len(wanted))
        letters = self._data[starts[same][:, None] + np.arange(len(wanted))]
        same = same[(letters == wanted).all(axis=1)]
        last = np.ones(len(same), bool)  # of those in one object
        last[:-1] = owner[same[1:]] != owner[same[:-1]]
        colon = colons[same[last]]
        starts, ends = self._places[index[colon]] + 1, self._places[index[colon + 1]]
        return Spans(objects.rows[owner[same[last]]], starts, ends)

    def _elements(self, spans: Spans, key: str) -> Spans:
        lists = self._of_kind(spans, _LIST)
        if not (key.isascii() and key.isdigit() and len(key) <= _INDEX_DIGITS):
            return lists.take(np.zeros(len(lists.rows), bool))
        number = int(key)
        index, owner = self._separators(lists)
        first = np.searchsorted(owner, np.arange(len(lists.rows)))
        counts = np.bincount(owner, minlength=len(lists.rows))
        there = counts > number
        mine = first[there] + number
        ends = self._places[index[mine]]
        starts = lists.starts[there] + 1 if number == 0 else self._places[index[mine - 1]] + 1
        return Spans(lists.rows[there], starts, ends)

    def lengths(self, spans: Spans) -> tuple[Any, Any]:
        """How many members or elements containers have: rows, and numbers."""
        opening = self._data[spans.starts]
        spans = spans.take((opening == _OBJECT) | (opening == _LIST))
        _, owner = self._separators(spans)
        # As many as separators, the bracket being the last; but in an empty one nothing is before.
        inner = self._trimmed(Spans(spans.rows, spans.starts + 1, spans.ends - 1))
        filled = np.isin(spans.rows, inner.rows)
        index, owner = self._separators(spans)
        counted = self._kinds[index] != _COLON
        return spans.rows, np.bincount(owner[counted], minlength=len(spans.rows)) * filled

    def keys(self, spans: Spans) -> tuple[Any, Any]:
        """Keys of objects: the row of each, and a `pa.StringArray` of them."""
        owner, starts, ends, _ = self._keys(spans)
        return spans.rows[owner], self.texts(Spans(owner, starts, ends))

    def texts(self, spans: Spans) -> Any:
        """The text of each value, as `pa.StringArray`."""
        lengths = spans.ends - spans.starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        where = np.arange(offsets[-1]) + np.repeat(spans.starts - offsets[:-1], lengths)
        buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(self._data[where])]
        return pa.Array.from_buffers(pa.string(), len(lengths), buffers)


def _merged(one: Spans, other: Spans) -> Spans:
    if not len(other.rows):
        return one
    rows = np.concatenate([one.rows, other.rows])
    order = np.argsort(rows, kind="stable")
    starts = np.concatenate([one.starts, other.starts])
    ends = np.concatenate([one.ends, other.ends])
    return Spans(rows[order], starts[order], ends[order])


def _unescaped(data: Any, quotes: Any) -> Any:
    """Those of the quotes that no backslash escapes."""
    slashes = np.flatnonzero(data == _BACKSLASH)
    if not len(slashes) or not len(quotes):
        return quotes
    # The length of the run of backslashes that each backslash is the last of, so far.
    begins = np.append(True, np.diff(slashes) != 1)
    order = np.arange(len(slashes))
    run = order - np.maximum.accumulate(np.where(begins, order, 0)) + 1
    before = np.searchsorted(slashes, quotes) - 1
    behind = (before >= 0) & (slashes[before] == quotes - 1)
    return quotes[~(behind & (run[before] % 2 == 1))]


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


# Numbers as the text that a query makes of them, for columns that are text from now on.

_VALUE = "value"


class TextOfNumbers:
    """Casts doubles to text by DataFusion itself, so that it is the text that queries have seen.

    Arrow writes `5` and `1e+16` where DataFusion writes `5.0` and `1e16`. A session is opened when
    it is first needed. Used by one thread.

    Example:
        >>> TextOfNumbers()(pa.array([5.0, 1e16, None, float("nan")])).to_pylist()
        ['5.0', '1e16', None, 'NaN']
    """

    def __init__(self) -> None:
        self._session: SessionContext | None = None

    def __call__(self, values: Any) -> Any:
        """Text of each value, in their order.

        Args:
            values: An array of doubles.
        """
        if not len(values):
            return pa.array([], pa.string())
        if self._session is None:
            # One partition: batches of several would come in any order.
            self._session = SessionContext(SessionConfig().with_target_partitions(1))
        table = pa.table({_VALUE: values})
        frame = self._session.from_arrow(table)
        found = frame.select(col(_VALUE).try_cast(pa.string()).alias(_VALUE)).to_arrow_table()
        return found[_VALUE].cast(pa.string()).combine_chunks()
