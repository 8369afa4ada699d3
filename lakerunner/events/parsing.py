"""Tell what a notification is, open its envelopes, and read it."""

from __future__ import annotations

import binascii
import logging
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import msgspec

from lakerunner.errors import InputError
from lakerunner.events.azure_notices import VALIDATION, event_type, read_event
from lakerunner.events.gcs_notices import (
    OBJECT_KIND,
    PubSubMessage,
    is_notification,
    message_data,
    read_attributes,
    read_resource,
)
from lakerunner.events.notices import Notice, convert, problem
from lakerunner.events.s3_notices import read_event_bridge, read_records

if TYPE_CHECKING:
    from lakerunner.model.report import ObjectEvent

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
