"""A batch of OTLP metric requests to a table of metric rows, one row per data point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lakerunner.formats.otlp.metrics.exemplars import exemplar_lists
from lakerunner.formats.otlp.metrics.histograms import (
    exponential_columns,
    histogram_columns,
    summary_columns,
)
from lakerunner.formats.otlp.metrics.numbers import number_columns
from lakerunner.formats.otlp.metrics.points import Points, data_points, gather, stack
from lakerunner.formats.otlp.metrics.streams import stream_columns
from lakerunner.formats.otlp.origin import own_attributes, pass_down, spread
from lakerunner.schema.canonical import METRICS, SERVICE
from lakerunner.schema.decoded import Decoded, PayloadRows, decoded
from lakerunner.schema.series import series_ids
from lakerunner.schema.timestamps import choose_times, optional_times

if TYPE_CHECKING:
    from collections.abc import Callable

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
    streams = spread(batch, "scope_metrics", "metrics", _RESERVED)
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
