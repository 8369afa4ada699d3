"""The journal export format, as `systemd-journal-upload` sends it.

Fields of an entry are lines `NAME=text`, or for any bytes the name alone, their length in eight
bytes, and themselves; an empty line ends an entry.
https://systemd.io/JOURNAL_EXPORT_FORMATS/
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError, UnknownFormatError
from lakerunner.intake.payloads import arrow_payload
from lakerunner.intake.protocols.protocol import (
    Answer,
    Protocol,
    Sent,
    Taken,
    offsets_of,
    plain_failure,
)
from lakerunner.intake.protocols.syslog import SEVERITIES
from lakerunner.model.signal import Signal
from lakerunner.schema.text import repair_utf8

KIND = "application/vnd.fdo.journal"
_BINARY = re.compile(rb"(?:^|\n)([A-Z0-9_]{1,64})\n(?=.{8})", re.DOTALL)
_LENGTH_BYTES = 8
_TEXT_END = "\x1f"  # stands for a line end within a text while lines are taken apart
_RESOURCE = {
    "_HOSTNAME": "host.name",
    "_MACHINE_ID": "host.id",
    "_SYSTEMD_UNIT": "systemd.unit",
    "CONTAINER_NAME": "container.name",
    "CONTAINER_ID_FULL": "container.id",
}
_DROPPED = ("__CURSOR", "__MONOTONIC_TIMESTAMP", "__SEQNUM", "__SEQNUM_ID")
_OWN = ("MESSAGE", "PRIORITY", "__REALTIME_TIMESTAMP", *_RESOURCE, *_DROPPED)


def take_upload(sent: Sent) -> Taken:
    """Read entries.

    Raises:
        CorruptObjectError: They are none, or cut off.
        UnknownFormatError: The body says that it is something else.
    """
    if sent.kind.partition(";")[0].strip() != KIND:
        raise UnknownFormatError(f"Content-Type must be {KIND}")
    table = read_entries(sent.body)
    return Taken((arrow_payload(table, Signal.LOGS),), Answer(202, b"OK.\n", "text/plain"))


JOURNALD = Protocol("journald", ("/upload",), take_upload, plain_failure)


def read_entries(body: bytes) -> pa.Table:
    r"""Entries as rows.

    Example:
        >>> read_entries(b"MESSAGE=hello\nPRIORITY=3\n\n").to_pylist()[0]["severity_text"]
        'err'
    """
    lines = pc.split_pattern(pa.scalar(_without_binary(body) + b"\n"), b"\n").values
    lines = lines.slice(0, len(lines) - 1)
    filled = np.asarray(pc.greater(pc.binary_length(lines), 0))
    # An entry begins with each line that follows an empty one.
    starts = filled & ~np.concatenate([[False], filled[:-1]])
    owner = (np.cumsum(starts) - 1)[filled]
    split = pc.split_pattern(lines.filter(pa.array(filled)), b"=", max_splits=1)
    if len(split) and pc.min(pc.list_value_length(split)).as_py() < 2:  # noqa: PLR2004 - name, text
        raise CorruptObjectError("a line of a journal has no '='")
    parts = split.values
    keys = _text(parts.take(pa.array(np.arange(0, len(parts), 2))))
    texts = _text(parts.take(pa.array(np.arange(1, len(parts), 2))))
    texts = pc.replace_substring(texts, _TEXT_END, "\n")
    return _table(keys, texts, owner, int(starts.sum()))


def _table(keys: Any, texts: Any, owner: Any, entries: int) -> pa.Table:
    def field(name: str) -> Any:
        """The text of a field for each entry, the last one if it has several."""
        rows = np.flatnonzero(np.asarray(pc.equal(keys, name)))
        place = np.full(entries, -1)
        place[owner[rows]] = rows
        return texts.take(pa.array(place, mask=place < 0))

    try:
        micros = field("__REALTIME_TIMESTAMP").cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise CorruptObjectError(f"__REALTIME_TIMESTAMP: {error}") from error
    rest = ~np.asarray(pc.is_in(keys, pa.array(_OWN)))
    sizes = np.bincount(owner[rest], minlength=entries)
    mask = pa.array(rest)
    maps = pa.MapArray.from_arrays(offsets_of(sizes), keys.filter(mask), texts.filter(mask))
    places = pc.index_in(field("PRIORITY"), pa.array(list(map(str, range(len(SEVERITIES))))))
    unit = pc.replace_substring_regex(field("_SYSTEMD_UNIT"), r"\.service$", "")
    return pa.table(
        {
            "timestamp": micros.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("ns", "UTC")),
            "body": field("MESSAGE"),
            "severity_text": pa.array(SEVERITIES).take(places),
            "resource.service.name": pc.coalesce(field("SYSLOG_IDENTIFIER"), unit, field("_COMM")),
            **{f"resource.{name}": field(key) for key, name in _RESOURCE.items()},
            "attributes": maps,
        }
    )


def _text(values: Any) -> Any:
    return repair_utf8(values.cast(pa.binary())).text


def _without_binary(body: bytes) -> bytes:
    """The body with all fields as lines: one step for each field whose text has line ends."""
    parts, at = list[bytes](), 0
    while (found := _BINARY.search(body, max(at - 1, 0))) is not None:
        start = found.end() + _LENGTH_BYTES
        length = int.from_bytes(body[found.end() : start], "little")
        if start + length > len(body):
            raise CorruptObjectError(f"the field {found[1].decode()} of a journal is cut off")
        text = body[start : start + length].replace(b"\n", _TEXT_END.encode())
        parts += [body[at : found.start(1)], found[1], b"=", text]
        at = start + length
    return b"".join([*parts, body[at:]])
