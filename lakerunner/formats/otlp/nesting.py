"""Take lists of messages apart: the parent of each child, and the children in one array."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.schema.utf8 import repair_utf8


class Children(NamedTuple):
    """All children of a column of lists.

    Attributes:
        parents: int32; the row of the parent of each child, ascending.
        values: The children, in order.
    """

    parents: Any
    values: Any


def children(lists: Any) -> Children:
    """Flatten a list array without NULLs.

    Example:
        >>> parents, values = children(pa.array([["a"], [], ["b", "c"]]))
        >>> parents.tolist(), values.to_pylist()
        ([0, 2, 2], ['a', 'b', 'c'])
    """
    offsets = lists.offsets.to_numpy()
    parents = np.repeat(np.arange(len(lists), dtype=np.int32), np.diff(offsets))
    return Children(parents, lists.values.slice(offsets[0], offsets[-1] - offsets[0]))


def text(values: Any) -> Any:
    """A text column as strings, whichever way it was decoded."""
    if pa.types.is_binary(values.type):
        return repair_utf8(values).text
    return values


def list_offsets(counts: Any) -> Any:
    """Offsets of lists of given lengths.

    Args:
        counts: Integer array: the length of each list.

    Example:
        >>> list_offsets(np.array([2, 0, 1])).to_pylist()
        [0, 2, 2, 3]
    """
    return pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
