"""Reads what the selectors of a PromQL expression see: which series there are, then points."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.errors import QueryLimitError
from lakerunner.query.promql.grid import DEFAULT_LOOKBACK_MS, Read
from lakerunner.query.promql.labels import Labels
from lakerunner.query.promql.otlp import conditions, one_of_series, quoted, span_of, within
from lakerunner.query.promql.point_columns import Points, latest_rows
from lakerunner.query.promql.points import (
    COLUMNS_OF,
    NUMBER_COLUMNS,
    concat_samples,
    cut,
    to_samples,
)
from lakerunner.query.promql.streams import (
    IDENTITY,
    POINTS,
    Selected,
    Streams,
    spans_of,
    stream_starts,
)
from lakerunner.query.promql.summed import BUCKET_COLUMNS, Summed, read_sums
from lakerunner.schema.arrays import list_lengths
from lakerunner.schema.tables import EXEMPLAR_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from numpy.typing import NDArray

    from lakerunner.model.segment import Segment
    from lakerunner.model.times import TimeRange
    from lakerunner.query.promql.otlp import Known
    from lakerunner.query.promql.series import Samples
    from lakerunner.query.promql.source import Reader
    from lakerunner.query.promql.syntax import Matcher
    from lakerunner.query.result import Result

_FEW_SERIES = 1000
"""Up to so many series are named in the query that reads their points."""

_BYTES_PER_POINT = {"value": 128, "info": 128, "sum": 128, "count": 128}
_BYTES_PER_LISTED = 2048
"""About what a point takes while it becomes a sample, or samples, by the kind of its series: a
number, or one with buckets or quantiles."""

BYTES_PER_CELL = 64
"""A sample of one series at one step, with what functions keep beside it."""

_BYTES_PER_RUN = 256
"""About what a bucket takes while it becomes a run, or two."""


class Piece(NamedTuple):
    """Some of the series of a selector: those whose ids lie between two, both included."""

    first: int
    last: int


class _Stream(NamedTuple):
    """What a selector reads, whenever it is evaluated.

    Attributes:
        read: What was looked at for it.
        where: Conditions on the rows, as far as the catalog and the columns can tell.
        delta: bool, one a stream: points are what was added since the one before.
        ids: int64: the series of each stream.
        points: int64: how many points each has in the time range.
        selected: The series that fulfil the conditions, by kind.
        numbers: The points themselves, if they were read with the streams.
    """

    read: Read
    where: tuple[str, ...] = ()
    delta: NDArray[np.bool_] = np.zeros(0, dtype=bool)
    ids: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    points: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    selected: tuple[Selected, ...] = ()
    numbers: Points | None = None

    def bytes(self) -> NDArray[np.int64]:
        """int64, one a stream: memory that its samples take."""
        result = np.zeros(len(self.ids), dtype=np.int64)
        for one in self.selected:
            each = _BYTES_PER_POINT.get(one.kind, _BYTES_PER_LISTED)
            result[one.rows] += self.points[one.rows] * each
        return result


class _Asked(NamedTuple):
    """What is asked of the lake for a selector.

    Attributes:
        read: The selector.
        span: Its time range.
        segments: Those that may have rows of it.
        known: What the catalog tells of it.
    """

    read: Read
    span: TimeRange
    segments: Sequence[Segment]
    known: Known

    @property
    def columns(self) -> list[str]:
        """What describes its streams."""
        return ["series_id", *IDENTITY, *map(quoted, sorted(self.known.keys))]

    @property
    def where(self) -> list[str]:
        """Conditions on its rows."""
        return [within(self.span), *self.known.where]

    def stream(
        self,
        streams: Streams,
        points: NDArray[np.int64],
        selected: tuple[Selected, ...],
        numbers: Points | None = None,
    ) -> _Stream:
        """What it reads, given its streams."""
        where = tuple(self.known.where)
        return _Stream(self.read, where, streams.delta, streams.ids, points, selected, numbers)


class Metrics:
    """Reads samples from the metrics of a lake.

    Args:
        reader: Of the lake.
        wanted: What the expression reads, over all of its time.
        listed: Only which series there are is asked for, and no samples.

    Attributes:
        results: The queries that were asked.
    """

    def __init__(self, reader: Reader, wanted: Sequence[Read], *, listed: bool = False) -> None:
        self._reader = reader
        self._only_listed = listed
        self.results: list[Result] = []
        self._streams: dict[tuple[Matcher, ...], _Stream] = {}
        self._summed: dict[tuple[Matcher, ...], Summed] = {}
        self._wanted = {read.matchers: read for read in wanted}
        for read in wanted:
            if (summed := self._sum_up(read)) is not None:
                self._summed[read.matchers] = summed
            else:
                self._streams[read.matchers] = self._find(read)

    @property
    def series(self) -> int:
        """How many series the selector with the most of them reads."""
        return max(map(self._series_of, (*self._streams, *self._summed)), default=0)

    def steps(self, steps: int, step_ms: int) -> int:
        """Of so many steps, how many can be evaluated at once so that all samples fit in memory.

        At least one: what does not fit then must be read in pieces.
        """
        for stream in self._streams.values():
            size, room = int(stream.bytes().sum()), self._reader.memory_bytes
            if size > room and steps > 1:
                span_ms = stream.read.until_ms - stream.read.after_ms
                beyond_ms = span_ms - (steps - 1) * step_ms
                fit_ms = int(span_ms * (room / size)) - beyond_ms
                steps = min(steps, max(1, fit_ms // step_ms + 1))
        return steps

    def pieces(self, read: Read) -> Sequence[Piece]:
        """The series of a selector in pieces, each of which fits in memory; one piece if all do."""
        stream = self._streams[read.matchers]
        if not len(stream.ids):
            return []
        taken = stream.bytes() * _share(read, stream.read)
        if taken.sum() < self._reader.memory_bytes:
            return [Piece(int(stream.ids.min()), int(stream.ids.max()))]
        order = np.argsort(stream.ids, kind="stable")
        ids = stream.ids[order]
        number = np.cumsum(taken[order]) // self._reader.memory_bytes
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        # The streams of one series stay together.
        starts = np.unique(np.searchsorted(ids, ids[starts]))
        ends = np.append(starts[1:], len(ids)) - 1
        return [
            Piece(int(first), int(last)) for first, last in zip(ids[starts], ids[ends], strict=True)
        ]

    def summed(self, read: Read) -> Summed | None:
        """What samples were summed up to, if the selector was read of a tier."""
        return self._summed.get(read.matchers)

    def refuse_sums(self, read: Read) -> None:
        """Read the points of a selector after all."""
        del self._summed[read.matchers]
        self._streams[read.matchers] = self._find(self._wanted[read.matchers])

    def refuse_steps(self, several: Sequence[Read], steps: int) -> None:
        """Refuse to evaluate a subquery whose values do not fit in memory.

        Args:
            several: The selectors of its expression.
            steps: How many times it is evaluated at.

        Raises:
            QueryLimitError: There are too many.
        """
        series = max((self._series_of(one.matchers) for one in several), default=1)
        size = steps * max(series, 1) * BYTES_PER_CELL
        if size > self._reader.memory_bytes:
            raise QueryLimitError(
                f"a subquery is evaluated for {series:,} series at {steps:,} times, which takes "
                f"about {size:,} bytes, more than the {self._reader.memory_bytes:,} of "
                "query_memory_bytes: make its step longer, or its range shorter, ask for fewer "
                "series, or raise query_memory_bytes",
                limit="query_memory_bytes",
            )

    def _series_of(self, matchers: tuple[Matcher, ...]) -> int:
        if matchers in self._summed:
            return len(self._summed[matchers].samples.labels)
        return sum(len(one.labels) for one in self._streams[matchers].selected)

    def go_on(self) -> None:
        """See `Reader.go_on`."""
        self._reader.go_on()

    def select(self, read: Read, piece: Piece | None = None) -> Samples:
        """The samples of the series that fulfil the conditions, within the time range.

        Args:
            read: The conditions, and the time range.
            piece: Only these of the series.

        Raises:
            QueryLimitError: They do not fit in memory.
        """
        stream = self._streams[read.matchers]
        if piece is None:
            self._refuse_large(read, stream)
            chosen = stream.selected
        else:
            inside = (stream.ids >= piece.first) & (stream.ids <= piece.last)
            chosen = tuple(
                Selected(one.kind, one.rows[kept], one.labels.take(np.flatnonzero(kept)))
                for one in stream.selected
                if (kept := inside[one.rows]).any()
            )
        return concat_samples([self._points(one, stream, read, piece) for one in chosen])

    def _refuse_large(self, read: Read, stream: _Stream) -> None:
        size = int(stream.bytes().sum() * _share(read, stream.read))
        if size > self._reader.memory_bytes:
            raise QueryLimitError(
                f"a selector reads samples of about {size:,} bytes at once, more than the "
                f"{self._reader.memory_bytes:,} of query_memory_bytes: aggregate a rate, another "
                "function of ranges or a plain selector of it, ask for a shorter range or fewer "
                "series, or raise query_memory_bytes",
                limit="query_memory_bytes",
            )

    def labels(self, read: Read, *, bounds: bool) -> Labels:
        """The labels of all series that fulfil the conditions."""
        labels = Labels(0)
        stream = self._streams[read.matchers]
        for one in stream.selected:
            apart = bounds and one.kind in ("bucket", "quantile")
            own = self._points(one, stream, read).labels if apart else one.labels
            labels = labels.concat(own)
        return labels

    def exemplars(self, read: Read) -> tuple[Labels, pa.Table]:
        """The exemplars of the points of all series that fulfil the conditions.

        Returns:
            Labels of each exemplar's series, without those of buckets and quantiles; and
            `exemplars`, a struct of `EXEMPLAR_TYPE`.
        """
        stream = self._streams[read.matchers]
        labels, found = Labels(0), []
        if not stream.selected:
            return labels, pa.table({"exemplars": pa.array([], EXEMPLAR_TYPE)})
        span = within(span_of(read.after_ms, read.until_ms))
        where = [span, *stream.where, "exemplars IS NOT NULL"]
        table = self._ask("SELECT series_id, exemplars", where).combine_chunks()
        lists = table["exemplars"].combine_chunks()
        lengths = list_lengths(table["exemplars"])
        points = Points.of(table, stream.ids)
        owner = np.repeat(np.repeat(points.stream, points.lengths), lengths)
        for one in stream.selected:
            place = np.full(len(stream.ids), -1, dtype=np.int64)
            place[one.rows] = np.arange(len(one.rows))
            rows = np.flatnonzero(place[owner] >= 0)
            labels = labels.concat(one.labels.take(place[owner[rows]]))
            found.append(pa.table({"exemplars": lists.flatten().take(pa.array(rows))}))
        return labels, pa.concat_tables(found)

    def _find(self, read: Read) -> _Stream:
        span = span_of(read.after_ms, read.until_ms)
        segments = self._reader.segments(span)
        known = conditions(read, segments, resource=self._reader.resource)
        if known is None:
            return _Stream(read)
        asked = _Asked(read, span, segments, known)
        rows, kept = sum(one.rows for one in segments), self._reader.kept
        if self._only_listed or rows * _BYTES_PER_POINT["value"] > self._reader.memory_bytes:
            return self._described(asked)
        place = kept.place(read.matchers, known)
        streams = kept.recent.get(place)
        unread = segments if streams is None else streams.unread(segments, span)
        if streams is None or 2 * sum(one.rows for one in unread) > rows:
            return self._described(asked, place)
        if unread:
            others = {one.id for one in segments} - {one.id for one in unread}
            spans = spans_of(unread, span)
            listed = self._list(asked, others)
            resource = self._reader.resource
            streams = streams.joined(listed, read.matchers, spans, resource=resource)
            self._keep(place, streams)
        return self._known(asked, streams) or self._described(asked, place)

    def _described(self, asked: _Asked, place: Hashable | None = None) -> _Stream:
        """Read which streams there are, and keep it under a name."""
        read, measured = asked.read, None
        if place is not None and asked.known.narrow:
            # All of it is likely to be wanted, and fits in memory: it is read at once.
            listed, measured = self._read_together(asked.columns, asked.where, latest=read.latest)
        else:
            listed = self._list(asked)
        spans = spans_of(asked.segments, asked.span)
        resource = self._reader.resource
        streams = Streams.of(listed, asked.known.keys, read.matchers, spans, resource=resource)
        if place is not None:
            self._keep(place, streams)
        numbers = None if measured is None else Points.of(measured, streams.ids)
        return asked.stream(streams, streams.points, streams.selected, numbers)

    def _keep(self, place: Hashable, streams: Streams) -> None:
        recent = self._reader.kept.recent
        if streams.lasting:
            recent.put(place, streams, streams.bytes)
        else:
            recent.drop(place)

    def _list(self, asked: _Asked, without: Iterable[str] = ()) -> pa.Table:
        """The streams that there are, but for those of some segments."""
        columns = ", ".join(asked.columns)
        select = f"SELECT {columns}, count(*) AS {quoted(POINTS)}"
        return self._ask(select, asked.where, f" GROUP BY {columns}", without=without)

    def _known(self, asked: _Asked, streams: Streams) -> _Stream | None:
        """Read the points of streams that are known; None if there are others."""
        where = asked.where
        counts = np.zeros(len(streams.ids), dtype=np.int64)
        chosen = np.zeros(len(streams.ids), dtype=bool)
        for one in streams.selected:
            chosen[one.rows] = True
        wanted = streams.ids[chosen]
        if not len(wanted):
            return asked.stream(streams, counts, ())
        if len(wanted) <= _FEW_SERIES and not asked.known.narrow:
            where.append(one_of_series(wanted.tolist()))
        unknown = False
        parts: list[Points] = []

        def kept(part: pa.Table) -> pa.Table:
            nonlocal unknown
            points = Points.of(part.combine_chunks(), streams.ids)
            ids = np.asarray(points.table["series_id"])[points.starts]
            unknown |= not np.array_equal(streams.ids[points.stream], ids)
            np.add.at(counts, points.stream, points.lengths)
            parts.append(points.latest() if asked.read.latest else points)
            return parts[-1].table

        self._ask(f"SELECT {', '.join(NUMBER_COLUMNS)}", where, kept=kept)
        if unknown:
            return None
        present = streams.present(counts > 0)
        return asked.stream(streams, counts, present, Points.concat(parts))

    def _read_together(
        self,
        columns: Sequence[str],
        where: Sequence[str],
        *,
        latest: bool = False,
        table: str = "metrics",
        measured: Sequence[str] = NUMBER_COLUMNS,
    ) -> tuple[pa.Table, pa.Table]:
        """The streams that there are, and what was measured of them, in one scan."""
        streams: list[pa.Table] = []

        def kept(part: pa.Table) -> pa.Table:
            described = part.drop_columns(list(measured[1:])).combine_chunks()
            starts = stream_starts(described)
            lengths = np.diff(np.append(starts, part.num_rows))
            described = described.take(pa.array(starts))
            streams.append(described.append_column(POINTS, pa.array(lengths)))
            numbers = part.select(measured).combine_chunks()
            return latest_rows(numbers) if latest else numbers

        select = f"SELECT {', '.join([*columns, *measured[1:]])}"
        numbers = self._ask(select, where, kept=kept, table=table)
        return pa.concat_tables(streams), numbers

    def _sum_up(self, read: Read) -> Summed | None:
        """Read a selector of a tier, and of points elsewhere; None if it cannot be."""
        reading = self._reader.tiers(read) if read.every_ms else ""
        if isinstance(reading, str):
            return None
        room = self._reader.memory_bytes // _BYTES_PER_RUN
        if sum(one.rows for one in (*reading.buckets, *reading.points)) > room:
            return None
        streams: list[pa.Table] = []
        numbers: dict[str, pa.Table] = {}
        keys: dict[str, str] = {}
        for table, measured in (
            ("metrics_rollup", BUCKET_COLUMNS),
            ("metrics", NUMBER_COLUMNS),
        ):
            segments, spans = reading.of(table)
            known = conditions(read, segments, resource=self._reader.resource) if spans else None
            if known is None:
                continue
            keys |= known.keys
            columns = ["series_id", *IDENTITY, *map(quoted, sorted(known.keys))]
            where = [*reading.where(table), *known.where]
            found = self._read_together(columns, where, table=table, measured=measured)
            streams.append(found[0])
            numbers[table] = found[1]
        if not streams:
            return None
        whole = pa.concat_tables(streams, promote_options="default").combine_chunks()
        resource = self._reader.resource
        described = Streams.of(whole, keys, read.matchers, {}, resource=resource)
        return read_sums(described, numbers)

    def _points(
        self, selected: Selected, stream: _Stream, read: Read, piece: Piece | None = None
    ) -> Samples:
        if stream.numbers is not None and not COLUMNS_OF[selected.kind]:
            return to_samples(stream.numbers, selected, stream.delta, read.matchers)
        # Whether a counter of a native histogram was reset is told by the sample before it.
        after_ms = read.after_ms - (DEFAULT_LOOKBACK_MS if selected.kind == "native" else 0)
        wanted = np.unique(stream.ids[selected.rows])
        columns = ", ".join((*NUMBER_COLUMNS, *COLUMNS_OF[selected.kind]))
        where = [within(span_of(after_ms, read.until_ms)), *stream.where]
        if len(wanted) <= _FEW_SERIES:
            where.append(one_of_series(wanted.tolist()))
        elif piece is not None:
            where.append(f"series_id BETWEEN {piece.first} AND {piece.last}")
        kept = latest_rows if read.latest and selected.kind != "native" else None
        table = self._ask(f"SELECT {columns}", where, kept=kept).combine_chunks()
        points = Points.of(table, stream.ids)
        return cut(to_samples(points, selected, stream.delta, read.matchers), read.after_ms)

    def _ask(
        self,
        select: str,
        where: Sequence[str],
        grouped: str = "",
        *,
        kept: Callable[[pa.Table], pa.Table] | None = None,
        table: str = "metrics",
        without: Iterable[str] = (),
    ) -> pa.Table:
        """Ask the lake, and keep of some rows after the others what `kept` makes of them."""
        text = f"{select} FROM {table} WHERE {' AND '.join(where)}{grouped}"
        found, result = self._reader.read(text, kept, without)
        self.results.append(result)
        return found


def _share(part: Read, whole: Read) -> float:
    """How much of the time of a selector a part of it covers."""
    return (part.until_ms - part.after_ms) / max(whole.until_ms - whole.after_ms, 1)
