"""OTLP logs: a batch of export requests to a table of log rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.otlp.attributes import NESTED, SCALARS, nested_json, scalar_text, text
from lakerunner.formats.otlp.origin import own_attributes, spread
from lakerunner.formats.otlp.wire_values import any_values, fields_that_occur
from lakerunner.schema.arrays import absent_if_empty, absent_if_zero, compact_strings
from lakerunner.schema.ids import hex_ids
from lakerunner.schema.levels import derive_levels
from lakerunner.schema.tables import LOGS, SERVICE, Decoded, PayloadRows, decoded
from lakerunner.schema.timestamps import choose_times

_RESERVED = frozenset(LOGS.names) - {SERVICE}


def decode_logs(batch: Any, fallback_ns: Any) -> Decoded:
    """Make log rows of export requests.

    Args:
        batch: Record batch of decoded `ExportLogsServiceRequest`, one per row.
        fallback_ns: int64 array, one per request: the time of records that carry none.

    Returns:
        Rows in the order they were sent. Order of columns is not defined.

    Raises:
        CorruptObjectError: A nested value cannot be decoded.
    """
    origin = spread(batch, "scope_logs", "log_records", _RESERVED)
    records = origin.records
    times = choose_times(
        records.field("time_unix_nano").to_numpy(),
        records.field("observed_time_unix_nano").to_numpy(),
        np.asarray(fallback_ns, np.int64)[origin.payload],
    )
    severity_text = absent_if_empty(text(records.field("severity_text")))
    severity_number = absent_if_zero(records.field("severity_number"))
    body, body_types = _body(any_values(records.field("body")))
    columns = {
        **origin.columns,
        "timestamp": times.timestamp,
        "timestamp_source": times.source,
        "observed_timestamp": times.observed,
        "severity_number": severity_number,
        "severity_text": severity_text.dictionary_encode(),
        "level": derive_levels(severity_text, severity_number),
        "body": body,
        "event_name": compact_strings(absent_if_empty(text(records.field("event_name")))),
        "trace_id": hex_ids(records.field("trace_id")),
        "span_id": hex_ids(records.field("span_id")),
        "flags": records.field("flags"),
        "dropped_attributes_count": records.field("dropped_attributes_count"),
    }
    if times.raw is not None:
        columns["timestamp_raw"] = times.raw
    own = own_attributes(records.field("attributes"), origin, _RESERVED)
    attributes = {**origin.attributes, **own.columns}
    overflow = [*origin.overflow, *([own.overflow] if own.overflow else [])]
    rows = PayloadRows(origin.payload, batch.num_rows)
    return decoded(columns, attributes, overflow, rows, {"body": body_types})


def _body(values: Any) -> tuple[Any, tuple[str, ...]]:
    """The body as text, and the value types that occur; NULL where there is none."""
    sent = fields_that_occur(values)
    parts = [scalar_text(values, field) for field in SCALARS if field in sent]
    types = [name for field, name in SCALARS.items() if field in sent]
    nested = [field for field in NESTED if field in sent]
    if nested:
        parts.append(nested_json(values))
        types.extend(NESTED[field] for field in nested)
    if not parts:
        return pa.nulls(len(values), pa.string()), ()
    return (parts[0] if len(parts) == 1 else pc.coalesce(*parts)), tuple(types)
