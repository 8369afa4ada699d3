"""Binary operators: which samples meet, and what becomes of two that do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lakerunner.errors import QueryExecutionError
from lakerunner.query.promql.combining import combine, equal
from lakerunner.query.promql.histograms import Hint, Histograms, concat
from lakerunner.query.promql.labels import NAME, LabelColumn, Labels
from lakerunner.query.promql.series import NO_HISTOGRAM, Vector, by_step
from lakerunner.query.promql.syntax import COMPARISONS, Binary, Cardinality, Matching

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lakerunner.query.promql.annotations import Annotations

_OPERATIONS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.float_power,
    "atan2": np.arctan2,
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def compute(op: str, left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """An arithmetic operator, or a comparison as 0 and 1, on numbers."""
    with np.errstate(all="ignore"):
        return _OPERATIONS[op](left, right).astype(np.float64, copy=False)


class Operands(NamedTuple):
    """Two vectors whose series are paired: row by row.

    Attributes:
        left: The left one.
        right: The right one.
    """

    left: Vector
    right: Vector


def apply(
    node: Binary, operands: Operands, annotations: Annotations, *, keep_right: bool = False
) -> tuple[Vector, NDArray[np.bool_]]:
    """Apply an operator to paired samples.

    Args:
        node: Which operator.
        operands: The samples; labels of the result are those of the left.
        annotations: Where to note what is odd.
        keep_right: A comparison that filters keeps the right sample, not the left.

    Returns:
        The result, and where both operands had a sample.
    """
    left, right = operands
    both = left.present & right.present
    compares = node.op in COMPARISONS
    floats = both & left.is_float & right.is_float
    value = compute(node.op, left.value, right.value)
    kept = right if keep_right else left
    present = floats
    if compares and not node.bool_modifier:
        present = floats & (value != 0)
        value = kept.value
    result = Vector(left.labels, left.dropped, present, np.where(present, value, 0.0))
    if left.histogram is None and right.histogram is None:
        return result, both
    return _with_native(node, operands, result, annotations, kept), both


def _with_native(
    node: Binary, operands: Operands, result: Vector, annotations: Annotations, kept: Vector
) -> Vector:
    """Add what comes of samples of which one at least is a histogram."""
    left, right = operands
    both = left.present & right.present
    kinds = {
        ("float", "histogram"): both & left.is_float & right.is_histogram,
        ("histogram", "float"): both & left.is_histogram & right.is_float,
        ("histogram", "histogram"): both & left.is_histogram & right.is_histogram,
    }
    present, value = result.present.copy(), result.value.copy()
    number = np.full(present.shape, NO_HISTOGRAM, dtype=np.int64)
    parts: list[Histograms] = []

    def add(where: NDArray[np.bool_], made: Histograms) -> None:
        number[where] = np.arange(made.size) + sum(part.size for part in parts)
        present[where] = True
        parts.append(made)

    for (first, second), where in kinds.items():
        if not where.any():
            continue
        pair = (first, second)
        if pair == ("float", "histogram") and node.op == "*":
            add(where, _native(right, where).scale(left.value[where]))
        elif pair == ("histogram", "float") and node.op in "*/":
            source = _native(left, where)
            factor = right.value[where]
            add(where, source.scale(factor) if node.op == "*" else source.divide(factor))
        elif pair == ("histogram", "histogram") and node.op in ("+", "-"):
            made, good = _sum_or_difference(node, operands, where, annotations)
            cells = where.copy()
            cells[where] = good
            add(cells, made)
        elif pair == ("histogram", "histogram") and node.op in ("==", "!="):
            source = concat([_native(left, where), _native(right, where)])
            size = int(where.sum())
            rows = np.arange(size)
            same = equal(source, rows, rows + size) == (node.op == "==")
            if node.bool_modifier:
                present |= where
                value[where] = same
            else:
                cells = where.copy()
                cells[where] = same
                add(cells, _native(kept, cells))
        else:
            annotations.incompatible_types(first, node.op, second, node.place)
    result = result._replace(present=present, value=value)
    if not parts:
        return result
    return result._replace(histogram=number, histograms=concat(parts))


def _native(vector: Vector, where: NDArray[np.bool_]) -> Histograms:
    if vector.histogram is None:
        return Histograms.empty()
    return vector.histograms.take(vector.histogram[where])


def _sum_or_difference(
    node: Binary, operands: Operands, where: NDArray[np.bool_], annotations: Annotations
) -> tuple[Histograms, NDArray[np.bool_]]:
    left, right = _native(operands.left, where), _native(operands.right, where)
    size = left.size
    sign = np.repeat([1.0, 1.0 if node.op == "+" else -1.0], size)
    combined = combine(concat([left, right]), np.tile(np.arange(size), 2), size, sign)
    during = "addition" if node.op == "+" else "subtraction"
    if combined.mixed.any():
        annotations.incompatible_buckets(node.op, node.place)
    if (combined.reconciled & ~combined.mixed).any():
        annotations.mismatched_bounds(during, node.place)
    hints = np.stack([left.hint, right.hint])
    if ((hints == Hint.RESET).any(axis=0) & (hints == Hint.NOT_RESET).any(axis=0)).any():
        annotations.reset_collision(during, node.place)
    made = combined.histograms
    if node.op == "-":
        made = made.with_hint(Hint.GAUGE)
    else:
        agreed = np.where(hints[0] == hints[1], hints[0], int(Hint.UNKNOWN))
        gauge = (hints == Hint.GAUGE).any(axis=0)
        made = made._replace(hint=np.where(gauge, int(Hint.GAUGE), agreed))
    good = ~combined.mixed
    return made.take(np.flatnonzero(good)), good


class Signatures(NamedTuple):
    """The labels by which two vectors are matched.

    Attributes:
        left: int64: the match group of each series on the left.
        right: Of each series on the right.
        labels: The labels of each group.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    labels: Labels

    @property
    def size(self) -> int:
        """How many groups there are."""
        return len(self.labels)


def signatures(matching: Matching, left: Labels, right: Labels) -> Signatures:
    """Which series of two vectors have equal labels as far as they are compared."""
    both = left.concat(right)
    compared = both.keep(matching.labels) if matching.on else both.drop((NAME, *matching.labels))
    group, first = compared.groups()
    return Signatures(group[: left.size], group[left.size :], compared.take(first))


def set_operation(node: Binary, left: Vector, right: Vector) -> Vector:
    """`and`, `or` and `unless`."""
    match = signatures(node.matching, left.labels, right.labels)
    if node.op == "or":
        missing = ~_any(left.present, match.left, match.size)[match.right]
        return left.concat(right._replace(present=right.present & missing))
    there = _any(right.present, match.right, match.size)[match.left]
    return left._replace(present=left.present & (there if node.op == "and" else ~there))


def _any(present: NDArray[np.bool_], group: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    result = np.zeros((size, present.shape[1]), dtype=bool)
    np.logical_or.at(result, group, present)
    return result


def vectors(node: Binary, left: Vector, right: Vector, annotations: Annotations) -> Vector:
    """An operator between two vectors.

    Raises:
        QueryExecutionError: Several series match where only one may.
    """
    matching = node.matching
    left, right = left.compact(), right.compact()
    left, right = _filled(matching, left, right)
    if not len(left.labels) or not len(right.labels):
        return _nothing(left.present.shape[1])
    match = signatures(matching, left.labels, right.labels)
    flipped = matching.cardinality is Cardinality.ONE_TO_MANY
    many, one = (right, left) if flipped else (left, right)
    many_group, one_group = (match.right, match.left) if flipped else (match.left, match.right)
    # At a step at which one side has no samples at all, nothing meets and nothing is wrong.
    alive = by_step(left.present) & by_step(right.present)
    _refuse_many(one, one_group, match, alive, side="left" if flipped else "right")
    many_row, one_row = _pairs(many_group, one_group)
    if not len(many_row):
        return _nothing(left.present.shape[1])
    paired_many, paired_one = many.take(many_row), one.take(one_row)
    meets = paired_many.present & paired_one.present
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        count = np.zeros((match.size, meets.shape[1]), dtype=np.int64)
        np.add.at(count, many_group[many_row], meets)
        if (count > 1).any():
            message = "multiple matches for labels: many-to-one matching must be explicit "
            raise QueryExecutionError(f"{message}(group_left/group_right)")
    labels = _result_labels(node, paired_many, paired_one)
    pair = (paired_one, paired_many) if flipped else (paired_many, paired_one)
    result, _ = apply(node, Operands(*pair), annotations)
    drops = node.op not in COMPARISONS or node.bool_modifier
    dropped = np.ones(len(many_row), dtype=bool) if drops else paired_many.dropped
    if matching.cardinality is not Cardinality.ONE_TO_ONE:
        seen = Vector.of(_visible(labels, dropped), meets, np.zeros(meets.shape))
        if seen.merged()[1] >= 0:
            message = "multiple matches for labels: grouping labels must ensure unique matches"
            raise QueryExecutionError(message)
    return result._replace(labels=labels, dropped=dropped)


def _visible(labels: Labels, dropped: NDArray[np.bool_]) -> Labels:
    return labels.blank(NAME, dropped)


def _nothing(steps: int) -> Vector:
    return Vector.of(Labels(0), np.zeros((0, steps), dtype=bool), np.zeros((0, steps)))


def _filled(matching: Matching, left: Vector, right: Vector) -> tuple[Vector, Vector]:
    """Add the samples that `fill` puts where one side has none."""
    if matching.fill_left is None and matching.fill_right is None:
        return left, right
    match = signatures(matching, left.labels, right.labels)
    on_left = _any(left.present, match.left, match.size)
    on_right = _any(right.present, match.right, match.size)
    if matching.fill_right is not None:
        value = np.full(on_left.shape, matching.fill_right)
        right = right.concat(Vector.of(match.labels, on_left & ~on_right, value)).compact()
    if matching.fill_left is not None:
        value = np.full(on_left.shape, matching.fill_left)
        left = left.concat(Vector.of(match.labels, on_right & ~on_left, value)).compact()
    return left, right


def _refuse_many(
    one: Vector,
    group: NDArray[np.int64],
    match: Signatures,
    alive: NDArray[np.bool_],
    *,
    side: str,
) -> None:
    """Refuse two samples of one match group at one step, on the side that may have only one."""
    count = np.zeros((match.size, one.present.shape[1]), dtype=np.int64)
    np.add.at(count, group, one.present)
    bad = (count > 1) & alive[None, :]
    if not bad.any():
        return
    number, step = np.argwhere(bad)[0]
    rows = np.flatnonzero((group == number) & one.present[:, step])
    texts = sorted(one.labels.text(int(row)) for row in rows)[:2]
    raise QueryExecutionError(
        f"found duplicate series for the match group {match.labels.text(int(number))} on the "
        f"{side} hand-side of the operation: [{', '.join(texts)}];many-to-many matching not "
        "allowed: matching labels must be unique on one side"
    )


def _pairs(
    many: NDArray[np.int64], one: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of series in one match group."""
    order = np.argsort(one, kind="stable")
    begin = np.searchsorted(one[order], many, side="left")
    lengths = np.searchsorted(one[order], many, side="right") - begin
    many_row = np.repeat(np.arange(len(many)), lengths)
    ends = np.cumsum(lengths)
    at = np.arange(len(many_row)) + np.repeat(begin - (ends - lengths), lengths)
    return many_row, order[at]


def _result_labels(node: Binary, many: Vector, one: Vector) -> Labels:
    matching = node.matching
    labels = many.labels
    if node.op not in COMPARISONS:
        labels = labels.drop([NAME])
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        labels = labels.keep(matching.labels) if matching.on else labels.drop(matching.labels)
    for name in matching.include:
        found = one.labels.columns.get(name)
        if found is None:
            labels = labels.drop([name])
        else:
            labels = labels.replace(name, LabelColumn(found.codes, found.words))
    return labels
