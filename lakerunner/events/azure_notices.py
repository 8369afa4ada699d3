"""Notifications of Azure Event Grid, in its own schema and in that of CloudEvents.

https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from lakerunner.errors import InputError
from lakerunner.events.notices import Notice, convert, named

CREATED = "Microsoft.Storage.BlobCreated"
"""The one type that announces a blob."""

VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
"""What Event Grid sends to a new webhook, which has to send the code back."""

_SUBJECT = re.compile(r"/blobServices/[^/]+/containers/([^/]+)/blobs/(.+)", re.DOTALL)


class _Blob(msgspec.Struct):
    eTag: str = ""  # noqa: N815 - the name in the notification
    contentLength: int | None = None  # noqa: N815 - the name in the notification


class _Event(msgspec.Struct):
    subject: str
    data: _Blob = msgspec.field(default_factory=_Blob)
    eventTime: datetime | None = None  # noqa: N815 - the name in Event Grid's own schema
    time: datetime | None = None


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(_Event)


def event_type(event: dict[str, Any]) -> str:
    """The type of an event in either schema; empty if it has none."""
    kind = event.get("eventType", event.get("type"))
    return kind if isinstance(kind, str) else ""


def read_event(event: dict[str, Any]) -> Notice:
    """Read an event; what is no creation of a blob is passed over.

    Raises:
        InputError: It announces a blob and does not say which.
    """
    if event_type(event) != CREATED:
        return Notice()
    read = convert(event, _Event)
    match = _SUBJECT.fullmatch(read.subject)
    if match is None:
        raise InputError(f"the subject of an Event Grid event names no blob: {read.subject!r}")
    when = read.eventTime or read.time
    return named(f"az://{match[1]}", match[2], read.data.contentLength, read.data.eTag, when)
