"""The labels of many series, column by column."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.query.promql.syntax import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from lakerunner.query.promql.syntax import Matcher

NAME = "__name__"

_WIDEST_KEY = 2**62


class LabelColumn(NamedTuple):
    """One label of every series.

    Attributes:
        codes: int32, one a series: which of the words; 0 where the series lacks the label.
        words: Distinct texts; the first is the empty one, which means the same as no label.
    """

    codes: NDArray[np.int32]
    words: pa.StringArray

    @classmethod
    def from_texts(cls, texts: pa.Array) -> LabelColumn:
        """A column of texts; NULL and the empty text mean that the series lacks the label."""
        filled = pc.fill_null(texts.cast(pa.string()), "")
        encoded = pa.concat_arrays([pa.array([""]), filled]).dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)[1:]
        return cls(codes.astype(np.int32, copy=False), encoded.dictionary)

    def take(self, rows: NDArray[np.int64]) -> LabelColumn:
        """The column of other series, by their numbers."""
        return LabelColumn(self.codes[rows], self.words)

    def texts(self) -> pa.Array:
        """The text of each series; NULL where it lacks the label."""
        indices = pa.array(self.codes, mask=self.codes == 0)
        return self.words.take(indices)


class Labels:
    """The label sets of a number of series.

    Args:
        size: How many series.
        columns: Their labels by name; a label that no series has may be left out.
    """

    def __init__(self, size: int, columns: Mapping[str, LabelColumn] | None = None) -> None:
        self.size = size
        self.columns = {
            name: column for name, column in (columns or {}).items() if column.codes.any()
        }
        # They are asked for again and again, and for the labels that queries keep, by each query.
        self._groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._order: NDArray[np.int64] | None = None

    @classmethod
    def from_texts(cls, size: int, texts: Mapping[str, pa.Array]) -> Labels:
        """Labels given as columns of text."""
        return cls(size, {name: LabelColumn.from_texts(array) for name, array in texts.items()})

    @classmethod
    def single(cls, fixed: Mapping[str, str]) -> Labels:
        """The labels of one series."""
        return cls.from_texts(1, {name: pa.array([value]) for name, value in fixed.items()})

    def take(self, rows: NDArray[np.int64]) -> Labels:
        """The labels of other series, by their numbers; a series may come several times."""
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        return Labels(len(rows), columns)

    def keep(self, names: Iterable[str]) -> Labels:
        """Only some of the labels."""
        wanted = set(names)
        return Labels(self.size, {n: column for n, column in self.columns.items() if n in wanted})

    def drop(self, names: Iterable[str]) -> Labels:
        """All but some of the labels."""
        unwanted = set(names)
        kept = {n: column for n, column in self.columns.items() if n not in unwanted}
        return Labels(self.size, kept)

    def replace(self, name: str, column: LabelColumn) -> Labels:
        """With another label, or another value of one."""
        return Labels(self.size, {**self.columns, name: column})

    def blank(self, name: str, where: NDArray[np.bool_]) -> Labels:
        """Without one label for some of the series."""
        column = self.columns.get(name)
        if column is None or not where.any():
            return self
        codes = np.where(where, 0, column.codes).astype(np.int32)
        return self.replace(name, LabelColumn(codes, column.words))

    def texts(self, name: str) -> pa.Array:
        """The values of one label; NULL where a series lacks it."""
        column = self.columns.get(name)
        return pa.nulls(self.size, pa.string()) if column is None else column.texts()

    def concat(self, other: Labels) -> Labels:
        """The series of both, these first."""
        columns = {}
        for name in dict.fromkeys((*self.columns, *other.columns)):
            mine, its = self.columns.get(name), other.columns.get(name)
            words, codes = _joined(mine, self.size, its, other.size)
            columns[name] = LabelColumn(codes, words)
        return Labels(self.size + other.size, columns)

    def groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which series have equal labels.

        Returns:
            The group of each series, numbered in order of first appearance; and the first series of
            each group. Both are to be read only.
        """
        if self._groups is None:
            self._groups = self._grouped()
        return self._groups

    def _grouped(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        key = np.zeros(self.size, dtype=np.int64)
        width = 1
        for name in sorted(self.columns):
            column = self.columns[name]
            count = len(column.words)
            if width * count >= _WIDEST_KEY:
                _, key = np.unique(key, return_inverse=True)
                width = self.size + 1
            key = key * count + column.codes
            width *= count
        _, first, group = np.unique(key, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return rank[group], first[order].astype(np.int64)

    def order(self) -> NDArray[np.int64]:
        """The series sorted as Prometheus sorts label sets: by name, then value, label by label.

        To be read only.
        """
        if self._order is None:
            self._order = self._sorted()
        return self._order

    def _sorted(self) -> NDArray[np.int64]:
        names = sorted(self.columns, key=str.encode)
        keys: list[NDArray[np.int64]] = []
        rest = np.zeros(self.size, dtype=bool)
        for name in reversed(names):
            column = self.columns[name]
            ranks = _ranks(column.words)
            # A series that lacks this label but has a later one comes after those that have it; one
            # that has no more labels at all comes before them.
            absent = np.where(rest, len(column.words) + 1, -1)
            keys.append(np.where(column.codes == 0, absent, ranks[column.codes]))
            rest |= column.codes != 0
        if not keys:
            return np.arange(self.size)
        return np.lexsort(keys)

    def matching(self, matchers: Sequence[Matcher]) -> NDArray[np.bool_]:
        """Which series fulfil all conditions."""
        kept = np.ones(self.size, dtype=bool)
        for matcher in matchers:
            column = self.columns.get(matcher.name)
            words = pa.array([""]) if column is None else column.words
            found = word_matches(words, matcher)
            kept &= found[0] if column is None else found[column.codes]
        return kept

    def text(self, row: int) -> str:
        """One label set as Prometheus prints it in error messages: names in order, all quoted."""
        pairs = [
            f"{name}={quote(column.words[int(column.codes[row])].as_py())}"
            for name, column in sorted(self.columns.items())
            if column.codes[row]
        ]
        return "{" + ", ".join(pairs) + "}"

    def __len__(self) -> int:
        return self.size


def word_matches(words: pa.StringArray, matcher: Matcher) -> NDArray[np.bool_]:
    """Which texts fulfil a condition."""
    if matcher.op in ("=", "!="):
        found = pc.equal(words, matcher.value)
    else:
        found = pc.match_substring_regex(words, f"^(?s:{matcher.value})$")
    result: NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return result if matcher.op in ("=", "=~") else ~result


def _ranks(words: pa.StringArray) -> NDArray[np.int64]:
    order = pc.sort_indices(words).to_numpy()
    ranks = np.empty(len(words), dtype=np.int64)
    ranks[order] = np.arange(len(words))
    return ranks


def _joined(
    mine: LabelColumn | None, my_size: int, its: LabelColumn | None, its_size: int
) -> tuple[pa.StringArray, NDArray[np.int32]]:
    """One vocabulary for two columns, and the codes of both in it."""
    nothing = pa.array([""])
    my_words = nothing if mine is None else mine.words
    its_words = nothing if its is None else its.words
    my_codes = np.zeros(my_size, np.int32) if mine is None else mine.codes
    its_codes = np.zeros(its_size, np.int32) if its is None else its.codes
    encoded = pa.concat_arrays([my_words, its_words]).dictionary_encode()
    codes = encoded.indices.to_numpy().astype(np.int32)
    split = len(my_words)
    return encoded.dictionary, np.concatenate([codes[:split][my_codes], codes[split:][its_codes]])
