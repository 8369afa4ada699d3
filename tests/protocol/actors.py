"""What the actors of the protocol do, one function a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.protocol.model import (
    ADDS,
    DROPS,
    NONE,
    SOURCE,
    STEPS,
    Actor,
    Catalog,
    Intent,
    Names,
    World,
    X,
    admits,
    commit,
    decide,
    effective,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def step(
    *kinds: str, name: str
) -> Callable[
    [Callable[[World, Actor], Iterator[tuple[World, Actor]]]],
    Callable[[World, Actor], Iterator[tuple[World, Actor]]],
]:
    """A step of these kinds of actors."""

    def register(
        function: Callable[[World, Actor], Iterator[tuple[World, Actor]]],
    ) -> Callable[[World, Actor], Iterator[tuple[World, Actor]]]:
        STEPS.update(dict.fromkeys(((kind, name) for kind in kinds), function))
        return function

    return register


def own(actor: Actor) -> Names:
    """The segment of a writer: two of them race for the same source."""
    return frozenset("b" if actor.name.endswith("2") else "a")


def refused_at_open(world: World) -> bool:
    """Whether an empty catalog beside segments is noticed."""
    return "whole" in world.rules and not world.catalog.incarnation


@step("writer", name="look")
def _look(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    idle = refused_at_open(world) or "s" in world.catalog.taken
    begun = world.catalog.incarnation
    yield world, actor._replace(step="end" if idle else "put", begun=begun)


@step("writer", name="put")
def _put(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    yield world._replace(files=world.files | own(actor)), actor._replace(step="commit")


@step("writer", name="commit")
def _commit(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    if "condemn" not in world.rules:  # its own clock may say that the batch expired
        yield world, actor._replace(step="delete", free=own(actor))
    after = commit(world, actor, own(actor), take=True)
    if after is None:
        yield world, actor._replace(step="condemn", names=own(actor))
    else:
        # The reply may be lost, so that it is sent again before anything is promised.
        yield world._replace(catalog=after), actor._replace(step="commit again")


@step("writer", name="commit again")
def _commit_again(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    after = commit(world, actor, own(actor), take=True)
    if after is None:
        yield world, actor._replace(step="condemn", names=own(actor))
    else:
        kept = world.kept | {"s"}
        yield world._replace(catalog=after, kept=kept), actor._replace(step="end")


@step("collector", name="list")
def _list(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    begun = world.catalog.incarnation
    after = "end" if refused_at_open(world) else "ask"
    yield world, actor._replace(step=after, begun=begun, names=world.files)


@step("collector", name="ask")
def _ask(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    named = world.catalog.live | world.catalog.removed
    found = actor.names - named if named or world.rules else NONE
    yield world, actor._replace(step="condemn" if found else "end", names=found)


@step("writer", "collector", name="condemn")
def _condemn(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    catalog = world.catalog
    if "condemn" not in world.rules:
        yield world, actor._replace(step="intend", free=actor.names)
        return
    free = actor.names - catalog.live - catalog.removed if admits(world, actor.begun) else NONE
    catalog = catalog._replace(condemned=catalog.condemned | free)
    after = actor._replace(step="intend" if free else "end", free=free)
    yield world._replace(catalog=catalog), after


@step("writer", "collector", name="intend")
def _intend(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    new = {Intent("collect", actor.free, actor.begun)} if "intent" in world.rules else NONE
    yield world._replace(intents=world.intents | new), actor._replace(step="verify")


@step("writer", "collector", name="verify")
def _verify(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    same = world.lake == actor.begun or "verify" not in world.rules
    yield world, actor._replace(step="delete" if same else "end")


@step("writer", "collector", name="delete")
def _delete(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    yield world._replace(files=world.files - actor.free), actor._replace(step="end")


REMOVERS = ("delete", "compact", "retain")
"""Whoever replaces or removes the live segment `x`: by a condition, by a merge, by its age."""


@step(*REMOVERS, name="plan")
def _plan(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    able = "x" in world.catalog.live and not refused_at_open(world)
    begun = world.catalog.incarnation
    yield world, actor._replace(step="announce" if able else "end", begun=begun)


@step(*REMOVERS, name="announce")
def _announce(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    new = {Intent(actor.kind, X, actor.begun, ADDS[actor.kind])}
    intents = world.intents | (new if "intent" in world.rules else NONE)
    yield world._replace(intents=intents), actor._replace(step="write")


@step(*REMOVERS, name="write")
def _write(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    yield world._replace(files=world.files | ADDS[actor.kind]), actor._replace(step="replace")


@step(*REMOVERS, name="replace")
def _replace(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    after = commit(world, actor, ADDS[actor.kind], X, take=False)
    if after is None:
        yield world, actor._replace(step="end")
    else:
        deleting = world.deleting | DROPS[actor.kind]
        yield world._replace(catalog=after, deleting=deleting), actor._replace(step="mark")


@step(*REMOVERS, name="mark")
def _mark(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    if "mark" in world.rules:
        intent = Intent(actor.kind, X, actor.begun, ADDS[actor.kind])
        marked = (world.intents - {intent}) | {intent._replace(done=True)}
        world = world._replace(intents=marked)
    yield world, actor._replace(step="acknowledge")


@step(*REMOVERS, name="acknowledge")
def _acknowledge(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    if world.lake == actor.begun or "verify" not in world.rules:
        deleted = world.deleted | DROPS[actor.kind]
        yield world._replace(deleted=deleted), actor._replace(step="purge")
    else:
        yield world, actor._replace(step="end")


@step(*REMOVERS, name="purge")
def _purge(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    yield world._replace(files=world.files - X), actor._replace(step="end")


@step("loss", name="lose")
def _lose(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    empty = Catalog(0, 0) if world.rules else Catalog()
    yield world._replace(catalog=empty, lost=True), actor._replace(step="end")


@step("recover", name="claim")
def _claim(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    if world.lost:  # otherwise there is nothing to do yet
        number = world.lake + 1 if "incarnation" in world.rules else world.lake
        yield world._replace(lake=number), actor._replace(step="settle", begun=number)


@step("recover", name="settle")
def _settle(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    catalog, whole = world.catalog, "whole" in world.rules
    if actor.begun > catalog.claimed or not whole:
        incarnation = 0 if whole else actor.begun
        catalog = catalog._replace(claimed=actor.begun, incarnation=incarnation)
        yield world._replace(catalog=catalog), actor._replace(step="read")
    else:
        yield world, actor._replace(step="end")


@step("recover", name="read")
def _read(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    if world.lake != actor.begun and "verify" in world.rules:  # a later recovery began meanwhile
        yield world, actor._replace(step="end")
        return
    found = effective(world)
    chosen, taken = decide(world.files, found, announced="intent" in world.rules)
    yield world, actor._replace(step="adopt", names=chosen, taken=taken, intents=found)


@step("recover", name="adopt")
def _adopt(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    known = world.catalog
    if known.claimed != actor.begun:  # another recovery began since
        yield world, actor._replace(step="end")
        return
    fresh = frozenset(name for name in actor.names if SOURCE[name] not in known.taken)
    catalog = known._replace(
        live=known.live | (fresh - known.condemned), taken=known.taken | actor.taken
    )
    yield world._replace(catalog=catalog), actor._replace(step="finish")


@step("recover", name="finish")
def _finish(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    if world.catalog.claimed == actor.begun:
        catalog = world.catalog._replace(incarnation=actor.begun)
        world = world._replace(closed=actor.begun, honoured=actor.intents)
        world = world._replace(catalog=catalog, lost=False)
    yield world, actor._replace(step="end")


@step("stranger", name="ingest")
def _ingest(world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
    """One more ingest, of another object, into whatever catalog it finds."""
    if not refused_at_open(world):
        catalog = world.catalog
        catalog = catalog._replace(live=catalog.live | {"a"}, taken=catalog.taken | {"s"})
        world = world._replace(catalog=catalog, files=world.files | {"a"}, kept=world.kept | {"s"})
    yield world, actor._replace(step="end")


FIRST = {
    "writer": "look",
    "collector": "list",
    **dict.fromkeys(REMOVERS, "plan"),
    "loss": "lose",
    "recover": "claim",
    "stranger": "ingest",
}


def lake(rules: Names, *names: str) -> World:
    """A lake with the segment `x`, committed and acknowledged, and these actors."""
    return World(
        rules=rules,
        files=X,
        catalog=Catalog(live=X, taken=X),
        actors=tuple(Actor(name, FIRST[name.rstrip("12")]) for name in names),
        kept=X,
    )
