"""Leases in memory: the suite, and the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.catalog.leases import KEPT_SECONDS, MemoryLeases
from lakerunner.testing.leases import LeasesSuite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.catalog.leases import Leases


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
