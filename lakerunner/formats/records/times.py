"""The times of records: which field holds them, and what stands in where there is none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.fields import END, START, TIME, Converted, take_apart
from lakerunner.model.signal import Signal
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import Days
from lakerunner.schema.time_columns import USUAL, ParsedTimes, TimeReading, parse_times
from lakerunner.schema.timestamps import SOURCE_NAMES, TimeSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.formats.records.fields import Fields, Preferred
    from lakerunner.formats.records.lines import Records
    from lakerunner.model.profile import SourceMapping

_CLOCK = r"^\d{1,2}:\d{2}:\d{2}"
_JOINED = "date time"
_DATE = r"^\s*(?P<one>\d{1,2})/(?P<two>\d{1,2})/\d{4}(?:[ ,T](?s:.*))?$"
_MONTHS = 12


class DayOrders:
    """Which of day and month comes first in the objects of a batch that write both as numbers.

    All dates of an object tell, whatever their field; they are looked at when it is first asked.

    Args:
        groups: All records of the batch.
        objects: How many objects they are of.
        said: What the user says of all of them.
    """

    def __init__(self, groups: Sequence[Records], objects: int, said: bool | None) -> None:  # noqa: FBT001 - a setting that is handed on
        self._groups = groups
        self._objects = objects
        self._said = said
        self._found: tuple[Days, ...] = ()

    @property
    def found(self) -> tuple[Days, ...]:
        """What each object tells; empty as long as nobody asked, or where the user told."""
        return self._found

    def day_first(self, objects: Any) -> Any:
        """Whether the day comes first: a bool per row.

        Args:
            objects: int per row: which object it came from.
        """
        if self._said is not None:
            return np.full(len(objects), self._said)
        if not self._found:
            self._look()
        return np.array([each.turned for each in self._found])[objects]

    def _look(self) -> None:
        days, months = np.zeros(self._objects, bool), np.zeros(self._objects, bool)
        for group in self._groups:
            for field in take_apart(group.table):
                text = _text_of(field.values)
                if text is None:
                    continue
                dates = pc.extract_regex(text, _DATE)
                rows = np.flatnonzero(np.asarray(dates.is_valid()))
                one, two = (
                    dates.field(name).take(pa.array(rows)).cast(pa.int64()).to_numpy() > _MONTHS
                    for name in ("one", "two")
                )
                days[group.payload[rows[one & ~two]]] = True
                months[group.payload[rows[two & ~one]]] = True
        self._found = tuple(map(Days, days.tolist(), months.tolist()))


class Written(NamedTuple):
    """When and where the rows of some fields were written.

    Attributes:
        near_ns: int64: about when; the time of their object.
        objects: int: which object they came from.
        orders: Of day and month in these objects.
    """

    near_ns: Any
    objects: Any
    orders: DayOrders

    def times(self, values: Any, how: TimeReading = USUAL) -> ParsedTimes:
        """Read a column of times, one value per row."""
        return parse_times(values, self.near_ns, how, partial(self.orders.day_first, self.objects))

    def of(self, rows: Any) -> Written:
        """The same of some of the rows, or of elements within them."""
        return self._replace(near_ns=self.near_ns[rows], objects=self.objects[rows])


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
    read = written.times(values, how)
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
    usable = written.times(joined).usable
    if usable.any():
        fields.drop((dates[0], clocks[0]), usable)
        fields.put(_JOINED, pc.if_else(pa.array(usable), joined, pa.scalar(None, pa.string())))


def _text_of(values: Any) -> Any:
    """Dates, times of day and text as text; None for anything else."""
    if pa.types.is_date(values.type) or pa.types.is_time(values.type):
        return values.cast(pa.string())
    return values if pa.types.is_string(values.type) else None
