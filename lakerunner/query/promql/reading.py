"""Reads what the selectors of a PromQL expression see: which series there are, then points."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import QueryLimitError
from lakerunner.query.promql.conditions import conditions, quoted, span_of, within
from lakerunner.query.promql.grid import DEFAULT_LOOKBACK_MS, Read
from lakerunner.query.promql.labels import Labels
from lakerunner.query.promql.points import (
    COLUMNS_OF,
    NUMBER_COLUMNS,
    Points,
    concat_samples,
    cut,
    to_samples,
)
from lakerunner.query.promql.streams import IDENTITY, Selected, select_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lakerunner.model.segment import Segment
    from lakerunner.model.times import TimeRange
    from lakerunner.query.promql.series import Samples
    from lakerunner.query.result import Result

_FEW_SERIES = 1000
"""Up to so many series are named in the query that reads their points."""

_BYTES_PER_POINT = {"value": 128, "info": 128, "sum": 128, "count": 128}
_BYTES_PER_LISTED = 2048
"""About what a point takes while it becomes a sample, or samples, by the kind of its series: a
number, or one with buckets or quantiles."""

_POINTS = "points of it"
"""What the number of points of a series is called where series are listed: like no column."""


class Reader(NamedTuple):
    """What PromQL needs of a lake.

    Attributes:
        ask: Answers a query in SQL; all of them of one state of the lake.
        segments: The segments of the metrics in that state that may hold rows of a time range.
        memory_bytes: About how much samples and steps may take up at once.
        resource: Whether the attributes of resources are labels.
    """

    ask: Callable[[str], Result]
    segments: Callable[[TimeRange], Sequence[Segment]]
    memory_bytes: int
    resource: bool = True


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
    """

    read: Read
    where: tuple[str, ...] = ()
    delta: NDArray[np.bool_] = np.zeros(0, dtype=bool)
    ids: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    points: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    selected: tuple[Selected, ...] = ()

    def bytes(self) -> NDArray[np.int64]:
        """int64, one a stream: memory that its samples take."""
        result = np.zeros(len(self.ids), dtype=np.int64)
        for one in self.selected:
            each = _BYTES_PER_POINT.get(one.kind, _BYTES_PER_LISTED)
            result[one.rows] += self.points[one.rows] * each
        return result


class Metrics:
    """Reads samples from the metrics of a lake.

    Args:
        reader: Of the lake.
        wanted: What the expression reads, over all of its time.

    Attributes:
        results: The queries that were asked.
    """

    def __init__(self, reader: Reader, wanted: Sequence[Read]) -> None:
        self._reader = reader
        self.results: list[Result] = []
        self._streams = {read.matchers: self._find(read) for read in wanted}

    @property
    def series(self) -> int:
        """How many series the selector with the most of them reads."""
        found = self._streams.values()
        return max((sum(len(s.labels) for s in one.selected) for one in found), default=0)

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

    def _find(self, read: Read) -> _Stream:
        span = span_of(read.after_ms, read.until_ms)
        resource = self._reader.resource
        known = conditions(read, self._reader.segments(span), resource=resource)
        if known is None:
            return _Stream(read)
        where, keys = known
        columns = ", ".join(["series_id", *IDENTITY, *map(quoted, sorted(keys))])
        listed = f"SELECT {columns}, count(*) AS {quoted(_POINTS)}"
        streams = self._ask(listed, [within(span), *where], f" GROUP BY {columns}")
        # The last digit of a sum depends on the order of what is added up: always the same one.
        streams = streams.take(pa.array(np.argsort(np.asarray(streams["series_id"]), stable=True)))
        delta = np.asarray(pc.equal(streams["temporality"].fill_null(""), "delta"))
        selected = select_streams(streams, keys, read.matchers, resource=resource)
        ids, points = np.asarray(streams["series_id"]), np.asarray(streams[_POINTS])
        return _Stream(read, tuple(where), delta, ids, points, tuple(selected))

    def _points(
        self, selected: Selected, stream: _Stream, read: Read, piece: Piece | None = None
    ) -> Samples:
        # Whether a counter of a native histogram was reset is told by the sample before it.
        after_ms = read.after_ms - (DEFAULT_LOOKBACK_MS if selected.kind == "native" else 0)
        wanted = np.unique(stream.ids[selected.rows])
        columns = ", ".join((*NUMBER_COLUMNS, *COLUMNS_OF[selected.kind]))
        where = [within(span_of(after_ms, read.until_ms)), *stream.where]
        if len(wanted) <= _FEW_SERIES:
            where.append(f"series_id IN ({', '.join(map(str, wanted.tolist()))})")
        elif piece is not None:
            where.append(f"series_id BETWEEN {piece.first} AND {piece.last}")
        table = self._ask(f"SELECT {columns}", where).combine_chunks()
        points = Points(table, _places(np.asarray(table["series_id"]), stream.ids))
        return cut(to_samples(points, selected, stream.delta, read.matchers), read.after_ms)

    def _ask(self, select: str, where: Sequence[str], grouped: str = "") -> pa.Table:
        result = self._reader.ask(f"{select} FROM metrics WHERE {' AND '.join(where)}{grouped}")
        batches: list[pa.RecordBatch] = []
        taken = 0
        for batch in result:
            taken += batch.nbytes
            if taken > self._reader.memory_bytes:
                raise QueryLimitError(
                    f"a selector finds more than {self._reader.memory_bytes:,} bytes of series or "
                    "points at once: ask for a shorter range or fewer series, or raise "
                    "query_memory_bytes",
                    limit="query_memory_bytes",
                )
            batches.append(batch)
        self.results.append(result)
        return pa.Table.from_batches(batches, result.schema)


def _share(part: Read, whole: Read) -> float:
    """How much of the time of a selector a part of it covers."""
    return (part.until_ms - part.after_ms) / max(whole.until_ms - whole.after_ms, 1)


def _places(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each id stands among those that are known; ids come in long runs of equal ones."""
    if not len(ids):
        return np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[0], np.flatnonzero(ids[1:] != ids[:-1]) + 1])
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known[order], ids[starts])
    found = order[np.minimum(place, len(order) - 1)]
    return np.repeat(found, np.diff(np.append(starts, len(ids))))
