"""The data points of a batch by kind, and how columns of several kinds become one column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from lakerunner.formats.otlp.nesting import children

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
"""Fields of `Metric.data`, which are also the values of `metric_type`."""


class Points(NamedTuple):
    """All data points of one kind.

    Attributes:
        kind: One of `KINDS`.
        metrics: int32; the metric each point belongs to, ascending.
        values: Struct array of the points.
        data: Struct array of what the points of one metric share, one row per metric; NULL for
            metrics of another kind.
    """

    kind: str
    metrics: Any
    values: Any
    data: Any


def data_points(metrics: Any) -> list[Points]:
    """Take metrics apart into their points.

    Args:
        metrics: Struct array of `Metric`.

    Returns:
        The kinds that have points, in the order of `KINDS`; gauges if no kind has.
    """
    found = []
    for kind in KINDS:
        data = metrics.field(kind)
        owners, values = children(data.field("data_points"))
        found.append(Points(kind, owners, values, data))
    return [points for points in found if len(points.values)] or found[:1]


def stack(parts: Sequence[Mapping[str, Any]], lengths: Sequence[int]) -> dict[str, Any]:
    """Put the columns of several kinds below each other; NULL where a kind lacks a column.

    Columns that are NULL throughout are left out.

    Args:
        parts: Columns by name, one mapping per kind.
        lengths: Rows of each kind.

    Example:
        >>> stacked = stack([{"a": pa.array([1])}, {"b": pa.array([2])}], [1, 1])
        >>> {name: values.to_pylist() for name, values in stacked.items()}
        {'a': [1, None], 'b': [None, 2]}
    """
    types = {name: values.type for part in parts for name, values in part.items()}
    stacked = {
        name: concatenate(
            [
                part[name] if name in part else pa.nulls(length, dtype)
                for part, length in zip(parts, lengths, strict=True)
            ]
        )
        for name, dtype in types.items()
    }
    return {name: values for name, values in stacked.items() if values.null_count < len(values)}


def concatenate(arrays: Sequence[Any]) -> Any:
    """Arrays of one type as one array; a single one is not copied."""
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def gather(parts: Sequence[Points], field: str) -> Any:
    """A field that points of all given kinds have, of all of them."""
    return concatenate([part.values.field(field) for part in parts])
