"""moto, with a bucket whose objects are announced to a queue."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus
from uuid import uuid4

import botocore.session
import pytest
from botocore.exceptions import ClientError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.testing.servers import Service, moto

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cloud:
    """A bucket and a queue of their own, and clients to act behind the backs of our adapters."""

    def __init__(self, service: Service) -> None:
        self.options = dict(service.storage_options)
        self.bucket, self.queue = f"raw-{uuid4().hex[:8]}", f"queue-{uuid4().hex[:8]}"
        self.endpoint = service.endpoint
        self.s3, self.sqs = self._client("s3"), self._client("sqs")
        self.s3.create_bucket(Bucket=self.bucket)
        self.queue_url = self.sqs.create_queue(QueueName=self.queue)["QueueUrl"]
        self.url = f"sqs://{self.queue}"

    def _client(self, name: str) -> Any:
        return botocore.session.Session().create_client(
            name,
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - moto takes any
        )

    def announce(self) -> None:
        """Have the bucket announce everything to the queue; S3 sends a test event first."""
        told = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["QueueArn"])
        events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
        queue = {"QueueArn": told["Attributes"]["QueueArn"], "Events": events}
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"QueueConfigurations": [queue]}
        )

    def put(self, key: str, *bodies: str) -> None:
        """Store an object with a record for each body."""
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=request(*bodies))

    def event(self, key: str) -> str:
        """What S3 says of an object that is there, or of one that is not."""
        found = {"key": quote_plus(key), "size": 5, "eTag": "5d41"}
        with suppress(ClientError):
            head = self.s3.head_object(Bucket=self.bucket, Key=key)
            found |= {"size": head["ContentLength"], "eTag": head["ETag"].strip('"')}
        record = {"bucket": {"name": self.bucket}, "object": found}
        return json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": record}]})

    def send(self, body: str) -> None:
        """Put a message into the queue."""
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)

    def left(self) -> int:
        """Messages in the queue, also those in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        names.append("ApproximateNumberOfMessagesDelayed")
        told = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)
        return sum(int(told["Attributes"][name]) for name in names)


def request(*bodies: str) -> bytes:
    message = ExportLogsServiceRequest()
    records = message.resource_logs.add().scope_logs.add().log_records
    for body in bodies:
        records.add(time_unix_nano=1_790_078_400 * 10**9).body.string_value = body
    return message.SerializeToString()


@pytest.fixture(scope="session")
def moto_service() -> Iterator[Service]:
    with moto() as service:
        yield service


@pytest.fixture
def cloud(moto_service: Service) -> Cloud:
    return Cloud(moto_service)
