"""Enumerations of OpenTelemetry: their names by number, and columns of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
"""`SpanKind` by number; another number stands in the column as it was sent."""

STATUS_CODES = ("UNSET", "OK", "ERROR")
"""`Status.StatusCode` by number; another number stands in the column as it was sent."""

TEMPORALITIES = ("unspecified", "delta", "cumulative")
"""`AggregationTemporality` by number."""


def enum_names(numbers: Any, names: tuple[str, ...]) -> Any:
    """Write the numbers of an enumeration as names; a number without a name as itself.

    Args:
        numbers: int32 array; a NULL reads as 0.
        names: By number, from 0 on.

    Returns:
        Dictionary array of text without NULLs.

    Example:
        >>> enum_names(pa.array([1, 7, None], pa.int32()), STATUS_CODES).to_pylist()
        ['OK', '7', 'UNSET']
    """
    sent = pc.fill_null(numbers, 0).to_numpy()
    known = (sent >= 0) & (sent < len(names))
    if known.all():
        return pa.DictionaryArray.from_arrays(pa.array(sent), pa.array(names))
    strange, places = np.unique(sent[~known], return_inverse=True)
    indices = sent.copy()
    indices[~known] = len(names) + places
    texts = pa.concat_arrays([pa.array(names), pa.array(strange).cast(pa.string())])
    return pa.DictionaryArray.from_arrays(pa.array(indices), texts)
