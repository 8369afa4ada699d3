"""Events and links of spans: lists of messages as lists of structs, the whole column at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from lakerunner.formats.otlp.nesting import children, list_offsets, text
from lakerunner.formats.otlp.objects import attribute_objects
from lakerunner.schema.canonical import EVENT_TYPE, LINK_TYPE
from lakerunner.schema.columns import absent_if_empty
from lakerunner.schema.ids import hex_ids
from lakerunner.schema.timestamps import optional_times


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
