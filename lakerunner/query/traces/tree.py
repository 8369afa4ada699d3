"""Tree order of the spans of a trace: parents before children, siblings by time, all at once.

Everything is done by doubling: where each span points at another one, following all pointers twice,
four times, eight times as far takes as many steps over whole arrays as the length has bits. So a
chain of a hundred thousand spans costs no more than a bush of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]


class Tree(NamedTuple):
    """How spans hang together.

    Attributes:
        order: Rows in tree order: each span, then all that is below it, siblings as they came.
        depth: By row, how many spans are above it; 0 for a root.
        parent: By row, the row of its parent; -1 for a root.
        orphans: By row, whether it names a parent that is not there.
    """

    order: Any
    depth: Any
    parent: Any
    orphans: Any


def tree_of(span_ids: Any, parent_ids: Any) -> Tree:
    """Put spans in tree order.

    A span whose parent is not there is a root. Of spans that are each other's ancestors, the first
    one is a root. Where several spans have one id, children belong to the first of them.

    Args:
        span_ids: Arrow text, one a span; spans come in order of time.
        parent_ids: Likewise; NULL for a span without a parent.

    Example:
        >>> ids, parents = pa.array(["a", "b", "c", "d"]), pa.array([None, "a", "gone", "b"])
        >>> tree = tree_of(ids, parents)
        >>> tree.order.tolist(), tree.depth.tolist(), tree.orphans.tolist()
        ([0, 1, 3, 2], [0, 1, 0, 2], [False, False, True, False])
    """
    named, parent = _parents(span_ids, parent_ids)
    orphans = named & (parent < 0)
    parent = _without_cycles(parent)
    return Tree(_preorder(parent), _depths(parent), parent, orphans)


def _parents(span_ids: Any, parent_ids: Any) -> tuple[NDArray[np.bool_], Numbers]:
    """Which spans name another one as their parent, and its row; -1 where there is none."""
    count = len(span_ids)
    both = pa.concat_arrays([_plain(span_ids), _plain(parent_ids)]).dictionary_encode()
    codes = both.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    own, above = codes[:count], codes[count:]
    first = np.full(len(both.dictionary) + 1, -1, np.int64)  # the last is for ids that are NULL
    first[own[::-1]] = np.arange(count)[::-1]
    first[-1] = -1
    parent = first[above]
    itself = (parent == np.arange(count)) | (above == own)
    return (above >= 0) & ~itself, np.where(itself, -1, parent)


def _plain(values: Any) -> Any:
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return values.cast(pa.string())


def _steps(count: int) -> range:
    """So many doublings reach across `count` pointers."""
    return range(int(count).bit_length())


def _without_cycles(parent: Numbers) -> Numbers:
    count = len(parent)
    up = np.append(np.where(parent < 0, count, parent), count)  # the last is above all roots
    for _ in _steps(count):
        up = up[up]
    caught = up[:count][up[:count] < count]
    if not len(caught):
        return parent
    # Whoever never arrives has been carried round a cycle by now, so `caught` is all of them.
    rings = np.unique(caught)
    least, up = np.arange(count), parent.copy()
    for _ in _steps(count):
        least[rings] = np.minimum(least[rings], least[up[rings]])
        up[rings] = up[up[rings]]
    return np.where(_chosen(rings, least, count), -1, parent)


def _chosen(rings: Numbers, least: Numbers, count: int) -> NDArray[np.bool_]:
    chosen = np.zeros(count, bool)
    chosen[least[rings]] = True
    return chosen


def _depths(parent: Numbers) -> Numbers:
    count = len(parent)
    up = np.append(np.where(parent < 0, count, parent), count)
    depth = np.append((parent >= 0).astype(np.int64), 0)
    for _ in _steps(count):
        depth += depth[up]
        up = up[up]
    return depth[:count]


def _preorder(parent: Numbers) -> Numbers:
    """Rows as one walks through the trees: down to the first child, else to the next in line."""
    count = len(parent)
    if not count:
        return np.zeros(0, np.int64)
    rows = np.argsort(parent, kind="stable")  # roots first, then children, parent by parent
    same = parent[rows[1:]] == parent[rows[:-1]]
    following = np.full(count + 1, -1, np.int64)
    following[rows[:-1][same]] = rows[1:][same]
    child = np.full(count + 1, -1, np.int64)
    begins = rows[np.append(True, ~same)]
    below = begins[parent[begins] >= 0]
    child[parent[below]] = below
    # The nearest one, from the span upwards, that has somebody next in line.
    up = np.append(np.where(parent < 0, count, parent), count)
    up = np.where(following >= 0, np.arange(count + 1), up)
    for _ in _steps(count):
        up = up[up]
    after = np.where(child >= 0, child, following[up])
    after = np.where(after < 0, count, after)
    after[count] = count
    left = (np.arange(count + 1) < count).astype(np.int64)
    for _ in _steps(count):
        left += left[after]
        after = after[after]
    order = np.empty(count, np.int64)
    order[count - left[:count]] = np.arange(count)
    return order
