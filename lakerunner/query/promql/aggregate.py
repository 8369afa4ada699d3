"""Aggregations over the series of a vector, at each step for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lakerunner.errors import QueryExecutionError
from lakerunner.query.promql.annotations import go_number
from lakerunner.query.promql.combining import combine
from lakerunner.query.promql.histograms import Hint, texts_of
from lakerunner.query.promql.labels import NAME, LabelColumn, Labels
from lakerunner.query.promql.over_time import group_sums, run_quantiles
from lakerunner.query.promql.rates import with_histograms
from lakerunner.query.promql.series import Vector
from lakerunner.query.promql.syntax import Aggregation, quote

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakerunner.query.promql.annotations import Annotations

_LARGEST_INT = 2.0**63


class Groups:
    """How the series of a vector fall into groups.

    Args:
        vector: The series.
        node: What groups them.

    Attributes:
        of: int64: the group of each series.
        labels: Of each group.
        dropped: bool: whether the name of a group is dropped from the result.
        size: How many groups.
    """

    def __init__(self, vector: Vector, node: Aggregation) -> None:
        kept = vector.labels
        kept = kept.drop((NAME, *node.labels)) if node.without else kept.keep(node.labels)
        self.of, first = kept.groups()
        self.labels = kept.take(first)
        self.size = len(first)
        self.dropped = np.zeros(self.size, dtype=bool)
        np.logical_or.at(self.dropped, self.of, vector.dropped)
        self._order = np.argsort(self.of, kind="stable")
        self._starts = np.searchsorted(self.of[self._order], np.arange(self.size))

    def reduce(self, ufunc: np.ufunc, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Reduce the rows of a matrix by group."""
        return ufunc.reduceat(matrix[self._order], self._starts, axis=0)

    def counts(self, matrix: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many rows of each group are true, by column."""
        ordered = matrix[self._order].astype(np.int64)
        result: NDArray[np.int64] = np.add.reduceat(ordered, self._starts, axis=0)
        return result

    def vector(self, present: NDArray[np.bool_], value: NDArray[np.float64]) -> Vector:
        """A vector with one series for each group."""
        return Vector(self.labels, self.dropped, present, value)


def aggregate(
    node: Aggregation,
    vector: Vector,
    parameter: NDArray[np.float64],
    text: str,
    annotations: Annotations,
) -> Vector:
    """Aggregate a vector.

    Args:
        node: Which aggregation, and how it groups.
        vector: What is aggregated.
        parameter: A number for each step, for those that take one.
        text: The label that `count_values` writes.
        annotations: Where to note what is odd.

    Raises:
        QueryExecutionError: The parameter cannot be used.
    """
    vector = vector.compact()
    steps = vector.present.shape[1]
    if not len(vector.labels):
        _check_parameter(node, parameter)
        return Vector.of(Labels(0), np.zeros((0, steps), dtype=bool), np.zeros((0, steps)))
    groups = Groups(vector, node)
    match node.op:
        case "sum" | "avg":
            result = _sums(node, vector, groups, annotations)
        case "count" | "group":
            counts = groups.counts(vector.present).astype(np.float64)
            value = counts if node.op == "count" else np.ones(counts.shape)
            result = groups.vector(counts > 0, value)
        case "count_values":
            result = _count_values(node, vector, text)
        case "limitk":
            _check_parameter(node, parameter)
            result = _limited(vector, groups, np.trunc(parameter))
        case "limit_ratio":
            _check_parameter(node, parameter)
            result = _ratio(node, vector, parameter, annotations)
        case _:
            _check_parameter(node, parameter)
            result = _of_floats(node, vector, groups, parameter, annotations)
    return result


def _of_floats(
    node: Aggregation,
    vector: Vector,
    groups: Groups,
    parameter: NDArray[np.float64],
    annotations: Annotations,
) -> Vector:
    """Aggregations that pass over histograms."""
    if vector.is_histogram.any():
        annotations.ignored_in_aggregation(node.op, node.place)
    floats = vector.floats()
    if node.op in ("topk", "bottomk"):
        return _extremes(floats, groups, np.trunc(parameter), largest=node.op == "topk")
    present = floats.present
    count = groups.counts(present)
    some = count > 0
    if node.op in ("min", "max"):
        filled = np.where(present, floats.value, np.nan)
        reduced = groups.reduce(np.fmin if node.op == "min" else np.fmax, filled)
        return groups.vector(some, reduced)
    if node.op == "quantile":
        for q in np.unique(parameter):
            if not 0 <= q <= 1:
                place = node.place if node.parameter is None else node.parameter.place
                annotations.invalid_quantile(float(q), place)
        return groups.vector(some, _quantiles(floats, groups, count, parameter))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        filled = np.where(present, floats.value, 0.0)
        mean = group_sums(filled, groups.of, groups.size) / count
        off = np.where(present, floats.value - mean[groups.of], 0.0)
        # What the mean was off by, so that equal samples have no variance at all.
        mean = group_sums(off, groups.of, groups.size) / count
        off = np.where(present, off - mean[groups.of], 0.0)
        variance = group_sums(off * off, groups.of, groups.size) / count
    return groups.vector(some, np.sqrt(variance) if node.op == "stddev" else variance)


def _check_parameter(node: Aggregation, parameter: NDArray[np.float64]) -> None:
    """Refuse a number of series, or a share of them, that is none."""
    if node.op not in ("topk", "bottomk", "limitk", "limit_ratio"):
        return
    what = "Ratio" if node.op == "limit_ratio" else "Parameter"
    if np.isnan(parameter).any():
        raise QueryExecutionError(f"{what} value is NaN")
    if what == "Ratio":
        return
    for bad, fault in (
        (parameter >= _LARGEST_INT, "overflows"),
        (parameter <= -_LARGEST_INT, "underflows"),
    ):
        if bad.any():
            value = go_number(float(parameter[bad][0]))
            raise QueryExecutionError(f"Scalar value {value} {fault} int64")


def _sums(node: Aggregation, vector: Vector, groups: Groups, annotations: Annotations) -> Vector:
    floats, histograms = vector.is_float, vector.is_histogram
    count = groups.counts(floats)
    value = np.where(floats, vector.value, 0.0)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        total = group_sums(value, groups.of, groups.size)
        if node.op == "avg":
            average = total / count
            over = np.isinf(average)
            if over.any():
                again = group_sums(value / 2.0**12, groups.of, groups.size) / count * 2.0**12
                average = np.where(over, again, average)
            total = average
    native = groups.counts(histograms)
    mixed = (count > 0) & (native > 0)
    if mixed.any():
        annotations.mixed_in_aggregation(node.expr.place)
    result = groups.vector((count > 0) & ~mixed, total)
    wanted = (native > 0) & ~mixed
    if not wanted.any() or vector.histogram is None:
        return result
    cell = np.full(wanted.shape, -1)
    cell[wanted] = np.arange(int(wanted.sum()))
    row, step = np.nonzero(histograms & wanted[groups.of])
    group = cell[groups.of[row], step]
    number = vector.histogram[row, step]
    picked = vector.histograms.take(number)
    combined = combine(picked, group, int(wanted.sum()))
    hints = vector.histograms.hint[number]
    reset = np.bincount(group[hints == Hint.RESET], minlength=len(combined.mixed)) > 0
    kept = np.bincount(group[hints == Hint.NOT_RESET], minlength=len(combined.mixed)) > 0
    if (reset & kept).any():
        annotations.reset_collision("aggregation", node.expr.place)
    if combined.mixed.any():
        annotations.mixed_exponential_custom("", node.expr.place)
    if (combined.reconciled & ~combined.mixed).any():
        annotations.mismatched_bounds("aggregation", node.expr.place)
    made = combined.histograms
    made = made._replace(hint=_common_hints(group, hints, made.size))
    if node.op == "avg":
        made = made.divide(native[wanted].astype(np.float64))
    good = ~combined.mixed
    where = wanted.copy()
    where[wanted] = good
    return with_histograms(result, where, made.take(np.flatnonzero(good)))


def _common_hints(
    group: NDArray[np.int64], hints: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """The hint of a sum: gauge where one term is, what all say where they agree, else unknown."""
    low = np.full(size, np.iinfo(np.int64).max)
    high = np.full(size, -1)
    np.minimum.at(low, group, hints)
    np.maximum.at(high, group, hints)
    return np.where(high == Hint.GAUGE, int(Hint.GAUGE), np.where(low == high, low, 0))


class _Cells:
    """The samples of a vector one by one, sorted by group, step, and then as asked for.

    Attributes:
        row: The series of each.
        step: Its step.
        rank: Its place within its group and step, from 0.
    """

    def __init__(
        self, present: NDArray[np.bool_], group: NDArray[np.int64], *keys: NDArray[np.generic]
    ) -> None:
        row, step = np.nonzero(present)
        run = group[row] * present.shape[1] + step
        order = np.lexsort((row, *(key[row, step] for key in reversed(keys)), run))
        self.row, self.step = row[order], step[order]
        run = run[order]
        first = np.ones(len(run), dtype=bool)
        first[1:] = run[1:] != run[:-1]
        starts = np.flatnonzero(first)
        self.starts = starts
        self.lengths = np.diff(np.append(starts, len(run)))
        self.rank = np.arange(len(run)) - np.repeat(starts, self.lengths)


def _quantiles(
    floats: Vector, groups: Groups, count: NDArray[np.int64], q: NDArray[np.float64]
) -> NDArray[np.float64]:
    cells = _Cells(floats.present, groups.of)
    values = floats.value[cells.row, cells.step]
    found = run_quantiles(values, cells.lengths, q[cells.step[cells.starts]])
    result = np.zeros(count.shape)
    result[groups.of[cells.row[cells.starts]], cells.step[cells.starts]] = found
    return result


def _extremes(floats: Vector, groups: Groups, k: NDArray[np.float64], *, largest: bool) -> Vector:
    """The k largest or smallest samples of each group; NaN only where there is nothing else."""
    value = floats.value
    cells = _Cells(floats.present, groups.of, np.isnan(value), -value if largest else value)
    kept = cells.rank < k[cells.step]
    present = np.zeros(floats.present.shape, dtype=bool)
    present[cells.row[kept], cells.step[kept]] = True
    chosen = floats._replace(present=present)
    if len(k) == 1:
        return chosen.take(cells.row[kept])._replace(ordered=True)
    return chosen


def _limited(vector: Vector, groups: Groups, k: NDArray[np.float64]) -> Vector:
    """The first k samples of each group, in the order of their labels."""
    place = np.empty(len(vector.labels), dtype=np.int64)
    place[vector.labels.order()] = np.arange(len(vector.labels))
    place_by_cell = np.broadcast_to(place[:, None], vector.present.shape)
    cells = _Cells(vector.present, groups.of, place_by_cell)
    kept = cells.rank < k[cells.step]
    present = np.zeros(vector.present.shape, dtype=bool)
    present[cells.row[kept], cells.step[kept]] = True
    return vector._replace(present=present)


def _ratio(
    node: Aggregation, vector: Vector, ratio: NDArray[np.float64], annotations: Annotations
) -> Vector:
    """A share of the series, the same ones at every step; a negative share is the rest."""
    for value in np.unique(ratio):
        if abs(value) > 1:
            place = node.place if node.parameter is None else node.parameter.place
            annotations.invalid_ratio(float(value), float(np.sign(value)), place)
    share = np.clip(ratio, -1, 1)[None, :]
    offset = label_shares(vector.labels)[:, None]
    taken = np.where(share >= 0, offset < share, offset >= 1 + share)
    return vector._replace(present=vector.present & taken)


def label_shares(labels: Labels) -> NDArray[np.float64]:
    """A number in [0, 1) for each series that depends on its labels alone."""
    mixed = np.full(len(labels), 0x9E3779B97F4A7C15, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for name, column in sorted(labels.columns.items()):
            pairs = [f"{name}\xff{word}\xff" for word in column.words.to_pylist()]
            words = _scrambled(pa.array(pairs))[column.codes]
            present = column.codes != 0
            mixed = np.where(present, _stirred(mixed ^ words), mixed)
    return mixed.astype(np.float64) / 2.0**64


def _scrambled(texts: pa.Array) -> NDArray[np.uint64]:
    """A hash of each of some distinct texts (FNV-1a, then stirred)."""
    result = np.full(len(texts), 0xCBF29CE484222325, dtype=np.uint64)
    data = np.frombuffer(texts.buffers()[2] or b"", dtype=np.uint8)
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int32)[: len(texts) + 1].astype(np.int64)
    lengths = np.diff(offsets)
    for place in range(int(lengths.max(initial=0))):
        here = place < lengths
        result[here] ^= data[offsets[:-1][here] + place]
        result[here] *= np.uint64(0x100000001B3)
    return _stirred(result)


def _stirred(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: every bit depends on all others."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _count_values(node: Aggregation, vector: Vector, label: str) -> Vector:
    """How often each value occurs in each group."""
    if not label or any("\ud800" <= char < "\ue000" for char in label):
        raise QueryExecutionError(f"invalid label name {go_quote(label)}")
    row, step = np.nonzero(vector.present)
    words = _value_texts(vector, row, step)
    kept = vector.labels
    kept = kept.drop((NAME, *node.labels)) if node.without else kept.keep(node.labels)
    cells = kept.take(row).replace(label, LabelColumn.from_texts(words))
    group, first = cells.groups()
    counts = np.zeros((len(first), vector.present.shape[1]))
    np.add.at(counts, (group, step), 1.0)
    return Vector(
        cells.take(first),
        vector.dropped[row[first]] if len(first) else np.zeros(0, dtype=bool),
        counts > 0,
        counts,
    )


def _value_texts(vector: Vector, row: NDArray[np.int64], step: NDArray[np.int64]) -> pa.Array:
    values, back = np.unique(vector.value[row, step], return_inverse=True)
    texts = [decimal(float(value)) for value in values]
    if vector.histogram is not None:
        number = vector.histogram[row, step]
        distinct, place = np.unique(number, return_inverse=True)
        kept = distinct >= 0
        described = iter(texts_of(vector.histograms.take(distinct[kept])))
        by_number = [next(described) if one else "" for one in kept]
        back = np.where(number >= 0, len(texts) + place, back)
        texts += by_number
    return pa.array(texts, pa.string()).take(pa.array(back))


def decimal(value: float) -> str:
    """A number without an exponent, as short as it can be told from all others.

    Example:
        >>> decimal(1e21), decimal(0.5), decimal(7.0)
        ('1000000000000000000000', '0.5', '7')
    """
    if not np.isfinite(value):
        return go_number(value)
    return np.format_float_positional(value, trim="-")


def go_quote(text: str) -> str:
    r"""A string as Go's `%q` prints it; bytes that are no text as `\xNN`.

    Example:
        >>> go_quote("a" + chr(0xDCC5) + "z")
        '"a\\xc5z"'
    """
    return "".join(
        f"\\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else char
        for char in quote(text)
    )
