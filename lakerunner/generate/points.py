"""Data points of metrics to protobuf bytes, whole columns of points at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.generate.wire import (
    FIXED64,
    VARINT,
    Prefixes,
    beside,
    fixed,
    join,
    nested,
    strung,
    tag,
    varint,
    varints,
)

if TYPE_CHECKING:
    from lakerunner.generate.tracing import Spans

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_POINT = Prefixes(1, longest=8192)
_DOUBLE = FIXED64
_LONGEST_RANGE = 2048

HISTOGRAM, EXPONENTIAL = 8, 11
"""Field number of exemplars in the points of each kind."""

_ATTRIBUTES = {"number": 7, "histogram": 9, "exponential_histogram": 1, "summary": 7}


def attributes_field(kind: str) -> int:
    """Field number of attributes in the points of a kind; all number points have the same."""
    return _ATTRIBUTES.get(kind, _ATTRIBUTES["number"])


class Stamps(NamedTuple):
    """Times of points.

    Attributes:
        times: When each was taken.
        starts: Since when it counts; None for gauges.
    """

    times: Integers
    starts: Integers | None

    def pieces(self) -> Any:
        """Both as fields 2 and 3, which they are in points of every kind."""
        time = (tag(3, FIXED64), self.times)
        if self.starts is None:
            return fixed(beside(*time))
        return fixed(beside(tag(2, FIXED64), self.starts, *time))


class Totals(NamedTuple):
    """What points of both kinds of histograms have in common."""

    counts: Integers
    sums: Floats
    mins: Floats
    maxs: Floats


def number_points(stamps: Stamps, values: Floats | Integers, attributes: Any) -> Any:
    """Points of gauges and sums; integers stay integers."""
    field = 4 if values.dtype.kind == "f" else 6
    value = fixed(beside(tag(field, FIXED64), values))
    return _framed(stamps.pieces(), value, attributes)


def histogram_points(
    stamps: Stamps,
    totals: Totals,
    buckets: Integers,
    bounds: tuple[float, ...],
    more: tuple[Any, Any],
) -> Any:
    """Points with explicit buckets; `more` are their exemplars and their attributes."""
    exemplars, attributes = more
    limits = nested(7, np.array(bounds, "<f8").tobytes())
    announced = tag(6, 2) + varint(buckets.shape[1] * 8)
    counts = (
        np.ascontiguousarray(buckets, "<i8")
        .view(np.uint8)
        .reshape(len(buckets), buckets.shape[1] * 8)
    )
    body = beside(
        tag(4, FIXED64), totals.counts, tag(5, _DOUBLE), totals.sums, announced, counts, limits
    )
    extremes = beside(tag(11, _DOUBLE), totals.mins, tag(12, _DOUBLE), totals.maxs)
    return _framed(stamps.pieces(), fixed(body), exemplars, attributes, fixed(extremes))


class Exponential(NamedTuple):
    """Layout of exponential buckets.

    Attributes:
        scale: Buckets per doubling, as a power of two; not negative.
        lowest: Index of the first bucket that is counted.
        zero_threshold: Up to which value a measurement counts as zero.
    """

    scale: int
    lowest: int
    zero_threshold: float


def exponential_points(
    stamps: Stamps,
    totals: Totals,
    layout: Exponential,
    counts: tuple[Integers, Integers],
    more: tuple[Any, Any],
) -> Any:
    """Points with exponential buckets.

    Args:
        stamps: Their times.
        totals: Their sums.
        layout: How the buckets lie.
        counts: Those of zeros, and those of the buckets from `layout.lowest` on. Empty buckets on
            both sides are left out, as an SDK does.
        more: Their exemplars and their attributes.
    """
    zeros, buckets = counts
    exemplars, attributes = more
    body = beside(tag(4, FIXED64), totals.counts, tag(5, _DOUBLE), totals.sums)
    scale = tag(6, VARINT) + varint(layout.scale << 1)  # zigzag
    zero = fixed(beside(tag(7, FIXED64), zeros), zeros > 0)
    extremes = beside(
        tag(12, _DOUBLE), totals.mins, tag(13, _DOUBLE), totals.maxs,
        tag(14, _DOUBLE), np.full(len(zeros), layout.zero_threshold),
    )  # fmt: skip
    positive = _positive(buckets, layout.lowest)
    return _framed(
        attributes, stamps.pieces(), fixed(body), scale, zero, positive, exemplars, fixed(extremes)
    )


def _positive(buckets: Integers, lowest: int) -> Any:
    """The positive range, without its empty ends; nothing where it is empty throughout."""
    filled = buckets > 0
    some = filled.any(axis=1)
    width = buckets.shape[1]
    first = np.where(some, filled.argmax(axis=1), 0)
    last = np.where(some, width - filled[:, ::-1].argmax(axis=1), 0)
    place = np.arange(width)
    used = (place >= first[:, None]) & (place < last[:, None])
    packed = strung(varints(buckets[used]), used.sum(axis=1))
    offset = first + lowest
    zigzag = (offset << 1) ^ (offset >> 63)
    head = join(tag(1, VARINT), varints(zigzag))
    head = pc.if_else(pa.array(some & (offset != 0)), head, b"")
    counts = join(Prefixes(2, longest=_LONGEST_RANGE).before(packed), packed)
    content = join(head, counts)
    whole = join(Prefixes(8, longest=_LONGEST_RANGE).before(content), content)
    return pc.if_else(pa.array(some), whole, b"")


def summary_points(
    stamps: Stamps, counts: Integers, sums: Floats, quantiles: dict[float, Floats], attributes: Any
) -> Any:
    """Points with quantiles."""
    body = beside(tag(4, FIXED64), counts, tag(5, _DOUBLE), sums)
    parts: list[Any] = []
    for quantile, values in quantiles.items():
        # Zero is the default of the field, so protobuf leaves it out.
        own = tag(1, _DOUBLE) + np.float64(quantile).tobytes() if quantile else b""
        head = tag(6, 2) + varint(len(own) + 9) + own + tag(2, _DOUBLE)
        parts += [head, values]
    return _framed(stamps.pieces(), fixed(body), fixed(beside(*parts)), attributes)


def exemplar_pieces(field: int, rows: Spans, values: Floats) -> Any:
    """Exemplars of measured spans, as the field of the point around them."""
    whole = beside(
        tag(2, FIXED64), rows["end"], tag(3, _DOUBLE), values,
        nested(4, bytes(8))[:2], rows["span"], nested(5, bytes(16))[:2], rows["trace"],
    )  # fmt: skip
    head = tag(field, 2) + varint(whole.shape[1])
    return fixed(beside(head, whole))


def _framed(*parts: Any) -> Any:
    points = join(*parts)
    return join(_POINT.before(points), points)
