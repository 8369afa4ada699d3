"""Sums of many runs of numbers, as exact as compensated summation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakerunner.schema.arrays import expand

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 1 << 22
"""Numbers that are laid out at once where runs overlap: 32 MiB."""


def run_reduce(
    ufunc: np.ufunc, values: NDArray[np.float64], lo: NDArray[np.int64], hi: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Reduce `values[lo:hi]` for many runs; what it gives for an empty run means nothing.

    Args:
        ufunc: `np.add`, `np.minimum`, …
        values: All numbers.
        lo: Where each run begins, of any shape.
        hi: Where it ends; the same shape.
    """
    if not lo.size:
        return np.zeros(lo.shape)
    padded = np.append(values, values[-1:] if len(values) else 0.0)
    at = np.empty(lo.size * 2, dtype=np.int64)
    at[0::2] = lo.ravel()
    at[1::2] = hi.ravel()
    with np.errstate(invalid="ignore", over="ignore"):
        return ufunc.reduceat(padded, at)[::2].reshape(lo.shape)


def run_sums(
    values: NDArray[np.float64], lo: NDArray[np.int64], hi: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum `values[lo:hi]` for many runs; 0 for an empty run.

    Plain summation is as exact as anything where all numbers have one sign or are whole and small;
    elsewhere errors are carried along, as Kahan and Neumaier do.
    """
    empty = lo >= hi
    plain = np.where(empty, 0.0, run_reduce(np.add, values, lo, np.maximum(hi, lo)))
    if not len(values) or _is_benign(values):
        return plain
    flat_lo = lo.ravel()
    lengths = np.where(empty, 0, hi - lo).ravel()
    result = np.empty(lo.size)
    ends = np.cumsum(lengths)
    begin = 0
    while begin < lo.size:
        base = ends[begin] - lengths[begin]
        stop = max(begin + 1, int(np.searchsorted(ends, base + _CHUNK, side="right")))
        part = slice(begin, stop)
        result[part] = _compensated(values[expand(flat_lo[part], lengths[part])], lengths[part])
        begin = stop
    exact = result.reshape(lo.shape)
    # What is infinite or no number is right as it is.
    return np.where(np.isfinite(exact), exact, plain)


def _is_benign(values: NDArray[np.float64]) -> bool:
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return False
    if low >= 0 or high <= 0:
        return True
    largest = max(-low, high)
    return bool(largest < 2.0**53 / len(values) and (values == np.trunc(values)).all())


def _compensated(values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum consecutive runs by halving them, with the error of every addition carried along."""
    total, error = values, np.zeros(len(values))
    lengths = lengths.copy()
    with np.errstate(invalid="ignore", over="ignore"):
        while (lengths > 1).any():
            starts = np.cumsum(lengths) - lengths
            halves = (lengths + 1) // 2
            within = expand(np.zeros(len(lengths), dtype=np.int64), halves)
            first = np.repeat(starts, halves) + 2 * within
            paired = 2 * within + 1 < np.repeat(lengths, halves)
            second = np.where(paired, first + 1, first)
            a, b = total[first], np.where(paired, total[second], 0.0)
            both = a + b
            back = both - a
            lost = (a - (both - back)) + (b - back)
            error = error[first] + np.where(paired, error[second], 0.0) + lost
            total = both
            lengths = halves
        sums = np.zeros(len(lengths))
        sums[lengths > 0] = total + error
    return sums


def group_sums(
    values: NDArray[np.float64], group: NDArray[np.int64], groups: int
) -> NDArray[np.float64]:
    """Sum the rows of a matrix by group, each column for itself.

    Args:
        values: float64, rows by columns; what does not count is 0.
        group: The group of each row.
        groups: How many there are; each has a row.
    """
    columns = values.shape[1]
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(groups + 1))
    if not values.size or _is_benign(values.ravel()):
        with np.errstate(over="ignore"):
            return np.add.reduceat(values[order], starts[:-1], axis=0).reshape(groups, columns)
    by_column = np.ascontiguousarray(values[order].T).ravel()
    shift = (np.arange(columns) * len(group))[None, :]
    return run_sums(by_column, starts[:-1, None] + shift, starts[1:, None] + shift)
