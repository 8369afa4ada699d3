"""Tell what a notification is, open its envelopes, and read it."""

from __future__ import annotations

import binascii
import logging
import re
from base64 import b64decode
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import msgspec

from lakerunner.errors import InputError
from lakerunner.events.base import Delivery
from lakerunner.events.notices import Notice, convert, named, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.model.report import ObjectEvent

# Notifications of Azure Event Grid, in its own schema and in that of CloudEvents.
#
# https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage

CREATED = "Microsoft.Storage.BlobCreated"
"""The one type that announces a blob."""

VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
"""What Event Grid sends to a new webhook, which has to send the code back."""

_SUBJECT = re.compile(r"/blobServices/[^/]+/containers/([^/]+)/blobs/(.+)", re.DOTALL)


class _Blob(msgspec.Struct):
    eTag: str = ""  # noqa: N815 - the name in the notification
    contentLength: int | None = None  # noqa: N815 - the name in the notification


class _AzureEvent(msgspec.Struct):
    subject: str
    data: _Blob = msgspec.field(default_factory=_Blob)
    eventTime: datetime | None = None  # noqa: N815 - the name in Event Grid's own schema
    time: datetime | None = None


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(_AzureEvent)


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
    read = convert(event, _AzureEvent)
    match = _SUBJECT.fullmatch(read.subject)
    if match is None:
        raise InputError(f"the subject of an Event Grid event names no blob: {read.subject!r}")
    when = read.eventTime or read.time
    return named(f"az://{match[1]}", match[2], read.data.contentLength, read.data.eTag, when)


# Notifications of Google Cloud Storage: object resources, alone or in messages of Pub/Sub.
#
# https://cloud.google.com/storage/docs/pubsub-notifications
# https://cloud.google.com/pubsub/docs/push

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


# Notifications of S3: its own, and those that come by way of EventBridge.
#
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html

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


class _S3Event(msgspec.Struct):
    detail: _Entity
    time: datetime | None = None


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(_Record)
msgspec.json.Decoder(_S3Event)


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
    read = convert(event, _S3Event)
    found = read.detail.object
    bucket = f"s3://{read.detail.bucket.name}"
    return named(bucket, found.key, found.size, found.etag, read.time)


_LOG = logging.getLogger(__name__)
_ENVELOPES = 4  # one in another: EventBridge in SNS in SQS, and one to spare
_SHOWN = 120  # characters of a body in a message


def parse_events(body: bytes) -> list[ObjectEvent]:
    """The objects that a notification announces.

    Understood are notifications of S3, also in envelopes of SNS and of EventBridge; object
    resources and Pub/Sub messages (pushed or pulled) of Google Cloud Storage, also as CloudEvents;
    and events of Azure Event Grid in both of its schemas, alone or in an array, also as base64, as
    storage queues hold them. Test events, confirmations, deletions and changes of metadata announce
    nothing. A record that cannot be read does not spoil the others: it is logged as a warning, and
    `read_notice` returns it.

    Args:
        body: What was sent.

    Returns:
        Events in the order of the notification.

    Raises:
        InputError: The body is not JSON.

    Example:
        >>> body = b'{"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name":'
        >>> body += b' "raw"}, "object": {"key": "logs-raw/a+b.json", "size": 5, "eTag": "5d"}}}]}'
        >>> [(event.url, event.size, event.etag) for event in parse_events(body)]
        [('s3://raw/logs-raw/a b.json', 5, '5d')]
        >>> parse_events(b'{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "raw"}')
        []
    """
    notice = read_notice(body)
    for error in notice.problems:
        _LOG.warning("a notification was read in part: %s", error)
    return list(notice.events)


def webhook_events(
    request_body: bytes, content_type: str = "application/json"
) -> list[ObjectEvent]:
    """The objects that a request to a webhook announces; see `parse_events`.

    It only reads. A server hands the events to a watcher by `EventQueue.put`, and answers with
    success once what that returns is done; until then the sender shall try again.

    Args:
        request_body: The body of the request.
        content_type: The request's `Content-Type`. Any is taken that may hold JSON: SNS, for one,
            calls its JSON `text/plain`.

    Raises:
        InputError: The body is not JSON, or its type says that it is a form or a picture.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind and not (kind.startswith("text/") or kind.endswith(("json", "octet-stream"))):
        raise InputError(f"a notification cannot be {kind}", content_type=content_type)
    return parse_events(request_body)


def webhook_reply(request_body: bytes) -> bytes | None:
    """What a webhook has to answer to Event Grid's question whether it wants its events.

    Returns:
        The body of the reply, as JSON; None for every other request, whose reply may be empty.

    Example:
        >>> webhook_reply(b'[{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",'
        ...               b' "data": {"validationCode": "512d38b6"}}]')
        b'{"validationResponse":"512d38b6"}'
    """
    try:
        value = msgspec.json.decode(request_body)
    except (msgspec.DecodeError, RecursionError):
        return None
    for event in value if isinstance(value, list) else [value]:
        if isinstance(event, dict) and event_type(event) == VALIDATION:
            data = event.get("data")
            code = data.get("validationCode") if isinstance(data, dict) else None
            return msgspec.json.encode({"validationResponse": code}) if code else None
    return None


def read_notice(body: bytes) -> Notice:
    """Read a notification, and say what in it could not be read; see `parse_events`.

    Raises:
        InputError: The body is not JSON.

    Example:
        >>> notice = read_notice(b'{"Records": [{"eventName": "ObjectCreated:Put"}]}')
        >>> notice.events, str(notice.problems[0])
        ((), 'record 0 of an S3 notification: not a Record: Object missing required field `s3`')
    """
    return _read(_decode(body), _ENVELOPES)


def _decode(body: bytes | str) -> Any:
    try:
        return msgspec.json.decode(body)
    except RecursionError as error:
        raise InputError(f"an event is nested too deeply: {body[:_SHOWN]!r}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        plain = _plain(body)
        if plain is not None:
            return _decode(plain)
        raise InputError(f"an event is not JSON: {error}: {body[:_SHOWN]!r}") from error


def _plain(body: bytes | str) -> bytes | None:
    """What base64 holds, if that may be JSON."""
    try:
        plain = b64decode(body, validate=True).lstrip()
    except (binascii.Error, ValueError):
        return None
    return plain if plain[:1] in {b"{", b"["} else None


def _read(value: Any, depth: int) -> Notice:
    """Read decoded JSON with at most so many envelopes."""
    if isinstance(value, list):
        notice = Notice()
        for item in value:
            notice += _read(item, depth - 1) if depth else problem("a list in lists")
        return notice
    if not isinstance(value, dict):
        return problem(f"an event is no object: {_shown(value)}")
    if not depth:
        return problem(f"an event in too many envelopes: {_shown(value)}")
    try:
        return _read_object(value, depth)
    except InputError as error:
        return problem(f"{error}: {_shown(value)}")


def _read_object(value: dict[str, Any], depth: int) -> Notice:
    if "Records" in value:
        return read_records(value["Records"])
    if value.get("kind") == OBJECT_KIND:
        return read_resource(value)
    if "TopicArn" in value and "Type" in value:
        return _read_sns(value, depth)
    if "receivedMessages" in value:
        return _read_pulled(value["receivedMessages"], depth)
    if isinstance(value.get("message"), dict):
        return read_message(convert(value["message"], PubSubMessage), depth)
    return _read_typed(value)


def _read_typed(value: dict[str, Any]) -> Notice:
    """Read an event that says what it is."""
    if value.get("Event") == "s3:TestEvent":
        return Notice()
    if "detail-type" in value:
        return read_event_bridge(value) if value.get("source") == "aws.s3" else Notice()
    kind = event_type(value)
    if kind.startswith("google.cloud.storage.object."):
        return read_resource(value.get("data")) if kind.endswith(".finalized") else Notice()
    if kind.startswith("Microsoft."):
        return read_event(value)
    raise InputError("no kind of notification that is known here")


def _read_sns(value: dict[str, Any], depth: int) -> Notice:
    if value["Type"] != "Notification":  # a confirmation, which the owner of the topic answers
        _LOG.warning("SNS asks for %s of %s", value["Type"], value["TopicArn"])
        return Notice()
    message = value.get("Message")
    if not isinstance(message, str):
        raise InputError("an SNS notification has no Message")
    return _read(_decode(message), depth - 1)


def _read_pulled(received: Any, depth: int) -> Notice:
    notice = Notice()
    for item in received if isinstance(received, list) else []:
        notice += _read(item, depth - 1)
    return notice


def read_message(message: PubSubMessage, depth: int = _ENVELOPES) -> Notice:
    """Read a message of Pub/Sub: a notification of Cloud Storage, or any other in its data.

    Raises:
        InputError: Its data is not JSON.
    """
    if is_notification(message):
        return read_attributes(message)
    return _read(_decode(message_data(message)), depth - 1)


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:_SHOWN]


# Make a delivery of a message's body, whatever it holds.


def deliver(
    handle: str, body: bytes, label: str, read: Callable[[bytes], Notice] = read_notice
) -> Delivery:
    """Read a body into a delivery; one that cannot be read is a delivery with a problem.

    Example:
        >>> deliver("h", b"no JSON", "m1").problems
        ("an event is not JSON: JSON is malformed: invalid character (byte 4): b'no JSON'",)
    """
    try:
        notice = read(body)
    except InputError as error:
        notice = Notice(problems=(error,))
    return Delivery(handle, notice.events, tuple(map(str, notice.problems)), label)
