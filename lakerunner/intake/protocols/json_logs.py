"""Protocols whose records are JSON objects: Datadog's logs, Splunk's HEC, GELF, and plain lines.

- https://docs.datadoghq.com/api/latest/logs/#send-logs
- https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector
- https://go2docs.graylog.org/current/getting_in_log_data/gelf.html
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

import msgspec

from lakerunner.errors import CorruptObjectError
from lakerunner.intake.payloads import lines_payload
from lakerunner.intake.protocols.protocol import (
    Answer,
    Objects,
    Protocol,
    Sent,
    Taken,
    json_answer,
    plain_failure,
    read_objects,
    texts_payload,
    with_members,
)
from lakerunner.model.signal import Signal, read_signal

if TYPE_CHECKING:
    from lakerunner.intake.payloads import Payload

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MOST_REASONS = 5

# -- plain lines -----------------------------------------------------------------------------------


def take_lines(sent: Sent) -> Taken:
    """Read JSON lines, or a JSON list, of the signal that the path names.

    A line that is no object is refused by itself; the answer counts and lists such lines.
    """
    signal = read_signal(sent.path["signal"])
    rejected, reasons = 0, list[str]()
    try:
        found = read_objects(sent.body)
        lines, count = found.lines(), len(found.texts)
    except CorruptObjectError:
        if sent.body.lstrip()[:1] == b"[":
            raise
        lines, count, reasons = good_lines(sent.body)
        rejected = len(reasons)
    answer = {"accepted": count, "rejected": rejected, "reasons": reasons[:_MOST_REASONS]}
    payload = lines_payload(lines, signal, count)
    status = 200 if count or not rejected else 400
    return Taken((payload,), json_answer(answer, status), rejected, tuple(reasons[:_MOST_REASONS]))


def good_lines(body: bytes) -> tuple[bytes, int, list[str]]:
    """The lines that are objects, where not all are: the one place that looks at each.

    Returns:
        These lines, how many they are, and why each of the others is not among them.
    """
    good, reasons = list[bytes](), list[str]()
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            _OBJECT.decode(line)
            good.append(line.strip())
        except (msgspec.DecodeError, RecursionError) as error:
            reasons.append(f"line {number}: {error}")
    return b"\n".join(good), len(good), reasons


def _lines_failure(status: int, message: str) -> Answer:
    return json_answer({"error": {"status": status, "message": message}}, status)


LINES = Protocol("lines", ("/v1/ingest/{signal}",), take_lines, _lines_failure)

# -- Datadog ---------------------------------------------------------------------------------------

_DATADOG_MEMBERS = ("ddsource", "ddtags", "hostname", "service")


def take_datadog(sent: Sent) -> Taken:
    """Read logs as Datadog's agents and libraries send them: a list, an object, or text."""
    said = {name: sent.query[name] for name in _DATADOG_MEMBERS if sent.query.get(name)}
    if sent.kind.startswith("text/plain"):
        texts = list(filter(None, sent.body.split(b"\n")))
        return Taken((texts_payload(texts, said),), Answer(202, b"{}"))
    found = read_objects(sent.body)
    # So that the records are told to be Datadog's, whatever they hold themselves.
    own = any(b'"%s"' % name.encode() in sent.body for name in _DATADOG_MEMBERS[:2])
    members = said if own or said.keys() & {"ddsource", "ddtags"} else {**said, "ddsource": "http"}
    payload = lines_payload(with_members(found.lines(), members), Signal.LOGS, len(found.texts))
    return Taken((payload,), Answer(202, b"{}"))


def _datadog_failure(status: int, message: str) -> Answer:
    title = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 429: "Too Many Requests"}
    error = {"status": str(status), "title": title.get(status, "Error"), "detail": message}
    return json_answer({"errors": [error]}, status)


DATADOG = Protocol("datadog", ("/api/v2/logs", "/v1/input"), take_datadog, _datadog_failure)

# -- Splunk ----------------------------------------------------------------------------------------

_SPLUNK_MEMBERS = ("host", "source", "sourcetype", "index")
_SPLUNK_CODES = {400: 6, 401: 2, 403: 4, 429: 9, 503: 9}
_COLLECTOR = "/services/collector"


def take_splunk(sent: Sent) -> Taken:
    """Read events of the HTTP Event Collector, one after the other."""
    if not sent.body.strip():
        return Taken((), json_answer({"text": "No data", "code": 5}, 400))
    try:
        found = read_objects(sent.body)
    except CorruptObjectError:
        wrong = {"text": "Invalid data format", "code": 6, "invalid-event-number": 0}
        return Taken((), json_answer(wrong, 400))
    place = _without_event(found)
    if place >= 0:
        wrong = {"text": "Event field is required", "code": 12, "invalid-event-number": place}
        return Taken((), json_answer(wrong, 400))
    named = b'"sourcetype"' in sent.body
    lines = with_members(found.lines(), {} if named else {"sourcetype": "httpevent"})
    payload = lines_payload(lines, Signal.LOGS, len(found.texts))
    return Taken((payload,), json_answer({"text": "Success", "code": 0}))


def _without_event(found: Objects) -> int:
    """Which object is the first without an event; -1 if all have one."""
    having = list(map(dict.__contains__, found.fields, repeat("event")))
    return -1 if all(having) else having.index(False)


def take_splunk_raw(sent: Sent) -> Taken:
    """Read lines of text."""
    texts = list(filter(bytes.strip, sent.body.split(b"\n")))
    if not texts:
        return Taken((), json_answer({"text": "No data", "code": 5}, 400))
    said = {name: sent.query[name] for name in _SPLUNK_MEMBERS if sent.query.get(name)}
    payload = texts_payload(texts, {f"com.splunk.{name}": text for name, text in said.items()})
    return Taken((payload,), json_answer({"text": "Success", "code": 0}))


def take_splunk_health(sent: Sent) -> Taken:
    """Say that events are taken."""
    del sent
    return Taken((), json_answer({"text": "HEC is healthy", "code": 17}))


def _splunk_failure(status: int, message: str) -> Answer:
    return json_answer({"text": message, "code": _SPLUNK_CODES.get(status, 8)}, status)


SPLUNK = Protocol(
    "splunk",
    (_COLLECTOR, f"{_COLLECTOR}/event", f"{_COLLECTOR}/event/1.0"),
    take_splunk,
    _splunk_failure,
)
SPLUNK_RAW = Protocol(
    "splunk raw", (f"{_COLLECTOR}/raw", f"{_COLLECTOR}/raw/1.0"), take_splunk_raw, _splunk_failure
)
SPLUNK_HEALTH = Protocol(
    "splunk health",
    (f"{_COLLECTOR}/health", f"{_COLLECTOR}/health/1.0"),
    take_splunk_health,
    _splunk_failure,
    methods=("GET",),
)

# -- GELF ------------------------------------------------------------------------------------------


def take_gelf(sent: Sent) -> Taken:
    """Read messages of Graylog: one a request, or several one after the other."""
    return Taken((gelf_payload(sent.body),), Answer(202, b"", "text/plain"))


def gelf_payload(body: bytes) -> Payload:
    """GELF messages, one after the other, as a payload.

    Raises:
        CorruptObjectError: One is no JSON object.
    """
    found = read_objects(body)
    return lines_payload(found.lines(), Signal.LOGS, len(found.texts))


GELF = Protocol("gelf", ("/gelf",), take_gelf, plain_failure)
