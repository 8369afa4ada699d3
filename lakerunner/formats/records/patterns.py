"""Text lines taken apart by a pattern: the user's, or one of those that many programs write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import ConfigurationError
from lakerunner.formats.records.structured import ELEMENT, STRUCTURED, read_elements
from lakerunner.schema.arrays import absent_if_empty
from lakerunner.schema.timestamps import ZONE_IN_LINE

if TYPE_CHECKING:
    from lakerunner.formats.records.read import Records
    from lakerunner.model.profile import SourceMapping

LINE = "message"
"""The column in which the reader of text hands over lines."""

_CLOCK = r"\d{4}[-/]\d{2}[-/]\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?"
_ISO = rf"{_CLOCK}(?:\s?{ZONE_IN_LINE})?"
_LEVEL = r"TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL|SEVERE"
_CLF = r"\d{1,2}/[A-Za-z]{3}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4}"
_DATED = r"(?P<timestamp>[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2}(?:\.\d+)? \d{4})"
_HTTP = (
    r'"(?P<http_request_method>[A-Z]+) (?P<url_path>\S+) HTTP/(?P<network_protocol_version>[\d.]+)"'
)

PATTERNS: tuple[str, ...] = (
    # Kubernetes' container runtimes: time, stream, F or P, line
    (
        rf"^(?P<timestamp>{_ISO}) (?P<log_iostream>stdout|stderr) (?P<logtag>[FP])"
        r"(?:$| (?P<body>(?s:.*))$)"
    ),
    # Web servers: the common and the combined log format
    (
        r"^(?P<body>(?P<client_address>\S+) \S+ (?P<user_name>\S+) "
        rf"\[(?P<timestamp>{_CLF})\] {_HTTP} "
        r"(?P<http_response_status_code>\d{3}) (?P<http_response_size>\d+|-)"
        r'(?: "(?P<http_request_referer>[^"]*)" "(?P<user_agent_original>[^"]*)")?.*)$'
    ),
    # syslog: RFC 5424
    (
        rf"^<(?P<syslog_priority>\d{{1,3}})>1 (?P<timestamp>{_ISO}) (?P<host_name>\S+) "
        r"(?P<syslog_appname>\S+) (?P<syslog_procid>\S+) (?P<syslog_msgid>\S+) "
        rf"(?P<{STRUCTURED}>-|(?:{ELEMENT})+)(?:$| (?P<body>(?s:.*))$)"
    ),
    # the same with structured data that is none
    (
        rf"^<(?P<syslog_priority>\d{{1,3}})>1 (?P<timestamp>{_ISO}) (?P<host_name>\S+) "
        r"(?P<syslog_appname>\S+) (?P<syslog_procid>\S+) (?P<syslog_msgid>\S+) (?P<body>(?s:.*))$"
    ),
    # syslog: RFC 3164, also without the priority
    (
        r"^(?:<(?P<syslog_priority>\d{1,3})>)?"
        r"(?P<timestamp>[A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2}) (?P<host_name>\S+) "
        r"(?P<syslog_appname>[^\s:\[]+)(?:\[(?P<syslog_procid>\d+)\])?: (?P<body>(?s:.*))$"
    ),
    # Apache's error log
    (
        rf"^\[{_DATED}\] "
        r"\[(?:\w+:)?(?P<level>[a-z]+)\] (?P<body>(?s:.*))$"
    ),
    # A time, perhaps a level somewhere behind it
    rf"^\[?(?P<timestamp>{_ISO})\]? *(?P<body>(?:[^\n]{{0,80}}?\b(?P<level>{_LEVEL})\b)?(?s:.*))$",
)
"""Tried in this order, each on the lines that no earlier one matched."""

_PLAIN = pa.string()


def apply_pattern(records: Records, mapping: SourceMapping | None) -> Records:
    """Take lines apart, where records are lines: by the mapping's pattern, or by `PATTERNS`.

    A line that does not match stays whole, as the body.

    Raises:
        ConfigurationError: The mapping's pattern is no regular expression, or has no named group.
    """
    said = mapping.pattern if mapping is not None else None
    if records.table.column_names != [LINE]:
        return records
    lines = records.table[LINE].combine_chunks()
    columns = _match(lines, (said,) if said is not None else PATTERNS)
    if said is not None and "body" in columns:  # patterns of users need not end before a space
        columns["body"] = pc.utf8_ltrim(columns["body"], " ")
    alike = records.alike
    if said is None and STRUCTURED in columns:
        found = read_elements(columns[STRUCTURED])
        if found is None:
            alike = False  # each payload alone may have few enough
        else:
            del columns[STRUCTURED]
            columns |= found
    return records._replace(table=pa.table(columns), alike=alike)


def _match(lines: Any, patterns: tuple[str, ...]) -> dict[str, Any]:
    count = len(lines)
    left = np.arange(count)
    parts: dict[str, list[tuple[Any, Any]]] = {}
    for pattern in patterns:
        if not len(left):
            break
        found = _extract(lines if len(left) == count else lines.take(pa.array(left)), pattern)
        hit = np.asarray(found.is_valid())
        if not hit.any():
            continue
        matched = found.filter(pa.array(hit))
        for field in matched.type:
            parts.setdefault(field.name, []).append((left[hit], matched.field(field.name)))
        left = left[~hit]
    if len(left):
        parts.setdefault("body", []).append((left, lines.take(pa.array(left))))
    columns = {name: _place(pieces, count) for name, pieces in parts.items()}
    if not any("(?P<body>" in one or "(?P<message>" in one for one in patterns):
        columns["body"] = lines  # a pattern without a body keeps the whole line
    return columns


def _extract(lines: Any, pattern: str) -> Any:
    try:
        return pc.extract_regex(lines, pattern)
    except pa.ArrowInvalid as error:
        raise ConfigurationError(
            f"mapping: pattern {pattern!r}: {error}", pattern=pattern
        ) from None


def _place(pieces: list[tuple[Any, Any]], count: int) -> Any:
    """Texts of some rows as a column of all rows; an empty text is none."""
    rows = np.concatenate([rows for rows, _ in pieces])
    values = pa.concat_arrays([values for _, values in pieces])
    dense = np.full(count, -1, np.int64)
    dense[rows] = np.arange(len(rows))
    return absent_if_empty(values.take(pa.array(dense, mask=dense < 0)))
