"""Token filters: what says of a word or a value that it is certainly not in some rows of a segment.

A filter lies in the file of its segment, between column data, where no reader of Parquet looks. It
has sections of `FILTER_ROWS` rows, and of each two Bloom filters: of what is looked for as a whole
(words of texts, values of other columns), and of runs of three bytes within words. A Bloom filter
is cut into chunks of about `FILTER_CHUNK_BYTES`. The hash of a token says in which chunk its bits
are. Up to `FILTER_GROUP` sections have equally many chunks, and those of one number lie side by
side: one read of a few kilobytes answers for one token and a million rows. A chunk ends with its
checksum.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.limits import (
    FILTER_CHUNK_BYTES,
    FILTER_FALSE_SHARE,
    FILTER_GRAMS,
    FILTER_GROUP,
    FILTER_ROWS,
    FILTER_SECTIONS,
)
from lakerunner.model.segment import FilterSection, StatValue
from lakerunner.schema.arrays import used_values
from lakerunner.schema.attribute import OVERFLOW
from lakerunner.schema.ids import hash_text, mix64
from lakerunner.schema.words import distinct, find_words, hash_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

_SUM = 4
"""Bytes of the checksum at the end of a chunk."""

_LEAST = 16
"""Bytes of the smallest filter: in fewer, the bits of one token hit each other too often."""

UNASKED = frozenset({"organization", "template", "span_id", "parent_span_id"})
"""Columns of text that are left out: of one value in each segment, or made of another column; or of
one value in each row, which hardly anybody asks for without the trace it belongs to."""


class Sink(Protocol):
    """Where the bytes of a file go: a file of Arrow."""

    def write(self, data: Any, /) -> Any:
        """Take further bytes."""

    def tell(self) -> int:
        """How many there are."""


class TokenFilterWriter:
    """Makes the token filter of rows that come in parts, in the order of the segment.

    Holds the hashes of at most two sections, and the filters of a group. Not safe to use from
    several threads at once.

    Args:
        texts: Columns whose words count. Of other columns of text the values do.
        sort: The order of the rows.

    Attributes:
        sections: Those that were written.
    """

    def __init__(self, texts: Collection[str], sort: Sequence[str]) -> None:
        self._texts = texts
        self._sort = sort
        self._waiting: list[_Section] = []
        self._group: list[_Made] = []
        self.sections: list[FilterSection] = []

    def add(self, rows: pa.Table, sink: Sink) -> None:
        """See further rows. Sections that are complete are written.

        Args:
            rows: They follow those seen so far.
            sink: The file, at a place where anything may be written.
        """
        start = 0
        while start < rows.num_rows:
            if not self._waiting or self._waiting[-1].rows >= FILTER_ROWS:
                self._waiting.append(_Section(self._texts, self._sort))
            # The last but one waits, for what is left at the end may be little.
            if len(self._waiting) > 2:  # noqa: PLR2004 - see above
                self._write(self._waiting.pop(0), sink)
            part = rows.slice(start, FILTER_ROWS - self._waiting[-1].rows)
            self._waiting[-1].add(part)
            start += part.num_rows

    def finish(self, sink: Sink) -> tuple[FilterSection, ...]:
        """Write what is left; to be called once.

        Returns:
            All sections in order.
        """
        if len(self._waiting) > 1 and self._waiting[-1].rows < FILTER_ROWS // 2:
            last = self._waiting.pop()
            self._waiting[-1].merge(last)
        single = not self.sections and len(self._waiting) == 1
        for section in self._waiting:
            self._write(section, sink, single=single)
        self._write_group(sink)
        self._waiting.clear()
        return tuple(self.sections)

    def _write(self, section: _Section, sink: Sink, *, single: bool = False) -> None:
        share = FILTER_FALSE_SHARE / (1 if single else FILTER_SECTIONS)
        tokens = list(section.tokens())
        needed = [0 if one is None else _chunks_for(len(one), share) for one in tokens]
        counts = self._counts()
        unlike = any(most > 2 * count > 0 for most, count in zip(needed, counts, strict=True))
        if unlike or len(self._group) == FILTER_GROUP:
            self._write_group(sink)
            counts = self._counts()
        blooms = [Bloom.of(*one) for one in zip(tokens, (share, share), counts, strict=True)]
        self._group.append(_Made(section.rows, section.facts, section.bounds(), blooms))

    def _counts(self) -> list[int]:
        """Chunks of both filters of the sections that wait; 0 where there are none yet."""
        return [
            max((one.blooms[kind].shape[0] for one in self._group), default=0) for kind in (0, 1)
        ]

    def _write_group(self, sink: Sink) -> None:
        counts, start = self._counts(), sink.tell()
        starts: list[list[int]] = []
        strides = []
        for kind, count in enumerate(counts):
            blooms = [one.blooms[kind] for one in self._group]
            widths = [one.shape[1] if one.chunks else 0 for one in blooms]
            starts.append([start + sum(widths[:place]) for place in range(len(widths))])
            strides.append(sum(widths))
            sink.write(
                b"".join(
                    one.chunks[number] for number in range(count) for one in blooms if one.chunks
                )
            )
            start += count * strides[-1]
        for place, made in enumerate(self._group):
            words, grams = (one.shape for one in made.blooms)
            self.sections.append(
                FilterSection(
                    *(made.rows, starts[0][place], words, grams, made.facts, *made.bounds),
                    (strides[0], strides[1]),
                    starts[1][place],
                )
            )
        self._group.clear()


class _Made(NamedTuple):
    """A section whose filters are made."""

    rows: int
    facts: int
    bounds: tuple[tuple[StatValue | None, ...], tuple[StatValue | None, ...]]
    blooms: Sequence[Bloom]


class _Section:
    """What is known of some rows that follow one another."""

    def __init__(self, texts: Collection[str], sort: Sequence[str]) -> None:
        self._texts = texts
        self.rows = self.facts = 0
        self._tokens: list[NDArray[np.uint64]] = []
        self._grams: list[NDArray[np.uint64]] = []
        self._bounds: dict[str, tuple[StatValue, StatValue] | None] = {}
        self._sort = sort

    def add(self, rows: pa.Table) -> None:
        self.rows += rows.num_rows
        for name in self._sort:
            self._widen(name, _bounds(rows[name]) if name in rows.schema.names else None)
        for field, column in zip(rows.schema, rows.columns, strict=True):
            for chunk in column.chunks if field.name not in UNASKED else ():
                if field.name in self._texts:
                    found = find_words(_plain(chunk))
                    self._tokens.append(found.words)
                    self._grams.append(found.grams)
                    self.facts |= found.facts
                elif pa.types.is_map(field.type) and field.name == OVERFLOW:
                    self._tokens.append(_overflown(chunk))
                elif _is_text(field.type):
                    self._tokens.append(distinct(hash_values(field.name, _plain(chunk))))

    def _widen(self, name: str, bounds: tuple[StatValue, StatValue] | None) -> None:
        known = self._bounds.get(name, bounds)
        if known is None or bounds is None:
            self._bounds[name] = None
        else:
            self._bounds[name] = (min(known[0], bounds[0]), max(known[1], bounds[1]))

    def merge(self, later: _Section) -> None:
        self.rows += later.rows
        self.facts |= later.facts
        self._tokens += later._tokens
        self._grams += later._grams
        for name, bounds in later._bounds.items():
            self._widen(name, bounds)

    def bounds(self) -> tuple[tuple[StatValue | None, ...], tuple[StatValue | None, ...]]:
        known = [self._bounds.get(name) for name in self._sort]
        return (
            tuple(None if one is None else one[0] for one in known),
            tuple(None if one is None else one[1] for one in known),
        )

    def tokens(self) -> Iterator[NDArray[np.uint64] | None]:
        """Those that are looked for as a whole, and the grams: None where there are too many."""
        empty = np.empty(0, np.uint64)
        yield distinct(np.concatenate([*self._tokens, empty]))
        grams = distinct(np.concatenate([*self._grams, empty]))
        yield grams if len(grams) <= FILTER_GRAMS else None


def _is_text(dtype: pa.DataType) -> bool:
    value = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
    return bool(pa.types.is_string(value))


def _plain(values: pa.Array) -> pa.Array:
    """Texts without NULLs; of a dictionary each that is used, once."""
    return used_values(values) if pa.types.is_dictionary(values.type) else values.drop_null()


def _overflown(maps: pa.MapArray) -> NDArray[np.uint64]:
    whole = pa.concat_arrays([maps, pa.array([], maps.type)])  # a slice keeps its own entries
    there = pc.is_valid(whole.items)
    names = hash_text(whole.keys.filter(there).cast(pa.string()))
    return distinct(hash_values(names, whole.items.filter(there).cast(pa.string())))


def _bounds(column: pa.ChunkedArray) -> tuple[StatValue, StatValue] | None:
    """The least and the greatest value, if all rows have one that can be compared."""
    if column.null_count or not len(column):
        return None
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    elif not (pa.types.is_integer(column.type) or pa.types.is_string(column.type)):
        return None
    found = pc.min_max(column)
    return found["min"].as_py(), found["max"].as_py()


class Bloom(NamedTuple):
    """A Bloom filter as it is written.

    Attributes:
        shape: How many chunks it has, their bytes, and how many bits a token sets. No chunks say
            nothing, and no bits a token say that there is none.
        chunks: Its bytes.
    """

    shape: tuple[int, int, int]
    chunks: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, tokens: NDArray[np.uint64] | None, share: float, count: int = 0) -> Bloom:
        """The filter of some tokens.

        Args:
            tokens: Hashes, each once; None makes a filter that says nothing.
            share: Of absent tokens, how many it may take for present.
            count: How many chunks it shall have; 0 for as many as are right for it.

        Example:
            >>> made = Bloom.of(np.array([5, 2**63], np.uint64), 0.01)
            >>> [holds(made.chunks[0], made.shape, token) for token in (5, 2**63, 7)]
            [True, True, False]
        """
        if tokens is None:
            return cls((0, 0, 1))
        if not len(tokens):
            return cls((0, 0, 0))
        each = -math.log2(share) / math.log(2)
        count = count or _chunks_for(len(tokens), share)
        width = math.ceil(max(len(tokens) * each / 8, _LEAST) / count)
        probes = max(1, round(each * math.log(2)))
        bits = np.zeros((count, width * 8), np.bool_)
        chunk = _chunk(tokens, count)
        first, step = _walk(tokens)
        for number in range(probes):
            bits[chunk, (first + np.uint64(number) * step) % np.uint64(width * 8)] = True
        packed = np.packbits(bits, axis=1, bitorder="little")
        chunks = tuple(_summed(one.tobytes(), number) for number, one in enumerate(packed))
        return cls((count, width + _SUM, probes), chunks)


def _chunks_for(tokens: int, share: float) -> int:
    """How many chunks a filter of so many tokens has, if it is none of a group."""
    each = -math.log2(share) / math.log(2)
    size = max(math.ceil(tokens * each / 8), _LEAST) if tokens else 0
    return math.ceil(size / (FILTER_CHUNK_BYTES - _SUM))


def place_of(section: FilterSection, number: int, *, grams: bool = False) -> int:
    """Where a chunk of the filter of words, or of parts of words, begins in the file."""
    words, width, _ = section.words
    start, stride = section.start, section.strides[0] or width
    if grams:
        start = section.grams_start or start + words * width
        stride = section.strides[1] or section.grams[1]
    return start + number * stride


def _chunk(tokens: NDArray[np.uint64], count: int) -> Any:
    return ((tokens >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)


def _walk(tokens: NDArray[np.uint64]) -> tuple[Any, Any]:
    """The first bit of a token, and the step to the next ones.

    Of another mix of it, for its upper half chose the chunk.
    """
    mixed = mix64(tokens)
    return mixed & np.uint64(0xFFFFFFFF), mixed >> np.uint64(32) | np.uint64(1)


@lru_cache(maxsize=4096)
def _walk_of(token: int) -> tuple[int, int]:
    first, step = _walk(np.array([token], np.uint64))
    return int(first[0]), int(step[0])


def _summed(data: bytes, number: int) -> bytes:
    return data + zlib.crc32(data, number).to_bytes(_SUM, "little")


def is_whole(chunk: bytes, number: int) -> bool:
    """Whether a chunk of a filter is as it was written.

    Args:
        chunk: Its bytes.
        number: Which of its filter.
    """
    return _summed(chunk[:-_SUM], number) == chunk


def chunk_of(token: int, count: int) -> int:
    """The number of the chunk that a token's bits are in."""
    return (token >> 32) * count >> 32


def holds(chunk: bytes, shape: tuple[int, int, int], token: int) -> bool:
    """Whether a token may be among those of a filter.

    Args:
        chunk: The chunk of the token.
        shape: Of the filter.
        token: Its hash.
    """
    _, width, probes = shape
    size = (width - _SUM) * 8
    bit, step = _walk_of(token)
    for _ in range(probes):
        place = bit % size
        if not chunk[place >> 3] >> (place & 7) & 1:
            return False
        bit += step
    return True
