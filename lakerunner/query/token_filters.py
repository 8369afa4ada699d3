"""Which segments, and which rows of them, may hold what a query looks for: told by token filters.

A filter may keep rows in vain, and never leaves a wanted one out. Where there is none, or where it
cannot be read, rows are kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import StoreError
from lakerunner.limits import (
    FILTER_CACHE_BYTES,
    FILTER_GAP_BYTES,
    FILTER_RANGES,
    FILTER_TOKENS,
    STORE_REQUESTS,
)
from lakerunner.model.predicate import (
    And,
    Compare,
    Condition,
    Contains,
    HasWord,
    IsIn,
    Like,
    Matches,
    NotNull,
    Opaque,
    Or,
    StartsWith,
)
from lakerunner.schema.patterns import like_pieces, regex_pieces
from lakerunner.schema.words import LONG, ODD_CASE, Needle, hash_value, needle
from lakerunner.segments.token_filter import UNASKED, chunk_of, holds, is_whole, place_of
from lakerunner.store import ByteRange, coalesce

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from lakerunner.model.predicate import Predicate
    from lakerunner.model.segment import FilterSection, Segment, StatValue
    from lakerunner.query.query import OwnColumn
    from lakerunner.schema.patterns import Piece
    from lakerunner.store import ObjectStore


_AT_ONCE = 256
"""Segments whose filters are read before any of them is asked."""


class Chunk(NamedTuple):
    """One chunk of a filter: where it lies in the file of a segment."""

    start: int
    length: int
    number: int


class FilterReader:
    """Reads chunks of token filters and keeps them; shared by all queries of a lake.

    May be used from several threads at once.

    Args:
        store: Where the segments are.
        bound_bytes: Bytes of chunks that are kept, the most recently used ones.
    """

    def __init__(self, store: ObjectStore, bound_bytes: int = FILTER_CACHE_BYTES) -> None:
        self._store = store
        self._bound = bound_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, Chunk], bytes] = OrderedDict()
        self._size = 0

    def kept(self, segment: Segment, chunk: Chunk) -> bytes | None:
        """A chunk that was read before; None if it is not there any more."""
        with self._lock:
            found = self._kept.get((segment.id, chunk))
            if found is not None:
                self._kept.move_to_end((segment.id, chunk))
            return found

    def read(self, wanted: Sequence[tuple[Segment, Chunk]]) -> int:
        """Read chunks, several at a time where the store is no directory of this machine.

        Returns:
            How many bytes that took.
        """
        if not wanted:
            return 0
        near = self._store.local_path(wanted[0][0].key) is not None
        reads = list(_reads(wanted, 0 if near else FILTER_GAP_BYTES))
        if near:
            return sum(map(self._read, reads))
        with ThreadPoolExecutor(min(len(reads), STORE_REQUESTS)) as threads:
            return sum(threads.map(self._read, reads))

    def _read(self, wanted: _Read) -> int:
        segment, start, end, chunks = wanted
        try:
            data = self._bytes(segment, start, end)
        except (OSError, StoreError):
            return 0  # whoever opens the segment says so
        parts = {
            (segment.id, one): data[one.start - start : one.start - start + one.length]
            for one in chunks
        }
        # What is not as it was written says nothing; `lake.verify` finds it.
        sound = {one: part if is_whole(part, one[1].number) else b"" for one, part in parts.items()}
        with self._lock:
            for place, part in sound.items():
                self._size += len(part) - len(self._kept.pop(place, b""))
                self._kept[place] = part
            while self._size > self._bound:
                self._size -= len(self._kept.popitem(last=False)[1])
        return end - start

    def _bytes(self, segment: Segment, start: int, end: int) -> bytes:
        path = self._store.local_path(segment.key)
        if path is None:
            return self._store.get(segment.key, ByteRange(start, end)).data
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - thousands per query
            file.seek(start)
            return file.read(end - start)


class _Read(NamedTuple):
    """One read, and the chunks that are in it."""

    segment: Segment
    start: int
    end: int
    chunks: list[Chunk]


def _reads(wanted: Iterable[tuple[Segment, Chunk]], gap: int) -> Iterator[_Read]:
    """As few reads as there can be for some chunks."""
    by_segment: dict[str, tuple[Segment, list[Chunk]]] = {}
    for segment, chunk in wanted:
        by_segment.setdefault(segment.id, (segment, []))[1].append(chunk)
    for segment, chunks in by_segment.values():
        spans = coalesce([(one.start, one.start + one.length) for one in chunks], gap)
        for start, end in spans:
            yield _Read(segment, start, end, [one for one in chunks if start <= one.start < end])


class Sought(NamedTuple):
    """What the scans of a table look for.

    Attributes:
        predicates: One for each scan; a row is needed if any is true.
        texts: Columns whose words the filters tell.
        own: Attributes that the query calls by their own names.
    """

    predicates: tuple[Predicate, ...]
    texts: Collection[str]
    own: Mapping[str, OwnColumn]

    def asks(self) -> bool:
        """Whether filters can tell anything."""
        return bool(self.predicates) and all(map(_asks, self.predicates))


def _asks(predicate: Predicate) -> bool:
    match predicate:
        case And(parts):
            return any(map(_asks, parts))
        case Or(parts):
            return len(parts) <= FILTER_TOKENS and all(map(_asks, parts))
        case Compare(_, operator, value):
            asks = operator == "=" and isinstance(value, str)
        case IsIn(_, values):
            asks = len(values) <= FILTER_TOKENS and all(isinstance(one, str) for one in values)
        case Contains() | Like() | Matches():
            asks = not predicate.negated
        case _:
            asks = isinstance(predicate, StartsWith | HasWord)
    return asks


class Wanted(NamedTuple):
    """Which sections of segments may hold a row that is looked for.

    Attributes:
        sections: By id of each segment with a filter: its sections as the bits of a number, the
            first one lowest. 0 says that no row of it can be wanted.
        bytes_read: Bytes of filters that were read to know it.
    """

    sections: Mapping[str, int] = MappingProxyType({})
    bytes_read: int = 0


def wanted_sections(sought: Sought, segments: Iterable[Segment], reader: FilterReader) -> Wanted:
    """Which sections of segments may hold a row that is looked for.

    Args:
        sought: What the query looks for.
        segments: Those that the catalog could not leave out.
        reader: Reads their filters.
    """
    filtered = [segment for segment in segments if segment.filters]
    if not filtered or not sought.asks():
        return Wanted()
    found: dict[str, int] = {}
    size = 0
    for start in range(0, len(filtered), _AT_ONCE):
        probes = [_Probe(sought, one, reader) for one in filtered[start : start + _AT_ONCE]]
        found |= {probe.segment.id: probe.sections() for probe in probes}
        size += reader.read([wanted for probe in probes for wanted in probe.missing])
        found |= {probe.segment.id: probe.sections() for probe in probes if probe.missing}
    return Wanted(found, size)


def rows_condition(segments: Sequence[Segment], sections: Mapping[str, int]) -> str:
    """A condition in SQL that is true of every row that filters leave, and of few others.

    The rows of a section are a range of the declared order, so pages outside of it can be skipped.

    Args:
        segments: What is left to be read.
        sections: What their filters say; see `wanted_sections`.

    Returns:
        An empty text where filters leave all rows, or so many ranges that they do not help.
    """
    ranges: list[str] = []
    partly = False
    for segment in segments:
        every = (1 << len(segment.filters)) - 1
        wanted = sections.get(segment.id, every) & every
        if wanted == every or not segment.filters:
            first, last = segment.min_timestamp_ns, segment.max_timestamp_ns
            ranges.append(_between("timestamp", first, last))
            continue
        partly = True
        for place, section in enumerate(segment.filters):
            if wanted >> place & 1:
                bounds = zip(segment.sort, section.low, section.high, strict=False)
                parts = [_between(*one) for one in bounds]
                ranges.append(" AND ".join(filter(None, parts)) or "true")
        if len(ranges) > FILTER_RANGES:
            return ""
    return f"({') OR ('.join(ranges)})" if partly and len(ranges) <= FILTER_RANGES else ""


def _between(column: str, low: StatValue | None, high: StatValue | None) -> str:
    """That a column lies between two values, both included; nothing where they are not known."""
    if low is None or high is None:
        return ""
    first, last = (_literal(column, value) for value in (low, high))
    return f'"{column}" >= {first} AND "{column}" <= {last}'


def _literal(column: str, value: StatValue) -> str:
    if column == "timestamp":
        return f"arrow_cast({value}, 'Timestamp(Nanosecond, Some(\"UTC\"))')"
    if isinstance(value, str):
        escaped = value.replace("'", "''")
        return f"'{escaped}'"
    return str(value)


class _Probe:
    """Asks the filter of one segment. What was not read says nothing, and is remembered."""

    def __init__(self, sought: Sought, segment: Segment, reader: FilterReader) -> None:
        self.segment = segment
        self._sought = sought
        self._reader = reader
        self._all = (1 << len(segment.filters)) - 1
        self._missing: dict[Chunk, None] = {}

    @property
    def missing(self) -> list[tuple[Segment, Chunk]]:
        """Chunks that were not there when they were asked for."""
        return [(self.segment, chunk) for chunk in self._missing]

    def sections(self) -> int:
        """Sections that may hold a wanted row, as far as is known."""
        found = 0
        for predicate in self._sought.predicates:
            found |= self._within(predicate)
        return found

    def _within(self, predicate: Predicate) -> int:
        if isinstance(predicate, And):
            found = self._all
            for part in predicate.parts:
                found &= self._within(part) if found else 0
            return found
        if isinstance(predicate, Or):
            if len(predicate.parts) > FILTER_TOKENS:
                return self._all
            return self._any(map(self._within, predicate.parts))
        found = self._all
        if not isinstance(predicate, Opaque | NotNull):
            column = self._column(predicate.column)
            if column is not None and column in self._sought.texts:
                needles = _needles(predicate)
                found = self._any(self._holding(one) for one in needles)
            elif column is not None:
                found = self._valued(column, predicate)
        return found

    def _any(self, found: Iterable[int]) -> int:
        together = 0
        for one in found:
            together |= one
            if together == self._all:
                break
        return together

    def _column(self, name: str) -> str | None:
        """The column of the file, if there is one that the filter tells all of."""
        own = self._sought.own.get(name)
        held = (name,) if own is None else own.held_in(self.segment)
        if len(held) != 1:
            return None
        stats = self.segment.columns.get(held[0])
        return held[0] if stats is not None and stats.type == "string" else None

    def _valued(self, column: str, predicate: Condition) -> int:
        values: Sequence[object] = ()
        if isinstance(predicate, Compare) and predicate.operator == "=":
            values = (predicate.value,)
        elif isinstance(predicate, IsIn) and len(predicate.values) <= FILTER_TOKENS:
            values = predicate.values
        if not values or column in UNASKED or not all(isinstance(one, str) for one in values):
            return self._all
        known = self.segment.columns[column].values
        if known is not None:  # what is one of few values is in most sections
            return 0 if set(known).isdisjoint(values) else self._all
        return self._any(self._holding(_needle_of(column, str(one))) for one in values)

    def _holding(self, sought: Needle) -> int:
        found = 0
        for place, section in enumerate(self.segment.filters):
            if self._may_hold(section, sought):
                found |= 1 << place
        return found

    def _may_hold(self, section: FilterSection, sought: Needle) -> bool:
        if (sought.inside and section.facts & LONG) or (
            sought.odd_case and section.facts & ODD_CASE
        ):
            return True
        # What was not read yet ends nothing, so that all of it is known before it is read at once.
        return all(self._has(section, one) for one in sought.words) and all(
            self._has(section, one, grams=True) for one in sought.grams
        )

    def _has(self, section: FilterSection, token: int, *, grams: bool = False) -> bool:
        shape = section.grams if grams else section.words
        count, width, probes = shape
        if not count:
            return bool(probes)
        number = chunk_of(token, count)
        chunk = Chunk(place_of(section, number, grams=grams), width, number)
        data = self._reader.kept(self.segment, chunk)
        if data is None:
            self._missing[chunk] = None
        return not data or holds(data, shape, token)


@lru_cache(maxsize=FILTER_TOKENS)
def _needles(predicate: Condition) -> Sequence[Needle]:
    """What a text must hold for a condition to be true: one of these."""
    found = [Needle()]  # nothing at all
    match predicate:
        case Compare(_, "=", str(value)):
            found = [needle(value, start=True, end=True)]
        case IsIn(_, values) if len(values) <= FILTER_TOKENS:
            found = [needle(str(value), start=True, end=True) for value in values]
        case StartsWith(_, prefix):
            found = [needle(prefix, start=True)]
        case Contains(_, text, False):
            found = [needle(text)]
        case HasWord(_, word):
            found = [needle(word, start=True, end=True)]
        case Like(_, pattern, any_case, False):
            found = [_joined(like_pieces(pattern), any_case=any_case)]
        case Matches(_, pattern, any_case, False):
            known = regex_pieces(pattern)
            if known is not None and len(known.branches) <= FILTER_TOKENS:
                any_case = any_case or known.any_case
                found = [_joined(branch, any_case=any_case) for branch in known.branches]
    return found


@lru_cache(maxsize=FILTER_TOKENS)
def _needle_of(column: str, value: str) -> Needle:
    return Needle((hash_value(column, value),))


def _joined(pieces: Iterable[Piece], *, any_case: bool) -> Needle:
    found = [needle(text, start=start, end=end, any_case=any_case) for text, start, end in pieces]
    return Needle(
        tuple(dict.fromkeys(word for one in found for word in one.words)),
        tuple(dict.fromkeys(gram for one in found for gram in one.grams)),
        any(one.inside for one in found),
        any(one.odd_case for one in found),
    )
