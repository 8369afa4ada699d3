"""Functions of range vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakerunner.errors import QueryExecutionError
from lakerunner.query.promql import over_time, rates
from lakerunner.query.promql.calls import absence
from lakerunner.query.promql.combining import combine
from lakerunner.query.promql.histogram_calls import check_quantiles
from lakerunner.query.promql.rates import with_histograms
from lakerunner.query.promql.series import by_series, by_step
from lakerunner.query.promql.windows import pick
from lakerunner.schema.arrays import expand

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lakerunner.query.promql.calls import FunctionCall
    from lakerunner.query.promql.evaluate import Evaluator, Value
    from lakerunner.query.promql.series import Vector
    from lakerunner.query.promql.syntax import Call, Node
    from lakerunner.query.promql.windows import Windows


def _rate(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    counter, per_second = node.name != "delta", node.name == "rate"
    extended = run.extended(node.args[0], times)
    if extended is not None:
        return extended.grown(counter=counter, per_second=per_second)
    windows = run.windows(node.args[0], times)
    notes = run.notes_at(node.args[0])
    return rates.extrapolated(windows, notes, counter=counter, per_second=per_second)


def _last_change(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = run.windows(node.args[0], times)
    notes = run.notes_at(node.args[0])
    return rates.last_change(windows, notes, counter=node.name == "irate")


def _counted(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    """Functions of all samples, numbers and histograms alike."""
    extended = run.extended(node.args[0], times)
    windows = run.windows(node.args[0], times) if extended is None else extended.windows()
    value = _OF_ALL[node.name](windows)
    return windows.vector(windows.lengths > 0, value).drop_names()


def _absent_over_time(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = run.windows(node.args[0], times)
    return absence(node.args[0], ~by_step(windows.lengths > 0))


def _one_sample(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = run.windows(node.args[0], times)
    at = windows.first() if node.name == "first_over_time" else windows.last()
    return pick(windows.samples, np.where(windows.lengths > 0, at, -1))


def _summed(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Vector:
    average = node.name == "avg_over_time"
    windows = run.windows(node.args[0], times)
    count, native = windows.lengths, windows.histogram_count()
    notes = run.notes_at(node.args[0])
    mixed = (native > 0) & (native < count)
    notes.for_series(windows.samples, by_series(mixed), "mixed_floats_histograms")
    value = over_time.mean(windows) if average else over_time.total(windows)
    vector = windows.vector((count > 0) & (native == 0), value).drop_names()
    wanted = (native > 0) & (native == count)
    if not wanted.any():
        return vector
    row, step = np.nonzero(wanted)
    lengths = count[row, step]
    members = expand(windows.lo[row, step], lengths)
    group = np.repeat(np.arange(len(row)), lengths)
    number = windows.samples.histogram[members]
    combined = combine(windows.samples.histograms.take(number), group, len(row))
    clash = np.zeros(len(windows.samples.labels), dtype=bool)
    clash[row[combined.mixed]] = True
    notes.for_series(windows.samples, clash, "mixed_exponential_custom")
    if (combined.reconciled & ~combined.mixed).any():
        run.annotations.mismatched_bounds("aggregation", node.args[0].place)
    made = combined.histograms
    if average:
        made = made.divide(lengths.astype(np.float64))
    good = ~combined.mixed
    found = np.zeros(wanted.shape, dtype=bool)
    found[row[good], step[good]] = True
    return with_histograms(vector, found, made.take(np.flatnonzero(good)))


def _float_windows(run: Evaluator, node: Node, times: NDArray[np.int64]) -> Windows:
    """The numbers of a range; says if there are histograms beside them."""
    windows = run.windows(node, times)
    native = windows.histogram_count()
    mixed = (native > 0) & (native < windows.lengths)
    run.notes_at(node).for_series(windows.samples, by_series(mixed), "ignored_in_range")
    return windows.floats()


def _quantile_over_time(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    q = run.scalar(node.args[0], times)
    windows = _float_windows(run, node.args[1], times)
    if (windows.lengths > 0).any():
        check_quantiles(run, q, node.args[0].place)
    value = over_time.quantile(windows, q)
    return windows.vector(windows.lengths > 0, value).drop_names()


def _deriv(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = _float_windows(run, node.args[0], times)
    time = windows.samples.time
    first = time[windows.first()] if len(time) else windows.lo
    slope, _ = over_time.regression(windows, first)
    return windows.vector(windows.lengths > 1, slope).drop_names()


def _predict_linear(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = _float_windows(run, node.args[0], times)
    ahead = run.scalar(node.args[1], times)
    origin = np.broadcast_to(times[None, :], windows.lo.shape)
    slope, intercept = over_time.regression(windows, origin)
    with np.errstate(invalid="ignore"):
        value = slope * ahead[None, :] + intercept
    return windows.vector(windows.lengths > 1, value).drop_names()


def _double_exponential_smoothing(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    factor, trend = run.scalar(node.args[1], times), run.scalar(node.args[2], times)
    for name, given in (("smoothing", factor), ("trend", trend)):
        bad = given[(given <= 0) | (given >= 1)]
        if len(bad):
            letters = "sf" if name == "smoothing" else "tf"
            message = f"invalid {name} factor. Expected: 0 < {letters} < 1, got: {bad[0]:f}"
            raise QueryExecutionError(message)
    windows = _float_windows(run, node.args[0], times)
    value = over_time.smoothed(windows, factor, trend)
    return windows.vector(windows.lengths > 1, value).drop_names()


def _over_floats(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = _float_windows(run, node.args[0], times)
    return windows.vector(windows.lengths > 0, _OF_FLOATS[node.name](windows)).drop_names()


def _seconds(windows: Windows, at: NDArray[np.int64]) -> NDArray[np.float64]:
    time = windows.samples.time
    return time[at] / 1000 if len(time) else np.zeros(at.shape)


def _time_of_extreme(windows: Windows, *, smallest: bool) -> NDArray[np.float64]:
    return _seconds(windows, over_time.place_of_extreme(windows, smallest_wins=smallest))


_OF_ALL: dict[str, Callable[[Windows], NDArray[np.float64]]] = {
    "changes": rates.changes,
    "count_over_time": lambda windows: windows.lengths.astype(np.float64),
    "present_over_time": lambda windows: np.ones(windows.lo.shape),
    "resets": rates.resets,
    "ts_of_first_over_time": lambda windows: _seconds(windows, windows.first()),
    "ts_of_last_over_time": lambda windows: _seconds(windows, windows.last()),
}

_OF_FLOATS: dict[str, Callable[[Windows], NDArray[np.float64]]] = {
    "mad_over_time": over_time.median_deviation,
    "max_over_time": over_time.largest,
    "min_over_time": over_time.smallest,
    "stddev_over_time": lambda windows: np.sqrt(over_time.variance(windows)),
    "stdvar_over_time": over_time.variance,
    "ts_of_max_over_time": lambda windows: _time_of_extreme(windows, smallest=False),
    "ts_of_min_over_time": lambda windows: _time_of_extreme(windows, smallest=True),
}

RANGE_CALLS: dict[str, FunctionCall] = {
    **dict.fromkeys(("rate", "increase", "delta"), _rate),
    **dict.fromkeys(("irate", "idelta"), _last_change),
    **dict.fromkeys(_OF_ALL, _counted),
    **dict.fromkeys(_OF_FLOATS, _over_floats),
    **dict.fromkeys(("first_over_time", "last_over_time"), _one_sample),
    **dict.fromkeys(("sum_over_time", "avg_over_time"), _summed),
    "absent_over_time": _absent_over_time,
    "deriv": _deriv,
    "double_exponential_smoothing": _double_exponential_smoothing,
    "predict_linear": _predict_linear,
    "quantile_over_time": _quantile_over_time,
}
"""How each function of ranges is evaluated, by name."""
