"""Each rule of deletion switched off: a schedule of workers finds rows lost, doubled or back.

The same schedules with all rules on do no harm. Both are tried with every kind of catalog. So a
rule that nobody follows any more is noticed, and a schedule that has stopped to test its rule, too.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import pytest

from lakerunner.catalog import admission
from lakerunner.errors import LakerunnerError
from lakerunner.fencing import Fence, fence, identity, intents
from lakerunner.testing.faults import FaultyCatalog
from tests.protocol.workers import END, KILL, KINDS, Workers, catalogs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lakerunner.testing.servers.postgres import PostgresServer
    from tests.protocol.workers import Move


def everywhere(function: Callable[..., Any], instead: Callable[..., Any]) -> ExitStack:
    """Another function in the place of one, in whatever module has imported it."""
    stack = ExitStack()
    name = function.__name__
    for module in [one for key, one in sys.modules.items() if key.startswith("lakerunner")]:
        if vars(module).get(name) is function:
            stack.enter_context(patch.object(module, name, instead))
    return stack


def nothing(*_: object, **__: object) -> None:
    """Refuse nobody, and put nothing."""


def unasked(*reasons: str) -> AbstractContextManager[object]:
    """Commits are not refused for these reasons any more."""
    real = admission.refuse_conflicts

    def refuse(commit: Any, **found: Any) -> None:
        real(commit, **{**found, **dict.fromkeys(reasons, ())})

    return everywhere(real, refuse)


def unannounced() -> AbstractContextManager[object]:
    return everywhere(intents.put_intent, lambda *_: "nowhere")


@contextmanager
def unmarked() -> Iterator[None]:
    with everywhere(intents.put_mark, nothing):
        yield


def uncompared() -> AbstractContextManager[object]:
    def trust(fence: Fence) -> Any:
        return identity.newest_incarnation(fence.store), fence.catalog.head()

    return patch.object(Fence, "_examine", trust)


def always_whole() -> AbstractContextManager[object]:
    def settle(self: FaultyCatalog, lake: str, incarnation: int, *, whole: bool) -> None:
        del whole
        self.inner.settle(lake, incarnation, whole=True)

    return patch.object(FaultyCatalog, "settle", settle)


class Rule(NamedTuple):
    """A rule, how to switch it off, and what then goes wrong.

    Attributes:
        number: In docs/concepts/exactly-once.md.
        off: Within it, the rule does not hold.
        moves: Who goes on, and how far.
        harm: What is found.
    """

    number: int
    off: Callable[[], AbstractContextManager[object]]
    moves: list[Move]
    harm: str


COMMIT, CONDEMN = "catalog.commit", "catalog.condemn"
ORPHAN: list[Move] = [("first", COMMIT), ("first", KILL)]
"""A whole batch whose writer died before its commit."""

RULES = {
    "no source is in two commits": Rule(
        2, lambda: unasked("taken"), [("first1", COMMIT), ("first2", END)], "doubled"
    ),
    "what is condemned is not added": Rule(
        3, lambda: unasked("condemned"), [("first", COMMIT), ("collect", END)], "no object"
    ),
    "nothing below the floor is added": Rule(
        4,
        lambda: everywhere(admission.late_segments, lambda *_: []),
        [("first", COMMIT), ("second", END), ("collect", END), ("checkpoint", END)],
        "no object",
    ),
    "a commit of another incarnation is refused": Rule(
        5,
        lambda: everywhere(admission.refuse_strangers, nothing),
        [("first", COMMIT), ("collect", END), ("lose", END), ("recover", END)],
        "no object",
    ),
    "a condemnation of another incarnation is refused": Rule(
        5,
        lambda: everywhere(admission.condemnable, nothing),
        [
            *ORPHAN,
            ("collect", CONDEMN),
            ("lose1", END),
            ("recover1", END),
            ("expire", END),
            ("lose2", END),
            ("recover2", COMMIT),
            ("collect", END),
        ],
        "lost",
    ),
    "lake and catalog are compared": Rule(
        6, uncompared, [("expire", END), ("lose", END), ("second", END), ("collect", END)], "lost"
    ),
    "a catalog that stands below a height was set back": Rule(
        6,
        lambda: everywhere(fence.heights, lambda *_, **__: []),
        [
            ("copy", END),
            ("first", END),
            ("expire", END),
            ("restore", END),
            ("second", END),
            ("collect", END),
        ],
        "lost",
    ),
    "while it is recovered a catalog takes nothing else": Rule(
        7,
        always_whole,
        [
            ("first", END),
            ("second", END),
            ("expire", END),
            ("lose", END),
            ("recover", COMMIT),
            ("recover", 1),
            ("collect", END),
        ],
        "no object|lost",
    ),
    "a collection is announced": Rule(
        8,
        unannounced,
        [*ORPHAN, ("collect", "store.delete"), ("lose", END), ("recover", END)],
        "no object",
    ),
    "who announced a deletion looks at the number": Rule(
        8,
        lambda: patch.object(Fence, "verify", nothing),
        [*ORPHAN, ("collect", CONDEMN), ("collect", 1), ("lose", END), ("recover", COMMIT)],
        "no object",
    ),
    "a removal is announced": Rule(9, unannounced, [("retain", END), ("lose", END)], "back"),
    "a removal is marked": Rule(9, unmarked, [("retain", END), ("lose", END)], "back"),
    "an announcement that came too late counts for nothing": Rule(
        8,
        lambda: everywhere(identity.put_honoured, nothing),
        [
            *ORPHAN,
            ("collect", CONDEMN),
            ("collect", 1),
            ("lose1", END),
            ("recover", COMMIT),
            ("collect", END),
            ("recover", END),
            ("expire", END),
            ("lose2", END),
        ],
        "lost",
    ),
    "a state before a purge cannot be read": Rule(
        10,
        lambda: everywhere(admission.require_readable, nothing),
        [("read", "catalog.segments"), ("read", 1), ("purge", END)],
        "shrunk",
    ),
}


CASES = [
    (kind, name)
    for name, rule in RULES.items()
    for kind in KINDS
    # Backups of a database are restored in tests/catalog/postgres.
    if not (kind == "postgresql" and ("copy", END) in rule.moves)
]


def play(workers: Workers, moves: list[Move]) -> None:
    """A lake with two segments, two objects more, and the moves."""
    for _ in range(2):
        workers.put(1)
        workers.work([("first", END)])
    workers.put(1, "a")
    workers.put(1, "b")
    workers.work(moves)
    workers.finish()


@pytest.fixture
def workers(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> Iterator[Workers]:
    found = Workers(catalogs(request.param, tmp_path, postgres_server.url()))
    yield found
    found.close()


@pytest.mark.parametrize(("workers", "rule"), CASES, indirect=["workers"])
def test_without_a_rule_rows_are_lost_doubled_or_back(workers: Workers, rule: str) -> None:
    """The schedule finds it, whatever the catalog is kept in."""
    with (
        RULES[rule].off(),
        pytest.raises((AssertionError, LakerunnerError), match=RULES[rule].harm),
    ):
        play(workers, RULES[rule].moves)


@pytest.mark.parametrize(("workers", "rule"), CASES, indirect=["workers"])
def test_with_all_rules_the_same_does_no_harm(workers: Workers, rule: str) -> None:
    """Whatever stands still meanwhile."""
    play(workers, RULES[rule].moves)
