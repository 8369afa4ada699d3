"""Prometheus remote write, 1.0 and 2.0: series with samples, native histograms and exemplars.

https://prometheus.io/docs/specs/prw/remote_write_spec/ and
https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/

A point has the name and labels that its series has in Prometheus, and PromQL reads it under these:
`job` and `instance` are the service and its instance, all others are attributes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError, UnknownFormatError
from lakerunner.intake.payloads import arrow_payload
from lakerunner.intake.protocols.messages import WRITE, WRITE_2, read_message
from lakerunner.intake.protocols.native_histograms import Histograms, read_histograms
from lakerunner.intake.protocols.protocol import (
    Answer,
    Protocol,
    Sent,
    Taken,
    offsets_of,
    plain_failure,
)
from lakerunner.model.signal import Signal
from lakerunner.schema.text import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROTO_1, _PROTO_2 = "prometheus.writerequest", "io.prometheus.write.v2.request"
_KIND = "application/x-protobuf"
_MILLIS = 10**6
_STALE = np.uint64(0x7FF0000000000002)
_NO_VALUE = 1  # of OTLP's flags: there is no value here, which is what staleness means
_COUNTER = 1
_NAME = "__name__"
_TIME = pa.timestamp("ns", "UTC")


class _Series(NamedTuple):
    """Series, whichever version they came in.

    Attributes:
        labels: Map of texts for each.
        name: Of each; NULL if it has none.
        kind: int for each: its type, as its metadata says; 0 for none.
        unit: Of each; NULL if its metadata says none.
        help: Of each; NULL if its metadata says none.
        created: Milliseconds for each: when it began; 0 if that is not known.
        fields: Struct array with the lists of samples, histograms and exemplars.
        exemplar_labels: Map of texts for each exemplar.
    """

    labels: Any
    name: Any
    kind: Any
    unit: Any
    help: Any
    created: Any
    fields: Any
    exemplar_labels: Any


def take_write(sent: Sent) -> Taken:
    """Read a write of either version; which it is says its media type.

    Raises:
        CorruptObjectError: It is no write.
        UnknownFormatError: Its media type is of neither version.
    """
    kind, _, rest = sent.kind.partition(";")
    proto = rest.strip().removeprefix("proto=").strip('"') or _PROTO_1
    if kind.strip() not in (_KIND, "") or proto not in (_PROTO_1, _PROTO_2):
        raise UnknownFormatError(f"Content-Type {sent.kind!r} is no remote write 1.0 or 2.0")
    second = proto == _PROTO_2
    series = _read_second(sent.body) if second else _read_first(sent.body)
    if series.name.null_count:
        raise CorruptObjectError(f"a series has no label {_NAME}")
    return _taken(series, second=second)


def _taken(series: _Series, *, second: bool) -> Taken:
    samples = _samples(series)
    histograms = read_histograms(series.fields.field("histograms"))
    tables = [samples] if samples.num_rows or not len(histograms.owner) else []
    if len(histograms.owner):
        tables.append(_histogram_rows(series, histograms))
    whole = pa.concat_tables(tables, promote_options="default")
    rejected = histograms.refused
    reasons = (histograms.reason,) if rejected else ()
    headers = {}
    if second:
        counts = {
            "samples": samples.num_rows,
            "histograms": len(histograms.owner),
            "exemplars": len(series.fields.field("exemplars").flatten()),
        }
        headers = {
            f"x-prometheus-remote-write-{name}-written": str(count)
            for name, count in counts.items()
        }
    # What is beyond help is said with a status that is not tried again; the rest is kept.
    told = histograms.reason.encode()
    answer = Answer(400, told, "text/plain") if rejected else Answer(204)
    return Taken(
        (arrow_payload(whole, Signal.METRICS),),
        answer._replace(headers=headers),
        rejected,
        reasons,
    )


def _encoding(headers: Mapping[str, str]) -> str:
    return headers.get("content-encoding", "").strip().lower() or "snappy"


REMOTE_WRITE = Protocol(
    "remote write",
    ("/api/v1/write", "/api/v1/push", "/api/prom/remote/write"),
    take_write,
    plain_failure,
    _encoding,
)


def _read_first(body: bytes) -> _Series:
    batch = read_message(body, WRITE)
    fields = batch.column("series").flatten()
    labels, exemplars = fields.field("labels"), fields.field("exemplars").flatten()
    name = _label(_map(labels), _NAME)
    # Metadata comes in writes of its own, mostly; what stands in this one is used.
    found = batch.column("metadata").flatten()
    at = pc.index_in(name, found.field("name"))
    return _Series(
        _map(labels),
        name,
        pc.fill_null(found.field("type").take(at), 0),
        _word(found.field("unit").take(at)),
        _word(found.field("help").take(at)),
        pa.array(np.zeros(len(fields), np.int64)),
        fields,
        _map(exemplars.field("labels")),
    )


def _read_second(body: bytes) -> _Series:
    batch = read_message(body, WRITE_2)
    symbols = batch.column("symbols").flatten()
    if len(symbols) and symbols[0].as_py():
        raise CorruptObjectError("the first symbol must be the empty text")
    fields = batch.column("series").flatten()
    metadata, exemplars = fields.field("metadata"), fields.field("exemplars").flatten()
    try:
        labels = _referenced(fields.field("labels"), symbols)
        return _Series(
            labels,
            _label(labels, _NAME),
            pc.fill_null(metadata.field("type"), 0),
            _word(symbols.take(metadata.field("unit"))),
            _word(symbols.take(metadata.field("help"))),
            fields.field("created"),
            fields,
            _referenced(exemplars.field("labels"), symbols),
        )
    except (pa.ArrowIndexError, IndexError) as error:
        raise CorruptObjectError(f"a series names a symbol that is not there: {error}") from error


def _map(lists: Any) -> Any:
    pairs = lists.flatten()
    sizes = pc.list_value_length(lists)
    return pa.MapArray.from_arrays(offsets_of(sizes), pairs.field("name"), pairs.field("value"))


def _referenced(lists: Any, symbols: Any) -> Any:
    """Labels by the places of their names and values among the symbols."""
    places = lists.flatten().to_numpy()
    sizes = np.asarray(pc.list_value_length(lists))
    if np.any(sizes % 2):
        raise CorruptObjectError("the labels of a series are pairs of symbols")
    keys, items = symbols.take(pa.array(places[0::2])), symbols.take(pa.array(places[1::2]))
    return pa.MapArray.from_arrays(offsets_of(sizes // 2), keys, items)


def _label(maps: Any, name: str) -> Any:
    return _word(pc.map_lookup(maps, pa.scalar(name), "first"))


def _word(texts: Any) -> Any:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


_MOVED = (_NAME, "job", "instance")


def _attributes(labels: Any) -> Any:
    """The labels that are neither the name nor the service."""
    kept = ~np.asarray(pc.is_in(labels.keys, pa.array(_MOVED)))
    owners = np.repeat(np.arange(len(labels)), np.diff(labels.offsets.to_numpy()))
    sizes = np.bincount(owners[kept], minlength=len(labels))
    mask = pa.array(kept)
    return pa.MapArray.from_arrays(
        offsets_of(sizes), labels.keys.filter(mask), labels.items.filter(mask)
    )


def _identity(series: _Series, owner: Any, kind: Any, *, counts: Any) -> dict[str, Any]:
    """The columns that say which series some points are of.

    Args:
        series: All of them.
        owner: int per point: which of them.
        kind: Text per series: its type as the lake calls it.
        counts: bool per series: what it holds only ever grows.
    """
    job = _label(series.labels, "job")
    parts = pc.extract_regex(job, "^(?P<namespace>[^/]*)/(?P<name>.*)$")
    nothing = pa.scalar(None, pa.string())
    split = parts.is_valid()
    columns = {
        "metric_name": series.name,
        "metric_type": kind,
        "temporality": pc.if_else(counts, pa.scalar("cumulative"), nothing),
        "is_monotonic": pc.if_else(counts, counts, pa.scalar(None, pa.bool_())),
        "unit": _units(series),
        "description": series.help,
        "attributes": _attributes(series.labels),
        "resource.service.name": pc.if_else(split, parts.field("name"), job),
        "resource.service.namespace": pc.if_else(split, parts.field("namespace"), nothing),
        "resource.service.instance.id": _label(series.labels, "instance"),
    }
    rows = pa.array(owner)
    return {name: values.take(rows) for name, values in columns.items()}


def _units(series: _Series) -> Any:
    """Units that stand in the names: PromQL adds others to the name, which is complete here."""
    fits = np.zeros(len(series.name), bool)
    for unit in filter(None, series.unit.unique().to_pylist()):
        named = pc.match_substring_regex(series.name, f"(?:^|_){re.escape(unit)}(?:_|$)")
        fits |= np.asarray(
            pc.and_(named, pc.fill_null(pc.equal(series.unit, unit), fill_value=False))
        )
    return pc.if_else(pa.array(fits), series.unit, pa.scalar(None, pa.string()))


def _samples(series: _Series) -> pa.Table:
    lists = series.fields.field("samples")
    found = lists.flatten()
    owner = np.repeat(np.arange(len(lists)), np.asarray(pc.list_value_length(lists)))
    value = found.field("value")
    stale = np.ascontiguousarray(value.to_numpy()).view(np.uint64) == _STALE
    total = pc.ends_with(series.name, "_total")
    counts = pc.and_(total, pc.is_in(series.kind, pa.array([0, _COUNTER], series.kind.type)))
    kind = pc.if_else(counts, pa.scalar("sum"), pa.scalar("gauge"))
    columns = _identity(series, owner, kind, counts=counts)
    began = series.created.take(pa.array(owner))
    if found.type.get_field_index("start_timestamp") >= 0:
        own = found.field("start_timestamp")
        began = pc.if_else(pc.equal(own, 0), began, own)
    columns |= {
        "timestamp": _time(found.field("timestamp")),
        "start_timestamp": pc.if_else(pc.equal(began, 0), pa.scalar(None, _TIME), _time(began)),
        "value": pa.array(value.to_numpy(), mask=stale),
        "flags": pa.array(np.where(stale, _NO_VALUE, 0).astype(np.uint32)),
        "exemplars": _exemplars(series, owner, np.zeros(len(lists), bool)),
    }
    return pa.table(columns)


def _histogram_rows(series: _Series, found: Histograms) -> pa.Table:
    owner = found.owner
    grows = pa.array(np.ones(len(series.name), bool))
    columns = _identity(series, owner, pa.array([""] * len(series.name)), counts=grows)
    del columns["is_monotonic"]
    lists = series.fields.field("samples")
    sampled = np.asarray(pc.list_value_length(lists)) > 0
    columns |= found.columns
    columns |= {
        "timestamp": _time(found.columns["timestamp"]),
        "exemplars": _exemplars(series, owner, sampled),
    }
    return pa.table(columns)


def _time(millis: Any) -> Any:
    try:
        return pc.multiply_checked(millis, pa.scalar(_MILLIS, pa.int64())).cast(_TIME)
    except pa.ArrowInvalid as error:
        raise CorruptObjectError(f"a time is beyond all times: {error}") from error


def _exemplars(series: _Series, owner: Any, elsewhere: Any) -> Any:
    """The exemplars of series, at the last point of each.

    Args:
        series: All of them.
        owner: int per point: whose it is, rising.
        elsewhere: bool per series: its exemplars are with other points.
    """
    lists = series.fields.field("exemplars")
    counts = np.asarray(pc.list_value_length(lists))
    lasts = np.flatnonzero(np.diff(owner, append=-1))
    here = np.zeros(len(lists), bool)
    here[owner[lasts]] = True
    here &= ~elsewhere
    sizes = np.zeros(len(owner), np.int64)
    sizes[lasts] = np.where(here[owner[lasts]], counts[owner[lasts]], 0)
    taken = pa.array(np.repeat(here, counts))
    found = lists.flatten()
    labels = series.exemplar_labels
    columns = {
        "timestamp": _time(found.field("timestamp")),
        "value": found.field("value"),
        "trace_id": _label(labels, "trace_id"),
        "span_id": _label(labels, "span_id"),
        "attributes": json_text(labels),
    }
    structs = pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
    return pa.ListArray.from_arrays(offsets_of(sizes), structs.filter(taken))
