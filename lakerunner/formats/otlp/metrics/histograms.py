"""Histogram and summary points: what was sent, whether or not it adds up.

Counts that do not fit their bounds, unsorted bounds, NaN and infinities are kept: only a reader
knows what they are worth to a question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.schema.canonical import QUANTILE_TYPE

if TYPE_CHECKING:
    from lakerunner.formats.otlp.metrics.points import Points

_COUNTS, _BOUNDS = pa.list_(pa.uint64()), pa.list_(pa.float64())


def histogram_columns(points: Points) -> dict[str, Any]:
    """Explicit buckets; the last count is that of the bucket beyond the last bound."""
    return {
        **_totals(points.values),
        **_extremes(points.values),
        "bucket_counts": points.values.field("bucket_counts").cast(_COUNTS),
        "explicit_bounds": points.values.field("explicit_bounds").cast(_BOUNDS),
    }


def exponential_columns(points: Points) -> dict[str, Any]:
    """Exponential buckets; a range that was not sent has neither offset nor counts."""
    values = points.values
    columns = {
        **_totals(values),
        **_extremes(values),
        "scale": values.field("scale"),
        "zero_count": values.field("zero_count"),
        "zero_threshold": values.field("zero_threshold"),
    }
    for side in ("positive", "negative"):
        # Other than `field`, this is NULL where the range itself is.
        buckets = values.field(side)
        columns[f"{side}_offset"] = pc.struct_field(buckets, "offset")
        counts = pc.struct_field(buckets, "bucket_counts")
        columns[f"{side}_bucket_counts"] = counts.cast(_COUNTS)
    return columns


def summary_columns(points: Points) -> dict[str, Any]:
    """Quantiles, from the lowest (0.0, the minimum) to the highest as sent."""
    quantiles = points.values.field("quantile_values").cast(pa.list_(QUANTILE_TYPE))
    return {**_totals(points.values), "quantiles": quantiles}


def _totals(values: Any) -> dict[str, Any]:
    return {"count": values.field("count"), "sum": values.field("sum")}


def _extremes(values: Any) -> dict[str, Any]:
    return {"min": values.field("min"), "max": values.field("max")}
