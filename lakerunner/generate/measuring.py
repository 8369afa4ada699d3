"""Spans to histograms and counts of the series they belong to, with exemplars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakerunner.generate.counting import Counts, Exports, Keeping
from lakerunner.generate.instruments import (
    HTTP,
    HTTP_BOUNDS,
    INSTRUMENTS,
    OUTCOMES,
    RPC,
    RPC_BOUNDS,
    STATEMENTS,
    Labels,
    span_series,
)
from lakerunner.generate.points import (
    EXPONENTIAL,
    HISTOGRAM,
    Exponential,
    Totals,
    attributes_field,
    exemplar_pieces,
    exponential_points,
    histogram_points,
    number_points,
)
from lakerunner.generate.wire import key_values, strung, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.generate.shop import Resource
    from lakerunner.generate.tracing import Spans

_LAYOUT = Exponential(scale=3, lowest=-88, zero_threshold=0.0005)
_EXPONENTIAL_BUCKETS = 140
"""From half a millisecond to a minute and a half."""


class Points(NamedTuple):
    """Points of one metric, ordered by export.

    Attributes:
        instrument: Position of the metric.
        export: For each point, which of the exports at hand it belongs to.
        resource: Its resource.
        data: Its bytes, as the field of the message around it.
    """

    instrument: int
    export: npt.NDArray[np.intp]
    resource: npt.NDArray[np.intp]
    data: Any


class Measured(NamedTuple):
    """Spans that belong to series of one metric.

    Attributes:
        rows: The spans.
        cells: For each span, export times number of series plus series.
        values: What was measured.
        shape: Exports and series.
    """

    rows: Spans
    cells: npt.NDArray[np.intp]
    values: npt.NDArray[np.float64]
    shape: tuple[int, int]

    def counts(self) -> Counts:
        """How many in each cell."""
        return np.bincount(self.cells, minlength=self.shape[0] * self.shape[1]).reshape(self.shape)

    def sums(self) -> Counts:
        """Their sum in each cell."""
        size = self.shape[0] * self.shape[1]
        return np.bincount(self.cells, self.values, minlength=size).reshape(self.shape)

    def extreme(self, how: np.ufunc, nothing: float) -> Counts:
        """The least or greatest in each cell."""
        found = np.full(self.shape[0] * self.shape[1], nothing)
        how.at(found, self.cells, self.values)
        return found.reshape(self.shape)

    def buckets(self, places: npt.NDArray[np.intp], width: int) -> Counts:
        """How many in each bucket of each cell, with the bucket of each measurement given."""
        counts = np.bincount(
            self.cells * width + places, minlength=int(np.prod(self.shape)) * width
        )
        return counts.reshape(*self.shape, width)

    def exemplars(self, field: int, places: npt.NDArray[np.intp], width: int) -> Any:
        """For each cell, the last measurement of each bucket."""
        keys = self.cells * width + places
        distinct, last = np.unique(keys[::-1], return_index=True)
        chosen = len(keys) - 1 - last
        pieces = exemplar_pieces(field, self.rows[chosen], self.values[chosen])
        return strung(pieces, np.bincount(distinct // width, minlength=int(np.prod(self.shape))))


class SpanMeasures:
    """One metric of spans."""

    def __init__(self, labels: Labels, resources: Sequence[Resource], *, delta: bool) -> None:
        self._labels = labels
        self._series = span_series(labels, resources)
        self.series = len(self._series.resources)
        field = attributes_field(INSTRUMENTS[labels.instrument].kind)
        self._attributes = table(key_values(field, each) for each in self._series.attributes)
        self._keeping = Keeping(self._series.resources, delta=delta)

    def points(self, exports: Exports, spans: Spans) -> Points:
        """The points of some exports, made of the spans that ended in them."""
        measured = self._measured(exports, spans)
        totals = self._keeping.after(exports, "counts", measured.counts())
        present = totals > 0
        export, series = np.nonzero(present)
        attributes = self._attributes.take(pa.array(series))
        data = self._written(exports, measured, totals, attributes)
        return Points(self._labels.instrument, export, self._series.resources[series], data)

    def _measured(self, exports: Exports, spans: Spans) -> Measured:
        series = self._series.lookup[spans["plan"], spans["resource"]]
        rows, series = spans[series >= 0], series[series >= 0]
        export = np.searchsorted(exports.ends, rows["end"], side="right")
        values = (rows["end"] - rows["start"]) * self._labels.scale
        return Measured(rows, export * self.series + series, values, (len(exports), self.series))

    def _written(
        self, exports: Exports, measured: Measured, counts: Counts, attributes: Any
    ) -> Any:
        """Points of a plain count."""
        del measured
        present = counts > 0
        return number_points(self._keeping.stamps(exports, present), counts[present], attributes)

    def _totals(self, exports: Exports, measured: Measured, counts: Counts) -> Totals:
        present = counts > 0
        keep = self._keeping.after
        low = keep(exports, "min", measured.extreme(np.minimum, np.inf), how=np.minimum)
        high = keep(exports, "max", measured.extreme(np.maximum, -np.inf), how=np.maximum)
        sums = keep(exports, "sums", measured.sums())
        return Totals(counts[present], sums[present], low[present], high[present])


class Histograms(SpanMeasures):
    """Durations in explicit buckets."""

    def __init__(
        self,
        labels: Labels,
        bounds: tuple[float, ...],
        resources: Sequence[Resource],
        *,
        delta: bool,
    ) -> None:
        super().__init__(labels, resources, delta=delta)
        self._bounds = bounds

    def _written(
        self, exports: Exports, measured: Measured, counts: Counts, attributes: Any
    ) -> Any:
        present = counts > 0
        width = len(self._bounds) + 1
        places = np.searchsorted(self._bounds, measured.values)  # a bound lies in its bucket
        buckets = self._keeping.after(exports, "buckets", measured.buckets(places, width))
        exemplars = measured.exemplars(HISTOGRAM, places, width)
        return histogram_points(
            self._keeping.stamps(exports, present),
            self._totals(exports, measured, counts),
            buckets[present],
            self._bounds,
            (exemplars.filter(pa.array(present.ravel())), attributes),
        )


class ExponentialHistograms(SpanMeasures):
    """Durations in exponential buckets."""

    def _written(
        self, exports: Exports, measured: Measured, counts: Counts, attributes: Any
    ) -> Any:
        present = counts > 0
        values = np.maximum(measured.values, _LAYOUT.zero_threshold)
        index = np.ceil(np.log2(values) * 2**_LAYOUT.scale).astype(np.intp) - 1 - _LAYOUT.lowest
        # The first place is for what counts as zero.
        zero = measured.values <= _LAYOUT.zero_threshold
        places = np.where(zero, 0, np.clip(index, 0, _EXPONENTIAL_BUCKETS - 1) + 1)
        width = _EXPONENTIAL_BUCKETS + 1
        buckets = self._keeping.after(exports, "buckets", measured.buckets(places, width))[present]
        octaves = -(-width >> _LAYOUT.scale)
        exemplars = measured.exemplars(EXPONENTIAL, places >> _LAYOUT.scale, octaves)
        return exponential_points(
            self._keeping.stamps(exports, present),
            self._totals(exports, measured, counts),
            _LAYOUT,
            (buckets[:, 0], buckets[:, 1:]),
            (exemplars.filter(pa.array(present.ravel())), attributes),
        )


def all_measures(resources: Sequence[Resource], *, delta: bool) -> list[SpanMeasures]:
    """Every metric of spans."""
    return [
        Histograms(HTTP, HTTP_BOUNDS, resources, delta=delta),
        Histograms(RPC, RPC_BOUNDS, resources, delta=delta),
        ExponentialHistograms(STATEMENTS, resources, delta=delta),
        SpanMeasures(OUTCOMES, resources, delta=delta),
    ]
