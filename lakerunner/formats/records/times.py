"""The times of records: which field holds them, and what stands in where there is none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.fields import Converted
from lakerunner.formats.records.roles import END, START, TIME
from lakerunner.model.signal import Signal
from lakerunner.schema.time_columns import TimeReading, parse_times
from lakerunner.schema.timestamps import SOURCE_NAMES, TimeSource
from lakerunner.schema.types import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.formats.records.fields import Fields
    from lakerunner.model.mapping import SourceMapping

_CLOCK = r"^\d{1,2}:\d{2}:\d{2}"


class Moments(NamedTuple):
    """The times of rows.

    Attributes:
        timestamp: timestamp[ns, UTC] without NULLs.
        source: Dictionary array of `timestamp_source`.
        near_ns: int64: the time of the object each row came from.
        sent: bool: the row had a time of its own.
    """

    timestamp: Any
    source: Any
    near_ns: Any
    sent: Any


def _reading(mapping: SourceMapping) -> TimeReading:
    return TimeReading(mapping.timestamp_format, mapping.timestamp_unit, mapping.timezone)


def _convert(values: Any, near_ns: Any, how: TimeReading) -> Converted:
    read = parse_times(values, near_ns, how)
    return Converted(pa.array(read.nanoseconds, mask=~read.usable).cast(TIMESTAMP), read.usable)


def take_time(
    fields: Fields,
    names: Sequence[str],
    near_ns: Any,
    mapping: SourceMapping,
    column: str = "",
) -> Any:
    """Fill a time column from the fields with one of these squashed names; None if none fills it.

    Values that are no time stay in their fields.

    Args:
        fields: The fields nothing has used yet.
        names: Squashed names, most wanted first.
        near_ns: int64 per row: about when it was written.
        mapping: May name the field, and say how times are written.
        column: Under which the mapping may name it.
    """
    said = mapping.columns.get(column)
    spoken_for = set(mapping.columns.values())
    named = [key for key in fields.named(*names) if key not in spoken_for]
    taken = fields.take(
        named if said is None else [said], partial(_convert, near_ns=near_ns, how=_reading(mapping))
    )
    return None if taken is None else taken.values


def take_moments(fields: Fields, signal: Signal, mapping: SourceMapping, near_ns: Any) -> Moments:
    """Decide the time of each row.

    Spans begin at their start. A row without a time of its own gets that of its object; a span
    without a start gets its end.
    """
    names = (*START, *TIME) if signal is Signal.SPANS else TIME
    if "timestamp" not in mapping.columns:
        _join_date_and_clock(fields)
    found = take_time(fields, names, near_ns, mapping, column="timestamp")
    borrowed = None
    if signal is Signal.SPANS and (found is None or found.null_count):
        # Only looked at: the end time stays where it is, for its own column.
        borrowed = _peek(fields, END, near_ns, mapping)
    nothing = pa.nulls(fields.rows, TIMESTAMP)
    own = nothing if found is None else found
    second = nothing if borrowed is None else borrowed
    timestamp = pc.coalesce(own, second, pa.array(near_ns).cast(TIMESTAMP))
    source = np.where(
        np.asarray(own.is_valid()),
        int(TimeSource.TIME),
        np.where(np.asarray(second.is_valid()), int(TimeSource.END), int(TimeSource.OBJECT)),
    )
    return Moments(
        timestamp,
        pa.DictionaryArray.from_arrays(pa.array(source.astype(np.int32)), SOURCE_NAMES),
        near_ns,
        np.asarray(own.is_valid()),
    )


def _peek(fields: Fields, names: Sequence[str], near_ns: Any, mapping: SourceMapping) -> Any:
    said = mapping.columns.get("end_timestamp")
    wanted = {said} if said is not None else set(fields.named(*names))
    for field in fields:
        if field.key in wanted:
            return _convert(field.values, near_ns, _reading(mapping)).values
    return None


def _join_date_and_clock(fields: Fields) -> None:
    """Put a date and a time of day that stand in two fields into one, as web servers write them."""
    dates, clocks = fields.named("date"), fields.named("time")
    if len(dates) != 1 or len(clocks) != 1:
        return
    values = {field.key: field.values for field in fields if field.key in (*dates, *clocks)}
    date, clock = values[dates[0]], values[clocks[0]]
    if pa.types.is_date(date.type):
        date = date.cast(pa.string())
    if pa.types.is_time(clock.type):
        clock = clock.cast(pa.string())
    if not pa.types.is_string(date.type) or not pa.types.is_string(clock.type):
        return
    if not pc.all(pc.match_substring_regex(clock, _CLOCK), min_count=0).as_py():
        return
    joined = pc.binary_join_element_wise(date, clock, " ")
    if parse_times(joined, np.zeros(fields.rows, np.int64)).usable.any():
        fields.drop([*dates, *clocks])
        fields.put("date time", joined)
