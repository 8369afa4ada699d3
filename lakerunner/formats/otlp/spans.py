"""OTLP spans: a batch of export requests to a table of span rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.otlp.attributes import attribute_objects, children, list_offsets, text
from lakerunner.formats.otlp.origin import own_attributes, spread
from lakerunner.schema.arrays import absent_if_empty, compact_strings
from lakerunner.schema.ids import hex_ids
from lakerunner.schema.levels import KINDS, STATUS_CODES, enum_names
from lakerunner.schema.span_fingerprint import fingerprint_inputs, span_fingerprints
from lakerunner.schema.tables import (
    EVENT_TYPE,
    LINK_TYPE,
    SERVICE,
    SPANS,
    Decoded,
    PayloadRows,
    decoded,
)
from lakerunner.schema.timestamps import TimeSource, choose_times, optional_times

# Events and links of spans: lists of messages as lists of structs, the whole column at once.


def event_lists(lists: Any) -> Any:
    """Make the `events` column: `EVENT_TYPE` structs in the order they were sent.

    Args:
        lists: List array of `Span.Event`, without NULLs.

    Returns:
        List array of as many rows; NULL for a span without events.

    Raises:
        CorruptObjectError: A nested attribute value cannot be decoded.
    """
    events = children(lists).values
    times = optional_times(events.field("time_unix_nano").to_numpy())
    columns = [
        times.timestamp,
        times.raw,
        text(events.field("name")),
        attribute_objects(events.field("attributes")),
        events.field("dropped_attributes_count"),
    ]
    return _lists(lists, columns, EVENT_TYPE)


def link_lists(lists: Any) -> Any:
    """Make the `links` column: `LINK_TYPE` structs in the order they were sent.

    Args:
        lists: List array of `Span.Link`, without NULLs.

    Returns:
        List array of as many rows; NULL for a span without links.

    Raises:
        CorruptObjectError: A nested attribute value cannot be decoded.
    """
    links = children(lists).values
    columns = [
        hex_ids(links.field("trace_id")),
        hex_ids(links.field("span_id")),
        absent_if_empty(text(links.field("trace_state"))),
        attribute_objects(links.field("attributes")),
        links.field("dropped_attributes_count"),
        links.field("flags"),
    ]
    return _lists(lists, columns, LINK_TYPE)


def _lists(source: Any, columns: list[Any], item: pa.StructType) -> Any:
    """Put columns of flattened children back into the lists they came from."""
    structs = pa.StructArray.from_arrays(columns, fields=list(item))
    counts = np.diff(source.offsets.to_numpy())
    empty = pa.array(counts == 0)
    return pa.ListArray.from_arrays(list_offsets(counts), structs, type=pa.list_(item), mask=empty)


_RESERVED = frozenset(SPANS.names) - {SERVICE}


def decode_spans(batch: Any, fallback_ns: Any) -> Decoded:
    """Make span rows of export requests.

    Args:
        batch: Record batch of decoded `ExportTraceServiceRequest`, one per row.
        fallback_ns: int64 array, one per request: the time of spans that carry none.

    Returns:
        Rows in the order they were sent. Order of columns is not defined.

    Raises:
        CorruptObjectError: A nested value cannot be decoded.
    """
    origin = spread(batch, "scope_spans", "spans", _RESERVED)
    spans = origin.records
    status = spans.field("status")
    fallback = np.asarray(fallback_ns, np.int64)[origin.payload]
    columns = {
        **origin.columns,
        **_times(spans, fallback),
        "name": compact_strings(absent_if_empty(text(spans.field("name")))),
        "kind": enum_names(spans.field("kind"), KINDS),
        "status_code": enum_names(status.field("code"), STATUS_CODES),
        "status_message": compact_strings(absent_if_empty(text(status.field("message")))),
        "trace_id": hex_ids(spans.field("trace_id")),
        "span_id": hex_ids(spans.field("span_id")),
        "parent_span_id": hex_ids(spans.field("parent_span_id")),
        "trace_state": compact_strings(absent_if_empty(text(spans.field("trace_state")))),
        "flags": spans.field("flags"),
        "events": event_lists(spans.field("events")),
        "links": link_lists(spans.field("links")),
        "dropped_attributes_count": spans.field("dropped_attributes_count"),
        "dropped_events_count": spans.field("dropped_events_count"),
        "dropped_links_count": spans.field("dropped_links_count"),
    }
    own = own_attributes(spans.field("attributes"), origin, _RESERVED)
    attributes = {**origin.attributes, **own.columns}
    overflow = [*origin.overflow, *([own.overflow] if own.overflow else [])]
    inputs = fingerprint_inputs(attributes, overflow, len(spans))
    columns["fingerprint"] = span_fingerprints({**columns, **inputs})
    return decoded(columns, attributes, overflow, PayloadRows(origin.payload, batch.num_rows), {})


def _times(spans: Any, fallback_ns: Any) -> dict[str, Any]:
    start = spans.field("start_time_unix_nano").to_numpy()
    end = spans.field("end_time_unix_nano").to_numpy()
    times = choose_times(start, end, fallback_ns, second=TimeSource.END)
    ended = optional_times(end)
    # Both lie within 63 bits, so their difference is exact, whatever its sign.
    elapsed = pc.subtract(ended.timestamp.cast(pa.int64()), times.timestamp.cast(pa.int64()))
    started = pc.less_equal(times.source.indices, int(TimeSource.MICROSECONDS))
    columns = {
        "timestamp": times.timestamp,
        "timestamp_source": times.source,
        "end_timestamp": ended.timestamp,
        "duration_ns": pc.if_else(started, elapsed, pa.scalar(None, pa.int64())),
    }
    if times.raw is not None:
        columns["timestamp_raw"] = times.raw
    if ended.raw.null_count < len(ended.raw):
        columns["end_timestamp_raw"] = ended.raw
    return columns
