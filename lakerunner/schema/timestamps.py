"""Which time a row has: as sent, repaired, or borrowed, and where it was taken from."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.schema.types import TIMESTAMP


class TimeSource(IntEnum):
    """Where a row's timestamp was taken from; the lower-case name stands in `timestamp_source`.

    `TIME` is the time that was sent, in nanoseconds. `SECONDS`, `MILLISECONDS` and `MICROSECONDS`
    are the same field filled in a wrong unit and scaled up. `OBSERVED` is the observed time, used
    when no usable time was sent; `OBJECT` is the modification time of the input object, used when
    neither was. `END` is the end of a span, used when no usable start was sent.
    `NEIGHBOUR` is the time of the record before a line of text that stands among records.
    """

    TIME = 0
    SECONDS = 1
    MILLISECONDS = 2
    MICROSECONDS = 3
    OBSERVED = 4
    OBJECT = 5
    END = 6
    NEIGHBOUR = 7


SOURCE_NAMES = pa.array([source.name.lower() for source in TimeSource])

# Years 2000 to 2100. A number that is plausible in another unit lies between 1970-01-01 and
# 1970-02-18 as nanoseconds, a time no telemetry has; outside these ranges it is taken as it is.
_FIRST, _LAST = 946_684_800, 4_102_444_800
_UNITS = (
    (TimeSource.SECONDS, 1, 10**9),
    (TimeSource.MILLISECONDS, 10**3, 10**6),
    (TimeSource.MICROSECONDS, 10**6, 10**3),
)
_SIGN_BIT = np.uint64(2**63)


class ReadTimes(NamedTuple):
    """Nanoseconds, where they came from, and which are unusable.

    Attributes:
        nanoseconds: int64; 0 where `usable` is false.
        source: uint8 of `TimeSource` TIME to MICROSECONDS.
        usable: bool; false where the number is 0 (absent) or beyond the year 2262.
    """

    nanoseconds: Any
    source: Any
    usable: Any


def read_times(raw: Any) -> ReadTimes:
    """Read unsigned 64-bit time fields that should be nanoseconds since the epoch.

    Args:
        raw: uint64 array of numpy.

    Example:
        >>> times = read_times(np.array([0, 1_700_000_000_123, 2**63], np.uint64))
        >>> times.usable.tolist(), times.nanoseconds.tolist()[1]
        ([False, True, False], 1700000000123000000)
    """
    usable = (raw != 0) & (raw < _SIGN_BIT)
    nanoseconds = np.where(usable, raw, 0).astype(np.int64)
    source = np.zeros(len(raw), np.uint8)
    # Anything at or past this is nanoseconds; one comparison spares the common case the rest.
    if len(raw) and bool((nanoseconds[usable] <= _LAST * 10**6).any()):
        for unit, per_second, scale in _UNITS:
            hit = (nanoseconds >= _FIRST * per_second) & (nanoseconds <= _LAST * per_second)
            nanoseconds = np.where(hit, nanoseconds * np.where(hit, scale, 1), nanoseconds)
            source[hit] = unit
    return ReadTimes(nanoseconds, source, usable)


class RowTimes(NamedTuple):
    """The time columns of a table.

    Attributes:
        timestamp: timestamp[ns, UTC] without NULLs.
        source: Dictionary array of `timestamp_source`.
        observed: timestamp[ns, UTC]; NULL where absent or unusable.
        raw: uint64; the number as sent wherever `timestamp` is not it, else NULL. None when there
            is no such row.
    """

    timestamp: Any
    source: Any
    observed: Any
    raw: Any


class OptionalTimes(NamedTuple):
    """A time column beside `timestamp`.

    Attributes:
        timestamp: timestamp[ns, UTC]; NULL where absent or unusable.
        raw: uint64; the number as sent wherever `timestamp` is not it, else NULL.
    """

    timestamp: Any
    raw: Any


def optional_times(raw: Any) -> OptionalTimes:
    """Read unsigned 64-bit time fields that may be missing, and lose none of their numbers.

    Args:
        raw: uint64 array of numpy.

    Example:
        >>> times = optional_times(np.array([0, 1_700_000_000, 2**63], np.uint64))
        >>> times.timestamp.cast("int64").to_pylist(), times.raw.to_pylist()
        ([None, 1700000000000000000, None], [None, 1700000000, 9223372036854775808])
    """
    read = read_times(raw)
    kept = (raw == 0) | (read.usable & (read.source == TimeSource.TIME))
    return OptionalTimes(
        pa.array(read.nanoseconds, mask=~read.usable).cast(TIMESTAMP), pa.array(raw, mask=kept)
    )


def choose_times(
    time: Any, observed: Any, fallback_ns: Any, second: TimeSource = TimeSource.OBSERVED
) -> RowTimes:
    """Decide the timestamp of each row.

    Args:
        time: uint64 array; the time field as sent.
        observed: uint64 array; the observed-time field as sent.
        fallback_ns: int64 array; what to use when neither is usable.
        second: What `timestamp_source` says of rows that have their time from `observed`.
    """
    sent, seen = read_times(time), read_times(observed)
    chosen = np.where(
        sent.usable, sent.nanoseconds, np.where(seen.usable, seen.nanoseconds, fallback_ns)
    )
    source = np.where(
        sent.usable,
        sent.source,
        np.where(seen.usable, np.uint8(second), np.uint8(TimeSource.OBJECT)),
    ).astype(np.uint8)
    altered = (time != 0) & (source != TimeSource.TIME)
    return RowTimes(
        timestamp=pa.array(chosen).cast(TIMESTAMP),
        source=pa.DictionaryArray.from_arrays(pa.array(source.astype(np.int32)), SOURCE_NAMES),
        observed=pa.array(seen.nanoseconds, mask=~seen.usable).cast(TIMESTAMP),
        raw=pa.array(time, mask=~altered) if bool(altered.any()) else None,
    )
