"""Sorted rows from several sources as one sorted sequence, without ever holding all of them.

Of each source one batch is held. What can follow nothing that is still to come, which is all rows
up to the smallest of the last rows of these batches, is put in order and handed on. Each row is
handed on once, whatever its order; equal rows come in the order of their sources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import SegmentError
from lakerunner.segments.layout import sorted_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LAST = np.iinfo(np.int64).max
_SIGN = np.int64(_LAST)


def merge_sorted(
    sources: Sequence[Iterator[pa.RecordBatch]], sort: Sequence[str]
) -> Iterator[pa.Table]:
    """Merge rows that are sorted in each source.

    Args:
        sources: All of one schema. One batch of each is held, and one is asked for when it is used
            up.
        sort: Columns by which all are sorted: ascending, NULLs last, texts by their UTF-8 bytes.

    Yields:
        Rows in order; one chunk per column.

    Raises:
        SegmentError: A source is not sorted (`context["source"]` is its number).

    Example:
        >>> def batches(*parts):
        ...     return iter([pa.record_batch({"n": part}) for part in parts])
        >>> merged = merge_sorted([batches([1, 4], [9]), batches([2, 3, 5])], ["n"])
        >>> [table["n"].to_pylist() for table in merged]
        [[1, 2, 3, 4], [5], [9]]
    """
    merger = _Merger(sources, sort)
    while merger.heads:
        parts = merger.take()
        if len(parts) == 1:
            yield pa.Table.from_batches([parts[0].rows])
        else:
            order = _order([part.keys for part in parts])
            yield together([part.rows for part in parts]).take(pa.array(order))


def sort_rows(batches: Sequence[pa.RecordBatch], sort: Sequence[str]) -> pa.Table:
    """Rows in any order, put in order; equal rows stay as they are. One chunk per column."""
    table = together(batches)
    present = [name for name in sort if name in table.schema.names]
    return table.take(pa.array(sorted_order(table, present))) if present else table


def together(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """Rows of several batches with one chunk per column."""
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()


class _Head:
    """What is left of a batch of a source.

    Attributes:
        source: Number of its source.
        rows: Not handed on yet.
        keys: int64 arrays, one or two per sort column, that compare as the rows do.
        texts: By place of a key, the column it was made of: these depend on other batches.
    """

    def __init__(self, source: int, rows: pa.RecordBatch, keys: list[Any]) -> None:
        self.source = source
        self.rows = rows
        self.keys = keys
        self.texts: dict[int, pa.DictionaryArray] = {}

    @property
    def last(self) -> tuple[int, ...]:
        return tuple(int(key[-1]) for key in self.keys)

    def up_to(self, cut: tuple[int, ...], *, included: bool) -> int:
        """How many rows are below a key, or not above it."""
        low, high = 0, self.rows.num_rows
        for key, value in zip(self.keys, cut, strict=True):
            part = key[low:high]
            low, high = (
                low + int(np.searchsorted(part, value, "left")),
                low + int(np.searchsorted(part, value, "right")),
            )
            if low == high:
                return low
        return high if included else low

    def slice(self, start: int, count: int) -> _Head:
        keys = [key[start : start + count] for key in self.keys]
        made = _Head(self.source, self.rows.slice(start, count), keys)
        made.texts = {place: text.slice(start, count) for place, text in self.texts.items()}
        return made


class _Merger:
    """The batches that are held. Used by one thread."""

    def __init__(self, sources: Sequence[Iterator[pa.RecordBatch]], sort: Sequence[str]) -> None:
        self._sources = sources
        self._sort = sort
        self._known: dict[int, Any] = {}
        self._tails: dict[int, _Head] = {}
        self.heads: dict[int, _Head] = {}
        for source in range(len(sources)):
            self._load(source)

    def take(self) -> list[_Head]:
        """Rows that nothing still to come is below, by source."""
        # Its source may have more rows equal to the cut; those of later sources come after them.
        cut, first = min((head.last, source) for source, head in self.heads.items())
        counts = {
            source: head.up_to(cut, included=source <= first) for source, head in self.heads.items()
        }
        found = [self.heads[source].slice(0, count) for source, count in counts.items() if count]
        # Only now: a further batch may change the ranks of the texts of all others.
        for source, count in counts.items():
            head = self.heads[source]
            if count == head.rows.num_rows:
                self._load(source)
            elif count:
                self.heads[source] = head.slice(count, head.rows.num_rows - count)
        return found

    def _load(self, source: int) -> None:
        self.heads.pop(source, None)
        batch = next((one for one in self._sources[source] if one.num_rows), None)
        if batch is None:
            self._tails.pop(source, None)
            return
        head = _Head(source, batch, [])
        for name in self._sort:
            self._add_key(head, batch.column(name))
        self.heads[source] = head
        self._check(head)
        self.heads = dict(sorted(self.heads.items()))

    def _add_key(self, head: _Head, values: Any) -> None:
        if not (pa.types.is_dictionary(values.type) or pa.types.is_string(values.type)):
            nulls, numbers = _numbers(values)
            head.keys += [nulls, numbers]
            return
        place = len(head.keys)
        coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        head.texts[place] = coded
        known = self._known.get(place)
        if known is None or pc.index_in(coded.dictionary, value_set=known).null_count:
            self._learn(place, coded)
        head.keys.append(_ranks(coded, self._known[place]))

    def _learn(self, place: int, coded: pa.DictionaryArray) -> None:
        """Rank the texts of all batches anew, with those of one more."""
        held = [*self.heads.values(), *self._tails.values()]
        texts = [head.texts[place].dictionary for head in held]
        distinct = pc.unique(pa.concat_arrays([coded.dictionary, *texts]))
        self._known[place] = distinct.take(pc.sort_indices(distinct))
        for head in held:
            head.keys[place] = _ranks(head.texts[place], self._known[place])

    def _check(self, head: _Head) -> None:
        """Make sure that a batch is sorted, and begins where the last one of its source ended."""
        tail = self._tails.get(head.source)
        keys = head.keys
        if tail is not None:
            keys = [np.concatenate(pair) for pair in zip(tail.keys, keys, strict=True)]
        if not _ascends(keys):
            raise SegmentError("rows are not in their declared order", source=head.source)
        self._tails[head.source] = head.slice(head.rows.num_rows - 1, 1)


def _ascends(keys: Sequence[Any]) -> bool:
    if not keys or len(keys[0]) < 2:  # noqa: PLR2004 - one row is in order
        return True
    equal = np.ones(len(keys[0]) - 1, bool)
    for key in keys:
        if (equal & (key[1:] < key[:-1])).any():
            return False
        equal &= key[1:] == key[:-1]
    return True


def _ranks(coded: pa.DictionaryArray, known: Any) -> Any:
    rank = pc.index_in(coded.dictionary, value_set=known).to_numpy(zero_copy_only=False)
    by_code = np.append(rank.astype(np.int64), _LAST)
    return by_code[pc.fill_null(coded.indices, len(rank)).to_numpy(zero_copy_only=False)]


def _numbers(values: Any) -> tuple[Any, Any]:
    """Whether each value is NULL, and numbers that sort as the others do."""
    nulls = np.zeros(len(values), np.int64)
    if values.null_count:
        nulls[np.asarray(values.is_null())] = 1
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    if pa.types.is_floating(values.type):
        plain = pc.fill_null(values, 0.0).cast(pa.float64()).to_numpy(zero_copy_only=False) + 0.0
        plain = np.where(np.isnan(plain), np.nan, plain)  # one NaN, above all numbers
        bits = plain.view(np.int64)
        return nulls, np.where(bits < 0, bits ^ _SIGN, bits)
    if pa.types.is_uint64(values.type):
        whole = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
        return nulls, (whole ^ np.uint64(1 << 63)).view(np.int64)
    filled = pc.fill_null(values.cast(pa.int64()), 0)
    return nulls, filled.to_numpy(zero_copy_only=False)


def _order(parts: Sequence[Sequence[Any]]) -> Any:
    """In which order rows of several sorted parts come."""
    keys = [np.concatenate(each) for each in zip(*parts, strict=True)]
    if not keys:
        return np.arange(0)
    packed, span = np.zeros(len(keys[0]), np.int64), 1
    for key in keys:
        low, high = int(key.min()), int(key.max())
        # A NULL text is far above the others; its rank need only be the highest.
        if high == _LAST and low < _LAST:
            rest = key[key < _LAST]
            high = int(rest.max()) + 1
            key = np.where(key == _LAST, high, key)  # noqa: PLW2901 - the same key, packed closer
        span *= high - low + 1
        if span >= _LAST:
            return np.lexsort(keys[::-1])
        packed = packed * (high - low + 1) + (key - low)
    # Stable, and linear where it is given runs that are sorted already.
    return np.argsort(packed, kind="stable")
