"""What all points of one metric share: its name, unit and description, and how values add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.otlp.metrics.points import KINDS, Points, stack
from lakerunner.formats.otlp.nesting import text
from lakerunner.formats.otlp.objects import attribute_objects
from lakerunner.schema.columns import absent_if_empty
from lakerunner.schema.enumerations import enum_names

_TEMPORALITIES = ("unspecified", "delta", "cumulative")


def stream_columns(metrics: Any, parts: list[Points], owners: Any) -> dict[str, Any]:
    """The columns that are the same for all points of a metric.

    Args:
        metrics: Struct array of `Metric`.
        parts: Its points by kind.
        owners: int32; the metric of each point of all parts, one after the other.

    Raises:
        CorruptObjectError: A nested value in a metric's metadata cannot be decoded.
    """
    indices = pa.array(owners)
    per_metric = {
        "metric_name": text(metrics.field("name")),
        "unit": text(metrics.field("unit")),
        "description": text(metrics.field("description")),
    }
    columns = {
        name: absent_if_empty(values).dictionary_encode().take(indices)
        for name, values in per_metric.items()
    }
    metadata = attribute_objects(metrics.field("metadata"))
    if metadata.null_count < len(metadata):
        columns["metadata"] = metadata.dictionary_encode().take(indices)
    columns["metric_type"] = _kinds(parts)
    lengths = [len(part.values) for part in parts]
    shared = stack([_aggregation(part) for part in parts], lengths)
    if "temporality" in shared:
        names = enum_names(shared.pop("temporality"), _TEMPORALITIES)
        # 0 is both "unspecified" and what kinds without a temporality have.
        said = pc.not_equal(names.indices, 0)
        codes = pc.if_else(said, names.indices, pa.scalar(None, names.indices.type))
        shared["temporality"] = pa.DictionaryArray.from_arrays(codes, names.dictionary)
    return columns | shared


def _kinds(parts: list[Points]) -> Any:
    codes = np.repeat(
        np.array([KINDS.index(part.kind) for part in parts], np.int32),
        [len(part.values) for part in parts],
    )
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(KINDS))


def _aggregation(part: Points) -> dict[str, Any]:
    indices = pa.array(part.metrics)
    names = {field.name for field in part.data.type}
    columns = {}
    if "aggregation_temporality" in names:
        columns["temporality"] = part.data.field("aggregation_temporality").take(indices)
    if "is_monotonic" in names:
        columns["is_monotonic"] = part.data.field("is_monotonic").take(indices)
    return columns
