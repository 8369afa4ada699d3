"""Notifications of Google Cloud Storage: object resources, alone or in messages of Pub/Sub.

https://cloud.google.com/storage/docs/pubsub-notifications
https://cloud.google.com/pubsub/docs/push
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from datetime import datetime
from typing import Any

import msgspec

from lakerunner.errors import InputError
from lakerunner.events.notices import Notice, convert, named

OBJECT_KIND = "storage#object"
"""The `kind` of an object resource."""

FINALIZED = "OBJECT_FINALIZE"
"""The one `eventType` that announces an object."""


class _ObjectResource(msgspec.Struct):
    bucket: str
    name: str
    size: int | None = None
    generation: str = ""
    updated: datetime | None = None
    timeDeleted: datetime | None = None  # noqa: N815 - the name in the notification


class PubSubMessage(msgspec.Struct):
    """A message of Pub/Sub, as it is pushed or pulled.

    Attributes:
        attributes: Of a notification: `eventType`, `bucketId`, `objectId`, `objectGeneration`, ….
        data: The body, as base64.
        messageId: Its id.
        publishTime: When it was sent.
    """

    attributes: dict[str, str] = {}
    data: str = ""
    messageId: str = ""  # noqa: N815 - the name in the message
    publishTime: datetime | None = None  # noqa: N815 - the name in the message


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(_ObjectResource)
msgspec.json.Decoder(PubSubMessage)


def read_resource(resource: Any) -> Notice:
    """Read an object resource; that of a deleted object is passed over.

    Raises:
        InputError: It names no object.
    """
    read = convert(resource, _ObjectResource)
    if read.timeDeleted is not None:
        return Notice()
    return named(f"gs://{read.bucket}", read.name, read.size, read.generation, read.updated)


def is_notification(message: PubSubMessage) -> bool:
    """Whether the attributes of a message are those of a notification of Cloud Storage."""
    return "eventType" in message.attributes and "bucketId" in message.attributes


def read_attributes(message: PubSubMessage) -> Notice:
    """Read a notification by its attributes, which are always there, and its body if it has one.

    Raises:
        InputError: It announces an object and does not say which.
    """
    said = message.attributes
    if said["eventType"] != FINALIZED:
        return Notice()
    try:
        body = msgspec.json.decode(message_data(message) or b"{}")
    except msgspec.DecodeError as error:
        raise InputError(f"the body of a notification is not JSON: {error}") from error
    size = body.get("size") if isinstance(body, dict) else None
    return named(
        f"gs://{said['bucketId']}",
        said.get("objectId", ""),
        None if size is None else convert(size, int),
        said.get("objectGeneration", ""),
        _event_time(said) or message.publishTime,
    )


def message_data(message: PubSubMessage) -> bytes:
    """The body of a message.

    Raises:
        InputError: It is not base64.
    """
    try:
        return b64decode(message.data, validate=True)
    except binascii.Error as error:
        raise InputError(f"the data of a Pub/Sub message is not base64: {error}") from error


def _event_time(attributes: dict[str, str]) -> datetime | None:
    try:
        return convert(attributes.get("eventTime"), datetime)
    except InputError:
        return None
