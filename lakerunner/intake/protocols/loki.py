"""Loki's push API, as JSON or as protobuf: streams with labels, and their entries.

https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError, UnknownFormatError
from lakerunner.intake.payloads import arrow_payload
from lakerunner.intake.protocols.messages import PUSH, read_message
from lakerunner.intake.protocols.protocol import (
    JSON,
    Answer,
    Protocol,
    Sent,
    Taken,
    offsets_of,
    plain_failure,
)
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PROTOBUF = "application/x-protobuf"
_NANOS = 10**9
_LEVELS = ("detected_level", "severity_text", "level")
_SERVICES = (
    *("service", "app", "application", "app_name", "name", "app_kubernetes_io_name"),
    *("container", "container_name", "k8s_container_name", "component", "workload", "job"),
)
_PAIR = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_.]*)\s*=\s*("(?:[^"\\]|\\.)*")\s*(,|$)')
_GO_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|U([0-9a-fA-F]{8})|([av'])|[^U])")
_GO_NAMES = {"a": "\\u0007", "v": "\\u000b", "'": "'"}


class _Entry(msgspec.Struct, array_like=True):
    at: str
    line: str
    metadata: dict[str, str] = {}


class _Stream(msgspec.Struct):
    stream: dict[str, str]
    values: list[_Entry]


class _Push(msgspec.Struct):
    streams: list[_Stream]


_PUSHES = msgspec.json.Decoder(_Push)


def take_push(sent: Sent) -> Taken:
    """Read a push.

    Raises:
        CorruptObjectError: It is none.
        UnknownFormatError: Its media type is neither JSON nor protobuf.
    """
    kind = sent.kind.partition(";")[0].strip()
    if kind == JSON:
        table = _read_json(sent.body)
    elif kind in (_PROTOBUF, ""):
        table = _read_protobuf(sent.body)
    else:
        raise UnknownFormatError(f"Content-Type must be {JSON} or {_PROTOBUF}")
    return Taken((arrow_payload(table, Signal.LOGS),), Answer(204))


def _encoding(headers: Mapping[str, str]) -> str:
    said = headers.get("content-encoding", "").strip().lower()
    is_json = headers.get("content-type", "").partition(";")[0].strip().lower() == JSON
    return said or ("identity" if is_json else "snappy")


LOKI = Protocol(
    "loki", ("/loki/api/v1/push", "/api/prom/push"), take_push, plain_failure, _encoding
)


def _read_json(body: bytes) -> pa.Table:
    try:
        streams = _PUSHES.decode(body).streams
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptObjectError(f"the body is no push: {error}") from error
    lengths = [len(one.values) for one in streams]
    entries = map(msgspec.structs.astuple, chain.from_iterable(one.values for one in streams))
    times, lines, metadata = tuple(zip(*entries, strict=True)) or ((), (), ())
    try:
        at = pa.array(times, pa.string()).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise CorruptObjectError(f"a time is not nanoseconds: {error}") from error
    sizes = list(map(len, metadata))
    keys = pa.array(list(chain.from_iterable(metadata)), pa.string())
    items = pa.array(list(chain.from_iterable(map(dict.values, metadata))), pa.string())
    maps = pa.MapArray.from_arrays(offsets_of(sizes), keys, items)
    return _rows(at, pa.array(lines, pa.string()), maps, [one.stream for one in streams], lengths)


def _read_protobuf(body: bytes) -> pa.Table:
    streams = read_message(body, PUSH).column("streams").flatten()
    labels = [labels_of(text) for text in streams.field("labels").to_pylist()]
    lists = streams.field("entries")
    entries = lists.flatten()
    time = entries.field("timestamp")
    seconds = pc.multiply(time.field("seconds"), pa.scalar(_NANOS, pa.int64()))
    at = pc.add(pc.fill_null(seconds, 0), pc.fill_null(time.field("nanos").cast(pa.int64()), 0))
    found = entries.field("metadata")
    pairs = found.flatten()
    sizes = pc.list_value_length(found)
    maps = pa.MapArray.from_arrays(offsets_of(sizes), pairs.field("name"), pairs.field("value"))
    lengths = pc.list_value_length(lists).to_pylist()
    return _rows(at, entries.field("line"), maps, labels, lengths)


def _rows(
    at: Any, lines: Any, metadata: Any, labels: Sequence[Mapping[str, str]], lengths: Sequence[int]
) -> pa.Table:
    """Entries as rows, each with the labels of its stream."""
    named = [{**_service(one), **one} for one in labels]
    keys = pa.array(list(chain.from_iterable(named)), pa.string())
    items = pa.array(list(chain.from_iterable(map(dict.values, named))), pa.string())
    streams = pa.MapArray.from_arrays(offsets_of(list(map(len, named))), keys, items)
    streams = streams.take(pa.array(np.repeat(np.arange(len(named)), lengths)))
    levels = [pc.map_lookup(metadata, pa.scalar(name), "first") for name in _LEVELS]
    columns = {
        "timestamp": at.cast(pa.timestamp("ns", "UTC")),
        "body": lines,
        "severity_text": pc.coalesce(*levels, pc.map_lookup(streams, pa.scalar("level"), "first")),
        "trace_id": pc.map_lookup(metadata, pa.scalar("trace_id"), "first"),
        "span_id": pc.map_lookup(metadata, pa.scalar("span_id"), "first"),
        "attributes": metadata,
        "resource.attributes": streams,
    }
    return pa.table(columns)


def _service(labels: Mapping[str, str]) -> dict[str, str]:
    """The label by which Loki, too, names the service of a stream that does not say it."""
    if "service_name" in labels:
        return {}
    found = next((labels[name] for name in _SERVICES if labels.get(name)), "")
    return {"service_name": found} if found else {}


@lru_cache(maxsize=10_000)
def labels_of(text: str) -> dict[str, str]:
    r"""The labels of a stream as a selector says them.

    Raises:
        CorruptObjectError: It is none.

    Example:
        >>> labels_of('{app="shop", host="a\\"b"}')
        {'app': 'shop', 'host': 'a"b'}
    """
    bare = text.strip()
    if bare[:1] != "{" or bare[-1:] != "}":
        raise CorruptObjectError(f'the labels of a stream are {{name="value"}}, not {text!r}')
    inside, labels, at = bare[1:-1].strip(), {}, 0
    while at < len(inside):
        found = _PAIR.match(inside, at)
        if found is None:
            raise CorruptObjectError(f"labels: {text!r} cannot be read from {inside[at:]!r} on")
        labels[found[1]] = _unquoted(found[2])
        at = found.end()
    return labels


def _unquoted(text: str) -> str:
    """A quoted text of Go, which knows some escapes that JSON does not."""
    try:
        return msgspec.json.decode(_GO_ESCAPE.sub(_json_escape, text), type=str)
    except msgspec.DecodeError as error:
        raise CorruptObjectError(f"labels: {text} is no text: {error}") from error


def _json_escape(found: re.Match[str]) -> str:
    code, octal, wide, name = found.groups()
    if not any(found.groups()):
        return found[0]  # as in JSON
    if name:
        return _GO_NAMES[name]
    point = int(code or wide or "0", 16) if octal is None else int(octal, 8)
    try:
        return msgspec.json.encode(chr(point)).decode()[1:-1]
    except ValueError as error:
        raise CorruptObjectError(f"labels: {found[0]} is no character") from error
