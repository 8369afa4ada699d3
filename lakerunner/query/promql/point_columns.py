"""Columns of metric points as NumPy arrays: runs of one series, times, histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.query.promql.histograms import (
    CUSTOM_SCHEMA,
    MAX_SCHEMA,
    Buckets,
    Histograms,
)
from lakerunner.schema.arrays import expand, layouts, list_lengths, list_values, numbers, one_chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_NS_PER_MS = 1_000_000
_AT_ONCE = 1 << 16
"""Numbers that are moved at once: what the cache of a processor holds."""


class Points(NamedTuple):
    """What was read of the points of some streams, as runs of points of one stream each.

    Attributes:
        table: Their columns.
        starts: int64: where each run begins.
        stream: int64: which row of the table of streams each run belongs to.
    """

    table: pa.Table
    starts: NDArray[np.int64]
    stream: NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table, known: NDArray[np.int64]) -> Points:
        """Points of streams of which these are the ids."""
        ids = np.asarray(table["series_id"])
        starts = run_starts(ids)
        order = np.argsort(known, kind="stable")
        place = np.searchsorted(known[order], ids[starts])
        return cls(table, starts, order[np.minimum(place, len(order) - 1)] if len(ids) else starts)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64: how long each run is."""
        return np.diff(np.append(self.starts, self.table.num_rows))

    @classmethod
    def concat(cls, parts: Sequence[Points]) -> Points:
        """The runs of several, one after the other; there is at least one."""
        sizes = np.cumsum([0, *(one.table.num_rows for one in parts)])
        starts = [one.starts + size for one, size in zip(parts, sizes, strict=False)]
        whole = pa.concat_tables([one.table for one in parts])
        return cls(whole, np.concatenate(starts), np.concatenate([one.stream for one in parts]))

    def latest(self) -> Points:
        """The last point of each run; all points where the times of one do not ascend.

        Points of one millisecond stay, for the largest of them counts.
        """
        time = milliseconds(self.table["timestamp"])
        turns = time[1:] <= time[:-1]
        turns[self.starts[1:] - 1] = False
        if turns.any():
            return self
        last = self.starts + self.lengths - 1
        return Points(self.table.take(pa.array(last)), np.arange(len(last)), self.stream)

    def where(self, runs: NDArray[np.bool_]) -> Points:
        """Some of the runs."""
        if runs.all():
            return self
        lengths = self.lengths[runs]
        chosen = self.table.take(pa.array(expand(self.starts[runs], lengths)))
        return Points(chosen, np.cumsum(lengths) - lengths, self.stream[runs])

    def with_values(self) -> Points:
        """Without points that have no value and do not say that a series ended, either."""
        if not self.table["value"].null_count:
            return self
        flags = self.table["flags"].fill_null(0)
        kept = pc.or_(self.table["value"].is_valid(), pc.equal(pc.bit_wise_and(flags, 1), 1))
        lengths = np.add.reduceat(np.asarray(kept).astype(np.int64), self.starts)
        some = lengths > 0
        starts = np.cumsum(lengths) - lengths
        return Points(self.table.filter(kept), starts[some], self.stream[some])


def run_starts(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where runs of equal ids begin."""
    inner = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    return np.concatenate([np.zeros(min(len(ids), 1), dtype=np.int64), inner])


class Target(NamedTuple):
    """Where runs go.

    Attributes:
        starts: int64: where each run begins.
        lengths: int64.
        places: int64: where it shall begin.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    places: NDArray[np.int64]

    def moved(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """An array, given in parts, with its runs moved; one that is constant is not looked at."""
        if not parts:
            return np.zeros(0)
        if parts[0].strides == (0,) and len(parts) == 1:
            return parts[0]
        result = np.empty(int(self.lengths.sum()), dtype=parts[0].dtype)
        ends = self.starts + self.lengths
        size = sum(len(part) for part in parts)
        parts = [one for part in parts for one in np.array_split(part, -(-len(part) // _AT_ONCE))]
        edges = np.cumsum([0, *(len(part) for part in parts)])
        lows = np.searchsorted(ends, edges[:-1], side="right")
        highs = np.searchsorted(self.starts, edges[1:], side="left")
        if size != len(result):
            raise ValueError(size)
        for part, begin, low, high in zip(parts, edges, lows, highs, strict=False):
            starts = np.maximum(self.starts[low:high], begin)
            lengths = np.minimum(ends[low:high], begin + len(part)) - starts
            at = self.places[low:high] + starts - self.starts[low:high]
            result[expand(at, lengths)] = part
        return result


def histograms_of(table: pa.Table) -> Histograms:
    """Points of histograms, explicit and exponential, as native histograms, row by row."""
    size = table.num_rows
    rows = np.arange(size)
    exponential = pc.equal(table["metric_type"], "exponential_histogram").to_numpy()
    schema = np.where(exponential, numbers(table["scale"], np.int64), CUSTOM_SCHEMA)
    shift = np.where(exponential, np.maximum(schema - MAX_SCHEMA, 0), 0)
    sides = []
    for sign in ("positive", "negative"):
        counts = table[f"{sign}_bucket_counts"]
        lengths = np.where(exponential, list_lengths(counts), 0)
        row = np.repeat(rows, lengths)
        values = list_values(counts, lengths)
        offsets = numbers(table[f"{sign}_offset"], np.int64)
        # The first bucket of OpenTelemetry ends where the second one of Prometheus begins.
        index = offsets[row] + expand(np.zeros(size, dtype=np.int64), lengths) + 1
        sides.append((row, ((index - 1) >> shift[row]) + 1, values))
    lengths = np.where(exponential, 0, list_lengths(table["bucket_counts"]))
    custom_row = np.repeat(rows, lengths)
    custom_index = expand(np.zeros(size, dtype=np.int64), lengths)
    row, index, count = (
        np.concatenate([one, other])
        for one, other in zip(
            sides[0],
            (custom_row, custom_index, list_values(table["bucket_counts"], lengths)),
            strict=True,
        )
    )
    layout, bounds = layouts(table["explicit_bounds"])
    return Histograms(
        schema - shift,
        numbers(table["count"], np.float64),
        numbers(table["sum"], np.float64, np.nan),
        np.where(exponential, numbers(table["zero_count"], np.float64), 0.0),
        np.where(exponential, numbers(table["zero_threshold"], np.float64), 0.0),
        np.zeros(size, dtype=np.int64),
        layout,
        Buckets.gather(row, index, count),
        Buckets.gather(*sides[1]),
        bounds,
    )


def milliseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Milliseconds since the epoch; 0 for NULL. Prometheus knows no finer times."""
    array = one_chunk(column).cast(pa.int64())
    result: NDArray[np.int64] = numbers(array, np.int64) // _NS_PER_MS
    return result


def latest_rows(points: pa.Table) -> pa.Table:
    """The points of a table that `Points.latest` leaves."""
    starts = run_starts(np.asarray(points["series_id"]))
    return Points(points, starts, starts).latest().table
