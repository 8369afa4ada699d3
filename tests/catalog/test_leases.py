"""Leases in memory: the suite, and the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.catalog.bucket.catalog import BucketLeases
from lakerunner.catalog.leases import KEPT_SECONDS, MemoryLeases
from lakerunner.store import PutMode
from lakerunner.store.counting import WrapperStore
from lakerunner.store.memory import MemoryStore
from lakerunner.testing.leases import LeasesSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lakerunner.catalog.leases import Leases
    from lakerunner.store.base import Buffer, ObjectMeta


class TestMemoryLeases(LeasesSuite):
    adapter = "memory"

    def open_leases(self, place: Path) -> Iterator[Leases]:  # noqa: ARG002 - memory is no place
        yield MemoryLeases()


def test_a_lease_ends_at_its_time_and_is_forgotten_later() -> None:
    now = 100.0
    leases = MemoryLeases(lambda: now)
    leases.take("compact", ["a"], "one", 10)
    now = 109.9
    assert leases.take("compact", ["a"], "two", 10) == []
    now = 110.0
    assert leases.take("compact", ["a"], "two", 10) == ["a"]
    now = 121.0 + KEPT_SECONDS
    assert leases.take("compact", ["b"], "one", 10) == ["b"]
    assert leases.renew("compact", ["a"], "two", 10) == []


class Stopping(WrapperStore):
    """Something happens before a lease is put."""

    meanwhile: Callable[[], object] | None = None

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        if "/leases/" in key and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return super().put(key, data, mode)


def test_who_comes_too_late_has_no_lease() -> None:
    """The number that it was about to create was used and deleted since."""
    store = MemoryStore("memory://leases/standing")
    leases, standing = BucketLeases(store), Stopping(store)
    leases.take("compact", ["a"], "one", 60)
    leases.release("compact", ["a"], "one")

    def meanwhile() -> None:
        assert leases.take("compact", ["a"], "two", 60) == ["a"]
        assert leases.renew("compact", ["a"], "two", 60) == ["a"]

    standing.meanwhile = meanwhile
    assert BucketLeases(standing).take("compact", ["a"], "three", 60) == []
    assert leases.renew("compact", ["a"], "two", 60) == ["a"]
    assert len(list(store.list("catalog/leases/"))) == 1
