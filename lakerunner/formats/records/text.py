"""Read plain text: one record per line, with stack traces kept in one piece."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import ConfigurationError
from lakerunner.formats.records.lines import Records, join_lines, last_newline, slices, split_lines
from lakerunner.limits import OBJECT_BYTES
from lakerunner.schema.arrays import absent_if_empty
from lakerunner.schema.timestamps import ZONE_IN_LINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.formats.base import Part
    from lakerunner.formats.records.lines import Lines
    from lakerunner.model.profile import SourceMapping

_NEWLINE = ord("\n")
_TRACEBACK = "Traceback (most recent call last)"
_JOINED = (
    r"^(Caused by: |\.\.\. \d+ (more|common frames)|--- End of |at [\w.$<>/]+\(.*\)$"
    r"|During handling of the above exception|The above exception was the direct cause)"
)
_CUT = r"^\d{4}-\S+ (stdout|stderr) P(?: |$)"
"""A piece of a longer line, as the runtimes of containers write it: its end is not trimmed, so that
all pieces together are the line again."""
_JAVA_EXCEPTION = r"^([\w$]+\.)+[\w$]+(:|$)"
_EXCEPTION = r"^[A-Za-z_][\w.]*(:|$)"
_MAY_CONTINUE = re.compile(
    rb"[ \t\r\n]|Caused by: |Traceback |During handling|The above|--- End|at |\.\.\. "
    rb"|[A-Za-z_][\w.$]*[:\n]"
)


def split_text(blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES) -> Iterator[Part]:
    r"""Cut plain text before lines that belong to no stack trace, so that traces stay whole.

    Args:
        blocks: The object's bytes, in order.
        limit: Bytes a part should not exceed. A longer line stays whole; a trace that is longer
            is cut between its lines.
        longest: Bytes that a line may have; longer ones are set aside.

    Yields:
        Parts; at least one.

    Example:
        >>> [part.data for part in split_text([b"a\n  at b\n  at c\nd\n"], 17)]
        [b'a\n  at b\n  at c\n', b'd\n']
    """
    return split_lines(blocks, limit, longest, _cut)


def _cut(buffer: bytearray, limit: int) -> int:
    """End of the last line within the limit that no line of a trace follows, or of the last."""
    last = cut = last_newline(buffer, limit)
    while cut and _MAY_CONTINUE.match(buffer, cut):
        cut = buffer.rfind(b"\n", 0, cut - 1) + 1
    return cut or last


def read_text(payloads: Sequence[bytes]) -> Records:
    r"""Read lines as records of one column, `message`.

    Indented lines and other lines of stack traces belong to the record before them; blank lines
    within a record are kept, others are passed over. A payload whose lines are all indented has a
    record per line.

    Args:
        payloads: Text; what is no UTF-8 is repaired.

    Returns:
        The records; nothing is ever set aside.

    Raises:
        ObjectTooLargeError: The payloads take more than 2 GiB.

    Example:
        >>> records = read_text([b"failed\n\tat a.b(c.java:1)\nCaused by: d\n\nnext"])
        >>> records.table["message"].to_pylist()
        ['failed\n\tat a.b(c.java:1)\nCaused by: d', 'next']
    """
    lines = join_lines(payloads)
    message, firsts = traces_together(lines)
    return Records(pa.table({"message": message}), lines.payload[firsts])


def traces_together(lines: Lines) -> tuple[Any, Any]:
    """Make one text of the lines of each stack trace.

    Args:
        lines: Those of a payload follow one another in the buffer.

    Returns:
        `pa.StringArray`, and the position of the first line of each text.
    """
    firsts = np.flatnonzero(~_continues(lines))
    lasts = np.append(firsts[1:], len(lines.starts))[: len(firsts)] - 1
    ends = lines.ends[lasts]
    text = slices(lines.data, lines.starts[firsts], ends)
    cut = np.flatnonzero(_matches(text, _CUT))
    if not len(cut):
        return text, firsts
    following = np.append(np.flatnonzero(np.frombuffer(lines.data, np.uint8) == _NEWLINE), -1)
    following[-1] = len(lines.data)
    ends[cut] = following[np.searchsorted(following, ends[cut])]
    return slices(lines.data, lines.starts[firsts], ends), firsts


def _continues(lines: Lines) -> Any:
    """Which lines belong to the record of the line before."""
    count = len(lines.starts)
    if not count:
        return np.zeros(0, bool)
    values = np.frombuffer(lines.data, np.uint8)
    indented = (lines.starts > 0) & (values[lines.starts - 1] != _NEWLINE)
    upright = np.bincount(lines.payload[~indented], minlength=int(lines.payload[-1]) + 1)
    indented &= upright[lines.payload] > 0
    text = slices(lines.data, lines.starts, lines.ends)
    joined = indented | _matches(text, _JOINED)
    joined |= _java_exceptions(text, indented, joined)
    heads = np.flatnonzero(pc.starts_with(text, _TRACEBACK).to_numpy(zero_copy_only=False))
    if len(heads):
        joined |= _python_traces(text, heads, indented, joined)
    joined[0] = False
    joined[1:] &= lines.payload[1:] == lines.payload[:-1]
    return joined


def _matches(text: Any, pattern: str) -> Any:
    return pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)


def _java_exceptions(text: Any, indented: Any, joined: Any) -> Any:
    """Lines that name an exception, before its frames and behind a line of another kind."""
    frames = np.flatnonzero(indented[1:] & ~joined[:-1])
    heads = text.take(pa.array(frames))
    behind = text.take(pa.array(frames + 1))
    named = _matches(heads, _JAVA_EXCEPTION) & _matches(behind, r"^at ")
    found = np.zeros(len(indented), bool)
    found[frames[named]] = True
    found[1:] &= ~joined[:-1]
    return found


def _python_traces(text: Any, heads: Any, indented: Any, joined: Any) -> Any:
    """Lines of Python's traces: the head joins what was logged, and the exception ends it."""
    found = np.zeros(len(indented), bool)
    upright = np.append(np.flatnonzero(~indented), len(indented))
    ends = upright[np.searchsorted(upright, heads, "right")]
    ends = ends[ends < len(indented)]
    named = _matches(text.take(pa.array(ends)), _EXCEPTION)
    found[ends[named]] = True
    # A trace that follows the end of another begins a record, unless a sentence links the two.
    after_end = np.zeros(len(indented), bool)
    after_end[1:] = found[:-1] & ~joined[:-1]
    found[heads] = ~after_end[heads]
    return found


# The structured data of syslog (RFC 5424): elements in brackets, each with its parameters.

STRUCTURED = "structured_data"
"""The column in which the structured data of lines is, and what its parameters are named after."""

_NAME = r'[^ ="\]]+'
_VALUE = r'(?:[^"\\]|\\.)*'
_PARAMETER = rf' {_NAME}="{_VALUE}"'
ELEMENT = rf"\[{_NAME}(?:{_PARAMETER})*\]"
"""One element, as a pattern."""

_FIRST_ELEMENT = rf"^\[(?P<name>{_NAME})(?P<value>(?:{_PARAMETER})*)\](?P<rest>(?s:.*))$"
_FIRST_PARAMETER = rf'^ (?P<name>{_NAME})="(?P<value>{_VALUE})"(?P<rest>(?s:.*))$'
_ESCAPED = r'\\(["\\\]])'
_MOST_COLUMNS = 256
_MOST_ROUNDS = 64


class _TooManyError(Exception):
    """There are more parameters than columns are made of."""


def read_elements(texts: Any) -> dict[str, Any] | None:
    r"""Take structured data apart.

    Args:
        texts: `pa.StringArray` of elements without anything between them; NULL or `-` for none.

    Returns:
        A column of text for each parameter of each element, and one of empty text for each element
        that has none. None if there are more of them than columns are made of, or very many in one
        record.

    Example:
        >>> found = read_elements(pa.array(['[a@1 x="1" y="\\"2\\""][b z="3"]', "-", None]))
        >>> found["structured_data.a@1.y"].to_pylist(), found["structured_data.b.z"].to_pylist()
        (['"2"', None, None], ['3', None, None])
    """
    found: dict[str, Any] = {}
    try:
        rows = np.flatnonzero(np.asarray(pc.starts_with(pc.fill_null(texts, ""), "[")))
        for element, at, inside in _peeled(rows, texts.take(pa.array(rows)), _FIRST_ELEMENT):
            key = f"{STRUCTURED}.{element}"
            bare = np.asarray(pc.equal(inside, ""))
            if bare.any():
                _put(found, key, _placed(at[bare], inside.filter(pa.array(bare)), len(texts)))
            for name, where, value in _peeled(at, inside, _FIRST_PARAMETER):
                plain = pc.replace_substring_regex(value, _ESCAPED, r"\1")
                _put(found, f"{key}.{name}", _placed(where, plain, len(texts)))
    except _TooManyError:
        return None
    return found


def _peeled(rows: Any, texts: Any, pattern: str) -> Iterator[tuple[str, Any, Any]]:
    """Take the first thing off all texts, and again, until nothing is left.

    Yields:
        A name, the rows that have it in this round, and their values.
    """
    for _ in range(_MOST_ROUNDS):
        parts = pc.extract_regex(texts, pattern)
        there = np.asarray(parts.is_valid())
        if not there.any():
            return
        parts, rows = parts.filter(pa.array(there)), rows[there]
        coded = parts.field("name").dictionary_encode()
        if len(coded.dictionary) > _MOST_COLUMNS:
            raise _TooManyError
        codes = coded.indices.to_numpy(zero_copy_only=False)
        for code, name in enumerate(coded.dictionary.to_pylist()):
            mine = np.flatnonzero(codes == code)
            yield name, rows[mine], parts.field("value").take(pa.array(mine))
        texts = parts.field("rest")
    raise _TooManyError


def _placed(rows: Any, values: Any, count: int) -> Any:
    """Values of some rows as a column of all rows."""
    dense = np.full(count, -1, np.int64)
    dense[rows] = np.arange(len(rows))
    return values.take(pa.array(dense, mask=dense < 0))


def _put(found: dict[str, Any], key: str, values: Any) -> None:
    """Add a column; where a record has the same parameter twice, the second is numbered."""
    turn, name = 1, key
    while name in found and _clash(found[name], values):
        turn += 1
        name = f"{key}#{turn}"
    found[name] = pc.coalesce(found[name], values) if name in found else values
    if len(found) > _MOST_COLUMNS:
        raise _TooManyError


def _clash(ours: Any, theirs: Any) -> bool:
    return bool(np.any(np.asarray(ours.is_valid()) & np.asarray(theirs.is_valid())))


# Text lines taken apart by a pattern: the user's, or one of those that many programs write.

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
    # nginx's error log
    (
        r"^(?P<timestamp>\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2}) "
        r"\[(?P<level>debug|info|notice|warn|error|crit|alert|emerg)\] "
        r"(?P<process_pid>\d+)#(?P<thread_id>\d+): (?P<body>(?s:.*))$"
    ),
    # AWS' application load balancers
    (
        rf"^(?P<aws_elb_type>https?|h2|grpcs|wss?) (?P<timestamp>{_ISO}) (?P<aws_elb_name>\S+) "
        r"(?P<client_address>\S+):(?P<client_port>\d+) (?P<aws_elb_target>\S+) "
        r"(?P<aws_elb_request_time>-?[\d.]+) (?P<aws_elb_target_time>-?[\d.]+) "
        r"(?P<aws_elb_response_time>-?[\d.]+) (?P<http_response_status_code>\d{3}|-) "
        r"(?P<aws_elb_target_status>\d{3}|-) (?P<http_request_size>\d+) "
        r"(?P<http_response_size>\d+) "
        r'"(?P<body>[^"]*)" "(?P<user_agent_original>[^"]*)" .*$'
    ),
    # their classic ones
    (
        rf"^(?P<timestamp>{_ISO}) (?P<aws_elb_name>\S+) "
        r"(?P<client_address>\S+):(?P<client_port>\d+) (?P<aws_elb_target>\S+) "
        r"(?P<aws_elb_request_time>-?[\d.]+) (?P<aws_elb_target_time>-?[\d.]+) "
        r"(?P<aws_elb_response_time>-?[\d.]+) (?P<http_response_status_code>\d{3}|-) "
        r"(?P<aws_elb_target_status>\d{3}|-) (?P<http_request_size>\d+) "
        r"(?P<http_response_size>\d+) "
        r'"(?P<body>[^"]*)" "(?P<user_agent_original>[^"]*)" .*$'
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
