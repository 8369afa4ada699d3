"""Metrics that no request causes: processors, memory, pauses, and the stock of the warehouses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakerunner.generate.counting import Counts, Exports, Keeping
from lakerunner.generate.instruments import (
    CPU_TIME,
    CPU_USAGE,
    GC_PAUSE,
    MEMORY,
    SOLD,
    STOCK,
)
from lakerunner.generate.measuring import Points
from lakerunner.generate.points import Stamps, attributes_field, number_points, summary_points
from lakerunner.generate.traffic import PRODUCTS
from lakerunner.generate.vocabulary import product_names
from lakerunner.generate.wire import key_values, table
from lakerunner.model.times import NANOS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.generate.config import TelemetryConfig

_NOISE, _SALES = 3, 4
"""Set the random numbers of processes and of sales apart from others."""

_MODES = {"user": 0.82, "system": 0.18}
_QUANTILES = {0.0: 0.1, 0.5: 1.0, 0.9: 2.5, 0.99: 6.0, 1.0: 12.0}
_PAUSE_S, _PAUSES = 0.002, 12.0
_MIB = 2**20
_SHELF = 400
"""Items that a warehouse has of a product when it was just delivered."""


class Processes:
    """What each process says of itself: five series, of four metrics."""

    def __init__(self, config: TelemetryConfig, resources: int) -> None:
        self.series = 5 * resources
        self._seed, self._resources = config.seed, resources
        delta = config.temporality == "delta"
        owners = np.arange(resources)
        self._cpu = Keeping(np.tile(owners, len(_MODES)), delta=delta)
        self._lasting = Keeping(owners, delta=False)
        self._busy = 0.1 + 0.5 * np.random.default_rng([config.seed, _NOISE]).random(resources)
        field = attributes_field("sum")
        self._modes = table(key_values(field, {"cpu.mode": mode}) for mode in _MODES)

    def points(self, exports: Exports) -> Iterator[Points]:
        """The points of some exports."""
        noise = np.stack(
            [
                np.random.default_rng([self._seed, _NOISE, exports.first + each]).random(
                    (4, self._resources)
                )
                for each in range(len(exports))
            ]
        )
        shape = noise[:, 0].shape
        export, resource = (each.ravel() for each in np.indices(shape))
        everything = np.ones(shape, bool)
        none = pa.array([b""] * export.size, pa.binary())
        stamps = self._lasting.stamps(exports, everything)
        seconds = ((exports.ends - exports.begins) / NANOS)[:, None]

        usage = self._busy * (0.7 + 0.6 * noise[:, 0])
        yield self._cpu_time(exports, usage * seconds)
        age = (exports.times[:, None] - exports.starts) / NANOS
        memory = (160 + 40 * noise[:, 1] + 0.05 * age) * _MIB
        values = memory.astype(np.int64).ravel()
        yield Points(MEMORY, export, resource, number_points(stamps, values, none))
        gauge = number_points(Stamps(stamps.times, None), usage.ravel(), none)
        yield Points(CPU_USAGE, export, resource, gauge)
        pauses = self._pauses(exports, noise[:, 2:], stamps, none)
        yield Points(GC_PAUSE, export, resource, pauses)

    def _cpu_time(self, exports: Exports, used: Counts) -> Points:
        """Processor time of both modes, as one row of series: all of one mode, then the other."""
        added = np.concatenate([used * share for share in _MODES.values()], axis=1)
        export, series = (each.ravel() for each in np.indices(added.shape))
        values = self._cpu.after(exports, "time", added)
        stamps = self._cpu.stamps(exports, np.ones(added.shape, bool))
        modes = self._modes.take(pa.array(series // self._resources))
        data = number_points(stamps, values.ravel(), modes)
        return Points(CPU_TIME, export, series % self._resources, data)

    def _pauses(self, exports: Exports, noise: Counts, stamps: Stamps, none: Any) -> Any:
        added = 1 + (_PAUSES * noise[:, 0]).astype(np.int64)
        typical = _PAUSE_S * (0.6 + 0.8 * noise[:, 1])
        counts = self._lasting.after(exports, "pauses", added)
        sums = self._lasting.after(exports, "paused", 1.4 * typical * added)
        quantiles = {each: (typical * factor).ravel() for each, factor in _QUANTILES.items()}
        return summary_points(stamps, counts.ravel(), sums.ravel(), quantiles, none)


class Warehouses:
    """What is sold and what is left, of as many products and places as there are to be series."""

    def __init__(self, config: TelemetryConfig, resources: int, series: int) -> None:
        """Begin with full shelves.

        Args:
            config: What to generate.
            resources: How many processes share the series.
            series: How many series are wanted, of both metrics together.
        """
        places = np.arange(-(-max(series, 0) // 2))
        self._seed, self._owners = config.seed, places % resources
        self._counted = max(series, 0) // 2
        self._keeping = Keeping(self._owners[: self._counted], delta=config.temporality == "delta")
        random = np.random.default_rng([config.seed, _SALES])
        self._demand = 3.0 * random.random(len(places)) ** 3
        self._ever = np.zeros(len(places), np.int64)
        names = product_names(PRODUCTS)
        field = attributes_field("gauge")
        self._attributes = table(
            key_values(
                field,
                {
                    "shop.product.id": names[place % PRODUCTS],
                    "shop.warehouse.id": f"wh-{place // PRODUCTS:03d}",
                },
            )
            for place in range(len(places))
        )

    def points(self, exports: Exports) -> Iterator[Points]:
        """The points of some exports; a product that was never sold has no count yet."""
        if not len(self._owners):
            return
        sold = np.stack(
            [
                np.random.default_rng([self._seed, _SALES, exports.first + each]).poisson(
                    self._demand
                )
                for each in range(len(exports))
            ]
        )
        ever = self._ever + np.cumsum(sold, axis=0)
        self._ever = ever[-1]
        left = _SHELF - ever % _SHELF
        stamps = Stamps(np.repeat(exports.times, left.shape[1]), None)
        yield self._points(STOCK, np.ones(left.shape, bool), left, stamps)
        totals = self._keeping.after(exports, "sold", sold[:, : self._counted])
        some = totals > 0
        yield self._points(SOLD, some, totals, self._keeping.stamps(exports, some))

    def _points(
        self, instrument: int, present: npt.NDArray[np.bool_], values: Counts, stamps: Stamps
    ) -> Points:
        export, place = np.nonzero(present)
        attributes = self._attributes.take(pa.array(place))
        data = number_points(stamps, values[present], attributes)
        return Points(instrument, export, self._owners[place], data)
