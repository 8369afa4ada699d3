"""Functions of histograms, classic and native alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakerunner.query.promql import quantiles
from lakerunner.query.promql.instants import with_number_label
from lakerunner.query.promql.labels import NAME
from lakerunner.query.promql.series import Vector, by_series

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lakerunner.query.promql.calls import FunctionCall
    from lakerunner.query.promql.evaluate import Evaluator, Value
    from lakerunner.query.promql.histograms import Histograms
    from lakerunner.query.promql.syntax import Call, Place


def check_quantiles(run: Evaluator, q: NDArray[np.float64], place: Place) -> None:
    """Note quantiles outside [0, 1]."""
    for one in np.unique(q):
        if not 0 <= one <= 1:
            run.annotations.invalid_quantile(float(one), place)


def _quantile_call(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    q = run.scalar(node.args[0], times)
    vector = run.vector(node.args[1], times).compact()
    check_quantiles(run, q, node.args[0].place)
    return _quantile(run, vector, q, node.args[1].place)


def _quantile(run: Evaluator, vector: Vector, q: NDArray[np.float64], place: Place) -> Vector:
    def native(source: Histograms, step: NDArray[np.int64]) -> NDArray[np.float64]:
        if np.isnan(source.sum).any():
            names = vector.labels.texts(NAME).fill_null("").unique().to_pylist()
            run.annotations.quantile_skewed(names[0] if names else "", place)
        return quantiles.native_quantile(source, q[step])

    source = quantiles.classic(vector.floats().compact(), run.annotations, place)
    some, value = quantiles.classic_quantile(source, q, run.annotations, place)
    result = Vector(source.labels, source.dropped, some, value)
    return _beside_classic(run, vector, result, native, place)


def _beside_classic(
    run: Evaluator,
    vector: Vector,
    classic: Vector,
    native: Callable[[Histograms, NDArray[np.int64]], NDArray[np.float64]],
    place: Place,
) -> Vector:
    """Add what a function makes of native histograms to what it made of classic ones.

    A histogram that is there in both forms at one step gives nothing and is noted.
    """
    where = vector.is_histogram
    if vector.histogram is None or not where.any():
        return classic.drop_names()
    value = np.zeros(where.shape)
    picked = vector.histograms.take(vector.histogram[where])
    value[where] = native(picked, np.nonzero(where)[1])
    found = Vector(vector.labels, vector.dropped, where, value).compact()
    both = classic.concat(found)
    group, first = both.labels.groups()
    count = np.zeros((len(first), where.shape[1]), dtype=np.int64)
    np.add.at(count, group, both.present)
    twice = (count > 1)[group] & both.present
    if twice.any():
        names = both.labels.take(np.flatnonzero(by_series(twice))).texts(NAME).fill_null("")
        for name in names.unique().to_pylist():
            run.annotations.mixed_classic_native(name, place)
    return both._replace(present=both.present & ~twice).drop_names().compact()


def _fraction(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    lower, upper = run.scalar(node.args[0], times), run.scalar(node.args[1], times)
    place = node.args[2].place
    vector = run.vector(node.args[2], times).compact()

    def native(source: Histograms, step: NDArray[np.int64]) -> NDArray[np.float64]:
        if np.isnan(source.sum).any():
            names = vector.labels.texts(NAME).fill_null("").unique().to_pylist()
            run.annotations.fraction_of_nan(names[0] if names else "", place)
        return quantiles.native_fraction(source, lower[step], upper[step])

    classic = quantiles.classic(vector.floats().compact(), run.annotations, place)
    some, value = quantiles.classic_fraction(classic, lower, upper)
    result = Vector(classic.labels, classic.dropped, some, value)
    return _beside_classic(run, vector, result, native, place)


def _several_quantiles(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    vector = run.vector(node.args[0], times).compact()
    label = run.text(node.args[1])
    result: Vector | None = None
    for arg in node.args[2:]:
        q = run.scalar(arg, times)
        check_quantiles(run, q, arg.place)
        for one in np.unique(q):
            found = _quantile(run, vector, np.full(len(times), one), node.args[0].place)
            here = found._replace(present=found.present & (q == one)[None, :])
            part = with_number_label(here, label, float(one))
            result = part if result is None else result.concat(part)
    return vector if result is None else result


def _part(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    vector = run.vector(node.args[0], times)
    where = vector.is_histogram
    value = np.zeros(where.shape)
    if vector.histogram is not None:
        picked = vector.histograms.take(vector.histogram[where])
        with np.errstate(invalid="ignore", divide="ignore"):
            value[where] = _PARTS[node.name](picked)
    return Vector(vector.labels, vector.dropped, where, value).drop_names().compact()


_PARTS: dict[str, Callable[[Histograms], NDArray[np.float64]]] = {
    "histogram_avg": lambda source: source.sum / source.amount,
    "histogram_count": lambda source: source.amount,
    "histogram_stddev": lambda source: np.sqrt(quantiles.native_variance(source)),
    "histogram_stdvar": quantiles.native_variance,
    "histogram_sum": lambda source: source.sum,
}

HISTOGRAM_CALLS: dict[str, FunctionCall] = {
    **dict.fromkeys(_PARTS, _part),
    "histogram_fraction": _fraction,
    "histogram_quantile": _quantile_call,
    "histogram_quantiles": _several_quantiles,
}
"""How each function of histograms is evaluated, by name."""
