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

    from lakerunner.formats.records.fields import Fields, Preferred
    from lakerunner.model.mapping import SourceMapping

_CLOCK = r"^\d{1,2}:\d{2}:\d{2}"
_JOINED = "date time"


class Written(NamedTuple):
    """When and where the rows of some fields were written.

    Attributes:
        near_ns: int64: about when; the time of their object.
        objects: int: which object they came from.
    """

    near_ns: Any
    objects: Any


class Moments(NamedTuple):
    """The times of rows.

    Attributes:
        timestamp: timestamp[ns, UTC] without NULLs.
        source: Dictionary array of `timestamp_source`.
        written: When and where the rows were written.
        sent: bool: the row had a time of its own.
    """

    timestamp: Any
    source: Any
    written: Written
    sent: Any


def _reading(mapping: SourceMapping) -> TimeReading:
    return TimeReading(mapping.timestamp_format, mapping.timestamp_unit, mapping.timezone)


def _convert(values: Any, written: Written, how: TimeReading) -> Converted:
    read = parse_times(values, written.near_ns, how, written.objects)
    return Converted(pa.array(read.nanoseconds, mask=~read.usable).cast(TIMESTAMP), read.usable)


def take_time(
    fields: Fields,
    names: Sequence[str],
    written: Written,
    mapping: SourceMapping,
    column: str = "",
    preferred: Sequence[Preferred] = (),
) -> Any:
    """Fill a time column from the fields with one of these squashed names; None if none fills it.

    Values that are no time stay in their fields.

    Args:
        fields: The fields nothing has used yet.
        names: Squashed names, most wanted first.
        written: When and where the rows were written.
        mapping: May name the field, and say how times are written.
        column: Under which the mapping may name it.
        preferred: Fields that hold it in records of a known shape.
    """
    said = mapping.columns.get(column)
    spoken_for = set(mapping.columns.values())
    named = [key for key in fields.named(*names) if key not in spoken_for]
    keys: list[str | Preferred] = [*preferred, *named] if said is None else [said]
    taken = fields.take(keys, partial(_convert, written=written, how=_reading(mapping)))
    return None if taken is None else taken.values


def take_moments(
    fields: Fields,
    signal: Signal,
    mapping: SourceMapping,
    written: Written,
    preferred: Sequence[Preferred] = (),
) -> Moments:
    """Decide the time of each row.

    Spans begin at their start. A row without a time of its own gets that of its object; a span
    without a start gets its end.
    """
    names = (*START, *TIME) if signal is Signal.SPANS else TIME
    if "timestamp" not in mapping.columns:
        _join_date_and_clock(fields, frozenset(mapping.columns.values()), written)
    found = take_time(fields, names, written, mapping, "timestamp", preferred)
    borrowed = None
    if signal is Signal.SPANS and (found is None or found.null_count):
        # Only looked at: the end time stays where it is, for its own column.
        borrowed = _peek(fields, END, written, mapping)
    nothing = pa.nulls(fields.rows, TIMESTAMP)
    own = nothing if found is None else found
    second = nothing if borrowed is None else borrowed
    timestamp = pc.coalesce(own, second, pa.array(written.near_ns).cast(TIMESTAMP))
    source = np.where(
        np.asarray(own.is_valid()),
        int(TimeSource.TIME),
        np.where(np.asarray(second.is_valid()), int(TimeSource.END), int(TimeSource.OBJECT)),
    )
    return Moments(
        timestamp,
        pa.DictionaryArray.from_arrays(pa.array(source.astype(np.int32)), SOURCE_NAMES),
        written,
        np.asarray(own.is_valid()),
    )


def _peek(fields: Fields, names: Sequence[str], written: Written, mapping: SourceMapping) -> Any:
    said = mapping.columns.get("end_timestamp")
    keys = [said] if said is not None else fields.named(*names)
    found = [
        _convert(fields.get(key), written, _reading(mapping)).values
        for key in keys
        if key in fields
    ]
    return pc.coalesce(*found) if found else None


def _join_date_and_clock(fields: Fields, spoken_for: frozenset[str], written: Written) -> None:
    """Put a date and a time of day that stand in two fields into one, as web servers write them.

    Records that have only one of them, or whose two make no time, keep them as they are.
    """
    dates, clocks = fields.named("date"), fields.named("time")
    if len(dates) != 1 or len(clocks) != 1 or spoken_for.intersection((*dates, *clocks)):
        return
    date, clock = (_text_of(fields.get(key)) for key in (dates[0], clocks[0]))
    if date is None or clock is None:
        return
    is_clock = pc.fill_null(pc.match_substring_regex(clock, _CLOCK), False)  # noqa: FBT003 - Arrow's
    joined = pc.binary_join_element_wise(date, clock, " ")
    joined = pc.if_else(is_clock, joined, pa.scalar(None, pa.string()))
    usable = parse_times(joined, written.near_ns, objects=written.objects).usable
    if usable.any():
        fields.drop((dates[0], clocks[0]), usable)
        fields.put(_JOINED, pc.if_else(pa.array(usable), joined, pa.scalar(None, pa.string())))


def _text_of(values: Any) -> Any:
    """Dates, times of day and text as text; None for anything else."""
    if pa.types.is_date(values.type) or pa.types.is_time(values.type):
        return values.cast(pa.string())
    return values if pa.types.is_string(values.type) else None
