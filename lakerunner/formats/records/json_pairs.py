"""Take JSON objects apart into pairs of key and value, without reading the values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lakerunner.formats.json_scan import scan
from lakerunner.formats.records.lines import slices, trim

if TYPE_CHECKING:
    from collections.abc import Collection

    import pyarrow as pa

_COLON, _COMMA = ord(":"), ord(",")
_PIECE = 8 * 1024 * 1024  # a scan needs some ten times what it looks at


class Pairs(NamedTuple):
    """The pairs of a column of objects, in the order they stand in.

    Attributes:
        rows: int64: the object of each pair.
        codes: int64: its key, as a position in `keys`.
        starts: int64: where its value begins.
        ends: int64: where its value ends.
        keys: The keys, decoded, in order of appearance.
    """

    rows: Any
    codes: Any
    starts: Any
    ends: Any
    keys: list[str]


def pairs_of(data: bytes, starts: Any, ends: Any) -> Pairs:
    """Find the pairs of valid objects that lie in one buffer.

    Args:
        data: The buffer.
        starts: int64 array, ascending: where each object begins.
        ends: int64 array: where it ends.

    Example:
        >>> data = b'{"a": 1, "b": [2]}'
        >>> found = pairs_of(data, np.array([0]), np.array([len(data)]))
        >>> found.keys, [data[s:e] for s, e in zip(found.starts, found.ends)]
        (['a', 'b'], [b'1', b'[2]'])
    """
    values = np.frombuffer(data, np.uint8)
    found = []
    first = 0
    while first < len(starts):
        last = int(np.searchsorted(ends, starts[first] + _PIECE, "right"))
        last = max(last, first + 1)
        found.append(_spans(values, starts[first:last], ends[first:last], first))
        first = last
    rows, key_starts, key_ends, value_starts, value_ends = (
        np.concatenate(column) if found else np.zeros(0, np.int64)
        for column in (zip(*found, strict=True) if found else [()] * 5)
    )
    written = slices(data, key_starts, key_ends).dictionary_encode()
    decoded = [json.loads(f'"{key}"') for key in written.dictionary.to_pylist()]
    keys = list(dict.fromkeys(decoded))
    places = {key: place for place, key in enumerate(keys)}
    same = np.array([places[key] for key in decoded], np.int64)
    codes = same[written.indices.to_numpy()] if len(rows) else np.zeros(0, np.int64)
    return Pairs(rows, codes, value_starts, value_ends, keys)


def _spans(values: Any, starts: Any, ends: Any, first_row: int) -> tuple[Any, ...]:
    """Rows, bounds of keys without their quotes, and bounds of values."""
    base = int(starts[0])
    found = scan(values[base : int(ends[-1])])
    top = found.depth == 1
    is_colon = top & (found.kinds == _COLON)
    # What ends a value: a comma between pairs, or the bracket that closes the object.
    ending = (top & (found.kinds == _COMMA)) | (found.depth == 0)
    outer = np.flatnonzero(is_colon | ending)
    colons = np.flatnonzero(is_colon[outer])
    colon_places = found.places[outer[colons]]
    value_ends = found.places[outer[colons + 1]] + base
    quotes_before = np.searchsorted(found.quotes, colon_places)
    key_starts = found.quotes[quotes_before - 2] + 1 + base
    key_ends = found.quotes[quotes_before - 1] + base
    value_starts, value_ends = trim(values, colon_places + 1 + base, value_ends)
    rows = np.searchsorted(starts, key_starts, "right") - 1 + first_row
    return rows, key_starts, key_ends, value_starts, value_ends


class Place(NamedTuple):
    """The pairs that make one column.

    Attributes:
        name: Its key; the second of the same object is `key#2`.
        pairs: int64: positions of its pairs, ascending.
    """

    name: str
    pairs: Any


def by_column(pairs: Pairs) -> list[Place]:
    """Sort pairs into columns, so that no object has two pairs in one.

    Example:
        >>> data = b'{"a": 1, "a": 2}'
        >>> [place.name for place in by_column(pairs_of(data, np.array([0]), np.array([16])))]
        ['a', 'a#2']
    """
    order = np.argsort(pairs.codes, kind="stable")
    codes, rows = pairs.codes[order], pairs.rows[order]
    again = np.zeros(len(order), bool)
    again[1:] = (codes[1:] == codes[:-1]) & (rows[1:] == rows[:-1])
    position = np.arange(len(order))
    since = position - np.maximum.accumulate(np.where(again, 0, position))
    bounds = np.searchsorted(codes, np.arange(len(pairs.keys) + 1))
    taken = set(pairs.keys)
    columns = []
    for code, key in enumerate(pairs.keys):
        mine = slice(int(bounds[code]), int(bounds[code + 1]))
        for turn in range(int(since[mine].max(initial=0)) + 1):
            name = key if turn == 0 else free_name(key, taken, turn + 1)
            taken.add(name)
            columns.append(Place(name, order[mine][since[mine] == turn]))
    return columns


def free_name(key: str, taken: Collection[str], turn: int = 1) -> str:
    """A name for a further column of a key: the key itself or `key#2` and so on.

    Example:
        >>> free_name("a", {"a", "a#2"})
        'a#3'
    """
    name = key if turn == 1 else f"{key}#{turn}"
    while name in taken:
        turn += 1
        name = f"{key}#{turn}"
    return name


def values_of(data: bytes, pairs: Pairs, which: Any) -> pa.Array:
    """The values of some pairs as they were written."""
    return slices(data, pairs.starts[which], pairs.ends[which])
