"""Keep keys that stand in few records from taking a column each, where there are very many.

A column costs memory for each record, so keys that are made up as they go, such as user ids, would
take the product of the two. Records whose keys repeat never come near the limit here.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.payload_lines import slices

if TYPE_CHECKING:
    from lakerunner.formats.records.json_pairs import Pairs

REST = "other_keys"
"""The column of JSON objects that holds the pairs of rare keys."""

MOST_COLUMNS = 512
"""Columns that keys may have for themselves in records most of which lack most of them."""

DENSE_COLUMNS = 4096
"""The same in records that have nearly all of them."""

RARITY = 256
"""Where not all keys have columns, one that fewer than one in so many records has gets none."""

JSON_KEY = re.compile(rb'"([^"\\]{0,256})"\s*:')
"""What looks like a key in JSON; text within values may do so, too."""

_CELLS_PER_BYTE = 1  # a pair takes six bytes or more, so full columns have a sixth of a cell each


def too_sparse(columns: int, rows: int, size: int) -> bool:
    """Whether columns would be nearly empty and many, or very many.

    Args:
        columns: How many columns.
        rows: How many records.
        size: Bytes the records take as text.
    """
    sparse = columns * rows > _CELLS_PER_BYTE * size
    return columns > (MOST_COLUMNS if sparse else DENSE_COLUMNS)


def rare_pairs(pairs: Pairs, rows: int, size: int) -> Any:
    """Which pairs have a key too rare for a column; None if there are columns for all.

    Args:
        pairs: The pairs of some records.
        rows: How many records.
        size: Bytes they take as text.

    Returns:
        A bool per pair, or None.
    """
    if not too_sparse(len(pairs.keys), rows, size):
        return None
    counts = np.bincount(pairs.codes, minlength=len(pairs.keys))
    rare = np.ones(len(pairs.keys), bool)
    common = np.argsort(-counts, kind="stable")[:MOST_COLUMNS]
    rare[common[counts[common] * RARITY >= rows]] = False
    return rare[pairs.codes]


def without(pairs: Pairs, dropped: Any) -> Pairs:
    """The pairs without some of them, and without keys that no pair has any more."""
    keep = ~dropped
    used, codes = np.unique(pairs.codes[keep], return_inverse=True)
    return pairs._replace(
        rows=pairs.rows[keep],
        codes=codes,
        starts=pairs.starts[keep],
        ends=pairs.ends[keep],
        keys=[pairs.keys[place] for place in used],
    )


def rest_as_json(data: bytes, pairs: Pairs, chosen: Any, rows: int) -> Any:
    """Some pairs of each object as one JSON object; NULL where an object has none of them.

    Args:
        data: Where the values lie, as JSON.
        pairs: All pairs.
        chosen: Which pairs: a bool each.
        rows: How many objects.
    """
    which = np.flatnonzero(chosen)
    keys = pa.array([json.dumps(key) for key in pairs.keys], pa.string())
    written = pc.binary_join_element_wise(
        keys.take(pa.array(pairs.codes[which])),
        slices(data, pairs.starts[which], pairs.ends[which]),
        ":",
    )
    counts = np.bincount(pairs.rows[which], minlength=rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), written), ",")
    whole = pc.binary_join_element_wise("{", joined, "}", "")
    return pc.if_else(pa.array(counts > 0), whole, None)
