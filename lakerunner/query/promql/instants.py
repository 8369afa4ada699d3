"""Functions of one vector: arithmetic on numbers, parts of dates, labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import QueryExecutionError
from lakerunner.query.promql import quantiles
from lakerunner.query.promql.aggregate import go_quote
from lakerunner.query.promql.annotations import go_number
from lakerunner.query.promql.labels import NAME, LabelColumn, Labels
from lakerunner.query.promql.selectors import regex_fault
from lakerunner.query.promql.series import Vector, by_series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lakerunner.query.promql.calls import FunctionCall
    from lakerunner.query.promql.evaluate import Evaluator, Value
    from lakerunner.query.promql.histograms import Histograms
    from lakerunner.query.promql.syntax import Call, Place

_GROUP = re.compile(r"\$(?:\$|\{([^}]*)\}|([A-Za-z0-9_]+))")
_NAMED_GROUP = re.compile(r"\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>")


MATH: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "deg": np.rad2deg,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rad": np.deg2rad,
    "sgn": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}
"""Functions of each number alone."""


def _dates(seconds: NDArray[np.float64]) -> NDArray[np.datetime64]:
    whole = np.where(np.isfinite(seconds), seconds, 0.0)
    limits = np.iinfo(np.int64)
    clipped = np.clip(np.trunc(whole), limits.min / 2, limits.max / 2)
    return clipped.astype(np.int64).astype("datetime64[s]")


def _days_in_month(dates: NDArray[np.datetime64]) -> NDArray[np.int64]:
    months = dates.astype("datetime64[M]")
    days = (months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")
    result: NDArray[np.int64] = days.astype(np.int64)
    return result


def _since(dates: NDArray[np.datetime64], unit: str, within: str) -> NDArray[np.int64]:
    """How many whole units have passed since the last larger unit began."""
    begun = dates.astype(f"datetime64[{within}]").astype(f"datetime64[{unit}]")
    result: NDArray[np.int64] = (dates.astype(f"datetime64[{unit}]") - begun).astype(np.int64)
    return result


DATES: dict[str, Callable[[NDArray[np.datetime64]], NDArray[np.int64]]] = {
    "day_of_month": lambda d: _since(d, "D", "M") + 1,
    "day_of_week": lambda d: (d.astype("datetime64[D]").astype(np.int64) + 4) % 7,
    "day_of_year": lambda d: _since(d, "D", "Y") + 1,
    "days_in_month": _days_in_month,
    "hour": lambda d: _since(d, "h", "D"),
    "minute": lambda d: _since(d, "m", "h"),
    "month": lambda d: _since(d, "M", "Y") + 1,
    "year": lambda d: d.astype("datetime64[Y]").astype(np.int64) + 1970,
}
"""Parts of a date in UTC, which the number gives in seconds since the epoch."""


def part_of_date(name: str, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """A part of each date; NaN for what is no date."""
    found = DATES[name](_dates(seconds)).astype(np.float64)
    return np.where(np.isfinite(seconds), found, np.nan)


def rounded(value: NDArray[np.float64], nearest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each number brought to the nearest multiple, halves upwards."""
    with np.errstate(all="ignore"):
        # To divide by the inverse keeps decimal fractions exact.
        inverse = 1.0 / nearest
        return np.floor(value * inverse + 0.5) / inverse


def clamped(
    value: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each number brought between two others; NaN if one of these is."""
    return np.maximum(low, np.minimum(high, value))


def label_replace(vector: Vector, target: str, template: str, source: str, pattern: str) -> Vector:
    """Set a label from the parts of another one, where a regular expression matches all of it.

    Raises:
        QueryExecutionError: The expression is not RE2's, or the label's name is none.
    """
    fault = regex_fault(pattern)
    if fault:
        raise QueryExecutionError(
            f"invalid regular expression in label_replace(): {go_quote(pattern)}"
        )
    _check_label(target, "label_replace")
    whole = f"^(?s:{pattern})$"
    column = _column(vector.labels, source)
    matches = pc.match_substring_regex(column.words, whole)
    written = pc.replace_substring_regex(column.words, whole, _template(template, pattern))
    kept = _column(vector.labels, target)
    texts = pc.if_else(
        matches.take(pa.array(column.codes)),
        written.take(pa.array(column.codes)),
        kept.words.take(pa.array(kept.codes)),
    )
    return _relabelled(vector, target, LabelColumn.from_texts(texts), matches, column)


def _relabelled(
    vector: Vector,
    target: str,
    column: LabelColumn,
    matches: pa.BooleanArray,
    source: LabelColumn,
) -> Vector:
    labels = vector.labels.replace(target, column)
    dropped = vector.dropped
    if target == NAME:
        # A name that is set here stays.
        hit = matches.to_numpy(zero_copy_only=False)[source.codes]
        dropped = dropped & ~hit
    return vector._replace(labels=labels, dropped=dropped)


def label_join(vector: Vector, target: str, separator: str, sources: Sequence[str]) -> Vector:
    """Set a label to several others, put together.

    Raises:
        QueryExecutionError: A label's name is none.
    """
    _check_label(target, "label_join")
    for name in sources:
        _check_label(name, "label_join")
    parts = [vector.labels.texts(name).fill_null("") for name in sources]
    texts = (
        pc.binary_join_element_wise(*parts, separator)
        if parts
        else pa.array([""] * len(vector.labels), pa.string())
    )
    labels = vector.labels.replace(target, LabelColumn.from_texts(texts))
    dropped = np.zeros_like(vector.dropped) if target == NAME else vector.dropped
    return vector._replace(labels=labels, dropped=dropped)


def by_label(vector: Vector, names: Sequence[str], *, descending: bool) -> Vector:
    """The series in the natural order of some labels (digits count as numbers), then of all."""
    places = np.empty(len(vector.labels), dtype=np.int64)
    places[vector.labels.order()] = np.arange(len(vector.labels))
    keys = [places]
    for name in reversed(names):
        column = _column(vector.labels, name)
        keys.append(_natural_ranks(column.words)[column.codes])
    order = np.lexsort([-key for key in keys] if descending else keys)
    return vector.take(order)._replace(ordered=True)


def _natural_ranks(words: pa.StringArray) -> NDArray[np.int64]:
    texts = words.to_pylist()
    pieces = [
        [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _RUNS.findall(text)]
        for text in texts
    ]
    order = sorted(range(len(texts)), key=lambda at: (pieces[at], texts[at]))
    ranks = np.empty(len(texts), dtype=np.int64)
    ranks[order] = np.arange(len(texts))
    return ranks


_RUNS = re.compile(r"[0-9]+|[^0-9]+")


def _column(labels: Labels, name: str) -> LabelColumn:
    found = labels.columns.get(name)
    if found is not None:
        return found
    return LabelColumn(np.zeros(len(labels), dtype=np.int32), pa.array([""]))


def _check_label(name: str, function: str) -> None:
    if not name and function == "label_join":
        return
    if not name or any("\ud800" <= char < "\ue000" for char in name):
        kind = "destination" if function == "label_replace" else "source"
        raise QueryExecutionError(f"invalid {kind} label name in {function}(): {go_quote(name)}")


def _template(template: str, pattern: str) -> str:
    """A replacement as Go writes it (`$1`, `${name}`), as RE2 writes it."""
    named = {name: place for place, name in _group_names(pattern).items()}
    count = re.compile(r"\\.|\[(?:\\.|[^\]])*\]|\((?!\?)|\(\?P?<(?![=!])").findall(pattern)
    groups = sum(one.startswith("(") for one in count)
    parts, end = [], 0
    for found in _GROUP.finditer(template):
        parts.append(template[end : found.start()].replace("\\", "\\\\"))
        end = found.end()
        if found.group() == "$$":
            parts.append("$")
            continue
        name = found.group(1) or found.group(2) or ""
        number = int(name) if name.isdigit() else named.get(name, -1)
        if 0 <= number <= min(groups, 9):
            parts.append(f"\\{number}")
    parts.append(template[end:].replace("\\", "\\\\"))
    return "".join(parts)


def _group_names(pattern: str) -> dict[int, str]:
    names, place = {}, 0
    for found in re.finditer(r"\\.|\((?!\?)|\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>", pattern):
        if found.group().startswith("("):
            place += 1
            if found.group(1):
                names[place] = found.group(1)
    return names


def with_number_label(vector: Vector, name: str, value: float) -> Vector:
    """The series with one more label, whose value is a number."""
    text = "NaN" if np.isnan(value) else go_number(float(value))
    column = LabelColumn.from_texts(pa.array([text] * len(vector.labels), pa.string()))
    return vector._replace(labels=vector.labels.replace(name, column))


# Functions of histograms, classic and native alike.


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
