"""Every interleaving of writers, collectors, removals, a loss and recoveries keeps the promises."""

from __future__ import annotations

import pytest

from tests.protocol.actors import lake
from tests.protocol.model import NEW, OLD, RULES, explore

LOSSES = {
    "a writer that stood still commits what was collected": (
        ("writer1", "collector"),
        "live without a file",
    ),
    "an ingest into an empty catalog, then a collection": (
        ("loss", "stranger", "collector"),
        "acknowledged and gone",
    ),
    "a batch that expired deletes what recovery adopted": (
        ("writer1", "loss", "recover"),
        "live without a file",
    ),
    "a loser of a race deletes what recovery adopted": (
        ("writer1", "writer2", "loss", "recover"),
        "live without a file",
    ),
    "a rewrite that nobody committed is adopted": (("delete", "loss"), "acknowledged and gone"),
    "what was removed on purpose comes back": (("retain", "loss"), "deleted and back"),
    "a merge that was refused beats a delete that was not": (
        ("compact", "delete", "loss", "recover"),
        "acknowledged and gone",
    ),
}

TOGETHER = {
    "a race and a collection": ("writer1", "writer2", "collector", "loss", "recover"),
    "two recoveries": ("writer1", "collector", "loss", "recover1", "recover2"),
    "a delete": ("writer1", "collector", "delete", "loss", "recover"),
    "a delete and a merge": ("collector", "delete", "compact", "loss", "recover"),
    "retention and a merge": ("collector", "retain", "compact", "loss", "recover"),
    "a collection between two losses": ("writer1", "collector", "loss1", "recover", "loss2"),
    "one loss after the other": ("delete", "loss1", "recover1", "loss2", "recover2"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_fencing_by_time_loses_rows(name: str) -> None:
    """The search finds each known loss in the protocol that went by clocks."""
    actors, promise = LOSSES[name]
    found = explore(lake(OLD, *actors))
    assert found
    assert found[-1].startswith(promise)


@pytest.mark.parametrize("name", LOSSES)
def test_the_same_actors_do_no_harm_now(name: str) -> None:
    """None of the known losses is left."""
    assert explore(lake(NEW, *LOSSES[name][0])) is None


@pytest.mark.parametrize("name", TOGETHER)
def test_no_interleaving_breaks_a_promise(name: str) -> None:
    """All actors at once, each frozen for as long as any of the others likes to go on."""
    assert explore(lake(NEW, *TOGETHER[name])) is None


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_is_idle(rule: str) -> None:
    """Without any one of the rules, the search finds a promise that is broken."""
    found = (explore(lake(NEW - {rule}, *actors)) for actors in TOGETHER.values())
    assert any(found)
