"""Notifications of S3: its own, and those that come by way of EventBridge.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from lakerunner.errors import InputError
from lakerunner.events.notices import Notice, convert, named, problem

EVENT_BRIDGE_CREATED = "Object Created"
"""The `detail-type` of the one kind of EventBridge event that announces an object."""


class _Bucket(msgspec.Struct):
    name: str


class _Object(msgspec.Struct):
    key: str
    size: int | None = None
    etag: str = ""
    eTag: str = ""  # noqa: N815 - S3 writes it so, EventBridge does not


class _Entity(msgspec.Struct):
    bucket: _Bucket
    object: _Object


class _Record(msgspec.Struct):
    s3: _Entity
    eventTime: datetime | None = None  # noqa: N815 - the name in the notification


class _Event(msgspec.Struct):
    detail: _Entity
    time: datetime | None = None


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(_Record)
msgspec.json.Decoder(_Event)


def read_records(records: Any) -> Notice:
    """Read the records of an S3 notification; what is no creation is passed over.

    Keys are encoded as in a form: `+` is a space.
    """
    if not isinstance(records, list):
        return problem("the Records of an S3 notification are not a list")
    notice = Notice()
    for position, record in enumerate(records):
        try:
            notice += _read_record(record)
        except InputError as error:
            notice += problem(f"record {position} of an S3 notification: {error}")
    return notice


def _read_record(record: Any) -> Notice:
    name = record.get("eventName") if isinstance(record, dict) else None
    if not isinstance(name, str):
        raise InputError("it has no eventName")
    # The documentation of the filters writes `s3:ObjectCreated:*`, the records leave `s3:` out.
    if not name.removeprefix("s3:").startswith("ObjectCreated:"):
        return Notice()
    read = convert(record, _Record)
    found = read.s3.object
    bucket = f"s3://{read.s3.bucket.name}"
    return named(bucket, unquote_plus(found.key), found.size, found.eTag, read.eventTime)


def read_event_bridge(event: dict[str, Any]) -> Notice:
    """Read an EventBridge event of S3; its keys are not encoded.

    Raises:
        InputError: It announces an object and does not say which.
    """
    if event.get("detail-type") != EVENT_BRIDGE_CREATED:
        return Notice()
    read = convert(event, _Event)
    found = read.detail.object
    bucket = f"s3://{read.detail.bucket.name}"
    return named(bucket, found.key, found.size, found.etag, read.time)
