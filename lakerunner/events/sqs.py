"""Events from a queue of Amazon SQS, into which S3, SNS or EventBridge put notifications."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore import exceptions as boto
from botocore.config import Config as BotoConfig

from lakerunner.errors import ConfigurationError, EventsUnavailableError
from lakerunner.events.base import Delivery, EventSource
from lakerunner.events.parsing import deliver
from lakerunner.limits import WATCH_LEASE_SECONDS
from lakerunner.registry import split_scheme

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_BATCH = 10  # messages of one request, in either direction
_LONGEST_WAIT = 20
_SHORT_WAIT = 0.1
_LONGEST_LEASE = 12 * 3600
_CALLER = {
    "AccessDenied",
    "AccessDeniedException",
    "AWS.SimpleQueueService.NonExistentQueue",
    "ExpiredToken",
    "InvalidAddress",
    "InvalidClientTokenId",
    "KMS.AccessDeniedException",
    "QueueDoesNotExist",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_UNUSABLE = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.NoRegionError,
    boto.ProfileNotFound,
    boto.ParamValidationError,
)


class SqsSource(EventSource):
    """A queue of SQS.

    Needs the rights `sqs:GetQueueUrl` (if the queue is given by name), `sqs:ReceiveMessage`,
    `sqs:DeleteMessage` and `sqs:ChangeMessageVisibility`. Messages that are released again and
    again go where the queue's redrive policy sends them.

    Args:
        url: `sqs://NAME`, or the URL of the queue itself, `https://…` or `http://…`, of which `sqs`
            may also replace the scheme: `sqs://sqs.eu-west-1.amazonaws.com/123456789012/raw`.
        options: Credentials and endpoints in the words of s3fs: `key`, `secret`, `token`,
            `profile`, `endpoint_url`, `client_kwargs` (`region_name`). The region of a full URL is
            taken from its host. Others are passed over, so a store's options will do.
        lease_seconds: Visibility timeout of what is received, whatever that of the queue is.
    """

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any] | None = None,
        *,
        lease_seconds: float = WATCH_LEASE_SECONDS,
    ) -> None:
        self.url = url
        self.lease_seconds = lease_seconds
        self._options = dict(options or {})
        self._queue = ""
        self._client: Any = None

    def receive(self, maximum: int, wait_seconds: float) -> Sequence[Delivery]:
        """Up to ten messages, by long polling; SQS waits for whole seconds only."""
        whole = min(int(wait_seconds), _LONGEST_WAIT)
        with self._translated():
            answer = self._connected().receive_message(
                QueueUrl=self._queue,
                MaxNumberOfMessages=min(maximum, _BATCH),
                WaitTimeSeconds=whole,
                VisibilityTimeout=_whole(self.lease_seconds or 0),
            )
        if not answer.get("Messages") and not whole:
            time.sleep(min(wait_seconds, _SHORT_WAIT))
        return [
            deliver(message["ReceiptHandle"], message["Body"].encode(), message["MessageId"])
            for message in answer.get("Messages", ())
        ]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Delete messages, ten in a request."""
        for entries in _entries(deliveries):
            with self._translated():
                answer = self._connected().delete_message_batch(
                    QueueUrl=self._queue, Entries=entries
                )
            _check(answer, "delete")

    def release(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        """Set when messages become visible again."""
        self._change(deliveries, delay_seconds)

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Set the visibility timeout anew."""
        self._change(deliveries, self.lease_seconds or 0)

    def close(self) -> None:
        """Close connections; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _change(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        for entries in _entries(deliveries):
            timed = [{**entry, "VisibilityTimeout": _whole(seconds)} for entry in entries]
            with self._translated():
                # What is not in flight any more cannot be changed, and need not be.
                self._connected().change_message_visibility_batch(
                    QueueUrl=self._queue, Entries=timed
                )

    def _connected(self) -> Any:
        if self._client is None:
            client = self._connect()
            self._queue = self._find(client)
            self._client = client
        return self._client

    def _connect(self) -> Any:
        options = self._options
        more = dict(options.get("client_kwargs") or {})
        rest = split_scheme(self.url)[1]
        labels = rest.partition("/")[0].split(".")
        if "region_name" not in more and labels[0] == "sqs" and "amazonaws" in labels:
            more["region_name"] = labels[1]
        if options.get("endpoint_url"):
            more["endpoint_url"] = options["endpoint_url"]
        session = botocore.session.Session(profile=options.get("profile"))
        return session.create_client(
            "sqs",
            aws_access_key_id=options.get("key"),
            aws_secret_access_key=options.get("secret"),
            aws_session_token=options.get("token"),
            config=BotoConfig(retries={"mode": "standard", "total_max_attempts": 4}),
            **more,
        )

    def _find(self, client: Any) -> str:
        scheme, rest = split_scheme(self.url)
        if scheme != "sqs":
            return self.url
        if "/" in rest:
            return f"https://{rest}"
        found: str = client.get_queue_url(QueueName=rest)["QueueUrl"]
        return found

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except boto.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _CALLER:
                raise ConfigurationError(f"{self.url}: {error}", url=self.url) from error
            raise EventsUnavailableError(f"{self.url}: {error}", url=self.url) from error
        except _UNUSABLE as error:
            raise ConfigurationError(f"{self.url}: {error}", url=self.url) from error
        except (boto.BotoCoreError, OSError) as error:
            raise EventsUnavailableError(f"{self.url}: {error}", url=self.url) from error


def _entries(deliveries: Sequence[Delivery]) -> Iterator[list[dict[str, Any]]]:
    """Handles in batches as SQS wants them."""
    for start in range(0, len(deliveries), _BATCH):
        batch = deliveries[start : start + _BATCH]
        yield [{"Id": str(n), "ReceiptHandle": each.handle} for n, each in enumerate(batch)]


def _check(answer: Mapping[str, Any], what: str) -> None:
    """Refuse an answer in which the service says that it failed for some of the messages.

    What it calls the sender's fault is a handle that is too old: the message was handed out again.
    """
    failed = [entry for entry in answer.get("Failed", ()) if not entry.get("SenderFault")]
    if failed:
        raise EventsUnavailableError(f"SQS could not {what} a message: {failed[0]}")


def _whole(seconds: float) -> int:
    return min(math.ceil(seconds), _LONGEST_LEASE)
