"""A store that fails on schedule, for tests of what is built on a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lakerunner.store.base import GetResult, ObjectMeta, ObjectStore, PutMode
from lakerunner.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.model.faults import FaultPlan, Ticket
    from lakerunner.store.base import Buffer, ByteRange


class FaultyStore(WrapperStore):
    """Fails the calls that its plan names, before they take effect or after.

    The calls are named `store.get`, `store.put`, `store.head`, `store.list` and `store.delete`. A
    listing that fails "after" breaks off behind its first object, or at the end if there is none.
    Wrapped stores and catalogs that share one plan are counted together.

    Args:
        inner: The store that does the work.
        plan: Which calls fail, and how.
        latency_s: Seconds that each call waits before it begins.

    Example:
        >>> from lakerunner.errors import StoreUnavailableError
        >>> from lakerunner.model.faults import Fault, FaultPlan
        >>> from lakerunner.store import open_store
        >>> lost = Fault(call=1, after=True, error=StoreUnavailableError("no reply"))
        >>> store = FaultyStore(open_store("memory://faulty"), FaultPlan(lost))
        >>> try:
        ...     store.put("key", b"bytes")
        ... except StoreUnavailableError as error:
        ...     print(error, store.get("key").data)
        no reply b'bytes'
    """

    def __init__(self, inner: ObjectStore, plan: FaultPlan, *, latency_s: float = 0.0) -> None:
        super().__init__(inner)
        self.plan = plan
        self.latency_s = latency_s

    def _wait(self) -> None:
        if self.latency_s:
            time.sleep(self.latency_s)

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Read an object or a part of it."""
        self._wait()
        with self.plan.call("store.get"):
            return self.inner.get(key, byte_range)

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        """Write a whole object."""
        self._wait()
        with self.plan.call("store.put"):
            return self.inner.put(key, data, mode)

    def head(self, key: str) -> ObjectMeta:
        """Describe an object."""
        self._wait()
        with self.plan.call("store.head"):
            return self.inner.head(key)

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        """Describe the objects under a prefix."""
        self._wait()
        ticket = self.plan.begin("store.list")
        return self._entries(ticket, self.inner.list(prefix, start_after=start_after))

    def _entries(self, ticket: Ticket, entries: Iterator[ObjectMeta]) -> Iterator[ObjectMeta]:
        first = next(entries, None)
        if first is not None:
            yield first
        self.plan.end(ticket)
        yield from entries

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._wait()
        with self.plan.call("store.delete"):
            self.inner.delete(key)
