"""Evaluate an expression: every node at all steps at once, from the samples its selectors read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from lakerunner.errors import QueryExecutionError
from lakerunner.query.promql.aggregate import aggregate
from lakerunner.query.promql.annotations import Annotations
from lakerunner.query.promql.binary import Operands, apply, compute, set_operation, vectors
from lakerunner.query.promql.calls import INSTANT_CALLS
from lakerunner.query.promql.checks import FUNCTIONS, type_of
from lakerunner.query.promql.grid import SUMMED, Grid, Read, Scope, reads
from lakerunner.query.promql.histograms import Hint
from lakerunner.query.promql.instants import HISTOGRAM_CALLS, MATH
from lakerunner.query.promql.labels import NAME
from lakerunner.query.promql.range_calls import RANGE_CALLS, Extended, smoothed_instant
from lakerunner.query.promql.rates import Notes
from lakerunner.query.promql.series import Samples, Vector, Windows, instant, pick
from lakerunner.query.promql.syntax import (
    COMPARISONS,
    SETS,
    Aggregation,
    Binary,
    Call,
    Matcher,
    Node,
    Number,
    Parens,
    Range,
    Selector,
    Subquery,
    Text,
    Unary,
    ValueType,
    children,
    unwrap,
)
from lakerunner.schema.arrays import expand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lakerunner.query.promql.reading import Piece
    from lakerunner.query.promql.summed import Summed

    Value = Vector | NDArray[np.float64] | str

# Which parts of an expression can be evaluated for some series after the others.
#
# That is so where each series of the result comes of one series of one selector alone. An
# aggregation
# needs all of them, and so does what looks for partners or pairs; but what it aggregates may do
# with
# less. So the samples of a million series never are in memory at once: only the values at the
# steps.

_OF_ONE_SERIES = frozenset(MATH) | {"clamp", "clamp_max", "clamp_min", "round", "timestamp"}
_OF_ONE_RANGE = frozenset(
    name for name, one in FUNCTIONS.items() if ValueType.MATRIX in one.args
) - {"absent_over_time"}


def lone_selector(node: Node) -> tuple[Matcher, ...] | None:
    """The conditions of the only selector of a node that takes each series by itself; else None.

    Example:
        >>> from lakerunner.query.promql.parser import parse
        >>> [str(one) for one in lone_selector(parse("-(rate(m[5m]) * 2)"))]
        ['__name__="m"']
        >>> lone_selector(parse("sum(m)")), lone_selector(parse("m / m"))
        (None, None)
    """
    match node:
        case Selector() | Range(selector=Selector()):
            selector = node.selector if isinstance(node, Range) else node
            return selector.matchers
        case Parens(expr=expr) | Unary(expr=expr):
            return lone_selector(expr)
        case Binary() if ValueType.SCALAR in (type_of(node.left), type_of(node.right)):
            return _only(node)
        case Call(name=name) if name in _OF_ONE_SERIES | _OF_ONE_RANGE:
            return _only(node)
    return None


def _only(node: Node) -> tuple[Matcher, ...] | None:
    """Of the parts of a node, one has a selector, and takes each series by itself."""
    parts = [child for child in children(node) if any(selectors(child))]
    return lone_selector(parts[0]) if len(parts) == 1 else None


def selectors(node: Node) -> Iterator[Selector]:
    """All selectors of an expression, in the order of the text."""
    if isinstance(node, Selector):
        yield node
    for child in children(node):
        yield from selectors(child)


def undivided(node: Node) -> bool:
    """Whether some selector of an expression is read as a whole, all of its series at once."""
    if isinstance(node, Range) or (isinstance(node, Call) and node.name == "info"):
        return True  # what `info` adds is looked for among all series that have it
    return lone_selector(node) is None and any(map(undivided, children(node)))


class SeriesSource(Protocol):
    """Where samples come from."""

    def pieces(self, read: Read) -> Sequence[Piece]:
        """The series that fulfil the conditions, in pieces that fit in memory."""
        ...

    def select(self, read: Read, piece: Piece | None = None) -> Samples:
        """The samples of the series that fulfil the conditions, or of a piece of them."""
        ...

    def summed(self, read: Read) -> Summed | None:
        """What they were summed up to, where that may do instead."""
        ...

    def refuse_sums(self, read: Read) -> None:
        """It does not: from now on `summed` says None."""
        ...

    def refuse_steps(self, several: Sequence[Read], steps: int) -> None:
        """Raise an error if values of these series at so many times do not fit in memory."""
        ...

    def go_on(self) -> None:
        """Raise an error if nobody waits for the answer any more, or its time is over."""
        ...


class Answer(NamedTuple):
    """What a query evaluates to.

    Attributes:
        kind: What it is.
        times: int64, milliseconds: of the steps.
        vector: Of a vector: the series. Two never have equal labels.
        samples: Of a range vector: its samples.
        scalar: Of a scalar: float64, one a step.
        text: Of a string.
        warnings: What may be wrong with the answer.
        infos: What may be odd about it.
    """

    kind: ValueType
    times: NDArray[np.int64]
    vector: Vector | None = None
    samples: Samples | None = None
    scalar: NDArray[np.float64] | None = None
    text: str | None = None
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()


def evaluate(text: str, node: Node, grid: Grid, source: SeriesSource) -> Answer:
    """Evaluate an expression.

    Args:
        text: The query, for positions in notes.
        node: Its tree.
        grid: When.
        source: What is read.

    Raises:
        QueryExecutionError: The expression cannot be evaluated over what was read, as where several
            series match and only one may.
    """
    notes = Annotations(text)
    evaluator = Evaluator(grid, source, notes, reads(node, grid))
    answer = Answer(type_of(node), grid.times)
    if answer.kind is ValueType.MATRIX:
        answer = answer._replace(samples=evaluator.range_samples(unwrap(node), grid.times))
    else:
        value = evaluator.value(node, grid.times)
        if isinstance(value, str):
            answer = answer._replace(text=value)
        elif isinstance(value, Vector):
            answer = answer._replace(vector=value.without_dropped().compact().unique())
        else:
            answer = answer._replace(scalar=value)
    return answer._replace(warnings=tuple(notes.warnings), infos=tuple(notes.infos))


class Evaluator:
    """Evaluates nodes over what was read for all of them."""

    def __init__(
        self, grid: Grid, source: SeriesSource, annotations: Annotations, read: Sequence[Read]
    ) -> None:
        self.grid = grid
        self.scope = Scope(grid)
        self.annotations = annotations
        self._source = source
        self._reads: Mapping[tuple[Matcher, ...], Read] = {one.matchers: one for one in read}
        self._samples: dict[tuple[Matcher, ...], Samples] = {}
        self._piece: Piece | None = None

    # Values by kind

    def value(self, node: Node, times: NDArray[np.int64]) -> Value:
        """What a node that is no range evaluates to, at each of some ascending times."""
        if pieces := self._pieces(node):
            return self._in_pieces(node, times, pieces)
        return self._evaluated(node, times)

    def _evaluated(self, node: Node, times: NDArray[np.int64]) -> Value:
        self._source.go_on()
        match node:
            case Number(value=value):
                found: Value = np.full(len(times), value)
            case Text(value=text):
                found = text
            case Parens(expr=expr):
                found = self.value(expr, times)
            case Selector():
                found = self._selected(node, times)
            case Unary():
                found = self._signed(node, times)
            case Binary():
                found = self._binary(node, times)
            case Aggregation():
                found = self._aggregated(node, times)
            case Call(name=name) if (
                name in SUMMED and (summed := self.from_sums(node, times)) is not None
            ):
                found = summed
            case Call():
                found = CALLS[node.name](self, node, times)
            case _:
                raise AssertionError(node)
        return found

    def _pieces(self, node: Node) -> Sequence[Piece]:
        """The pieces in which the samples of a node are to be read; nothing if at once."""
        if self._piece is not None or (matchers := lone_selector(node)) is None:
            return ()
        if matchers in self._samples or self._source.summed(self._reads[matchers]) is not None:
            return ()
        pieces = self._source.pieces(self._reads[matchers])
        return pieces if len(pieces) > 1 else ()

    def _in_pieces(self, node: Node, times: NDArray[np.int64], pieces: Sequence[Piece]) -> Vector:
        """A node that takes each series by itself, some series after the others."""
        found: Vector | None = None
        try:
            for piece in pieces:
                self._piece = piece
                part = self.vector(node, times).compact()
                found = part if found is None else found.concat(part)
                self._samples.clear()
        finally:
            self._piece = None
        if found is None:
            raise TypeError(node)
        return found

    def vector(self, node: Node, times: NDArray[np.int64]) -> Vector:
        """The same for a node that is an instant vector."""
        value = self.value(node, times)
        if not isinstance(value, Vector):
            raise TypeError(node)
        return value

    def scalar(self, node: Node, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same for a node that is a scalar: float64, one a time."""
        value = self.value(node, times)
        if isinstance(value, Vector | str):
            raise TypeError(node)
        return value

    def text(self, node: Node) -> str:
        """The value of a string literal."""
        inner = unwrap(node)
        if not isinstance(inner, Text):
            raise TypeError(node)
        return inner.value

    # Samples

    def read(self, matchers: tuple[Matcher, ...]) -> Samples:
        """All samples that selectors with these conditions see."""
        found = self._samples.get(matchers)
        if found is None:
            found = self._source.select(self._reads[matchers], self._piece)
            self._samples[matchers] = found
        return found

    def from_sums(self, node: Call, times: NDArray[np.int64]) -> Vector | None:
        """What a function of a range gives by what its samples were summed up to; else None."""
        inner = unwrap(node.args[0])
        if not isinstance(inner, Range) or inner.selector.mode:
            return None
        read = self._reads[inner.selector.matchers]
        summed = self._source.summed(read)
        if summed is None:
            return None
        ends = self.scope.moved(times, inner.selector.moment)
        length = self.scope.length_ms(inner.length)
        found = summed.answer(node.name, ends, length, self.notes_at(node.args[0]))
        if found is None:
            self._source.refuse_sums(read)
            if pieces := self._pieces(node):
                return self._in_pieces(node, times, pieces)
        return found

    def _selected(self, node: Selector, times: NDArray[np.int64]) -> Vector:
        if node.mode == "anchored":
            raise QueryExecutionError("anchored modifier can only be used with range selectors")
        samples = self.read(node.matchers)
        moved = self.scope.moved(times, node.moment)
        if node.mode == "smoothed":
            return smoothed_instant(samples, moved, self.grid.lookback_ms)
        return pick(samples, instant(samples, moved, self.grid.lookback_ms))

    def notes_at(self, node: Node) -> Notes:
        """Where a function notes what is odd about an argument."""
        return Notes(self.annotations, node.place)

    def windows(self, node: Node, times: NDArray[np.int64]) -> Windows:
        """The samples of a range or a subquery, at each of some ascending times."""
        inner = unwrap(node)
        match inner:
            case Range(selector=selector):
                if selector.mode:
                    raise QueryExecutionError(f"a range that is {selector.mode} is no answer")
                ends = self.scope.moved(times, selector.moment)
                length = self.scope.length_ms(inner.length)
                return Windows.over(self.read(selector.matchers), ends, length)
            case Subquery():
                inner_times = self.scope.inner_times(inner, times)
                seen = {one.matchers for one in selectors(inner.expr)}
                several = [read for matchers, read in self._reads.items() if matchers in seen]
                self._source.refuse_steps(several, len(inner_times))
                at = np.arange(
                    inner_times.start, inner_times.stop, inner_times.step, dtype=np.int64
                )
                ends = self.scope.moved(times, inner.moment)
                length = self.scope.length_ms(inner.length)
                if not len(at):
                    return Windows.over(Samples.empty(), ends, length)
                vector = self.vector(inner.expr, at).compact().unique()
                return Windows.over(vector.samples(at), ends, length)
        raise TypeError(node)

    def extended(self, node: Node, times: NDArray[np.int64]) -> Extended | None:
        """The samples of a range that is anchored or smoothed; None if it is neither."""
        inner = unwrap(node)
        if not isinstance(inner, Range) or not inner.selector.mode:
            return None
        selector = inner.selector
        return Extended.over(
            self.read(selector.matchers),
            self.scope.moved(times, selector.moment),
            self.scope.length_ms(inner.length),
            self.grid.lookback_ms,
            smoothed=selector.mode == "smoothed",
        )

    def range_samples(self, node: Node, times: NDArray[np.int64]) -> Samples:
        """The samples of a range at a single time."""
        windows = self.windows(node, times)
        samples = windows.samples
        lo, hi = windows.lo[:, 0], windows.hi[:, 0]
        kept = np.flatnonzero(hi > lo)
        picked = expand(lo[kept], (hi - lo)[kept])
        return samples._replace(
            labels=samples.labels.take(kept).blank(NAME, samples.dropped[kept]),
            dropped=samples.dropped[kept],
            offsets=np.concatenate([[0], np.cumsum((hi - lo)[kept])]),
            time=samples.time[picked],
            value=samples.value[picked],
            histogram=samples.histogram[picked],
            stale=samples.stale[picked],
            start=samples.start[picked],
            delta=samples.delta[kept],
        )

    # Operators

    def _signed(self, node: Unary, times: NDArray[np.int64]) -> Value:
        value = self.value(node.expr, times)
        if node.op == "+" or isinstance(value, str):
            return value
        if not isinstance(value, Vector):
            return -value
        negated = value._replace(value=-value.value).drop_names()
        if value.histogram is not None:
            made = value.histograms.scale(np.full(value.histograms.size, -1.0))
            negated = negated._replace(histograms=made.with_hint(Hint.GAUGE))
        return negated

    def _binary(self, node: Binary, times: NDArray[np.int64]) -> Value:
        left, right = self.value(node.left, times), self.value(node.right, times)
        if isinstance(left, str) or isinstance(right, str):
            raise TypeError(node)
        if isinstance(left, Vector):
            if isinstance(right, Vector):
                if node.op in SETS:
                    return set_operation(node, left, right)
                return vectors(node, left, right, self.annotations)
            return self._with_scalar(node, left, _spread(right, left), flipped=False)
        if isinstance(right, Vector):
            return self._with_scalar(node, right, _spread(left, right), flipped=True)
        return compute(node.op, left, right)

    def _with_scalar(
        self, node: Binary, vector: Vector, scalar: Vector, *, flipped: bool
    ) -> Vector:
        operands = Operands(scalar, vector) if flipped else Operands(vector, scalar)
        result, _ = apply(node, operands, self.annotations, keep_right=flipped)
        result = result._replace(labels=vector.labels, dropped=vector.dropped)
        keeps = node.op in COMPARISONS and not node.bool_modifier
        return result if keeps else result.drop_names()

    def _aggregated(self, node: Aggregation, times: NDArray[np.int64]) -> Vector:
        parameter, text = np.zeros(len(times)), ""
        if node.parameter is not None:
            if node.op == "count_values":
                text = self.text(node.parameter)
            else:
                parameter = self.scalar(node.parameter, times)
        return aggregate(node, self.vector(node.expr, times), parameter, text, self.annotations)


CALLS = {**INSTANT_CALLS, **HISTOGRAM_CALLS, **RANGE_CALLS}


def _spread(scalar: NDArray[np.float64], like: Vector) -> Vector:
    """A scalar as a vector of the same series as another."""
    shape = like.present.shape
    return Vector(
        like.labels,
        like.dropped,
        np.ones(shape, dtype=bool),
        np.broadcast_to(scalar[None, :], shape),
    )
