"""Functions of scalars and instant vectors, except those of histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lakerunner.query.promql import instants
from lakerunner.query.promql.binary import _pairs, signatures
from lakerunner.query.promql.checks import equal_values, matches_empty
from lakerunner.query.promql.grid import data_matchers, info_matchers
from lakerunner.query.promql.labels import NAME, LabelColumn, Labels
from lakerunner.query.promql.series import Vector, by_step, instant, pick
from lakerunner.query.promql.syntax import Call, Matching, Node, Range, Selector, unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lakerunner.query.promql.evaluate import Evaluator, Value
    from lakerunner.query.promql.syntax import Matcher

    FunctionCall = Callable[[Evaluator, Call, NDArray[np.int64]], Value]

# The function `info`: labels of info series added to the series of the same target.

IDENTIFYING = ("instance", "job")
"""Labels that say which target a series belongs to."""


def enrich(base: Vector, info: Vector, wanted: Sequence[Matcher]) -> Vector:
    """Add labels of info series to the series of the same target, at the steps that have both.

    Args:
        base: What gets labels; a label it has already stays.
        info: What has them.
        wanted: Which labels, and which values these must have; all labels if empty. Where no info
            series has a value that is asked for, the series is left out, unless the empty value
            is good enough.
    """
    base, info = base.compact(), info.compact()
    info = info.take(np.flatnonzero(info.labels.matching(wanted)))
    match = signatures(Matching(on=True, labels=IDENTIFYING), base.labels, info.labels)
    base_row, info_row = _pairs(match.left, match.right)
    paired, its = base.take(base_row), info.take(info_row)
    labels = paired.labels
    names = {one.name for one in wanted} or set(its.labels.columns) - {NAME, *IDENTIFYING}
    for name in sorted(names & set(its.labels.columns)):
        added = its.labels.columns[name]
        mine = labels.columns.get(name)
        texts = its.labels.texts(name)
        if mine is not None:
            texts = pa.compute.coalesce(mine.texts(), texts)
        elif not added.codes.any():
            continue
        labels = labels.replace(name, LabelColumn.from_texts(texts))
    joined = paired._replace(labels=labels, present=paired.present & its.present)
    there = np.zeros(base.present.shape, dtype=bool)
    np.logical_or.at(there, base_row, joined.present)
    if all(map(matches_empty, wanted)):
        joined = joined.concat(base._replace(present=base.present & ~there))
    return joined.compact()


_INF = np.float64(np.inf)


def _mapped(
    run: Evaluator,
    node: Call,
    times: NDArray[np.int64],
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> Vector:
    """A function of each number alone; histograms are left out."""
    vector = run.vector(node.args[0], times).floats()
    with np.errstate(all="ignore"):
        return vector._replace(value=function(vector.value)).drop_names()


def _math(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    return _mapped(run, node, times, instants.MATH[node.name])


def _date(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    if not node.args:
        return _single(instants.part_of_date(node.name, times / 1000)).drop_names()
    return _mapped(run, node, times, lambda value: instants.part_of_date(node.name, value))


def _constant(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    grid = run.grid
    values = {
        "pi": np.pi,
        "start": grid.start_ms / 1000,
        "end": grid.end_ms / 1000,
        "step": grid.step_ms / 1000,
        "range": (grid.end_ms - grid.start_ms) / 1000,
    }
    return np.full(len(times), values[node.name])


def _of_two(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    choose = np.minimum if node.name == "min_of" else np.maximum
    return choose(run.scalar(node.args[0], times), run.scalar(node.args[1], times))


def _vector(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    return _single(run.scalar(node.args[0], times))


def _single(value: NDArray[np.float64]) -> Vector:
    """One series without labels."""
    return Vector.of(Labels(1), np.ones((1, len(value)), dtype=bool), value[None, :])


def _scalar(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    vector = run.vector(node.args[0], times).floats()
    if not len(vector.labels):
        return np.full(len(times), np.nan)
    value = np.where(vector.present, vector.value, 0.0)
    alone = vector.present.sum(axis=0) == 1
    with np.errstate(invalid="ignore"):
        return np.where(alone, value.sum(axis=0), np.nan)


def _timestamp(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    inner = unwrap(node.args[0])
    if isinstance(inner, Selector) and not inner.mode:
        samples = run.read(inner.matchers)
        at = instant(samples, run.scope.moved(times, inner.moment), run.grid.lookback_ms)
        vector = pick(samples, at)
        seconds = samples.time[np.maximum(at, 0)] / 1000 if len(samples.time) else vector.value
    else:
        vector = run.vector(inner, times)
        seconds = np.broadcast_to((times / 1000)[None, :], vector.present.shape)
    return Vector(vector.labels, vector.dropped, vector.present, seconds).drop_names()


def _absent(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    vector = run.vector(node.args[0], times)
    return absence(node.args[0], ~by_step(vector.present))


def absence(node: Node, absent: NDArray[np.bool_]) -> Vector:
    """1 where there is nothing, with the labels that the selector fixes.

    Args:
        node: What was looked for.
        absent: bool, by step.
    """
    inner = unwrap(node)
    if isinstance(inner, Range):
        inner = inner.selector
    fixed = equal_values(inner.matchers) if isinstance(inner, Selector) else {}
    labels = Labels.single(fixed)
    return Vector.of(labels, absent[None, :], np.ones((1, len(absent)))).compact()


def _round(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    nearest = run.scalar(node.args[1], times) if len(node.args) > 1 else np.ones(len(times))
    return _mapped(run, node, times, lambda value: instants.rounded(value, nearest[None, :]))


def _clamp(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    limits = [run.scalar(arg, times) for arg in node.args[1:]]
    endless = np.full(len(times), _INF)
    low = -endless if node.name == "clamp_max" else limits[0]
    high = endless if node.name == "clamp_min" else limits[-1]
    vector = _mapped(
        run, node, times, lambda value: instants.clamped(value, low[None, :], high[None, :])
    )
    return vector._replace(present=vector.present & ~(low > high)[None, :])


def _sort(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    vector = run.vector(node.args[0], times)
    if run.grid.step_ms:
        run.annotations.sort_ineffective(node.place)
        return vector
    descending = node.name.endswith("_desc")
    if node.name.startswith("sort_by_label"):
        names = [run.text(arg) for arg in node.args[1:]]
        return instants.by_label(vector, names, descending=descending)
    vector = vector.floats().compact()
    value = vector.value[:, 0] if vector.value.shape[1] else np.zeros(0)
    order = np.lexsort((-value if descending else value, np.isnan(value)))
    return vector.take(order)._replace(ordered=True)


def _label_replace(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    target, template, source, pattern = (run.text(arg) for arg in node.args[1:])
    vector = run.vector(node.args[0], times).compact()
    return instants.label_replace(vector, target, template, source, pattern).unique()


def _label_join(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    target, separator, *sources = (run.text(arg) for arg in node.args[1:])
    vector = run.vector(node.args[0], times).compact()
    return instants.label_join(vector, target, separator, sources).unique()


def _info(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    base = run.vector(node.args[0], times)
    found = instant(samples := run.read(info_matchers(node)), times, run.grid.lookback_ms)
    wanted = tuple(one for one in data_matchers(node) if one.name != NAME)
    return enrich(base, pick(samples, found), wanted).unique()


INSTANT_CALLS: dict[str, FunctionCall] = {
    **dict.fromkeys(instants.MATH, _math),
    **dict.fromkeys(instants.DATES, _date),
    **dict.fromkeys(("pi", "start", "end", "step", "range"), _constant),
    **dict.fromkeys(("min_of", "max_of"), _of_two),
    **dict.fromkeys(("clamp", "clamp_max", "clamp_min"), _clamp),
    **dict.fromkeys(("sort", "sort_desc", "sort_by_label", "sort_by_label_desc"), _sort),
    "absent": _absent,
    "info": _info,
    "label_join": _label_join,
    "label_replace": _label_replace,
    "round": _round,
    "scalar": _scalar,
    "time": lambda run, node, times: times / 1000,  # noqa: ARG005 - every function has these
    "timestamp": _timestamp,
    "vector": _vector,
}
"""How each function is evaluated, by name."""
