"""Values of metrics over time: exports, restarts, and totals that start anew with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lakerunner.generate.points import Stamps
from lakerunner.model.times import NANOS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.generate.config import TelemetryConfig
    from lakerunner.generate.shop import Resource

_RESTARTS = 2
_SHARE_RESTARTED = 0.25

Counts = npt.NDArray[Any]
"""One row for each export, one column for each series."""


class Exports(NamedTuple):
    """Some exports in a row: each takes a point of every series.

    Attributes:
        first: Number of the first of them.
        ends: What happened before this time is in the export, and in none before it.
        times: The time of its points; `ends`, but within the generated interval.
        begins: The end of the export before it.
        starts: For each export and resource, when its process was started.
        restarted: Whether that was at the beginning of this very export.
    """

    first: int
    ends: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    begins: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    restarted: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ends)


class Schedule:
    """All exports of a config, and the restarts of its processes."""

    def __init__(self, config: TelemetryConfig, resources: tuple[Resource, ...]) -> None:
        self._config = config
        self._interval = round(config.metrics_interval_s * NANOS)
        self.exports = -(-config.duration_ns // self._interval)
        random = np.random.default_rng([config.seed, _RESTARTS])
        restarts = random.random(len(resources)) < _SHARE_RESTARTED
        # Before which export each process restarts; 0 for never.
        self._restarts = restarts * random.integers(0, max(self.exports, 1), len(resources))
        if config.incident:  # which ends when somebody restarts the service
            after = int(config.incident.end * self.exports)
            troubled = [each.service.name == "payment" for each in resources]
            self._restarts[np.array(troubled)] = after if after < self.exports else 0

    def until(self, first: int, end_ns: int, most: int) -> Iterator[Exports]:
        """The exports from the given one on that are over by then, at most so many at a time."""
        over = min((end_ns - self._config.start_ns) // self._interval, self.exports)
        if end_ns >= self._config.end_ns:
            over = self.exports
        for begin in range(first, over, most):
            yield self._exports(np.arange(begin, min(begin + most, over)))

    def _exports(self, numbers: npt.NDArray[np.int64]) -> Exports:
        config = self._config
        begins = config.start_ns + numbers * self._interval
        ends = np.minimum(begins + self._interval, config.end_ns)
        restarted = self._restarts * self._interval + config.start_ns
        since = (numbers[:, None] >= self._restarts) & (self._restarts > 0)
        return Exports(
            int(numbers[0]),
            ends,
            np.minimum(ends, config.end_ns - 1),
            begins,
            np.where(since, restarted, config.start_ns),
            since & (numbers[:, None] == self._restarts),
        )


class Running:
    """A total of each series that goes on from export to export, and is lost with its process."""

    def __init__(self, shape: tuple[int, ...], dtype: str, *, how: np.ufunc = np.add) -> None:
        """Begin with nothing.

        Args:
            shape: Of what one export adds; its first axis is that of the series.
            dtype: Of the totals.
            how: How values come together: `np.add`, `np.minimum` or `np.maximum`.
        """
        nothing = np.inf if how is np.minimum else -np.inf if how is np.maximum else 0
        self._how, self._nothing = how, nothing
        self._total = np.full(shape, nothing, dtype)

    def after(self, added: Counts, lost: npt.NDArray[np.bool_]) -> Counts:
        """The totals after each export, of what it adds and whether its process restarted."""
        totals = np.empty(added.shape, self._total.dtype)
        for export, values in enumerate(added):
            self._total[lost[export]] = self._nothing
            self._how(self._total, values, out=self._total)
            totals[export] = self._total
        return totals


class Keeping:
    """The totals of some series with the temporality they are sent with."""

    def __init__(self, owners: npt.NDArray[np.intp], *, delta: bool) -> None:
        """Begin with nothing.

        Args:
            owners: The resource of each series.
            delta: Send what each export adds, in place of totals.
        """
        self._owners, self._delta = owners, delta
        self._running: dict[str, Running] = {}

    def after(
        self, exports: Exports, name: str, added: Counts, *, how: np.ufunc = np.add
    ) -> Counts:
        """What to send after each export; `name` tells the totals of one series apart."""
        if self._delta:
            return added
        if name not in self._running:
            self._running[name] = Running(added.shape[1:], added.dtype.str, how=how)
        return self._running[name].after(added, exports.restarted[:, self._owners])

    def stamps(self, exports: Exports, present: npt.NDArray[np.bool_]) -> Stamps:
        """The times of those points that are present, export after export."""
        series = len(self._owners)
        starts = (
            np.repeat(exports.begins[:, None], series, axis=1)
            if self._delta
            else exports.starts[:, self._owners]
        )
        times = np.repeat(exports.times[:, None], series, axis=1)
        return Stamps(times[present], starts[present])
