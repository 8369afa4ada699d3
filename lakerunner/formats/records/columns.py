"""Table columns from fields: one function for each signal."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.records.convert import (
    plain_text,
    to_bool,
    to_double,
    to_duration,
    to_enumeration,
    to_id,
    to_integer,
    to_list,
    to_string_only,
    to_text,
    to_word,
    valid,
)
from lakerunner.formats.records.fields import (
    DURATIONS,
    END,
    NAMES,
    OBSERVED,
    START,
    Converted,
    Preferred,
)
from lakerunner.formats.records.times import take_time
from lakerunner.model.signal import Signal
from lakerunner.schema.arrays import TIMESTAMP, absent_if_zero, compact_strings
from lakerunner.schema.levels import KINDS, STATUS_CODES, TEMPORALITIES, derive_levels
from lakerunner.schema.tables import TABLE_OF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lakerunner.formats.records.fields import Fields
    from lakerunner.formats.records.times import Moments
    from lakerunner.model.profile import SourceMapping

_LOOSE = frozenset({"event", "data", "line", "text", "content", "raw"})
"""Names that mean the text of a log record only if they hold text."""

_PINO = pa.array([10, 20, 30, 40, 50, 60], pa.int64())
_PINO_LEVELS = pa.array(["trace", "debug", "info", "warn", "error", "fatal"])
_BEYOND = 2.0**63 - 2048  # sums of doubles below it are sums of integers below 2^63
_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Context(NamedTuple):
    """What a signal's columns are made from.

    Attributes:
        fields: The fields nothing has used yet.
        mapping: What the user says of them.
        preferred: By column: the fields that fill it in records of a known shape.
        moments: The times of the rows.
        signal: Which table.
        payload: int per row: position of its payload in the batch.
        kept: bool per row: what is missing is not computed, as the row came from a lake.
    """

    fields: Fields
    mapping: SourceMapping
    preferred: Mapping[str, Sequence[Preferred]]
    moments: Moments
    signal: Signal
    payload: Any
    kept: Any


def make_columns(context: Context) -> dict[str, Any]:
    """All columns but the common times that the fields fill.

    Raises:
        CorruptObjectError: A field without which the table makes no sense is missing.
    """
    return _MAKERS[context.signal](context)


def take_column(context: Context, column: str) -> Any:
    """Fill one column, or None where nothing fills it."""
    converter = _converter(context, column, TABLE_OF[context.signal].schema.field(column).type)
    said = context.mapping.columns.get(column)
    names = NAMES[context.signal].get(column, ())
    exact = [column] if column in context.fields else []
    named = [*exact, *context.fields.named(*names)]
    spoken_for = set(context.mapping.columns.values())
    keys = [said] if said is not None else [key for key in named if key not in spoken_for]
    preferred = () if said is not None else context.preferred.get(column, ())
    if column == "body":
        return _body(context.fields, preferred, keys, said)
    taken = context.fields.take([*preferred, *keys], converter)
    if taken is None:
        return None
    return compact_strings(taken.values)


_METRIC_TYPES = {
    "gauge": "gauge",
    "sum": "sum",
    "counter": "sum",
    "count": "sum",
    "rate": "sum",
    "histogram": "histogram",
    "exponential_histogram": "exponential_histogram",
    "exponentialhistogram": "exponential_histogram",
    "summary": "summary",
}


def _to_metric_type(values: Any) -> Converted:
    """Types of metrics by their names; another word under `type` is no type, but an attribute."""
    words = pc.utf8_lower(pc.utf8_trim_whitespace(plain_text(values)))
    known = pc.index_in(words, pa.array(_METRIC_TYPES))
    types = pa.array(_METRIC_TYPES.values()).take(known)
    return Converted(types, valid(types))


_OF_COLUMN: dict[str, Callable[[Any], Converted]] = {
    "trace_id": to_id,
    "span_id": to_id,
    "parent_span_id": to_id,
    "kind": to_enumeration(KINDS, "SPAN_KIND_"),
    "status_code": to_enumeration(STATUS_CODES, "STATUS_CODE_"),
    "value": partial(to_double, rounded=True),  # `value_int` keeps the integer
    "temporality": to_enumeration(tuple(map(str.upper, TEMPORALITIES)), "AGGREGATION_TEMPORALITY_"),
    "metric_type": _to_metric_type,
}


def _converter(context: Context, column: str, dtype: Any) -> Callable[[Any], Converted]:
    if column in _OF_COLUMN:
        return _OF_COLUMN[column]
    if pa.types.is_string(dtype):
        return to_word
    if pa.types.is_boolean(dtype):
        return to_bool
    if pa.types.is_integer(dtype):
        return to_integer(dtype)
    if pa.types.is_floating(dtype):
        return to_double
    return to_list(dtype, context.moments.written)


def _body(
    fields: Fields, preferred: Sequence[Preferred], keys: Iterable[str], said: str | None
) -> Any:
    strict = [key for key in keys if said is not None or key.lower() not in _LOOSE]
    taken = fields.take([*preferred, *strict], to_text)
    loose = [key for key in keys if key not in strict]
    if taken is None:
        taken = fields.take(loose, to_string_only)
    elif not taken.usable.all():
        without = [Preferred(key, ~taken.usable) for key in loose]
        rest = fields.take(without, to_string_only)
        taken = taken if rest is None else taken.completed(rest)
    return None if taken is None else taken.values


def _take_all(context: Context, columns: Iterable[str]) -> dict[str, Any]:
    present = TABLE_OF[context.signal].schema.names
    taken = {column: take_column(context, column) for column in columns if column in present}
    return {column: values for column, values in taken.items() if values is not None}


def _logs(context: Context) -> dict[str, Any]:
    columns = _take_all(context, NAMES[Signal.LOGS])
    observed = take_time(context.fields, OBSERVED, context.moments.written, context.mapping)
    if observed is not None:
        columns["observed_timestamp"] = observed
    rows = context.fields.rows
    text = columns.get("severity_text", pa.nulls(rows, pa.string()))
    number = absent_if_zero(columns.get("severity_number", pa.nulls(rows, pa.int32())))
    words = plain_text(text)
    # Libraries such as pino and bunyan write the level as a number in steps of ten.
    steps = pc.index_in(words, _PINO.cast(pa.string()))
    if steps.null_count < rows:
        words = pc.coalesce(_PINO_LEVELS.take(steps), words)
    columns["severity_number"] = number
    columns["severity_text"] = text
    columns["level"] = derive_levels(words, number)
    return columns


def _everywhere(context: Context, columns: Iterable[Any]) -> bool:
    """Whether each payload with records has a value in one of some columns.

    Asked for each payload, so that one is refused or taken whatever its neighbours are.
    """
    filled = np.zeros(context.fields.rows, bool)
    for values in columns:
        if values is not None:
            filled |= np.asarray(values.is_valid())
    return len(np.setdiff1d(context.payload, context.payload[filled])) == 0


def _spans(context: Context) -> dict[str, Any]:
    columns = _take_all(context, NAMES[Signal.SPANS])
    if not _everywhere(context, [columns.get(name) for name in ("trace_id", "span_id", "name")]):
        raise CorruptObjectError(
            "no column is a trace id, span id or span name; say which with "
            "mapping={'columns': {'trace_id': …}}"
        )
    rows, moments = context.fields.rows, context.moments
    end = take_time(context.fields, END, moments.written, context.mapping, column="end_timestamp")
    duration = _duration(context)
    start_ns = moments.timestamp.cast(pa.int64())
    if end is None:
        end = pa.nulls(rows, TIMESTAMP)
    end = pc.coalesce(end, _sum(start_ns, duration).cast(TIMESTAMP))
    elapsed = _sum(end.cast(pa.int64()), pc.negate(start_ns))
    columns["end_timestamp"] = end
    sent = pa.array(moments.sent & ~context.kept)
    columns["duration_ns"] = pc.coalesce(
        duration, pc.if_else(sent, elapsed, pa.scalar(None, pa.int64()))
    )
    unset = pa.array([STATUS_CODES[0]] * 1).take(pa.nulls(rows, pa.int32()).fill_null(0))
    columns["status_code"] = compact_strings(
        pc.coalesce(plain_text(columns.get("status_code", unset)), unset)
    )
    return columns


def _sum(left: Any, right: Any) -> Any:
    """The sum of 64-bit integers; NULL where it has more bits."""
    near = pc.add(left.cast(pa.float64(), safe=False), right.cast(pa.float64(), safe=False))
    fits = pc.less(pc.abs(near), _BEYOND)
    return pc.if_else(fits, pc.add(left, right), pa.scalar(None, pa.int64()))


def _duration(context: Context) -> Any:
    """Nanoseconds; NULL where none is given."""
    fields = context.fields
    said = context.mapping.columns.get("duration_ns")
    scales = {said: _PER_UNIT[context.mapping.duration_unit]} if said is not None else {}
    if not scales:
        for name, scale in DURATIONS.items():
            scales |= dict.fromkeys(fields.named(name), scale)
        # A type that says its unit needs no name that does.
        scales |= {
            key: 1
            for key in fields.named("duration", *DURATIONS)
            if pa.types.is_duration(fields.get(key).type)
        }
    found: Converted | None = None
    for key, scale in scales.items():
        taken = fields.take([key], to_duration(scale, found.usable if found else None))
        if taken is not None:
            found = taken if found is None else found.completed(taken)
    return pa.nulls(fields.rows, pa.int64()) if found is None else found.values


def _metrics(context: Context) -> dict[str, Any]:
    whole = _whole_values(context)
    columns = _take_all(context, NAMES[Signal.METRICS])
    if not _everywhere(context, [columns.get("metric_name")]):
        raise CorruptObjectError(
            "no column is the name of a metric; say which with "
            "mapping={'columns': {'metric_name': …}}"
        )
    start = take_time(
        context.fields, START, context.moments.written, context.mapping, column="start_timestamp"
    )
    if start is not None:
        columns["start_timestamp"] = start
    rows = context.fields.rows
    sent = columns.get("value_int")
    if whole is not None:
        columns["value_int"] = whole if sent is None else pc.coalesce(sent, whole)
    whole = columns.get("value_int")
    value = columns.get("value", pa.nulls(rows, pa.float64()))
    if whole is not None:
        value = pc.coalesce(value, whole.cast(pa.float64(), safe=False))
    columns["value"] = value
    columns["metric_type"] = compact_strings(_metric_types(columns, value, rows))
    temporality = columns.get("temporality")
    if temporality is not None:
        lower = pc.utf8_lower(plain_text(temporality))
        known = pc.not_equal(lower, "unspecified")
        columns["temporality"] = pc.if_else(known, lower, pa.scalar(None, pa.string()))
    return columns


def _whole_values(context: Context) -> Any:
    """The values as integers, where the field that holds them is of an integer type."""
    said = context.mapping.columns.get("value")
    keys = [said] if said is not None else context.fields.named(*NAMES[Signal.METRICS]["value"])
    filled = np.zeros(context.fields.rows, bool)
    found: list[Any] = []
    for key in keys:
        values = context.fields.get(key)
        if values is None:
            continue
        usable = valid(to_double(values, rounded=True).values) & ~filled
        if pa.types.is_integer(values.type):
            whole = to_integer(pa.int64())(values).values
            found.append(pc.if_else(pa.array(usable), whole, pa.scalar(None, pa.int64())))
        filled = filled | usable
    return pc.coalesce(*found) if found else None


def _metric_types(columns: dict[str, Any], value: Any, rows: int) -> Any:
    """The type as sent, or else the one that the filled columns speak of."""
    nothing = pa.nulls(rows, pa.string())
    told = nothing
    for column, kind in (
        ("scale", "exponential_histogram"),
        ("bucket_counts", "histogram"),
        ("quantiles", "summary"),
    ):
        if column in columns:
            told = pc.coalesce(told, pc.if_else(columns[column].is_valid(), kind, nothing))
    told = pc.coalesce(told, pc.if_else(value.is_valid(), "gauge", nothing))
    sent = columns.get("metric_type")
    if sent is None:
        return told
    return pc.coalesce(plain_text(sent), told)


_MAKERS: dict[Signal, Callable[[Context], dict[str, Any]]] = {
    Signal.LOGS: _logs,
    Signal.SPANS: _spans,
    Signal.METRICS: _metrics,
}
