"""Prometheus' native histograms as the histograms of OpenTelemetry.

Buckets come as runs of those that are not empty, and their counts as differences. A bucket of
Prometheus is numbered by its upper bound, one of OpenTelemetry by its lower one.
https://prometheus.io/docs/specs/native_histograms/
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError
from lakerunner.intake.protocols.protocol import offsets_of

CUSTOM = -53
"""The schema of histograms that bring their bounds along."""

_MOST_BUCKETS = 20_000  # of one histogram, the empty ones between others included
_SCHEMAS = range(-4, 9)
_GAUGE = 3
_STALE = np.uint64(0x7FF0000000000002)


class Histograms(NamedTuple):
    """Histograms, one a row.

    Attributes:
        owner: int per row: which list it was in.
        columns: What the lake keeps of them, by name; `timestamp` in milliseconds.
        refused: How many cannot be kept.
        reason: Why.
    """

    owner: Any
    columns: dict[str, Any]
    refused: int
    reason: str


def read_histograms(lists: Any) -> Histograms:
    """Read lists of histograms as remote write has them.

    Args:
        lists: List array of structs.

    Raises:
        CorruptObjectError: The buckets of one do not add up, or are too many.
    """
    found = lists.flatten()
    owner = np.repeat(np.arange(len(lists)), np.asarray(pc.list_value_length(lists)))
    schema = found.field("schema").to_numpy()
    fractional = np.asarray(found.field("count_float").is_valid())
    known = (schema == CUSTOM) | np.isin(schema, _SCHEMAS)
    kept = known & ~fractional
    refused = len(kept) - int(kept.sum())
    found, owner, schema = found.filter(pa.array(kept)), owner[kept], schema[kept]
    custom = schema == CUSTOM
    bounds = found.field("custom_values")
    widths = np.where(custom, np.asarray(pc.list_value_length(bounds)) + 1, -1)
    positive = _dense(found, "positive", widths)
    negative = _dense(found, "negative", np.full(len(found), -1))
    total = found.field("sum").to_numpy()
    stale = np.ascontiguousarray(total).view(np.uint64) == _STALE
    gauge = found.field("reset_hint").to_numpy() == _GAUGE
    kind = np.where(custom, "histogram", "exponential_histogram")
    columns = {
        "metric_type": pa.array(kind, pa.string()),
        "temporality": pa.array(np.full(len(found), "cumulative"), pa.string(), mask=gauge),
        "timestamp": found.field("timestamp"),
        "count": pa.array(found.field("count_int").fill_null(0).to_numpy(), mask=stale),
        "sum": pa.array(total, mask=stale),
        "flags": pa.array(stale.astype(np.uint32)),
        "bucket_counts": _only(positive.counts, custom & ~stale),
        "explicit_bounds": _only(bounds, custom & ~stale),
        "scale": pa.array(schema.astype(np.int32), mask=custom),
        "zero_count": pa.array(found.field("zero_int").fill_null(0).to_numpy(), mask=custom),
        "zero_threshold": pa.array(found.field("zero_threshold").to_numpy(), mask=custom),
        "positive_offset": pa.array(positive.first - 1, pa.int32(), mask=custom),
        "positive_bucket_counts": _only(positive.counts, ~custom),
        "negative_offset": pa.array(negative.first - 1, pa.int32(), mask=custom),
        "negative_bucket_counts": _only(negative.counts, ~custom),
    }
    reason = (
        f"{refused} native histograms have counts with fractions or a schema that is not known, "
        "and are not kept"
    )
    return Histograms(owner, columns, refused, reason if refused else "")


class _Buckets(NamedTuple):
    """Buckets, those between others included.

    Attributes:
        first: int per row: number of the first one.
        counts: List of counts for each row.
    """

    first: Any
    counts: Any


def _only(values: Any, rows: Any) -> Any:
    return pc.if_else(pa.array(rows), values, pa.scalar(None, values.type))


def _dense(found: Any, side: str, widths: Any) -> _Buckets:
    """The buckets of one side.

    Args:
        found: The histograms.
        side: `positive` or `negative`.
        widths: int per row: how many buckets there are, from 0 on; -1 where the runs say.
    """
    spans, deltas = found.field(f"{side}_spans"), found.field(f"{side}_deltas")
    rows = np.arange(len(found))
    span_owner = np.repeat(rows, np.asarray(pc.list_value_length(spans)))
    offset = spans.flatten().field("offset").to_numpy().astype(np.int64)
    length = spans.flatten().field("length").to_numpy().astype(np.int64)
    per_row = np.bincount(span_owner, length, len(found)).astype(np.int64)
    if np.any(per_row != np.asarray(pc.list_value_length(deltas))):
        raise CorruptObjectError("a native histogram has not as many buckets as its spans say")
    # Where each run begins: after all gaps and runs before it in its histogram.
    start = _within(offset, span_owner) + _within(length, span_owner) - length
    owner = np.repeat(rows, per_row)
    place = (
        np.repeat(start, length)
        + np.arange(len(owner))
        - np.repeat(np.cumsum(length) - length, length)
    )
    counts = _within(deltas.flatten().to_numpy(), owner)
    if np.any(counts < 0):
        raise CorruptObjectError("a native histogram has a bucket with less than nothing in it")
    any_there = per_row > 0
    ends = np.cumsum(per_row)
    first, last = np.zeros(len(found), np.int64), np.full(len(found), -1, np.int64)
    first[any_there] = place[(ends - per_row)[any_there]]
    last[any_there] = place[ends[any_there] - 1]
    first = np.where(widths >= 0, 0, first)
    width = np.where(widths >= 0, widths, last - first + 1)
    target = place - first[owner]
    if np.any(width > _MOST_BUCKETS) or np.any((target < 0) | (target >= width[owner])):
        raise CorruptObjectError(
            f"a native histogram has a bucket out of its bounds, or more than {_MOST_BUCKETS:,}"
        )
    flat = np.zeros(int(width.sum()), np.uint64)
    flat[(np.cumsum(width) - width)[owner] + target] = counts
    return _Buckets(first, pa.ListArray.from_arrays(offsets_of(width), pa.array(flat)))


def _within(values: Any, owner: Any) -> Any:
    """Running sums that begin anew with each owner."""
    sums = np.cumsum(values)
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    before = np.concatenate([[0], sums])[starts]
    return sums - np.repeat(before, np.diff(np.append(starts, len(owner))))
