"""Notifications of three clouds in all their envelopes, and what is no notification."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.errors import InputError
from lakerunner.events import parse_events, read_notice, webhook_events, webhook_reply
from lakerunner.model.report import ObjectEvent

KEY = "otel-raw/org 1/a+b=c%/ü.json.gz"
ENCODED = "otel-raw/org+1/a%2Bb%3Dc%25/%C3%BC.json.gz"
NOON_NS = 1_790_078_400 * 10**9
NOON = "2026-09-22T12:00:00.000Z"
S3 = ObjectEvent("s3://raw", KEY, 5, "5d41", NOON_NS)
GCS = ObjectEvent("gs://raw", KEY, 5, "1790078400000000", NOON_NS)
AZURE = ObjectEvent("az://raw", KEY, 5, "0x8D4BCC2E4835CD0", NOON_NS)


def s3_record(name: str = "ObjectCreated:Put", key: str = ENCODED, **more: Any) -> dict[str, Any]:
    found = {"key": key, "size": 5, "eTag": "5d41", "sequencer": "0055AED6DCD90281E5", **more}
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": NOON,
        "eventName": name,
        "userIdentity": {"principalId": "x"},
        "s3": {"configurationId": "x", "bucket": {"name": "raw", "arn": "a"}, "object": found},
    }


def s3(*records: Any) -> dict[str, Any]:
    return {"Records": list(records)}


def sns(message: Any, kind: str = "Notification") -> dict[str, Any]:
    return {
        "Type": kind,
        "MessageId": "m",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:raw",
        "Subject": "Amazon S3 Notification",
        "Message": json.dumps(message),
        "SignatureVersion": "1",
    }


def event_bridge(kind: str = "Object Created", source: str = "aws.s3") -> dict[str, Any]:
    found = {"key": KEY, "size": 5, "etag": "5d41", "version-id": "v"}
    return {
        "version": "0",
        "detail-type": kind,
        "source": source,
        "time": "2026-09-22T12:00:00Z",
        "detail": {"version": "0", "bucket": {"name": "raw"}, "object": found, "reason": "Put"},
    }


def gcs(**more: Any) -> dict[str, Any]:
    return {
        "kind": "storage#object",
        "id": f"raw/{KEY}/1790078400000000",
        "bucket": "raw",
        "name": KEY,
        "generation": "1790078400000000",
        "size": "5",
        "updated": NOON,
        **more,
    }


def pubsub(body: Any, kind: str = "OBJECT_FINALIZE") -> dict[str, Any]:
    data = {} if body is None else {"data": b64encode(json.dumps(body).encode()).decode()}
    attributes = {
        "eventType": kind,
        "bucketId": "raw",
        "objectId": KEY,
        "objectGeneration": "1790078400000000",
        "eventTime": NOON,
        "payloadFormat": "NONE" if body is None else "JSON_API_V1",
    }
    return {"attributes": attributes, **data, "messageId": "1", "publishTime": NOON}


def event_grid(kind: str = "Microsoft.Storage.BlobCreated", **more: Any) -> dict[str, Any]:
    return {
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
        "subject": f"/blobServices/default/containers/raw/blobs/{KEY}",
        "eventType": kind,
        "id": "831e1650",
        "data": {"api": "PutBlob", "eTag": "0x8D4BCC2E4835CD0", "contentLength": 5},
        "dataVersion": "",
        "eventTime": NOON,
        **more,
    }


def cloud_event() -> dict[str, Any]:
    event = event_grid()
    kind, when = event.pop("eventType"), event.pop("eventTime")
    return {**event, "specversion": "1.0", "type": kind, "time": when, "source": "/subscriptions"}


CREATED = {
    "s3": (s3(s3_record()), [S3]),
    "s3 two": (s3(s3_record(), s3_record("s3:ObjectCreated:CompleteMultipartUpload")), [S3, S3]),
    "s3 in sns": (sns(s3(s3_record())), [S3]),
    "event bridge": (event_bridge(), [S3]),
    "event bridge in sns": (sns(event_bridge()), [S3]),
    "gcs resource": (gcs(), [GCS]),
    "gcs pushed": ({"message": pubsub(gcs()), "subscription": "projects/p/s"}, [GCS]),
    "gcs pulled": ({"receivedMessages": [{"ackId": "a", "message": pubsub(gcs())}]}, [GCS]),
    "gcs without payload": (
        {"message": pubsub(None)},
        [ObjectEvent("gs://raw", KEY, None, GCS.etag, NOON_NS)],
    ),
    "gcs cloud event": (
        {"specversion": "1.0", "type": "google.cloud.storage.object.v1.finalized", "data": gcs()},
        [GCS],
    ),
    "s3 in pubsub": (
        {"message": {"data": b64encode(json.dumps(s3(s3_record())).encode()).decode()}},
        [S3],
    ),
    "event grid": (event_grid(), [AZURE]),
    "event grid array": ([event_grid(), event_grid()], [AZURE, AZURE]),
    "cloud event": (cloud_event(), [AZURE]),
    "cloud events": ([cloud_event()], [AZURE]),
}

IGNORED = {
    "s3 test": {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "raw"},
    "s3 test in sns": sns({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "raw"}),
    "s3 removed": s3(s3_record("ObjectRemoved:Delete"), s3_record("s3:ObjectRemoved:Delete")),
    "s3 restored": s3(s3_record("ObjectRestore:Completed")),
    "s3 expired": s3(s3_record("LifecycleExpiration:Delete")),
    "sns confirmation": sns({}, "SubscriptionConfirmation"),
    "event bridge deleted": event_bridge("Object Deleted"),
    "event bridge of others": event_bridge("EC2 Instance State-change", "aws.ec2"),
    "gcs deleted": gcs(timeDeleted=NOON),
    "pubsub deleted": {"message": pubsub(gcs(), "OBJECT_DELETE")},
    "pubsub metadata": {"message": pubsub(gcs(), "OBJECT_METADATA_UPDATE")},
    "gcs cloud event deleted": {"type": "google.cloud.storage.object.v1.deleted", "data": gcs()},
    "event grid deleted": event_grid("Microsoft.Storage.BlobDeleted"),
    "event grid validation": [event_grid("Microsoft.EventGrid.SubscriptionValidationEvent")],
    "nothing": [],
}


@pytest.mark.parametrize("name", CREATED)
def test_arrivals_are_read(name: str) -> None:
    body, expected = CREATED[name]
    data = json.dumps(body).encode()
    assert parse_events(data) == expected
    assert webhook_events(data, "application/json; charset=utf-8") == expected
    assert parse_events(b64encode(data)) == expected
    assert read_notice(data).problems == ()


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_no_arrival_is_passed_over(name: str) -> None:
    notice = read_notice(json.dumps(IGNORED[name]).encode())
    assert notice.events == ()
    assert notice.problems == ()


def test_a_bad_record_is_reported_and_spoils_no_other(caplog: pytest.LogCaptureFixture) -> None:
    missing = s3_record()
    del missing["s3"]["object"]["key"]
    bad = [{}, 7, None, missing, {"eventName": 5}, s3_record(key="")]
    body = json.dumps(s3(*bad, s3_record())).encode()
    notice = read_notice(body)
    assert list(notice.events) == [S3]
    assert [str(error)[:8] for error in notice.problems] == [f"record {n}" for n in range(6)]
    assert parse_events(body) == [S3]
    assert len(caplog.records) == 6


UNREADABLE = {
    "unknown": ({"hello": "world"}, "no kind of notification"),
    "text": ("hello", "is no object"),
    "records": ({"Records": 7}, "not a list"),
    "subject": (event_grid(subject="/blobServices/default"), "names no blob"),
    "sns": ({"Type": "Notification", "TopicArn": "t"}, "no Message"),
    "inner": (sns(5), "is no object"),
    "base64": ({"message": {"data": "%%%"}}, "base64"),
    "inner json": ({"message": {"data": b64encode(b"{").decode()}}, "not JSON"),
    "envelopes": (sns(sns(sns(sns(sns(sns(s3(s3_record()))))))), "too many envelopes"),
    "lists": ([[[[[[[]]]]]]], "list"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_reported(name: str) -> None:
    body, reason = UNREADABLE[name]
    notice = read_notice(json.dumps(body).encode())
    assert notice.events == ()
    (error,) = notice.problems
    assert reason in str(error)
    assert isinstance(error, InputError)


@pytest.mark.parametrize("body", [b"", b"hello", b'{"Records": [', b"\xff\xfe", b"aGVsbG8="])
def test_what_is_not_json_is_an_error(body: bytes) -> None:
    with pytest.raises(InputError, match="an event is not JSON"):
        parse_events(body)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "image/png"])
def test_a_webhook_refuses_other_types(kind: str) -> None:
    with pytest.raises(InputError, match=kind):
        webhook_events(b"{}", kind)


@pytest.mark.parametrize(
    "kind", ["", "text/plain; charset=UTF-8", "application/cloudevents+json", "application/json"]
)
def test_a_webhook_takes_whatever_may_hold_json(kind: str) -> None:
    assert webhook_events(json.dumps(s3(s3_record())).encode(), kind) == [S3]


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'[{"eventType": 5}]', b'"text"'])
def test_a_webhook_has_nothing_to_say_to_most_requests(body: bytes) -> None:
    assert webhook_reply(body) is None


NAMES = [
    *("Records", "Type", "TopicArn", "Message", "kind", "message", "eventType", "s3", "detail"),
    *("detail-type", "source", "data", "receivedMessages", "attributes", "eventName", "bucket"),
    *("object", "name", "key"),
]
KINDS = [
    *("storage#object", "Notification", "aws.s3", "Object Created", "ObjectCreated:Put"),
    "Microsoft.Storage.BlobCreated",
]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner | st.sampled_from(KINDS),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_gives_events_or_problems_and_nothing_worse(value: Any) -> None:
    notice = read_notice(json.dumps(value).encode())
    assert all(isinstance(event, ObjectEvent) for event in notice.events)


@given(st.binary())
def test_any_bytes_give_events_or_an_input_error(data: bytes) -> None:
    with suppress(InputError):
        read_notice(data)


@pytest.mark.parametrize("body", [b'{"a":' * 1500, b"[" * 100_000, b'{"Message":' + b"[" * 5000])
def test_what_is_nested_too_deeply_is_an_error(body: bytes) -> None:
    for read in (parse_events, webhook_events, read_notice):
        with pytest.raises(InputError, match="nested too deeply"):
            read(body)
    assert webhook_reply(body) is None
