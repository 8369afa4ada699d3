"""The protocol of a lake as a few small automata, and a search through all their interleavings.

Actors are frozen and resumed at any step, because the search lets any other actor go first, for any
number of steps. Clocks say anything at all: wherever an actor asks for an age, the answer is "old
enough". `World.rules` says which rules of decision 024 are kept: `NEW` is all of them, and without
any, `OLD`, deletion is fenced by time alone. Rows are told apart as `keep` and `drop`: a delete by
a condition rewrites a segment without its `drop`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Names = frozenset[str]
NONE: frozenset[Any] = frozenset()

RULES = {
    "condemn": "what is to be deleted is condemned in the order of commits",
    "incarnation": "a commit or condemnation of another incarnation is refused",
    "intent": "who deletes what nobody named, or removes what was named, says so beforehand",
    "mark": "who removed what was named says so afterwards, and only then to the user",
    "verify": "who announced a deletion looks at the incarnation before the files go",
    "whole": "a catalog that is being recovered refuses everybody else",
    "closed": "of intents from before a recovery, only those it went by count later",
}
OLD: Names = NONE
NEW: Names = frozenset(RULES)

SOURCE = {"a": "s", "b": "s", "x": "x", "d": "x", "m": "x"}
"""Of each segment file, the object its rows came from. `d` and `m` are made of `x`."""
ROWS = {name: ("keep",) if name == "d" else ("keep", "drop") for name in SOURCE}
PARENT = {"d": "x", "m": "x"}
ADDS: dict[str, Names] = {"delete": frozenset("d"), "compact": frozenset("m"), "retain": NONE}
DROPS: dict[str, Names] = {
    "delete": frozenset({"x.drop"}),
    "compact": NONE,
    "retain": frozenset({"x.keep", "x.drop"}),
}
X: Names = frozenset("x")


class Intent(NamedTuple):
    """A create-only object that says what is about to be removed, and whether it was."""

    kind: str
    remove: Names
    begun: int
    """The incarnation it was written in."""
    add: Names = NONE
    done: bool = False


class Catalog(NamedTuple):
    """What the catalog knows. `incarnation` is 0 in one that was made anew and is not whole yet."""

    incarnation: int = 1
    claimed: int = 1
    """The incarnation on whose behalf it is being recovered, or was."""
    live: Names = NONE
    removed: Names = NONE
    taken: Names = NONE
    condemned: Names = NONE


class Actor(NamedTuple):
    """Where an actor is, and what it remembers."""

    name: str
    step: str
    begun: int = 1
    """The incarnation it read when it began."""
    names: Names = NONE
    free: Names = NONE
    """What it has condemned."""
    taken: Names = NONE
    intents: frozenset[Intent] = frozenset()

    @property
    def kind(self) -> str:
        return self.name.rstrip("12")


class World(NamedTuple):
    """Everything: the lake, its catalog, what was promised to users, and where each actor is."""

    rules: Names
    files: Names
    catalog: Catalog
    actors: tuple[Actor, ...]
    lake: int = 1
    """The newest incarnation that an object of the lake names."""
    intents: frozenset[Intent] = frozenset()
    closed: int = 0
    """The last recovery that finished: of older intents only those it honoured count."""
    honoured: frozenset[Intent] = frozenset()
    lost: bool = False
    """The catalog was lost and is not recovered yet."""
    kept: Names = NONE
    """Sources that were acknowledged as taken."""
    deleting: Names = NONE
    """Rows whose deletion was asked for, as `source.row`."""
    deleted: Names = NONE
    """Rows whose deletion was acknowledged."""


STEPS: dict[tuple[str, str], Callable[[World, Actor], Iterator[tuple[World, Actor]]]] = {}


def explore(world: World, *, limit: int = 2_000_000) -> list[str] | None:
    """The shortest list of steps to a state in which a promise is broken; None if there is none."""
    before: dict[World, tuple[World, str] | None] = {world: None}
    queue = deque([world])
    while queue:
        state = queue.popleft()
        if broken := violation(state):
            steps = [broken]
            while (origin := before[state]) is not None:
                state, label = origin
                steps.append(label)
            return steps[::-1]
        for label, after in successors(state):
            if after not in before:
                before[after] = (state, label)
                queue.append(after)
        assert len(before) < limit, f"more than {limit} states"
    return None


def successors(world: World) -> Iterator[tuple[str, World]]:
    """Every state that one step of one actor leads to."""
    for index, actor in enumerate(world.actors):
        if actor.step != "end":
            for outcome, moved in STEPS[actor.kind, actor.step](world, actor):
                actors = (*world.actors[:index], moved, *world.actors[index + 1 :])
                yield f"{actor.name}: {actor.step}", outcome._replace(actors=actors)


def violation(world: World) -> str | None:
    """Which promise is broken, if any; where the catalog is lost, after it would be recovered."""
    if world.lost:
        world = recovered(world)
    catalog = world.catalog
    seen = sorted(
        f"{SOURCE[name]}.{row}" for name in catalog.live & world.files for row in ROWS[name]
    )
    if missing := catalog.live - world.files:
        return f"live without a file: {sorted(missing)}"
    if len(seen) != len(set(seen)):
        return f"doubled: {seen}"
    promised = {f"{source}.{row}" for source in world.kept for row in ("keep", "drop")}
    if lost := promised - set(seen) - world.deleting:
        return f"acknowledged and gone: {sorted(lost)}"
    if back := world.deleted & set(seen):
        return f"deleted and back: {sorted(back)}"
    if again := {row.partition(".")[0] for row in world.deleted} - catalog.taken:
        return f"deleted, and free to be taken again: {sorted(again)}"
    return None


# --- What a catalog does, in one atomic step each ---------------------------------------------


def admits(world: World, begun: int) -> bool:
    """Whether a catalog listens to somebody who began in this incarnation."""
    catalog = world.catalog
    if "whole" in world.rules and not catalog.incarnation:
        return False
    return "incarnation" not in world.rules or begun == catalog.incarnation


def commit(
    world: World, actor: Actor, add: Names, remove: Names = NONE, *, take: bool
) -> Catalog | None:
    """The catalog after a commit, or None if it is refused."""
    catalog = world.catalog
    if "whole" in world.rules and not catalog.incarnation:
        return None
    if add and add <= catalog.live | catalog.removed:
        return catalog  # it was sent before
    sources = frozenset(SOURCE[name] for name in add) if take else NONE
    taken, gone = sources & catalog.taken, remove - catalog.live
    if taken or gone or add & catalog.condemned or not admits(world, actor.begun):
        return None
    return catalog._replace(
        live=(catalog.live - remove) | add,
        removed=catalog.removed | remove,
        taken=catalog.taken | sources,
    )


def recovered(world: World) -> World:
    """What `recover` makes of the lake, were it to run now, undisturbed."""
    chosen, taken = decide(world.files, effective(world), announced="intent" in world.rules)
    number = world.lake + 1 if "incarnation" in world.rules else 1
    known = world.catalog if not world.catalog.incarnation or not world.rules else Catalog()
    fresh = frozenset(name for name in chosen if SOURCE[name] not in known.taken)
    catalog = Catalog(number, number, known.live | fresh, taken=known.taken | taken)
    return world._replace(catalog=catalog)


def effective(world: World) -> frozenset[Intent]:
    """Intents that may have been carried out: one that came after a recovery never is."""
    if "closed" not in world.rules:
        return world.intents
    late = frozenset(one for one in world.intents if one.begun >= world.closed)
    return world.honoured | late


def decide(files: Names, intents: frozenset[Intent], *, announced: bool) -> tuple[Names, Names]:
    """Which of the files recovery adopts, and which sources it knows to be taken."""
    collected = frozenset(n for one in intents if one.kind == "collect" for n in one.remove)
    removals = [one for one in intents if one.kind != "collect"]
    attested = frozenset(n for one in removals for n in one.remove)  # only what is live is removed
    finished = frozenset(n for one in removals if one.done for n in one.remove)
    added = frozenset(n for one in removals if one.done for n in one.add)
    chosen: Names = NONE
    for source in sorted({SOURCE[name] for name in files}):
        mine = sorted(name for name in files - collected - finished if SOURCE[name] == source)
        derived = [name for name in mine if name in PARENT]
        plain = [name for name in mine if name not in PARENT]
        settled = [name for name in derived if name in added]
        ended = bool(frozenset(PARENT[name] for name in derived) & finished)
        # What nobody acknowledged counts only where what it was made of is gone.
        if settled or (announced and (plain or ended)):
            derived = settled
        plain = [name for name in plain if name in attested] or plain
        chosen |= frozenset((derived or plain)[-1:])
    return chosen, frozenset(SOURCE[name] for name in chosen | finished)
