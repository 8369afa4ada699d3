"""Small rules that turn protocol fields into table columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_SAMPLE = 4096
_DISTINCT_SHARE = 0.4


def absent_if_empty(strings: Any) -> Any:
    """Read an empty text as NULL: proto3 does not tell it from an absent one.

    Example:
        >>> absent_if_empty(pa.array(["", "a"])).to_pylist()
        [None, 'a']
    """
    return pc.if_else(pc.equal(strings, ""), pa.scalar(None, pa.string()), strings)


def absent_if_zero(numbers: Any) -> Any:
    """Read zero as NULL, for fields whose zero means that nothing was said.

    Example:
        >>> absent_if_zero(pa.array([0, 3], pa.int32())).to_pylist()
        [None, 3]
    """
    return pc.if_else(pc.equal(numbers, 0), pa.scalar(None, numbers.type), numbers)


def compact_strings(values: Any) -> Any:
    """Dictionary-encode a text column that repeats itself; leave any other column alone.

    Judged by a sample from its start, middle and end: sorting and writing a dictionary costs a
    fraction, but a dictionary of a column of unique values costs more than the column.
    """
    if not pa.types.is_string(values.type) or len(values) == 0:
        return values
    sample = values
    if len(values) > 3 * _SAMPLE:
        starts = (0, len(values) // 2, len(values) - _SAMPLE)
        sample = pa.concat_arrays([values.slice(start, _SAMPLE) for start in starts])
    present = len(sample) - sample.null_count
    distinct = pc.count_distinct(sample, mode="only_valid").as_py()
    if distinct > max(1, present * _DISTINCT_SHARE):
        return values
    return values.dictionary_encode()
