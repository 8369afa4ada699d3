"""A batch of export requests, from whichever encoding, to rows: each as it would land alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.otlp.logs import decode_logs
from lakerunner.formats.otlp.metrics import decode_metrics
from lakerunner.formats.otlp.spans import decode_spans
from lakerunner.formats.records.plain_types import columns_together
from lakerunner.model.signal import Signal
from lakerunner.schema.attribute import (
    OVERFLOW,
    RECORD,
    RESOURCE,
    SCOPE,
    column_name,
    common_field,
    field_key,
    overflow_types,
)
from lakerunner.schema.tables import Decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DECODERS: dict[Signal, Callable[[Any, Any], Decoded]] = {
    Signal.LOGS: decode_logs,
    Signal.METRICS: decode_metrics,
    Signal.SPANS: decode_spans,
}
_PREFIXES = (RESOURCE, SCOPE, RECORD)


def decode_requests(batch: Any, signal: Signal, fallback_ns: Any) -> Decoded:
    """Make rows of export requests.

    Keys that fold to one name (`http.method`, `http_method`) get names of their own only within
    a request. Where some requests have one of them and some another, those are decoded apart.

    Args:
        batch: Record batch of one column, one export request per row.
        signal: What they carry.
        fallback_ns: int64 per request: the time of records that carry none.

    Raises:
        CorruptObjectError: A nested value cannot be decoded.
    """
    decode = _DECODERS[signal]
    found = decode(batch, fallback_ns)
    rivals = _rivals(found.table.schema) if batch.num_rows > 1 else []
    if not rivals:
        return found
    groups = _that_agree(_keys_held(found, rivals))
    if len(groups) == 1:
        return found
    del found  # which takes as much memory as what is made now
    times = np.asarray(fallback_ns, np.int64)
    parts = [decode(batch.take(pa.array(group)), times[group]) for group in groups]
    return _together(parts, groups, batch.num_rows)


def _rivals(schema: pa.Schema) -> list[list[str]]:
    """Columns, or names in the overflow, whose keys fold to one name."""
    keys = {field.name: field_key(field) for field in schema if field_key(field)}
    if OVERFLOW in schema.names:
        known = overflow_types(schema.field(OVERFLOW))
        keys |= {name: key for name, (key, _) in known.items()}
    by_folded: dict[str, list[str]] = {}
    for name, key in keys.items():
        prefix = next((each for each in _PREFIXES if name.startswith(each)), "")
        by_folded.setdefault(column_name(prefix, key), []).append(name)
    return [names for names in by_folded.values() if len(names) > 1]


def _keys_held(found: Decoded, rivals: list[list[str]]) -> Any:
    """Which of some keys each request has: for each request and list, bits of an integer."""
    held = np.zeros((len(found.rows), len(rivals)), object)
    for place, names in enumerate(rivals):
        for bit, name in enumerate(names):
            has = np.zeros(len(found.rows), bool)
            if name in found.table.schema.names:
                column = found.table[name].combine_chunks()
                has[found.payload[np.asarray(column.is_valid())]] = True
            if OVERFLOW in found.table.schema.names:
                maps = found.table[OVERFLOW].combine_chunks()
                owners = np.repeat(np.arange(len(maps)), np.diff(maps.offsets.to_numpy()))
                hits = np.asarray(pc.equal(maps.keys, name)) if len(maps.keys) else owners
                has[found.payload[owners[hits.astype(bool)]]] = True
            held[has, place] |= 1 << bit
    return held


def _that_agree(held: Any) -> list[Any]:
    """Put requests into groups, of each list of keys in which all have the same ones, or none."""
    groups: list[tuple[list[int], list[int]]] = []
    for request, mine in enumerate(held.tolist()):
        for common, members in groups:
            if all(not a or not b or a == b for a, b in zip(common, mine, strict=True)):
                common[:] = [a or b for a, b in zip(common, mine, strict=True)]
                members.append(request)
                break
        else:
            groups.append((list(mine), [request]))
    return [np.array(members) for _, members in groups]


def _together(parts: Sequence[Decoded], groups: Sequence[Any], requests: int) -> Decoded:
    """The rows of several groups of requests, in the order of the requests."""
    counts = [part.table.num_rows for part in parts]
    names = dict.fromkeys(name for part in parts for name in part.table.schema.names)
    arrays, fields = [], []
    for name in names:
        having = [part.table if name in part.table.schema.names else None for part in parts]
        arrays.append(
            columns_together(
                [None if table is None else table[name].combine_chunks() for table in having],
                counts,
            )
        )
        said = [table.schema.field(name) for table in having if table is not None]
        fields.append(common_field(name, arrays[-1], said))
    payload = np.concatenate([g[part.payload] for g, part in zip(groups, parts, strict=True)])
    order = np.argsort(payload, kind="stable")
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields)).take(pa.array(order))
    rows = np.bincount(payload, minlength=requests)
    return Decoded(table, rows, payload=payload[order])
