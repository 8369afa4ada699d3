"""Events from a subscription of Google Cloud Pub/Sub, by its REST interface.

https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import google.auth
import msgspec
import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account

from lakerunner.errors import ConfigurationError, EventsUnavailableError
from lakerunner.events.base import Delivery, EventSource
from lakerunner.events.parsing import PubSubMessage, deliver, read_message
from lakerunner.limits import STORE_TIMEOUT_SECONDS, WATCH_LEASE_SECONDS
from lakerunner.registry import split_scheme

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lakerunner.events.notices import Notice

_ENDPOINT = "https://pubsub.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/pubsub"
_LONGEST_LEASE = 600
_BATCH = 1000
_GRACE_SECONDS = 5.0  # that the service may take longer than it was told to wait
_CALLER = {400, 401, 403, 404}


class _Received(msgspec.Struct):
    ackId: str  # noqa: N815 - the name in the answer
    message: msgspec.Raw


class _Pulled(msgspec.Struct):
    receivedMessages: list[_Received] = []  # noqa: N815 - the name in the answer


_PULLED = msgspec.json.Decoder(_Pulled)
_MESSAGE = msgspec.json.Decoder(PubSubMessage)


class PubSubSource(EventSource):
    """A subscription of Pub/Sub that is pulled; needs the role `roles/pubsub.subscriber`.

    Messages that are released again and again go to the subscription's dead-letter topic, if it has
    one.

    Args:
        url: `pubsub://PROJECT/SUBSCRIPTION`.
        options: `token`: `google_default` (as without it), `anon`, or the path or the content of a
            service account's key; `endpoint_url`: not the URL of a store but of Pub/Sub, or of its
            emulator. Others are passed over.
        lease_seconds: Acknowledgement deadline of what is received, set as soon as it is; 10 to 600
            seconds.
    """

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any] | None = None,
        *,
        lease_seconds: float = WATCH_LEASE_SECONDS,
    ) -> None:
        project, _, subscription = split_scheme(url)[1].partition("/")
        if not project or not subscription or "/" in subscription:
            raise ConfigurationError(f"{url!r} is not pubsub://PROJECT/SUBSCRIPTION", url=url)
        self.url = url
        self.lease_seconds = min(max(lease_seconds, 10.0), float(_LONGEST_LEASE))
        self._options = dict(options or {})
        endpoint = str(self._options.get("endpoint_url") or _ENDPOINT).rstrip("/")
        self._path = f"{endpoint}/v1/projects/{project}/subscriptions/{subscription}"
        # A session is not made for two threads at once, and leases are kept by another thread.
        self._lock = threading.Lock()
        self._session: Any = None

    def receive(self, maximum: int, wait_seconds: float) -> Sequence[Delivery]:
        """Pull messages; the service may wait shorter than it was asked to."""
        answer = self._post(":pull", {"maxMessages": min(maximum, _BATCH)}, wait_seconds)
        if not answer:
            return []
        try:
            received = _PULLED.decode(answer).receivedMessages
        except msgspec.DecodeError as error:
            raise EventsUnavailableError(f"{self.url}: a strange answer: {error}") from error
        deliveries = [
            deliver(each.ackId, bytes(each.message), _label(each.message), _read)
            for each in received
        ]
        self.extend(deliveries)  # the subscription's own deadline may be shorter than ours
        return deliveries

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge messages."""
        for ids in _ids(deliveries):
            self._post(":acknowledge", {"ackIds": ids})

    def release(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        """Let the deadline of messages pass, at once or in a while."""
        self._change(deliveries, delay_seconds)

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Set the deadline of messages anew."""
        self._change(deliveries, self.lease_seconds or 0)

    def close(self) -> None:
        """Close connections; the next request opens new ones."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _change(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        deadline = min(math.ceil(seconds), _LONGEST_LEASE)
        for ids in _ids(deliveries):
            self._post(":modifyAckDeadline", {"ackIds": ids, "ackDeadlineSeconds": deadline})

    def _post(self, verb: str, body: Mapping[str, Any], wait_seconds: float | None = None) -> bytes:
        """Ask the service; an empty answer if it kept us waiting as long as it was told to."""
        timeout = float(STORE_TIMEOUT_SECONDS)
        headers = {"Content-Type": "application/json"}
        if wait_seconds is not None:
            headers["X-Server-Timeout"] = f"{max(wait_seconds, 0.1):.1f}"
            timeout = wait_seconds + _GRACE_SECONDS
        data = msgspec.json.encode(body)
        with self._translated(), self._lock:
            if self._session is None:
                credentials = self._credentials()
                self._session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
            try:
                answer = self._session.post(
                    self._path + verb, data=data, headers=headers, timeout=timeout
                )
            except requests.ReadTimeout:
                if wait_seconds is None:
                    raise
                return b""
        status, text = answer.status_code, answer.text[:300]
        if status == requests.codes.ok:
            content: bytes = answer.content
            return content
        if status == requests.codes.gateway_timeout and wait_seconds is not None:
            return b""
        kind = ConfigurationError if status in _CALLER else EventsUnavailableError
        raise kind(f"{self.url}: {status} {text}", url=self.url)

    def _credentials(self) -> Any:
        token = self._options.get("token")
        if token == "anon":  # noqa: S105 - it says that there is none
            return AnonymousCredentials()  # type: ignore[no-untyped-call]  # it has no types
        made = service_account.Credentials
        if isinstance(token, dict):
            return made.from_service_account_info(token, scopes=[_SCOPE])  # type: ignore[no-untyped-call]
        if isinstance(token, str) and token not in {"google_default", ""}:
            return made.from_service_account_file(token, scopes=[_SCOPE])  # type: ignore[no-untyped-call]
        return google.auth.default(scopes=[_SCOPE])[0]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DefaultCredentialsError as error:
            raise ConfigurationError(f"{self.url}: {error}", url=self.url) from error
        except (GoogleAuthError, requests.RequestException) as error:
            raise EventsUnavailableError(f"{self.url}: {error}", url=self.url) from error


def _read(body: bytes) -> Notice:
    return read_message(_MESSAGE.decode(body))


def _label(message: msgspec.Raw) -> str:
    return _MESSAGE.decode(message).messageId


def _ids(deliveries: Sequence[Delivery]) -> Iterator[list[str]]:
    for start in range(0, len(deliveries), _BATCH):
        yield [each.handle for each in deliveries[start : start + _BATCH]]
