"""The conformance suite of leases: each sentence of the contract, as a test."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import pytest

from lakerunner.testing.catalog import race

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lakerunner.catalog.leases import Leases

KEYS = [f"window {number}" for number in range(40)]
SHORT = 0.05
LONG = 60.0
WORKERS = 4


class LeasesSuite(ABC):
    """Subclass it, name the subclass `Test…`, and say how to open leases.

    Attributes:
        adapter: What the conformance matrix calls the leases; the name of the class if empty.
    """

    adapter: ClassVar[str] = ""

    @abstractmethod
    def open_leases(self, place: Path) -> Iterator[Leases]:
        """Open the leases of a test in a generator, which closes them after its `yield`.

        Args:
            place: An empty directory of the test's own. Leases that are no file take its name.
        """

    @pytest.fixture
    def leases(self, tmp_path: Path) -> Iterator[Leases]:
        """Leases of which nobody has any."""
        yield from self.open_leases(tmp_path)

    def test_the_first_of_the_free_ones_are_taken(self, leases: Leases) -> None:
        """In the order of the candidates, never more than asked for."""
        assert leases.take("compact", ["c", "a", "b"], "one", LONG, limit=2) == ["c", "a"]
        assert leases.take("compact", ["c", "a", "b", "d"], "two", LONG, limit=9) == ["b", "d"]
        assert leases.take("compact", ["a", "b", "c", "d"], "two", LONG) == []
        assert leases.take("compact", [], "two", LONG) == []

    def test_one_is_the_default(self, leases: Leases) -> None:
        """A worker that does one thing at a time need not say so."""
        assert leases.take("compact", ["a", "a", "b"], "one", LONG) == ["a"]

    def test_kinds_do_not_meet(self, leases: Leases) -> None:
        """A key has a meaning only within its kind."""
        assert leases.take("compact", ["a"], "one", LONG) == ["a"]
        assert leases.take("ingest", ["a"], "two", LONG) == ["a"]

    def test_what_an_owner_has_it_cannot_take_again(self, leases: Leases) -> None:
        """Two threads of one worker do not do the same work."""
        assert leases.take("compact", ["a"], "one", LONG) == ["a"]
        assert leases.take("compact", ["a"], "one", LONG) == []

    def test_time_sets_free(self, leases: Leases) -> None:
        """What the dead had, the living take."""
        leases.take("compact", ["a", "b"], "dead", SHORT, limit=2)
        assert leases.take("compact", ["a", "b"], "one", LONG, limit=2) == []
        time.sleep(2 * SHORT)
        assert leases.take("compact", ["a", "b"], "one", LONG, limit=2) == ["a", "b"]
        assert leases.renew("compact", ["a", "b"], "dead", LONG) == []
        leases.release("compact", ["a", "b"], "dead")
        assert leases.take("compact", ["a", "b"], "two", LONG, limit=2) == []

    def test_renewing_keeps(self, leases: Leases) -> None:
        """The time counts from the renewal, and may be shorter than before."""
        leases.take("compact", ["a", "b"], "one", SHORT, limit=2)
        assert leases.renew("compact", ["b", "a", "unknown"], "one", LONG) == ["b", "a"]
        time.sleep(2 * SHORT)
        assert leases.take("compact", ["a", "b"], "two", LONG, limit=2) == []
        assert leases.renew("compact", ["a"], "one", SHORT) == ["a"]
        time.sleep(2 * SHORT)
        assert leases.take("compact", ["a", "b"], "two", LONG, limit=2) == ["a"]

    def test_what_nobody_took_can_be_renewed_late(self, leases: Leases) -> None:
        """A pause that was too long costs nothing while nobody noticed."""
        leases.take("compact", ["a"], "one", SHORT)
        time.sleep(2 * SHORT)
        leases.take("compact", ["b"], "two", LONG)
        assert leases.renew("compact", ["a"], "one", LONG) == ["a"]
        assert leases.take("compact", ["a"], "two", LONG) == []

    def test_releasing_gives_back(self, leases: Leases) -> None:
        """Only what is one's own, and as often as one likes."""
        leases.take("compact", ["a", "b"], "one", LONG, limit=2)
        leases.release("compact", ["a", "b", "unknown"], "two")
        assert leases.take("compact", ["a", "b"], "two", LONG) == []
        for _ in range(2):
            leases.release("compact", ["a"], "one")
        assert leases.renew("compact", ["a", "b"], "one", LONG) == ["b"]
        assert leases.take("compact", ["a", "b"], "two", LONG) == ["a"]

    def test_each_goes_to_one(self, leases: Leases) -> None:
        """Workers that come at the same moment share the work out, and leave none."""

        def work(owner: str) -> Callable[[], list[str]]:
            def take() -> list[str]:
                done: list[str] = []
                while taken := leases.take("compact", KEYS, owner, LONG, limit=3):
                    done += taken
                return done

            return take

        taken = race([work(f"worker {number}") for number in range(WORKERS)])
        rest = leases.take("compact", KEYS, "last", LONG, limit=len(KEYS))
        assert sorted(rest + [key for keys in taken for key in keys]) == sorted(KEYS)
        assert len(rest) < len(KEYS) // 2
