"""How platforms write logs: where journald, clouds, Kubernetes, Windows and web servers put things.

Each platform is recognised by its fields. What a column wants is offered under the column's own
name beside the fields as they were sent; nothing is taken away but what was moved.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.convert import plain_text
from lakerunner.model.profile import SourceMapping
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
"""Syslog's severities, from 0."""

_WINDOWS_LEVELS = ("information", "critical", "error", "warning", "information", "verbose")
_SERVICE, _HOST = "resource.service.name", "resource.host.name"
_BYTES = r"^\[\s*\d{1,3}(?:\s*,\s*\d{1,3})*\s*\]$"
_SERVER_ERROR, _CLIENT_ERROR = 500, 400


class Platform(NamedTuple):
    """A platform whose records are known.

    Attributes:
        asked: Fields by which it is told.
        matches: Whether a payload that has some of these is of it.
        mapping: Which field means what.
        prepare: What has to be done to a table first, in the rows of a mask.
    """

    asked: tuple[str, ...]
    matches: Callable[[frozenset[str]], bool]
    mapping: SourceMapping
    prepare: Callable[[pa.Table, Any], pa.Table]


# -- fields ------------------------------------------------------------------------------------


def _fields(table: pa.Table, path: str) -> Iterator[Any]:
    """Fields by their name, and by the names of the objects that they are in."""
    parts = path.split(".")
    for split in range(len(parts), 0, -1):
        name = ".".join(parts[:split])
        if name not in table.column_names:
            continue
        values = table[name].combine_chunks()
        for part in parts[split:]:
            if not pa.types.is_struct(values.type) or values.type.get_field_index(part) < 0:
                break
            values = pc.struct_field(values, part)
        else:
            yield values


def _texts(table: pa.Table, *paths: str) -> Any:
    """The first of some fields that has a value, as text; NULL where none has."""
    found = [one for path in paths for one in _fields(table, path)]
    texts = [_filled(plain_text(one)) for one in found]
    return pc.coalesce(*texts) if texts else pa.nulls(table.num_rows, pa.string())


def _filled(texts: Any) -> Any:
    nothing = pc.or_(pc.equal(texts, ""), pc.equal(texts, "-"))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), texts)


def _numbers(table: pa.Table, *paths: str) -> Any:
    """The same as int64; NULL where it is no whole number."""
    texts = _texts(table, *paths)
    whole = pc.match_substring_regex(texts, r"^\d{1,9}$")
    return pc.if_else(whole, texts, pa.scalar(None, pa.string())).cast(pa.int64())


def _offer(table: pa.Table, rows: Any, name: str, values: Any) -> pa.Table:
    """Add a field in some rows; what is there already stays."""
    offered = pc.if_else(pa.array(rows), values, pa.scalar(None, values.type))
    if not offered.null_count < len(offered):
        return table
    if name not in table.column_names:
        return table.append_column(name, offered)
    own = table[name].combine_chunks()
    if own.type != offered.type:
        own, offered = plain_text(own), plain_text(offered)
    place = table.column_names.index(name)
    return table.set_column(place, name, pc.coalesce(own, offered))


def _replaced(table: pa.Table, rows: Any, name: str, values: Any) -> pa.Table:
    """Put other values into a field in some rows."""
    if name not in table.column_names:
        return _offer(table, rows, name, values)
    own = table[name].combine_chunks()
    if own.type != values.type:
        own, values = plain_text(own), plain_text(values)
    merged = pc.if_else(pa.array(rows), values, own)
    return table.set_column(table.column_names.index(name), name, merged)


def _words(numbers: Any, words: Sequence[str]) -> Any:
    """The words that numbers stand for; NULL for others."""
    known = pc.and_(pc.greater_equal(numbers, 0), pc.less(numbers, len(words)))
    places = pc.if_else(known, numbers, pa.scalar(None, pa.int64()))
    return pa.array(words, pa.string()).take(places)


def _by_status(status: Any) -> Any:
    """What a status of HTTP amounts to: an error, a warning, or neither."""
    level = pc.if_else(pc.greater_equal(status, _CLIENT_ERROR), "WARN", "INFO")
    return pc.if_else(pc.greater_equal(status, _SERVER_ERROR), "ERROR", level)


def _last_part(texts: Any) -> Any:
    return pc.struct_field(pc.extract_regex(texts, r"(?P<last>[^/]+)/*$"), "last")


def _levelled(table: pa.Table, rows: Any, level: Any) -> pa.Table:
    return _offer(table, rows, "severity_text", level)


# -- platforms ---------------------------------------------------------------------------------


def _journald(table: pa.Table, rows: Any) -> pa.Table:
    message = _texts(table, "MESSAGE")
    table = _replaced(table, rows, "MESSAGE", _from_bytes(message))
    table = _levelled(table, rows, _words(_numbers(table, "PRIORITY"), SEVERITIES))
    unit = pc.replace_substring_regex(_texts(table, "_SYSTEMD_UNIT"), r"\.service$", "")
    service = pc.coalesce(_texts(table, "SYSLOG_IDENTIFIER"), unit, _texts(table, "_COMM"))
    table = _offer(table, rows, _SERVICE, service)
    return _offer(table, rows, _HOST, _texts(table, "_HOSTNAME"))


def _from_bytes(texts: Any) -> Any:
    """Text of messages that journald writes as lists of bytes: those that are not printable."""
    looks = pc.fill_null(pc.match_substring_regex(texts, _BYTES), fill_value=False)
    listed = np.flatnonzero(np.asarray(looks))
    if not len(listed):
        return texts
    inside = pc.utf8_trim(texts.take(pa.array(listed)), characters="[] ")
    parts = pc.split_pattern_regex(inside, r"\s*,\s*")
    values = parts.values.cast(pa.int64()).to_numpy()
    offsets = np.asarray(parts.offsets)
    data = np.minimum(values, 255).astype(np.uint8).tobytes()
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    decoded = pa.Array.from_buffers(pa.binary(), len(listed), buffers)
    # Only what is UTF-8 is text; the rest stays the list that it is, and so do lists that say
    # something printable, for journald writes that as text.
    strange = (values < 32) | (values > 126)  # noqa: PLR2004 - what ASCII prints
    fits = np.add.reduceat(values > 255, offsets[:-1]) == 0  # noqa: PLR2004 - a byte
    wanted = (np.add.reduceat(strange, offsets[:-1]) > 0) & fits
    try:
        spoken = decoded.cast(pa.string())
    except pa.ArrowInvalid:
        return texts
    places = np.full(len(texts), -1, np.int64)
    places[listed[wanted]] = np.flatnonzero(wanted)
    return pc.coalesce(spoken.take(pa.array(places, mask=places < 0)), texts)


def _web(table: pa.Table, rows: Any) -> pa.Table:
    status = _numbers(table, "status", "http_response_status_code", "sc-status")
    return _levelled(table, rows, _by_status(status))


def _cloudfront(table: pa.Table, rows: Any) -> pa.Table:
    asked = pc.binary_join_element_wise(
        _texts(table, "cs-method"), _texts(table, "cs-uri-stem"), " "
    )
    table = _offer(table, rows, "body", asked)
    table = _offer(table, rows, _SERVICE, _texts(table, "x-host-header", "cs(Host)", "s-sitename"))
    return _web(table, rows)


def _flows(table: pa.Table, rows: Any) -> pa.Table:
    action = _texts(table, "action", "log-status")
    ends = [
        pc.binary_join_element_wise(
            pc.fill_null(_texts(table, f"{side}addr"), "-"),
            pc.fill_null(_texts(table, f"{side}port"), "-"),
            ":",
        )
        for side in ("src", "dst")
    ]
    said = pc.binary_join_element_wise(pc.fill_null(action, "-"), ends[0], "->", ends[1], " ")
    table = _offer(table, rows, "body", said)
    level = pc.if_else(pc.equal(pc.fill_null(action, ""), "REJECT"), "WARN", "INFO")
    return _levelled(table, rows, level)


def _load_balancer(table: pa.Table, rows: Any) -> pa.Table:
    table = _offer(table, rows, _SERVICE, _texts(table, "aws_elb_name"))
    return _web(table, rows)


def _syslog(table: pa.Table, rows: Any) -> pa.Table:
    severity = pc.bit_wise_and(_numbers(table, "syslog_priority"), 7)
    table = _levelled(table, rows, _words(severity, SEVERITIES))
    return _offer(table, rows, _SERVICE, _texts(table, "syslog_appname"))


def _compact(table: pa.Table, rows: Any) -> pa.Table:
    """Serilog's compact events: a level of information is not written."""
    table = _offer(table, rows, "body", _texts(table, "@m", "@mt"))
    level = pc.fill_null(_texts(table, "@l"), "Information")
    return _levelled(table, rows, level)


def _google(table: pa.Table, rows: Any) -> pa.Table:
    said = ("jsonPayload.message", "jsonPayload.msg", "jsonPayload.log", "protoPayload.methodName")
    table = _offer(table, rows, "body", _texts(table, "textPayload", *said))
    labels = ("service_name", "container_name", "module_id", "function_name", "job_name")
    named = _texts(table, *(f"resource.labels.{label}" for label in labels))
    own = _texts(table, "serviceContext.service", "jsonPayload.serviceContext.service")
    spoken = _texts(table, "protoPayload.serviceName")
    table = _offer(table, rows, _SERVICE, pc.coalesce(own, named, spoken))
    trace = _texts(table, "trace")
    found = pc.struct_field(pc.extract_regex(trace, r"/traces/(?P<id>[0-9a-fA-F]+)$"), "id")
    return _offer(table, rows, "trace_id", found)


def _azure(table: pa.Table, rows: Any) -> pa.Table:
    said = ("properties.message", "properties.Message", "properties.log", "properties.Log")
    text = _texts(table, "resultDescription", *said, "operationName")
    table = _offer(table, rows, "body", text)
    level = _texts(table, "level", "Level")
    numbered = _words(_numbers(table, "level", "Level"), _WINDOWS_LEVELS)
    for name in ("level", "Level"):
        if name in table.column_names:
            table = _replaced(table, rows, name, pc.coalesce(numbered, level))
    table = _levelled(table, rows, pc.fill_null(pc.coalesce(numbered, level), "Informational"))
    return _offer(table, rows, _SERVICE, _last_part(_texts(table, "resourceId")))


def _cloudtrail(table: pa.Table, rows: Any) -> pa.Table:
    table = _offer(table, rows, "body", _texts(table, "eventName"))
    failed = pc.is_valid(_texts(table, "errorCode"))
    table = _levelled(table, rows, pc.if_else(failed, "ERROR", "INFO"))
    return _offer(table, rows, _SERVICE, _texts(table, "eventSource"))


def _audit(table: pa.Table, rows: Any) -> pa.Table:
    """Kubernetes' audit events: their `level` says how much is written, and not how bad it is."""
    table = _offer(table, rows, "k8s.audit.level", _texts(table, "level"))
    if "level" in table.column_names:
        table = _replaced(table, rows, "level", pa.nulls(table.num_rows, pa.string()))
    asked = pc.binary_join_element_wise(_texts(table, "verb"), _texts(table, "requestURI"), " ")
    table = _offer(table, rows, "body", asked)
    table = _offer(
        table, rows, "timestamp", _texts(table, "stageTimestamp", "requestReceivedTimestamp")
    )
    table = _levelled(table, rows, _by_status(_numbers(table, "responseStatus.code")))
    return _offer(table, rows, _SERVICE, pa.array(["kube-apiserver"] * table.num_rows))


def _windows(table: pa.Table, rows: Any) -> pa.Table:
    system = "Event.System"
    number = _numbers(table, f"{system}.Level", f"{system}.Level.#text", "Level")
    table = _levelled(table, rows, _words(number, _WINDOWS_LEVELS))
    when = ("SystemTime", "@SystemTime", "#attributes.SystemTime")
    time = _texts(table, *(f"{system}.TimeCreated.{name}" for name in when))
    table = _offer(table, rows, "timestamp", time)
    names = ("Name", "@Name", "#attributes.Name")
    provider = _texts(
        table,
        *("SourceName", "winlog.provider_name", "ProviderName"),
        *(f"{system}.Provider.{name}" for name in names),
    )
    table = _offer(table, rows, _SERVICE, provider)
    host = _texts(table, "winlog.computer_name", "Hostname", f"{system}.Computer")
    table = _offer(table, rows, _HOST, host)
    event = _texts(table, "EventID", "winlog.event_id", f"{system}.EventID")
    brief = pc.binary_join_element_wise(provider, "event", event, " ")
    said = _texts(table, "Message", "message", "Event.RenderingInfo.Message")
    return _offer(table, rows, "body", pc.coalesce(said, brief))


def _elastic(table: pa.Table, rows: Any) -> pa.Table:
    table = _levelled(table, rows, _texts(table, "log.level"))
    return _offer(table, rows, _SERVICE, _texts(table, "service.name"))


def _vector(table: pa.Table, rows: Any) -> pa.Table:
    return _offer(table, rows, _SERVICE, _texts(table, "appname"))


def _logs(**columns: str) -> SourceMapping:
    return SourceMapping(signal=Signal.LOGS, columns=columns)


PLATFORMS = (
    Platform(
        ("__REALTIME_TIMESTAMP", "MESSAGE"),
        lambda names: {"__REALTIME_TIMESTAMP", "MESSAGE"} <= names,
        _logs(timestamp="__REALTIME_TIMESTAMP", body="MESSAGE"),
        _journald,
    ),
    Platform(
        ("logName", "insertId", "textPayload", "jsonPayload", "protoPayload", "severity"),
        lambda names: (
            bool(names & {"logName", "insertId"})
            and bool(names & {"textPayload", "jsonPayload", "protoPayload"})
        ),
        _logs(),
        _google,
    ),
    Platform(
        ("resourceId", "category", "operationName"),
        lambda names: {"resourceId", "category"} <= names,
        _logs(timestamp="time"),
        _azure,
    ),
    Platform(
        ("eventVersion", "eventTime", "eventSource", "eventName"),
        lambda names: {"eventVersion", "eventTime", "eventSource"} <= names,
        _logs(timestamp="eventTime"),
        _cloudtrail,
    ),
    Platform(
        ("auditID", "stage", "requestURI"),
        lambda names: {"auditID", "stage"} <= names,
        _logs(),
        _audit,
    ),
    Platform(
        ("Event.System", "winlog", "EventID", "SourceName", "Channel"),
        lambda names: (
            bool(names & {"Event.System", "winlog"})
            or {"EventID", "SourceName"} <= names
            or {"EventID", "Channel"} <= names
        ),
        _logs(),
        _windows,
    ),
    Platform(("@t", "@mt", "@m"), lambda names: "@t" in names, _logs(timestamp="@t"), _compact),
    Platform(
        ("ecs.version", "ecs", "log.level"),
        lambda names: bool(names & {"ecs", "ecs.version", "log.level"}),
        _logs(),
        _elastic,
    ),
    Platform(
        ("source_type", "appname"),
        lambda names: {"source_type", "appname"} <= names,
        _logs(),
        _vector,
    ),
    Platform(
        ("time_local", "time_iso8601", "request"),
        lambda names: bool(names & {"time_local", "time_iso8601"}),
        _logs(body="request"),
        _web,
    ),
    Platform(
        ("sc-status", "cs-method", "cs-uri-stem"),
        lambda names: {"sc-status", "cs-method"} <= names,
        _logs(),
        _cloudfront,
    ),
    Platform(
        ("srcaddr", "dstaddr", "start"),
        lambda names: {"srcaddr", "dstaddr", "start"} <= names,
        _logs(timestamp="start"),
        _flows,
    ),
    Platform(
        ("aws_elb_name", "http_response_status_code"),
        lambda names: {"aws_elb_name", "http_response_status_code"} <= names,
        _logs(),
        _load_balancer,
    ),
    Platform(
        ("http_response_status_code", "client_address", "http_request_method"),
        lambda names: {"http_response_status_code", "client_address"} <= names,
        _logs(),
        _web,
    ),
    Platform(("syslog_appname",), lambda names: "syslog_appname" in names, _logs(), _syslog),
)
"""All platforms; an earlier one counts more than a later one."""

WRAPPERS = {
    "Records": ("eventVersion", "eventTime"),  # CloudTrail
    "records": ("time", "resourceId"),  # Azure's diagnostic settings
    "logEvents": ("id", "message"),  # CloudWatch's subscriptions
}
"""Lists that platforms wrap records in, and what each element has that tells so."""

_WRAPPED = re.compile(rb'\s*\{\s*"(?:%s)"\s*:' % b"|".join(name.encode() for name in WRAPPERS))


def wrapper_of(table: pa.Table) -> str | None:
    """The list that a platform wrapped records in, if that is what these objects are.

    Example:
        >>> inside = [{"eventVersion": "1.08", "eventTime": "2026-01-01T00:00:00Z"}]
        >>> wrapper_of(pa.table({"Records": [inside]})), wrapper_of(pa.table({"Records": [[1]]}))
        ('Records', None)
    """
    for name, told in WRAPPERS.items():
        if name not in table.column_names:
            continue
        dtype = table.schema.field(name).type
        if pa.types.is_list(dtype) and pa.types.is_struct(dtype.value_type):
            inside = {field.name for field in dtype.value_type}
            if inside.issuperset(told):
                return name
    return None


def may_be_wrapped(payload: bytes) -> bool:
    """Whether JSON begins as the objects do that platforms wrap records in."""
    return _WRAPPED.match(payload) is not None or b'"logEvents"' in payload[:4096]
