"""JSON text taken apart, a whole column at a time: the value at a path of each text.

Nothing is parsed. One look over all texts finds quotes, brackets, commas and colons; a path then
goes down level by level, over all rows at once. Text that is no JSON has no value at any path. Of a
key that stands twice in an object, the last counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

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
