"""Metric points to the bytes of OTLP `ExportMetricsServiceRequest` messages, export by export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakerunner.generate.counting import Exports, Schedule
from lakerunner.generate.framing import Frames, Run, cut
from lakerunner.generate.instruments import INSTRUMENTS
from lakerunner.generate.measuring import Points, all_measures
from lakerunner.generate.processes import Processes, Warehouses
from lakerunner.generate.shop import resources_of
from lakerunner.generate.tracing import SPAN, Spans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.generate.config import TelemetryConfig

_POINTS_AT_ONCE = 65_536


class _Rows(NamedTuple):
    """Points of all metrics, ordered by time."""

    times: npt.NDArray[np.int64]
    resources: npt.NDArray[np.intp]
    instruments: npt.NDArray[np.intp]
    data: Any

    def part(self, first: int, end: int) -> _Rows:
        """Some of them in a row."""
        return _Rows(
            self.times[first:end],
            self.resources[first:end],
            self.instruments[first:end],
            self.data[first:end],
        )

    def then(self, later: _Rows) -> _Rows:
        """These and what comes after them."""
        return _Rows(
            np.concatenate([self.times, later.times]),
            np.concatenate([self.resources, later.resources]),
            np.concatenate([self.instruments, later.instruments]),
            pa.concat_arrays([self.data, later.data]),
        )


_NO_ROWS = _Rows(
    np.empty(0, np.int64), np.empty(0, np.intp), np.empty(0, np.intp), pa.array([], pa.binary())
)


class MetricsStream:
    """Measures the spans of a stream of blocks, and the processes beside them."""

    def __init__(self, config: TelemetryConfig) -> None:
        self._config = config
        resources = resources_of(config.services)
        self._frames = Frames(resources)
        self._schedule = Schedule(config, resources)
        delta = config.temporality == "delta"
        self._measures = all_measures(resources, delta=delta)
        self._processes = Processes(config, len(resources))
        base = sum(each.series for each in self._measures) + self._processes.series
        self._warehouses = Warehouses(config, len(resources), config.series - base)
        self._at_once = max(_POINTS_AT_ONCE // max(base, config.series), 1)
        self._next = 0
        self._spans = np.empty(0, SPAN)
        self._rest = _NO_ROWS

    def take(self, spans: Spans, end_ns: int) -> Iterator[tuple[int, int, bytes]]:
        """Go on until a point in time.

        Args:
            spans: Those that ended since the last call and before that time, ordered by end.
            end_ns: The time, in nanoseconds since the epoch.

        Yields:
            Time of the last point, number of points, and bytes of each request that is full.
        """
        self._spans = np.concatenate([self._spans, spans])
        for exports in self._schedule.until(self._next, end_ns, self._at_once):
            self._next = exports.first + len(exports)
            over = int(np.searchsorted(self._spans["end"], exports.ends[-1]))
            rows = self._rest.then(self._rows(exports, self._spans[:over]))
            self._spans = self._spans[over:].copy()
            size = self._config.records_per_object
            whole = len(rows.times) // size * size
            self._rest = rows.part(whole, len(rows.times))
            yield from self._written(rows.part(0, whole))

    def finish(self) -> Iterator[tuple[int, int, bytes]]:
        """Go on to the end of the interval; yields as `take`, and at last what is left."""
        yield from self.take(np.empty(0, SPAN), self._config.end_ns)
        yield from self._written(self._rest)
        self._rest = _NO_ROWS

    def _rows(self, exports: Exports, spans: Spans) -> _Rows:
        found: list[Points] = [each.points(exports, spans) for each in self._measures]
        found += self._processes.points(exports)
        found += self._warehouses.points(exports)
        export = np.concatenate([each.export for each in found])
        order = np.argsort(export, kind="stable")
        return _Rows(
            exports.times[export[order]],
            np.concatenate([each.resource for each in found])[order],
            np.repeat([each.instrument for each in found], [len(p.export) for p in found])[order],
            pa.concat_arrays([each.data for each in found]).take(pa.array(order)),
        )

    def _written(self, rows: _Rows) -> Iterator[tuple[int, int, bytes]]:
        size = self._config.records_per_object
        count = len(rows.times)
        request = np.arange(count) // size
        order = np.lexsort((rows.instruments, rows.resources, request))
        wide = len(INSTRUMENTS)
        keys = (request * 256 + rows.resources) * wide + rows.instruments
        runs = self._runs(keys[order], rows.data.take(pa.array(order)), wide)
        for number, data in enumerate(self._frames.assemble(runs)):
            end = min((number + 1) * size, count)
            yield int(rows.times[end - 1]), end - number * size, data

    def _runs(self, keys: npt.NDArray[Any], data: Any, wide: int) -> Iterator[Run]:
        for key, points in cut(keys, data):
            rest, instrument = divmod(key, wide)
            metric = INSTRUMENTS[instrument].frame(points, self._config.temporality)
            yield rest // 256, rest % 256, [metric]
