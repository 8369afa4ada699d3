"""Tree order, beside a walk that is written plainly."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.query.traces.tree import tree_of


def above_each(ids: list[str | None], parents: list[str | None]) -> dict[int, int | None]:
    """The row above each row; the first span of a cycle becomes a root."""
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if name is not None:
            first.setdefault(name, row)
    above: dict[int, int | None] = {}
    for row, name in enumerate(parents):
        above[row] = None if name is None or name == ids[row] else first.get(name)
    for row in range(len(ids)):
        seen, at = {row}, above[row]
        while at is not None and at not in seen:
            seen.add(at)
            at = above[at]
        if at == row:
            above[row] = None
    return above


def walked(ids: list[str | None], parents: list[str | None]) -> tuple[list[int], list[int]]:
    """The same by recursion, span by span."""
    above = above_each(ids, parents)
    order: list[int] = []
    depth = [0] * len(ids)

    def visit(row: int, level: int) -> None:
        order.append(row)
        depth[row] = level
        for child, parent in above.items():
            if parent == row:
                visit(child, level + 1)

    for row, parent in above.items():
        if parent is None:
            visit(row, 0)
    return order, depth


NAMES = st.sampled_from([None, *"abcdefgh"])


@given(st.lists(st.tuples(NAMES, NAMES), max_size=12))
def test_tree_order_is_that_of_a_walk(spans: list[tuple[str | None, str | None]]) -> None:
    ids, parents = [one for one, _ in spans], [one for _, one in spans]
    tree = tree_of(pa.array(ids, pa.string()), pa.array(parents, pa.string()))
    order, depth = walked(ids, parents)
    assert tree.order.tolist() == order
    assert tree.depth.tolist() == depth


def test_a_long_chain_and_a_long_cycle_are_no_recursion() -> None:
    count = 100_000
    names = [f"{number:016x}" for number in range(count)]
    chain = tree_of(pa.array(names), pa.array([None, *names[:-1]]))
    assert np.array_equal(chain.order, np.arange(count))
    assert np.array_equal(chain.depth, np.arange(count))
    cycle = tree_of(pa.array(names), pa.array([names[-1], *names[:-1]]))
    assert np.array_equal(cycle.depth, np.arange(count))
    assert cycle.parent[0] == -1
    assert not cycle.orphans.any()
    bush = tree_of(pa.array(names), pa.array([None] + [names[0]] * (count - 1)))
    assert bush.depth.sum() == count - 1


def test_orphans_are_roots_that_name_somebody() -> None:
    tree = tree_of(pa.array(["a", "b", "c"]), pa.array(["gone", None, "a"]))
    assert tree.orphans.tolist() == [True, False, False]
    assert tree.parent.tolist() == [-1, -1, 0]
