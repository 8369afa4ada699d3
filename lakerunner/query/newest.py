"""The first rows of a table by time, from as few segments, and as little of each, as it takes.

The newest (or the oldest) time is looked at first, then what lies before it, part by part, until as
many rows are found as are wanted. Pages of a segment that have no row of that time are not read.
Where more than the time orders the rows, whole segments are taken instead, a few at a time.
"""

from __future__ import annotations

from contextlib import closing
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.model.times import MAX_NS, MIN_NS, TimeRange
from lakerunner.query.cursor import Position, row_digests
from lakerunner.query.scan_mode import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from lakerunner.compute.first_rows import FirstRows
    from lakerunner.compute.wire import Plan
    from lakerunner.model.segment import Segment

    Read = Callable[[Plan, Sequence[Segment]], Generator[Any]]

_ALL = TimeRange()
_FACTOR, _MARGIN = 4, 1.5
"""Without a match, so many times as much is looked at; else as much as promises so much more than
what is missing."""
_LEAST_ROWS = 16_384
"""So many rows of segments that are opened anyhow are looked at at once."""


class Rounds(NamedTuple):
    """How a query for first rows is answered, round by round.

    Attributes:
        first: What it asks for.
        schema: Arrow schema of its answer.
        segments: All that may hold such rows, in the order in which they are taken.
        share: About which share of the rows satisfies its conditions.
        build: Plans it over some segments and a time range; as a whole, without order and limit,
            if the last argument is true.
        began: The segments that the first plan reads.
        times: The time range that it is over.
        plan: That plan.
        after: Where the page before ended.
        span: All times that such rows may have.
    """

    first: FirstRows
    schema: Any
    segments: tuple[Segment, ...]
    share: float
    build: Callable[[Sequence[Segment], TimeRange, bool], Plan]
    began: tuple[Segment, ...]
    times: TimeRange
    plan: Plan
    after: Position | None = None
    span: TimeRange = _ALL


def in_order(segments: Sequence[Segment], *, descending: bool) -> tuple[Segment, ...]:
    """Segments as they are taken: the newest first, or the oldest."""
    if descending:
        return tuple(sorted(segments, key=lambda one: (-one.max_timestamp_ns, one.id)))
    return tuple(sorted(segments, key=lambda one: (one.min_timestamp_ns, one.id)))


def to_open(segments: Sequence[Segment], opened: int, found: int, wanted: int, share: float) -> int:
    """How many segments, from the front, shall have been opened after the next round.

    Args:
        segments: All, in order.
        opened: Those that were opened.
        found: Rows that were found in them.
        wanted: Rows that are wanted.
        share: The share of rows that are expected to match, before any was seen.
    """
    sums = list(accumulate(one.rows for one in segments))
    seen = sums[opened - 1] if opened else 0
    rate = found / seen if seen else share
    most = max(_FACTOR * opened, 1) if opened else len(segments)
    if rate <= 0:
        return min(most, len(segments))
    rows = seen + _MARGIN * (wanted - found) / rate
    count = next((n for n, total in enumerate(sums, start=1) if total >= rows), len(segments))
    return min(max(count, opened + 1), most if opened else count, len(segments))


class Part(NamedTuple):
    """A part of a time range.

    Attributes:
        times: The part.
        rest: What is left of the range.
        rows: About how many rows segments have in the part.
    """

    times: TimeRange
    rest: TimeRange
    rows: float


def leading_part(
    segments: Sequence[Segment], times: TimeRange, rows: float, *, descending: bool
) -> Part:
    """The newest part of a time range (or the oldest) in which segments have about so many rows.

    It is larger where that opens no further segment.

    Args:
        segments: Those that have rows in the range, one or more; taken to be spread evenly.
        times: The range.
        rows: How many rows.
        descending: From the newest on.

    Example:
        >>> class Hour(NamedTuple):
        ...     min_timestamp_ns: int
        ...     max_timestamp_ns: int
        ...     rows: int
        >>> hours = [Hour(0, 99_999, 100_000), Hour(100_000, 199_999, 100_000)]
        >>> leading_part(hours, TimeRange(), 20_000, descending=True).times.start_ns
        180000
        >>> leading_part(hours, TimeRange(), 10, descending=False).times.end_ns
        16384
    """
    # Counted from the end that is looked at first: `begins` is where a segment comes into view.
    first = min(times.end_ns, max(one.max_timestamp_ns for one in segments) + 1)
    last = max(times.start_ns, min(one.min_timestamp_ns for one in segments))
    low = np.array([max(one.min_timestamp_ns, last) for one in segments], np.int64)
    high = np.array([min(one.max_timestamp_ns + 1, first) for one in segments], np.int64)
    whole = np.array(
        [one.max_timestamp_ns + 1 - one.min_timestamp_ns for one in segments], np.float64
    )
    dense = np.array([one.rows for one in segments], np.float64) / whole
    begins, ends = (first - high, first - low) if descending else (low - last, high - last)
    at = np.concatenate([begins, ends])
    order = np.argsort(at, kind="stable")
    at, change = at[order], np.concatenate([dense, -dense])[order]
    grown = np.cumsum(np.cumsum(change)[:-1] * np.diff(at))
    passed = np.maximum.accumulate(np.append(0.0, grown))

    def reach(wanted: float) -> int:
        return int(np.ceil(np.interp(wanted, passed, at)))

    till = max(reach(rows), 1)
    further = begins[begins >= till]
    more = int(further.min()) if len(further) else int(at[-1])
    till = max(till, min(reach(_LEAST_ROWS), more))
    held = float(np.interp(till, at, passed))
    if till >= at[-1]:
        return Part(times, NO_TIME, held)
    if descending:
        cut = first - till
        return Part(TimeRange(cut, times.end_ns), TimeRange(times.start_ns, cut), held)
    cut = last + till
    return Part(TimeRange(times.start_ns, cut), TimeRange(cut, times.end_ns), held)


def to_look_at(found: int, seen: float, wanted: int, share: float) -> float:
    """How many rows are looked at next for what is missing; may be infinite.

    Args:
        found: Rows that were found.
        seen: Among so many.
        wanted: Rows that are wanted.
        share: The share of rows that are expected to match, before any was seen.

    Example:
        >>> to_look_at(0, 0, 10, 0.1), to_look_at(0, 150, 10, 0.1), to_look_at(5, 150, 10, 0.1)
        (150.0, 600, 225.0)
    """
    rate = found / seen if seen else share
    rows = _MARGIN * (wanted - found) / rate if rate > 0 else inf
    return min(rows, _FACTOR * seen) if seen else rows


def beyond(after: Position | None, *, descending: bool) -> TimeRange:
    """The times that come behind that of a row."""
    if after is None or after.time_ns is None:
        return _ALL
    if descending:
        return TimeRange(MIN_NS, after.time_ns)
    return TimeRange(_after(after.time_ns), MAX_NS)


def within(segments: Sequence[Segment], times: TimeRange) -> tuple[Segment, ...]:
    """Those that may have rows in a time range, which may be empty."""
    if times.start_ns >= times.end_ns:
        return ()
    return tuple(
        one for one in segments if times.overlaps(one.min_timestamp_ns, one.max_timestamp_ns)
    )


def begin(
    segments: Sequence[Segment], span: TimeRange, first: FirstRows, share: float
) -> tuple[tuple[Segment, ...], TimeRange]:
    """Which segments are read first, and which of their times.

    Args:
        segments: All, in the order in which they are taken.
        span: All times that rows may have.
        first: What is asked for.
        share: About which share of the rows satisfies its conditions.
    """
    if not (first.ordered and first.only_time):
        return tuple(segments[: to_open(segments, 0, 0, first.rows, share)]), _ALL
    ahead = within(segments, span)
    if not ahead:
        return (), span
    wanted = to_look_at(0, 0, first.rows, share)
    times = leading_part(ahead, span, wanted, descending=first.descending).times
    return within(ahead, times), times


class FirstRowsRun:
    """One run of such a query. To be consumed once.

    Args:
        rounds: The query.
        read: Runs a plan over some segments.
    """

    def __init__(self, rounds: Rounds, read: Read) -> None:
        self._rounds = rounds
        self._first = rounds.first
        self._read = read
        self._opened: dict[str, Segment] = {}
        self._skip = rounds.first.skip
        self._last: Any = None

    @property
    def opened(self) -> int:
        """Segments that were opened up to now."""
        return len(self._opened)

    @property
    def _resumable(self) -> bool:
        return self._first.ordered and self._first.only_time and not self._first.skip

    def __iter__(self) -> Iterator[Any]:
        """Batches of `pyarrow`, in order."""
        if not self._first.ordered:
            yield from self._any()
        elif self._first.only_time:
            yield from self._by_time()
        else:
            yield from self._by_more()

    def _batches(
        self, segments: Sequence[Segment], times: TimeRange, *, whole: bool
    ) -> Generator[Any]:
        rounds = self._rounds
        if not whole and times == rounds.times and tuple(segments) == rounds.began:
            plan = rounds.plan
        else:
            plan = rounds.build(segments, times, whole)
        self._opened |= {one.id: one for one in segments}
        return self._read(plan, segments)

    def _table(self, segments: Sequence[Segment], times: TimeRange) -> Any:
        batches = list(self._batches(segments, times, whole=False))
        return pa.Table.from_batches(batches, None if batches else self._rounds.plan.schema)

    def _any(self) -> Iterator[Any]:
        segments, left, opened = self._rounds.segments, self._first.rows, 0
        while left and opened < len(segments):
            found = self._first.rows - left
            count = to_open(segments, opened, found, self._first.rows, self._rounds.share)
            with closing(self._batches(segments[opened:count], _ALL, whole=False)) as batches:
                for batch in batches:
                    yield batch.slice(0, left)
                    left -= min(left, batch.num_rows)
                    if not left:
                        return
            opened = count

    def _by_more(self) -> Iterator[Any]:
        """All in each round anew: what else orders them may be of any type."""
        segments, wanted, count, found = self._rounds.segments, self._first.rows, 0, 0
        while count < len(segments):
            count = to_open(segments, count, found, wanted, self._rounds.share)
            rows = self._table(segments[:count], _ALL)
            found = rows.num_rows
            if found >= wanted:
                needed = self._needed(self._times(rows)[wanted - 1])
                if needed > count:
                    rows = self._table(segments[:needed], _ALL)
                break
        else:
            if not segments:
                return
        yield from self._shown(rows.slice(0, wanted))

    def _by_time(self) -> Iterator[Any]:
        rounds, most = self._rounds, self._first.rows
        after, left = rounds.after, most
        if after is not None and after.time_ns is not None:
            tied = self._tied(after.time_ns, left, after)
            yield from self._shown(tied)
            left -= tied.num_rows
        times, found, seen = rounds.span, 0, 0.0
        while left and (segments := within(rounds.segments, times)):
            # The first part is that of the plan that there is.
            wanted = to_look_at(found, seen, found + left if seen else most, rounds.share)
            part = leading_part(segments, times, wanted, descending=self._first.descending)
            rows = self._sorted(self._table(within(segments, part.times), part.times), left + 1)
            if rows.num_rows > left:
                yield from self._end(rows, left)
                return
            # No row of these times is missing: the plan returns one more than are wanted.
            yield from self._shown(self._ranked(rows))
            found, seen, left = found + rows.num_rows, seen + part.rows, left - rows.num_rows
            times = part.rest

    def _needed(self, time_ns: int) -> int:
        """How many segments, from the front, may hold a row of that time or one before it."""
        if self._first.descending:
            return sum(one.max_timestamp_ns >= time_ns for one in self._rounds.segments)
        return sum(one.min_timestamp_ns <= time_ns for one in self._rounds.segments)

    def _sorted(self, rows: Any, most: int) -> Any:
        return rows.take(pa.array(np.argsort(self._keys(rows), kind="stable")[:most]))

    def _end(self, held: Any, left: int) -> Iterator[Any]:
        """The last rows, of which there is one too many."""
        times = self._times(held)
        last = int(times[left - 1])
        if times[left] != last:
            yield from self._shown(self._ranked(held.slice(0, left)))
            return
        before = int(np.argmax(times == last))
        yield from self._shown(self._ranked(held.slice(0, before)))
        yield from self._shown(self._tied(last, left - before, None))

    def _tied(self, time_ns: int, most: int, after: Position | None) -> Any:
        """The first rows of one time, by their digest; level in memory however many there are."""
        segments = [
            one
            for one in self._rounds.segments
            if one.min_timestamp_ns <= time_ns <= one.max_timestamp_ns
        ]
        passed = 0 if after is None else after.shown
        rows, digests = None, np.zeros(0, np.int64)
        if segments:
            span = TimeRange(time_ns, _after(time_ns))
            for batch in self._batches(segments, span, whole=True):
                found = pa.Table.from_batches([batch])
                new = self._digests(found)
                if after is not None:
                    keep = new >= after.digest
                    found, new = found.filter(pa.array(keep)), new[keep]
                rows = found if rows is None else pa.concat_tables([rows, found])
                digests = np.append(digests, new)
                order = np.argsort(digests, kind="stable")[: most + passed]
                rows, digests = rows.take(pa.array(order)), digests[order]
        if rows is None:
            return self._rounds.plan.schema.empty_table()
        gone = 0 if after is None else min(passed, int(np.sum(digests == after.digest)))
        return rows.slice(gone, most)

    def _ranked(self, rows: Any) -> Any:
        """Rows in their order for ever, given in order of time, all of each time."""
        keys = self._keys(rows)
        same = np.append(False, keys[1:] == keys[:-1])
        tied = np.flatnonzero(same | np.append(same[1:], False))
        if not len(tied):
            return rows
        digests = np.zeros(rows.num_rows, np.int64)
        digests[tied] = self._digests(rows.take(pa.array(tied)))
        return rows.take(pa.array(np.lexsort((digests, keys))))

    def _digests(self, rows: Any) -> Any:
        return row_digests(self._visible(rows))

    def _visible(self, rows: Any) -> Any:
        return rows.select(list(self._first.places)).rename_columns(self._rounds.schema.names)

    def _times(self, rows: Any) -> Any:
        return rows.column(self._first.time).cast(pa.int64()).to_numpy()

    def _keys(self, rows: Any) -> Any:
        times = self._times(rows)
        return ~times if self._first.descending else times  # the negative of MIN_NS is none

    def _shown(self, rows: Any) -> Iterator[Any]:
        """Rows as the answer has them, and where it ends with them."""
        if rows.num_rows:
            self._last = rows
        gone = min(self._skip, rows.num_rows)
        self._skip -= gone
        yield from self._visible(rows).slice(gone).cast(self._rounds.schema).to_batches()

    @property
    def ending(self) -> Position | None:
        """Where the answer ended; None if its rows have no order that could be gone on with."""
        if not self._resumable:
            return None
        before, rows = self._rounds.after or Position(), self._last
        if rows is None:
            return before
        times = self._times(rows)
        last = rows.slice(int(np.argmax(times == times[-1])))
        digests = self._digests(last)
        position = Position(int(times[-1]), int(digests[-1]), int(np.sum(digests == digests[-1])))
        if (before.time_ns, before.digest) == position[:2]:
            position = position._replace(shown=position.shown + before.shown)
        return position


def _after(time_ns: int) -> int:
    return min(time_ns + 1, MAX_NS)
