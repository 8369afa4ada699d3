"""lakerunner's own log service, for the clients of log platforms: entries of plain fields.

Its definition is docs/reference/log-service.md.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.intake.payloads import Payload, arrow_payload
from lakerunner.intake.protocols.messages import SEND_LOGS, read_message
from lakerunner.intake.protocols.protocol import offsets_of
from lakerunner.model.signal import Signal

SERVICE = "lakerunner.logs.v1.LogService"
METHOD = "SendLogs"


def read_send_logs(data: bytes) -> Payload:
    """A `SendLogsRequest` as a payload.

    Tags `name:text` become attributes `name`, others attributes that are true.

    Raises:
        CorruptObjectError: It is none.
    """
    entries = read_message(data, SEND_LOGS).column("entries").flatten()
    metadata = entries.field("metadata")
    pairs = metadata.flatten()
    maps = pa.MapArray.from_arrays(
        offsets_of(pc.list_value_length(metadata)), pairs.field("key"), pairs.field("value")
    )
    at = entries.field("timestamp_ns")
    nothing = pa.scalar(None, pa.int64())
    table = pa.table(
        {
            "timestamp": pc.if_else(pc.equal(at, 0), nothing, at).cast(pa.timestamp("ns", "UTC")),
            "body": entries.field("message"),
            "severity_text": entries.field("level"),
            "trace_id": entries.field("trace_id"),
            "span_id": entries.field("span_id"),
            "resource.service.name": _word(entries.field("service")),
            "resource.host.name": _word(entries.field("host")),
            "resource.attributes": _tags(entries.field("tags")),
            "attributes": maps,
        }
    )
    return arrow_payload(table, Signal.LOGS)


def _word(texts: Any) -> Any:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _tags(lists: Any) -> Any:
    """Tags as maps; a tag without a colon is its own name."""
    tags = lists.flatten()
    parts = pc.extract_regex(tags, "^(?P<key>[^:]+):(?P<value>(?s:.*))$")
    named = parts.is_valid()
    keys = pc.if_else(named, parts.field("key"), tags)
    values = pc.if_else(named, parts.field("value"), "true")
    return pa.MapArray.from_arrays(offsets_of(pc.list_value_length(lists)), keys, values)
