"""Exemplars: the single measurements behind a point, with the trace each was made in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from lakerunner.formats.otlp.metrics.numbers import number_values
from lakerunner.formats.otlp.metrics.points import Points, concatenate
from lakerunner.formats.otlp.nesting import children
from lakerunner.formats.otlp.objects import attribute_objects
from lakerunner.schema.canonical import EXEMPLAR_TYPE
from lakerunner.schema.ids import hex_ids
from lakerunner.schema.timestamps import optional_times


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
