"""The workers themselves, going on and standing still in any order: rows are as the model says."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from lakerunner.catalog.memory import MemoryCatalog
from tests.protocol.workers import END, KILL, Workers, catalogs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.testing.servers.postgres import PostgresServer
    from tests.protocol.workers import Move

WHO: tuple[str, ...] = (
    "first1",
    "first2",
    "second",
    "collect",
    "compact",
    "maintain",
    "retain",
    "purge",
    "recover",
)
WHO += ("read", "lose1", "lose2")
NAMES = ("catalog.commit", "catalog.condemn", "catalog.settle", "store.put", "store.delete")
UNTIL = st.integers(0, 20) | st.sampled_from([*NAMES, END, KILL])
MOVES = st.lists(st.tuples(st.sampled_from(WHO), UNTIL), min_size=1, max_size=8)
LOST = st.none() | st.none() | st.integers(1, 20)


class Machine(RuleBasedStateMachine):
    """Two writers of the same objects and one of others, and all who remove, delete and recover."""

    opened: ClassVar[Callable[[], Catalog]]

    def __init__(self) -> None:
        super().__init__()
        self.workers = Workers(type(self).opened)

    @rule(objects=st.integers(1, 3), folder=st.sampled_from("ab"))
    def put(self, objects: int, folder: str) -> None:
        """New objects."""
        self.workers.put(objects, folder)

    @rule(moves=MOVES, lost=LOST)
    def work(self, moves: Sequence[Move], lost: int | None) -> None:
        """Each goes on as far as it is told, by a clock of its own, and replies get lost."""
        self.workers.work(moves, lost)

    def teardown(self) -> None:
        """A last ingest takes what is left, and nothing that was removed."""
        with closing(self.workers):
            self.workers.finish()


def run(opened: Callable[[], Catalog], share: int) -> None:
    """A part of the examples of the profile, for what takes so much longer than others."""
    own = type("Own", (Machine,), {"opened": staticmethod(opened)})
    examples = max(2, settings().max_examples // share)
    run_state_machine_as_test(
        own, settings=settings(max_examples=examples, stateful_step_count=8, deadline=None)
    )


BESIDE = ("first", "collect", "retain", "recover", "lose")


@pytest.mark.parametrize("second", BESIDE)
@pytest.mark.parametrize("first", BESIDE[:-1])
def test_each_beside_each_at_any_call(first: str, second: str) -> None:
    """One stands still before each of its calls in turn, while the other does all of its work."""
    for call in range(18):
        with closing(Workers(MemoryCatalog)) as workers:
            workers.put(1)
            workers.work([("first", END)])
            workers.put(1)
            workers.work([(f"{first}1", call), (f"{second}2", END)])
            workers.finish()


def test_in_memory() -> None:
    """Any order of steps, with the catalog in memory."""
    run(MemoryCatalog, 5)


@pytest.mark.parametrize("kind", ["sqlite", "bucket"])
def test_in_files(kind: str) -> None:
    """Any order of steps, with SQLite, and with a bucket whose listings lag."""
    with TemporaryDirectory() as directory:
        run(catalogs(kind, Path(directory), ""), 10)


def test_in_a_database(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """Any order of steps, with PostgreSQL."""
    run(catalogs("postgresql", tmp_path, postgres_server.url()), 20)
