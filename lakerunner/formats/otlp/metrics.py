"""OTLP metrics: data points of five kinds to one table of metric rows, one row per data point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.otlp.attributes import attribute_objects, children, text
from lakerunner.formats.otlp.origin import own_attributes, pass_down, spread
from lakerunner.schema.arrays import absent_if_empty
from lakerunner.schema.ids import hex_ids
from lakerunner.schema.levels import enum_names
from lakerunner.schema.series import series_ids
from lakerunner.schema.tables import (
    EXEMPLAR_TYPE,
    METRICS,
    QUANTILE_TYPE,
    SERVICE,
    Decoded,
    PayloadRows,
    decoded,
)
from lakerunner.schema.timestamps import choose_times, optional_times

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Number points, of gauges and sums: a double, or a 64-bit integer that is kept exactly.

NO_RECORDED_VALUE = 1
"""Bit of `flags`: the series has no value at this time, whatever number is sent with it."""


def number_columns(points: Points) -> dict[str, Any]:
    """`value` and `value_int` of each point; NULL in both where it has no recorded value."""
    value, integer = number_values(points.values)
    flags = points.values.field("flags").to_numpy()
    stale = (flags & NO_RECORDED_VALUE).astype(bool)
    if stale.any():
        recorded = pa.array(~stale)
        value = pc.if_else(recorded, value, pa.scalar(None, value.type))
        integer = pc.if_else(recorded, integer, pa.scalar(None, integer.type))
    return {"value": value, "value_int": integer}


def number_values(holders: Any) -> tuple[Any, Any]:
    """The number in each message that has `as_double` and `as_int`.

    Returns:
        The number as a double, which beyond 2**53 is the nearest one, and the integer where an
        integer was sent.

    Example:
        >>> both = pa.array([{"as_double": 0.5}, {"as_int": 2**53 + 1}, {}])
        >>> value, integer = number_values(both)
        >>> value.to_pylist(), integer.to_pylist()
        ([0.5, 9007199254740992.0, None], [None, 9007199254740993, None])
    """
    double, integer = holders.field("as_double"), holders.field("as_int")
    if integer.null_count == len(integer):
        return double, integer
    rounded = integer.cast(pa.float64(), safe=False)
    if double.null_count == len(double):
        return rounded, integer
    return pc.coalesce(double, rounded), integer


# The data points of a batch by kind, and how columns of several kinds become one column.

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


def have_points(metrics: Any) -> Any:
    """Which metrics have points, as booleans.

    Args:
        metrics: Struct array of `Metric`.
    """
    found = np.zeros(len(metrics), bool)
    for kind in KINDS:
        found |= np.diff(metrics.field(kind).field("data_points").offsets.to_numpy()) > 0
    return found


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


# Exemplars: the single measurements behind a point, with the trace each was made in.


def exemplar_lists(parts: list[Points]) -> Any:
    """Make the `exemplars` column of all points, kind after kind; None if there is no exemplar.

    Returns:
        List array of `EXEMPLAR_TYPE` in the order they were sent; NULL for a point without any.

    Raises:
        CorruptObjectError: A nested attribute value cannot be decoded.
    """
    taken, counts = [], []
    for part in parts:
        if part.values.type.get_field_index("exemplars") < 0:  # summaries have none
            counts.append(np.zeros(len(part.values), np.int64))
            continue
        lists = part.values.field("exemplars")
        taken.append(children(lists).values)
        counts.append(np.diff(lists.offsets.to_numpy()))
    if not sum(map(len, taken)):
        return None
    lengths = np.concatenate(counts)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets),
        _structs(concatenate(taken)),
        type=pa.list_(EXEMPLAR_TYPE),
        mask=pa.array(lengths == 0),
    )


def _structs(sent: Any) -> Any:
    value, integer = number_values(sent)
    times = optional_times(sent.field("time_unix_nano").to_numpy())
    columns = {
        "timestamp": times.timestamp,
        "timestamp_raw": times.raw,
        "value": value,
        "value_int": integer,
        "trace_id": hex_ids(sent.field("trace_id")),
        "span_id": hex_ids(sent.field("span_id")),
        "attributes": attribute_objects(sent.field("filtered_attributes")),
    }
    arrays = [columns[field.name] for field in EXEMPLAR_TYPE]
    return pa.StructArray.from_arrays(arrays, fields=list(EXEMPLAR_TYPE))


# Histogram and summary points: what was sent, whether or not it adds up.
#
# Counts that do not fit their bounds, unsorted bounds, NaN and infinities are kept: only a reader
# knows what they are worth to a question.

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


# What all points of one metric share: its name, unit and description, and how values add up.

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


# A batch of OTLP metric requests to a table of metric rows, one row per data point.

_RESERVED = frozenset(METRICS.names) - {SERVICE}

_OWN_COLUMNS: dict[str, Callable[[Points], dict[str, Any]]] = {
    "gauge": number_columns,
    "sum": number_columns,
    "histogram": histogram_columns,
    "exponential_histogram": exponential_columns,
    "summary": summary_columns,
}


def decode_metrics(batch: Any, fallback_ns: Any) -> Decoded:
    """Make metric rows of export requests.

    Args:
        batch: Record batch of decoded `ExportMetricsServiceRequest`, one per row.
        fallback_ns: int64 array, one per request: the time of points that carry none.

    Returns:
        Rows kind after kind, and within a kind in the order they were sent: points of different
        kinds are different series, so their order says nothing. Metrics without points have no
        rows. Order of columns is not defined.

    Raises:
        CorruptObjectError: A nested value cannot be decoded.
    """
    streams = spread(batch, "scope_metrics", "metrics", _RESERVED, have_points)
    parts = data_points(streams.records)
    owners = np.concatenate([part.metrics for part in parts])
    origin = pass_down(streams, owners)
    lengths = [len(part.values) for part in parts]
    columns = {
        **origin.columns,
        **stream_columns(streams.records, parts, owners),
        **_times(parts, np.asarray(fallback_ns, np.int64)[origin.payload]),
        **stack([_OWN_COLUMNS[part.kind](part) for part in parts], lengths),
        "flags": gather(parts, "flags"),
    }
    exemplars = exemplar_lists(parts)
    if exemplars is not None:
        columns["exemplars"] = exemplars
    own = own_attributes(gather(parts, "attributes"), origin, _RESERVED)
    attributes = {**origin.attributes, **own.columns}
    overflow = [*origin.overflow, *([own.overflow] if own.overflow else [])]
    rows = PayloadRows(origin.payload, batch.num_rows)
    result = decoded(columns, attributes, overflow, rows, {})
    ids = series_ids(result.table)
    return result._replace(table=result.table.append_column("series_id", ids))


def _times(parts: list[Points], fallback_ns: Any) -> dict[str, Any]:
    sent = gather(parts, "time_unix_nano").to_numpy()
    times = choose_times(sent, np.zeros(len(sent), np.uint64), fallback_ns)
    start = optional_times(gather(parts, "start_time_unix_nano").to_numpy())
    columns = {
        "timestamp": times.timestamp,
        "timestamp_source": times.source,
        "start_timestamp": start.timestamp,
    }
    if times.raw is not None:
        columns["timestamp_raw"] = times.raw
    if start.raw.null_count < len(start.raw):
        columns["start_timestamp_raw"] = start.raw
    return columns
