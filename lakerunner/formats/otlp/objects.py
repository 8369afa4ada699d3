"""Lists of attributes as JSON objects, for messages that are no rows of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.otlp.nesting import children, list_offsets, text
from lakerunner.formats.otlp.values import json_text
from lakerunner.schema.json_text import quote


def attribute_objects(lists: Any) -> Any:
    """Write lists of attributes as JSON objects; NULL for an empty list.

    A key that stands twice is written twice, and an empty value is `null`.

    Args:
        lists: List array of `KeyValue`, without NULLs.

    Returns:
        String array of as many rows.

    Raises:
        CorruptObjectError: A nested value cannot be decoded.
    """
    owners, pairs = children(lists)
    if not len(pairs):
        return pa.nulls(len(lists), pa.string())
    keys = quote(text(pairs.field("key")))
    written = pc.binary_join_element_wise(keys, json_text(pairs.field("value")), ":")
    counts = np.bincount(owners, minlength=len(lists))
    joined = pc.binary_join(pa.ListArray.from_arrays(list_offsets(counts), written), ",")
    objects = pc.binary_join_element_wise("{", joined, "}", "")
    return pc.if_else(pa.array(counts > 0), objects, pa.scalar(None, pa.string()))
