"""What the stores of services have in common: requests, repeated where that is safe."""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fsspec.asyn import sync

from lakerunner.errors import (
    ConfigurationError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.limits import BACKOFF_SECONDS
from lakerunner.registry import split_scheme
from lakerunner.retrying import GIVEN_UP, repeating
from lakerunner.store.base import GetResult, ObjectMeta, PutMode
from lakerunner.store.filesystem import FilesystemStore
from lakerunner.store.urls import bounds, check_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from lakerunner.store.base import ByteRange
    from lakerunner.store.filesystem import Info

_LOG = logging.getLogger(__name__)
_SECOND_NS = 10**9
R = TypeVar("R")


class Answer(NamedTuple):
    """Bytes of an object, with what the service says of the version they belong to.

    Attributes:
        info: As that of `describe`, and `ContentType` if it is known.
        data: The bytes.
    """

    info: Info
    data: bytes


class Page(NamedTuple):
    """A part of a listing, in key order, and where the next one begins; empty if there is none."""

    infos: list[Info]
    token: str


class RemoteStore(FilesystemStore):
    """A bucket of a storage service, or a prefix of one.

    A request that fails in a way that may pass (5xx, 429, a timeout, a broken connection) is sent
    again after a pause that doubles and is spread at random: `ATTEMPTS` times in all. Clients
    underneath repeat nothing on their own, and nobody above repeats what was given up here. A
    create-only put is repeated only while the service cannot have acted on it; else
    `StoreUnavailableError` is raised with `context["lost"]`, because a repetition would find the
    object of the first attempt and take it for somebody else's.

    `modified_ns` is in whole seconds: services tell no more along with the bytes. Keys that no
    store can have (a part is empty, `.` or `..`) are left out of listings, with a line in the log
    unless they are directory markers.

    An adapter says how each request is made. Its coroutines get the filesystem first, and keys that
    are relative to the bucket.

    Raises:
        ConfigurationError: The URL has no bucket, or an impossible prefix.
    """

    def __init__(self, url: str, storage_options: Mapping[str, object] | None = None) -> None:
        super().__init__(url, storage_options)
        self.bucket, _, self._prefix = self.root().partition("/")
        if not self.bucket or split_scheme(url)[1].startswith("/"):
            raise ConfigurationError(f"{url!r} names no bucket", url=url)
        if self._prefix:
            check_key(self._prefix)

    # -- what an adapter says ----------------------------------------------------------------

    @abstractmethod
    async def fetch(self, filesystem: Any, name: str, span: str) -> Answer:
        """Read an object; `span` is the value of a `Range` header, or empty."""

    @abstractmethod
    async def describe(self, filesystem: Any, name: str) -> Info:
        """Describe an object."""

    @abstractmethod
    async def upload(self, filesystem: Any, name: str, data: bytes, mode: PutMode) -> Info:
        """Write an object in one request, and describe it."""

    @abstractmethod
    async def page(self, filesystem: Any, prefix: str, start_after: str, token: str) -> Page:
        """List up to a thousand objects behind a start; `name` of each is its key in the bucket."""

    @abstractmethod
    async def remove(self, filesystem: Any, name: str) -> None:
        """Remove an object; whether there was one does not matter."""

    @abstractmethod
    def disconnect(self, filesystem: Any) -> None:
        """Close the connections of a filesystem."""

    # -- made of it --------------------------------------------------------------------------

    def read(self, key: str, path: str, byte_range: ByteRange | None) -> GetResult:
        """Read one version by one request, and never less of it than was asked for."""
        name = self._name(path)
        if byte_range is None:
            answer = self.request(key, self.fetch, name, "")
            return _result(self.meta(key, answer.info), answer, answer.data)
        start, end = byte_range
        if (start < 0 and end is not None) or (end is not None and end <= start):
            bounds(byte_range, self._head(key, path).size, key)  # is not in any object
        span = f"bytes={start}" if start < 0 else f"bytes={start}-{'' if end is None else end - 1}"
        answer = self.request(key, self.fetch, name, span)
        meta = self.meta(key, answer.info)
        first, last = bounds(byte_range, meta.size, key)
        if len(answer.data) == meta.size:  # the service took no notice of the range
            return _result(meta, answer, answer.data[first:last])
        if len(answer.data) != last - first:
            raise StoreUnavailableError(
                f"{key!r} in {self.url}: {len(answer.data)} bytes came for {last - first}", key=key
            )
        return _result(meta, answer, answer.data)

    def info(self, path: str) -> Info:
        """Describe an object by a fresh request."""
        return self.request(self._key(path), self.describe, self._name(path))

    def write(self, path: str, data: bytes, mode: PutMode) -> Info:
        """Write an object by one request; see the class for what is not repeated."""
        once = mode is PutMode.CREATE
        with self._bucket_expected():
            return self.request(
                self._key(path), self.upload, self._name(path), data, mode, once=once
            )

    def find(self, prefix: str, start_after: str) -> Iterator[tuple[str, Info]]:
        """Pass the pages of the service on, in its order; see the class."""
        home = f"{self._prefix}/" if self._prefix else ""
        start = home + start_after if start_after else ""
        token = ""
        while True:
            with self._bucket_expected():
                infos, token = self.request(prefix, self.page, home + prefix, start, token)
            for info in infos:
                key = info["name"][len(home) :]
                if _is_key(key, self.url):
                    yield key, info
            if not token:
                return

    def erase(self, path: str) -> None:
        """Remove an object by one request."""
        self.request(self._key(path), self.remove, self._name(path))

    @contextmanager
    def _bucket_expected(self) -> Iterator[None]:
        """Of requests that need no object: if something is not there, it is the bucket."""
        try:
            yield
        except ObjectNotFoundError as error:
            raise StoreError(f"there is no bucket for {self.url}", **error.context) from error

    # -- requests ----------------------------------------------------------------------------

    def request(
        self, key: str, send: Callable[..., Awaitable[R]], *arguments: object, once: bool = False
    ) -> R:
        """Run a coroutine of the adapter on the event loop of the filesystem, again if need be.

        Args:
            key: What it is about, for errors.
            send: Called with the filesystem and the arguments.
            arguments: Whatever it takes.
            once: It must not be repeated when it may have taken effect.

        Raises:
            StoreError: What the last attempt came to.
        """

        def attempt() -> R:
            filesystem = self.filesystem
            try:
                answer: R = sync(filesystem.loop, send, filesystem, *arguments)
            except Exception as error:
                ours = self.translate(error, self.url, key)
                if ours is error:
                    raise
                raise ours from error
            return answer

        def passing(error: Exception) -> bool:
            lost = getattr(error, "context", {}).get("lost", True)
            return isinstance(error, StoreUnavailableError) and not (once and lost)

        try:
            return repeating(attempt, passing, backoff_seconds=BACKOFF_SECONDS)
        except StoreUnavailableError as error:
            if passing(error):
                error.context[GIVEN_UP] = True
            raise

    # -- connections -------------------------------------------------------------------------

    def meta(self, key: str, info: Info) -> ObjectMeta:
        """What the service says of an object, in our words; times in whole seconds."""
        found = super().meta(key, info)
        return found._replace(modified_ns=found.modified_ns // _SECOND_NS * _SECOND_NS)

    def close(self) -> None:
        """Close the connections of this process; the next request opens new ones."""
        with self._lock:
            filesystem, self._filesystem = self._filesystem, None
            if filesystem is not None and self._pid == os.getpid():
                self.disconnect(filesystem)

    def _key(self, path: str) -> str:
        return path[len(self._root) + 1 :]

    def _name(self, path: str) -> str:
        return path[len(self.bucket) + 1 :]


def _result(meta: ObjectMeta, answer: Answer, data: bytes) -> GetResult:
    return GetResult(meta, data, str(answer.info.get("ContentType") or ""))


def _is_key(key: str, url: str) -> bool:
    try:
        check_key(key)
    except ConfigurationError as error:
        if not key.endswith("/") and key:
            _LOG.warning("left out of %s, no store can have this key: %s", url, error)
        return False
    return True
