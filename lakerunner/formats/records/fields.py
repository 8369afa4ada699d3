"""The fields of a table of records: objects taken apart, and each field found by its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.limits import NESTING_DEPTH
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_WORD = re.compile(r"[^a-z0-9]")


class Field(NamedTuple):
    """One field of all records.

    Attributes:
        key: Its name; fields inside of objects are named with dots.
        values: Arrow array without struct and map types, one value per record.
    """

    key: str
    values: Any


class Preferred(NamedTuple):
    """A field that some records want before all others.

    Attributes:
        key: Its key.
        rows: bool per row: which records; None for all.
    """

    key: str
    rows: Any


class Converted(NamedTuple):
    """What became of the values of a field.

    Attributes:
        values: Arrow array of the wanted type.
        usable: bool per row: the value is there, and nothing of it was lost.
    """

    values: Any
    usable: Any

    def completed(self, other: Converted) -> Converted:
        """These values, and where there are none those of another field."""
        values = pc.if_else(pa.array(self.usable), self.values, other.values)
        return Converted(values, self.usable | other.usable)


def squash(key: str) -> str:
    """A name without case and punctuation, as names are compared.

    Example:
        >>> squash("@timestamp"), squash("Event_Time")
        ('timestamp', 'eventtime')
    """
    return _WORD.sub("", key.lower())


def take_apart(table: pa.Table) -> list[Field]:
    """Take objects and maps apart down to scalars and lists.

    Args:
        table: One chunk per column.

    Example:
        >>> [field.key for field in take_apart(pa.table({"a": [{"b": 1, "c": {"d": 2}}]}))]
        ['a.b', 'a.c.d']
    """
    fields: list[Field] = []
    for field, column in zip(table.schema, table.columns, strict=True):
        fields.extend(_parts(field.name, _one_chunk(column), NESTING_DEPTH))
    return _unique(fields)


def _one_chunk(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _parts(key: str, values: Any, depth: int) -> Iterator[Field]:
    dtype = values.type
    if depth and pa.types.is_struct(dtype) and dtype.num_fields:
        for child, part in zip(dtype, values.flatten(), strict=True):
            yield from _parts(f"{key}.{child.name}", part, depth - 1)
    elif depth and pa.types.is_map(dtype) and pa.types.is_string(dtype.key_type):
        for name, part in _entries(values):
            yield from _parts(f"{key}.{name}", part, depth - 1)
    elif not pa.types.is_null(dtype):
        yield Field(key, values)


def _entries(maps: Any) -> Iterator[tuple[str, Any]]:
    """The values of a map by key: one column per distinct key."""
    offsets = maps.offsets.to_numpy()
    # A NULL map may have entries behind it in memory, which are no one's.
    lengths = np.where(np.asarray(maps.is_valid()), np.diff(offsets), 0)
    starts = offsets[:-1]
    rows = np.repeat(np.arange(len(maps)), lengths)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    positions = np.repeat(starts, lengths) + within
    keys = maps.keys.take(pa.array(positions)).dictionary_encode()
    codes = keys.indices.to_numpy(zero_copy_only=False)
    for code, name in enumerate(keys.dictionary.to_pylist()):
        hits = np.flatnonzero(codes == code)
        owners = rows[hits]
        # A key that stands twice in one map makes a second column: nothing is lost.
        repeat = np.arange(len(hits)) - np.searchsorted(owners, owners)
        for rank in range(int(repeat.max(initial=0)) + 1):
            chosen = hits[repeat == rank]
            dense = np.full(len(maps), -1, np.int64)
            dense[rows[chosen]] = positions[chosen]
            label = name if rank == 0 else f"{name}#{rank + 1}"
            yield label, maps.items.take(pa.array(dense, mask=dense < 0))


def _unique(fields: list[Field]) -> list[Field]:
    """Number keys that came twice, as `{"a": {"b": 1}, "a.b": 2}` makes them."""
    seen: dict[str, int] = {}
    named = []
    for field in fields:
        seen[field.key] = count = seen.get(field.key, 0) + 1
        named.append(field if count == 1 else field._replace(key=f"{field.key}#{count}"))
    return named


class Fields:
    """The fields of some records that nothing has used yet. Not safe for several threads.

    Args:
        fields: All fields, in order.
        rows: Number of records.

    Attributes:
        rows: Number of records.
    """

    def __init__(self, fields: Iterable[Field], rows: int) -> None:
        self._left = {field.key: field.values for field in fields}
        self.rows = rows

    def __iter__(self) -> Iterator[Field]:
        return (Field(key, values) for key, values in list(self._left.items()))

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def drop(self, keys: Iterable[str], rows: Any = None) -> None:
        """Leave out fields, and those inside of them, in all records or in those of a mask."""
        for key in keys:
            for name in self.inside(key):
                values = self._left.pop(name)
                if rows is not None and not rows.all():
                    self._left[name] = values.take(_where(~rows))

    def inside(self, key: str) -> list[str]:
        """Keys of a field and of those inside of it."""
        return [name for name in self._left if name == key or name.startswith(f"{key}.")]

    def get(self, key: str) -> Any:
        """The values of a field; None if there is none."""
        return self._left.get(key)

    def put(self, key: str, values: Any) -> None:
        """Add a field. What stood under its key is kept, under the key with a number."""
        older = self._left.get(key)
        self._left[key] = values
        if older is not None:
            self._left[self._free(key)] = older

    def _complete(self, key: str, values: Any) -> None:
        """Fill a field where it has nothing, and further ones with what is left."""
        turn, name = 1, key
        while (older := self._left.get(name)) is not None:
            if older.type == values.type and not pa.types.is_nested(older.type):
                self._left[name] = pc.coalesce(older, values)
                values = values.take(_where(np.asarray(older.is_valid())))
                if values.null_count == len(values):
                    return
            turn += 1
            name = f"{key}#{turn}"
        self._left[name] = values

    def _free(self, key: str) -> str:
        turn = 2
        while f"{key}#{turn}" in self._left:
            turn += 1
        return f"{key}#{turn}"

    def lead(self, key: str, values: Any) -> None:
        """Add a field before all others, which gives it the first right to its name."""
        if key in self._left:
            self._left[self._free(key)] = self._left.pop(key)
        self._left = {key: values, **self._left}

    def rename(self, key: str, new: str, rows: Any = None) -> None:
        """Give a field another key, in all records or in those of a mask.

        Records that have a value under that key keep it, and the new one is numbered.
        """
        values = self._left.pop(key)
        if rows is not None and not rows.all():
            chosen, rest = (values.take(_where(mask)) for mask in (rows, ~rows))
            if rest.null_count < len(rest):
                self._left[key] = rest
            values = chosen
        if values.null_count == len(values) and len(values):
            return
        self._complete(new, values)

    def pop(self, key: str) -> Any:
        """Take a field out as it is; None if there is none."""
        return self._left.pop(key, None)

    def named(self, *names: str) -> list[str]:
        """Keys of the fields with one of these squashed names, in the order of the names."""
        found: dict[str, list[str]] = {}
        for key in self._left:
            found.setdefault(squash(key), []).append(key)
        return [key for name in names for key in found.get(name, ())]

    def take(
        self, keys: Iterable[str | Preferred], convert: Callable[[Any], Converted]
    ) -> Converted | None:
        """Fill a column from fields: of each row, from the first field that has something usable.

        Values that were used are taken out of their fields; the rest stays there.

        Args:
            keys: Of fields, most wanted first; unknown ones are passed over.
            convert: To the wanted type.

        Returns:
            The column, or None where no field has anything.
        """
        filled: Converted | None = None
        for wanted in keys:
            key, rows = wanted if isinstance(wanted, Preferred) else (wanted, None)
            values = self._left.get(key)
            if values is None:
                continue
            offered = convert(values)
            if rows is not None and not rows.all():
                offered = Converted(offered.values, offered.usable & rows)
            used = offered.usable if filled is None else offered.usable & ~filled.usable
            self._keep_rest(key, values, used)
            if not used.any():
                continue
            if filled is None:
                filled = offered
            else:
                chosen = pc.if_else(pa.array(used), offered.values, filled.values)
                filled = Converted(chosen, filled.usable | used)
            if filled.usable.all():
                break
        if filled is None:
            return None
        if filled.values.null_count < np.count_nonzero(~filled.usable):
            empty = pa.nulls(len(filled.values), filled.values.type)
            return filled._replace(values=pc.if_else(pa.array(filled.usable), filled.values, empty))
        return filled

    def _keep_rest(self, key: str, values: Any, used: Any) -> None:
        rest = np.asarray(values.is_valid()) & ~used
        if pa.types.is_string(values.type):  # an empty text says nothing that could be lost
            rest &= np.asarray(pc.not_equal(pc.fill_null(values, ""), ""))
        if rest.all():
            return
        if rest.any():
            self._left[key] = values.take(_where(rest))
        else:
            del self._left[key]


def _where(rows: Any) -> Any:
    """Indices that keep the rows of a mask and put NULL for the others."""
    return pa.array(np.arange(len(rows)), mask=~rows)


# Which field fills which table column, told by the names people use.
#
# Names are compared without case and punctuation (`squash`), so one entry stands for `trace_id`,
# `traceId`, `TraceID` and `trace.id`. The first name of a row counts most.

TIME = (
    "timestamp",
    "time",
    "ts",
    "datetime",
    "eventtime",
    "eventtimestamp",
    "timeunixnano",
    "publishtime",
    "logtime",
    "logtimestamp",
    "asctime",
    "date",
    "createdat",
    "updatedat",
    "loggedat",
    "timegenerated",
    "timelocal",
    "timeiso8601",
    "tsms",
    "created",
    "starttime",
)
"""Names of the time of a record."""

START = ("starttimestamp", "starttime", "starttimeunixnano", "start")
END = ("endtimestamp", "endtime", "endtimeunixnano", "end")
OBSERVED = ("observedtimestamp", "observedtime", "observedtimeunixnano", "ingestiontime")

DURATIONS = {
    "durationns": 1,
    "durationnano": 1,
    "durationnanos": 1,
    "durationus": 10**3,
    "durationmicros": 10**3,
    "durationms": 10**6,
    "durationmillis": 10**6,
    "durations": 10**9,
    "durationseconds": 10**9,
}
"""Names of a span's duration, and their unit in nanoseconds. A bare `duration` says no unit."""

SERVICE_NAMES = ("servicename", "resourceservicename", "resourceattributesservicename", "service")
"""Names of the service that sent a record; they become `resource_service_name`."""

_SHARED = {
    "trace_id": ("traceid", "oteltraceid"),
    "span_id": ("spanid", "otelspanid"),
    "flags": ("flags", "traceflags", "oteltraceflags"),
    "scope_name": ("scopename", "instrumentationscopename"),
    "scope_version": ("scopeversion", "instrumentationscopeversion"),
    "scope_schema_url": ("scopeschemaurl",),
    "resource_schema_url": ("resourceschemaurl",),
    "dropped_attributes_count": ("droppedattributescount",),
}

_LOGS = {
    "severity_number": ("severitynumber",),
    "severity_text": ("severitytext", "level", "severity", "loglevel", "levelname", "lvl"),
    "event_name": ("eventname",),
    "body": (
        "body",
        "message",
        "msg",
        "log",
        "logmessage",
        "text",
        "content",
        "rawmessage",
        "textpayload",
        "line",
        "raw",
        "event",
        "data",
    ),
}

_SPANS = {
    "name": ("name", "spanname", "operationname", "operation"),
    "kind": ("kind", "spankind"),
    "status_code": ("statuscode",),
    "status_message": ("statusmessage",),
    "parent_span_id": ("parentspanid", "parentid"),
    "trace_state": ("tracestate",),
    "events": ("events",),
    "links": ("links",),
    "dropped_events_count": ("droppedeventscount",),
    "dropped_links_count": ("droppedlinkscount",),
}

_METRICS = {
    "metric_name": ("metricname", "metric", "name"),
    "metric_type": ("metrictype", "type"),
    "unit": ("unit", "metricunit"),
    "description": ("description", "metricdescription"),
    "temporality": ("temporality", "aggregationtemporality"),
    "is_monotonic": ("ismonotonic",),
    "value": ("value", "valuedouble", "asdouble", "gauge"),
    "value_int": ("valueint", "asint"),
    "count": ("count",),
    "sum": ("sum",),
    "min": ("min",),
    "max": ("max",),
    "bucket_counts": ("bucketcounts",),
    "explicit_bounds": ("explicitbounds",),
    "scale": ("scale",),
    "zero_count": ("zerocount",),
    "zero_threshold": ("zerothreshold",),
    "positive_offset": ("positiveoffset",),
    "positive_bucket_counts": ("positivebucketcounts",),
    "negative_offset": ("negativeoffset",),
    "negative_bucket_counts": ("negativebucketcounts",),
    "quantiles": ("quantiles", "quantilevalues"),
    "exemplars": ("exemplars",),
}

NAMES: dict[Signal, dict[str, tuple[str, ...]]] = {
    Signal.LOGS: {**_LOGS, **_SHARED},
    Signal.SPANS: {**_SPANS, **_SHARED},
    Signal.METRICS: {**_METRICS, **_SHARED},
}
"""Field names by table column, without times."""


def tell_signal(names: frozenset[str]) -> Signal | None:
    """The signal that squashed field names speak of, or None.

    Example:
        >>> tell_signal(frozenset({"traceid", "spanid", "name", "duration"}))
        <Signal.SPANS: 'spans'>
    """
    if "metricname" in names or {"metric", "value"} <= names:
        return Signal.METRICS
    if {"name", "value"} <= names and names & {*TIME}:
        return Signal.METRICS
    spanned = names & {*END, *DURATIONS, "duration", "parentspanid"}
    if {"traceid", "spanid"} <= names and spanned and names & {*_SPANS["name"]}:
        return Signal.SPANS
    if names & {*_LOGS["body"][:8], *_LOGS["severity_text"]}:
        return Signal.LOGS
    return None
