"""Table columns from fields: one function for each signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.records.convert import (
    plain_text,
    to_bool,
    to_double,
    to_enumeration,
    to_id,
    to_integer,
    to_nested,
    to_string_only,
    to_text,
    to_word,
)
from lakerunner.formats.records.roles import DURATIONS, END, NAMES, OBSERVED, START
from lakerunner.formats.records.times import take_time
from lakerunner.model.signal import Signal
from lakerunner.schema.canonical import CANONICAL
from lakerunner.schema.columns import absent_if_zero, compact_strings
from lakerunner.schema.enumerations import KINDS, STATUS_CODES, TEMPORALITIES
from lakerunner.schema.levels import derive_levels
from lakerunner.schema.types import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lakerunner.formats.records.fields import Converted, Fields
    from lakerunner.formats.records.times import Moments
    from lakerunner.model.mapping import SourceMapping

_LOOSE = frozenset({"event", "data", "line", "text", "content", "raw"})
"""Names that mean the text of a log record only if they hold text."""

_PINO = pa.array([10, 20, 30, 40, 50, 60], pa.int64())
_PINO_LEVELS = pa.array(["trace", "debug", "info", "warn", "error", "fatal"])
_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Context(NamedTuple):
    """What a signal's columns are made from.

    Attributes:
        fields: The fields nothing has used yet.
        mapping: What the user, or the shape, says of them.
        moments: The times of the rows.
        signal: Which table.
    """

    fields: Fields
    mapping: SourceMapping
    moments: Moments
    signal: Signal


def make_columns(context: Context) -> dict[str, Any]:
    """All columns but the common times that the fields fill.

    Raises:
        CorruptObjectError: A field without which the table makes no sense is missing.
    """
    return _MAKERS[context.signal](context)


def take_column(context: Context, column: str) -> Any:
    """Fill one column, or None where nothing fills it."""
    converter = _converter(column, CANONICAL[context.signal].field(column).type)
    said = context.mapping.columns.get(column)
    names = NAMES[context.signal].get(column, ())
    exact = [column] if column in context.fields else []
    named = [*exact, *context.fields.named(*names)]
    spoken_for = set(context.mapping.columns.values())
    keys = [said] if said is not None else [key for key in named if key not in spoken_for]
    if column == "body":
        return _body(context.fields, keys, said)
    taken = context.fields.take(keys, converter)
    if taken is None:
        return None
    return compact_strings(taken.values)


_OF_COLUMN: dict[str, Callable[[Any], Converted]] = {
    "trace_id": to_id,
    "span_id": to_id,
    "parent_span_id": to_id,
    "kind": to_enumeration(KINDS, "SPAN_KIND_"),
    "status_code": to_enumeration(STATUS_CODES, "STATUS_CODE_"),
    "temporality": to_enumeration(tuple(map(str.upper, TEMPORALITIES)), "AGGREGATION_TEMPORALITY_"),
}


def _converter(column: str, dtype: Any) -> Callable[[Any], Converted]:
    if column in _OF_COLUMN:
        return _OF_COLUMN[column]
    if pa.types.is_string(dtype):
        return to_word
    if pa.types.is_boolean(dtype):
        return to_bool
    if pa.types.is_integer(dtype):
        return to_integer(dtype)
    return to_double if pa.types.is_floating(dtype) else to_nested(dtype)


def _body(fields: Fields, keys: Iterable[str], said: str | None) -> Any:
    strict = [key for key in keys if said is not None or key.lower() not in _LOOSE]
    taken = fields.take(strict, to_text)
    if taken is not None:
        return taken.values
    loose = fields.take([key for key in keys if key not in strict], to_string_only)
    return None if loose is None else loose.values


def _take_all(context: Context, columns: Iterable[str]) -> dict[str, Any]:
    present = CANONICAL[context.signal].names
    taken = {column: take_column(context, column) for column in columns if column in present}
    return {column: values for column, values in taken.items() if values is not None}


def _logs(context: Context) -> dict[str, Any]:
    columns = _take_all(context, NAMES[Signal.LOGS])
    observed = take_time(context.fields, OBSERVED, context.moments.near_ns, context.mapping)
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


def _spans(context: Context) -> dict[str, Any]:
    columns = _take_all(context, NAMES[Signal.SPANS])
    if not columns.keys() & {"trace_id", "span_id", "name"}:
        raise CorruptObjectError(
            "no column is a trace id, span id or span name; say which with "
            "mapping={'columns': {'trace_id': …}}"
        )
    rows, moments = context.fields.rows, context.moments
    end = take_time(context.fields, END, moments.near_ns, context.mapping, column="end_timestamp")
    duration = _duration(context)
    start_ns = moments.timestamp.cast(pa.int64())
    if end is None:
        end = pa.nulls(rows, TIMESTAMP)
    computed = pc.add(start_ns, duration).cast(TIMESTAMP)
    end = pc.coalesce(end, computed)
    elapsed = pc.subtract(end.cast(pa.int64()), start_ns)
    columns["end_timestamp"] = end
    sent = pa.array(moments.sent)
    columns["duration_ns"] = pc.coalesce(
        duration, pc.if_else(sent, elapsed, pa.scalar(None, pa.int64()))
    )
    unset = pa.array([STATUS_CODES[0]] * 1).take(pa.nulls(rows, pa.int32()).fill_null(0))
    columns["status_code"] = compact_strings(
        pc.coalesce(plain_text(columns.get("status_code", unset)), unset)
    )
    return columns


def _duration(context: Context) -> Any:
    """Nanoseconds; NULL where none is given."""
    said = context.mapping.columns.get("duration_ns")
    scales = {said: _PER_UNIT[context.mapping.duration_unit]} if said is not None else {}
    if not scales:
        for name, scale in DURATIONS.items():
            scales |= dict.fromkeys(context.fields.named(name), scale)
    found = pa.nulls(context.fields.rows, pa.int64())
    for key, scale in scales.items():
        whole = context.fields.take([key], to_integer(pa.int64()))
        if whole is not None:
            found = pc.coalesce(found, pc.multiply(whole.values, scale))
        rest = context.fields.take([key], to_double)
        if rest is not None:
            scaled = pc.round(pc.multiply(rest.values, float(scale))).cast(pa.int64(), safe=False)
            found = pc.coalesce(found, scaled)
    return found


def _metrics(context: Context) -> dict[str, Any]:
    whole = _whole_values(context)
    columns = _take_all(context, NAMES[Signal.METRICS])
    if "metric_name" not in columns:
        raise CorruptObjectError(
            "no column is the name of a metric; say which with "
            "mapping={'columns': {'metric_name': …}}"
        )
    start = take_time(
        context.fields, START, context.moments.near_ns, context.mapping, column="start_timestamp"
    )
    if start is not None:
        columns["start_timestamp"] = start
    rows = context.fields.rows
    if whole is not None:
        columns.setdefault("value_int", whole)
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
    values = context.fields.get(keys[0]) if keys else None
    if values is None or not pa.types.is_integer(values.type):
        return None
    return to_integer(pa.int64())(values).values


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
    words = pc.utf8_lower(plain_text(sent))
    words = pc.replace_substring_regex(words, "^(counter|count|rate)$", "sum")
    words = pc.replace_substring_regex(words, "^exponentialhistogram$", "exponential_histogram")
    return pc.coalesce(words, told)


_MAKERS: dict[Signal, Callable[[Context], dict[str, Any]]] = {
    Signal.LOGS: _logs,
    Signal.SPANS: _spans,
    Signal.METRICS: _metrics,
}
