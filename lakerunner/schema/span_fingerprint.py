"""Span fingerprints: one number for all spans that are the same operation of the same service.

What goes in, each part in a place of its own so that values never change places unnoticed:

| part | columns, the first that has a value counts |
|---|---|
| where | cluster, namespace, service and kind |
| messaging, if there is a `messaging.system` | system, operation, destination |
| database, else if there is a `db.system.name` or `db.system` | system, namespace, operation, collection |
| HTTP, else if there is a request method | method, route or template or span name |
| anything else | span name |

Both generations of the semantic conventions are read, and equal values give equal fingerprints
whichever generation they came in. Names, routes and destinations are stripped of what varies from
call to call: numbers, UUIDs and long hexadecimal ids become `{}`, and a query string is cut off.
Fingerprints are stored, so none of this may ever change for a given input.
"""  # noqa: E501 - a table cannot be broken

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.schema.attribute import (
    RECORD,
    RESOURCE,
    SCOPE,
    AttributeColumn,
    column_name,
    field_key,
)
from lakerunner.schema.ids import hash_text, mix64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakerunner.schema.attribute import OverflowPairs

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

_UUID = r"\b[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\b"
_HEX = r"\b(?:0x)?[0-9A-Fa-f]{16,}\b"
_NUMBER = r"(\b|_)[0-9]+\b"
_RULES = ((r"\?.*", ""), (_UUID, "{}"), (_HEX, "{}"), (_NUMBER, r"\1{}"))


class _Part(NamedTuple):
    """One input of the hash.

    Attributes:
        columns: The first of them that has a value counts.
        varies: The value may hold ids, which are taken out.
    """

    columns: tuple[str, ...]
    varies: bool = False


_WHERE = (
    _Part(("resource_k8s_cluster_name",)),
    _Part(("resource_k8s_namespace_name", "resource_service_namespace")),
    _Part(("resource_service_name",)),
    _Part(("kind",)),
)
_NAME = _Part(("name",), varies=True)
# The first part of each decides whether a span is of this kind; the last kind takes all others.
_OPERATIONS = (
    (
        _Part(("attr_messaging_system",)),
        _Part(
            (
                "attr_messaging_operation_type",
                "attr_messaging_operation_name",
                "attr_messaging_operation",
            )
        ),
        _Part(
            (
                "attr_messaging_destination_template",
                "attr_messaging_destination_name",
                "attr_messaging_destination",
            ),
            varies=True,
        ),
    ),
    (
        _Part(("attr_db_system_name", "attr_db_system")),
        _Part(("attr_db_namespace", "attr_db_name")),
        _Part(
            ("attr_db_operation_name", "attr_db_operation", "attr_db_query_summary", "name"),
            varies=True,
        ),
        _Part(("attr_db_collection_name", "attr_db_sql_table", "attr_db_mongodb_collection")),
    ),
    (
        _Part(("attr_http_request_method", "attr_http_method")),
        _Part(("attr_http_route", "attr_url_template", "name"), varies=True),
    ),
)
INPUTS = frozenset(
    name for parts in (_WHERE, (_NAME,), *_OPERATIONS) for part in parts for name in part.columns
)
"""Every column that a fingerprint may depend on."""


def span_fingerprints(columns: Mapping[str, Any] | pa.Table) -> pa.Int64Array:
    """Fingerprint every row of a table of spans.

    Args:
        columns: Canonical and attribute columns by name, arrays of equal length; those that are
            not among `INPUTS` are passed over. Text may be dictionary-encoded, which is faster.

    Returns:
        One number per row, never NULL.

    Example:
        >>> names = pa.array(["GET /users/12", "GET /users/97", "GET /users"])
        >>> first, second, third = span_fingerprints({"name": names}).to_pylist()
        >>> first == second, second == third
        (True, False)
    """
    if isinstance(columns, pa.Table):
        rows, columns = columns.num_rows, _inputs_of(columns)
    else:
        rows = max(map(len, columns.values()), default=0)
    held = _Hashes(columns, rows)
    total = held.combine(_WHERE, 0)
    left = np.ones(rows, bool)
    for kind, parts in enumerate(_OPERATIONS, start=1):
        deciding = held.of(parts[0])
        mine = left & (deciding != 0)
        if mine.any():
            total = np.where(mine, total + held.combine(parts, kind), total)
            left &= ~mine
    if left.any():
        total = np.where(left, total + held.combine((_NAME,), len(_OPERATIONS) + 1), total)
    return pa.array(mix64(total).view(np.int64))


def _inputs_of(table: pa.Table) -> dict[str, Any]:
    arrays = {name: table[name].combine_chunks() for name in INPUTS & {*table.column_names}}
    keyed = {
        field.name: AttributeColumn(table[field.name].combine_chunks(), field_key(field), ())
        for field in table.schema
        if _folded(field.name, field_key(field)) in INPUTS and field_key(field)
    }
    return {**arrays, **fingerprint_inputs(keyed, (), table.num_rows)}


class _Hashes:
    """Hashes of the columns of one table; 0 stands for an absent or empty value."""

    def __init__(self, columns: Mapping[str, Any], rows: int) -> None:
        self._columns, self._rows = columns, rows
        self._known: dict[tuple[str, bool], Any] = {}

    def of(self, part: _Part) -> Any:
        """Hash the first value of a part that is there; uint64 per row."""
        hashes = None
        for name in part.columns:
            if name not in self._columns:
                continue
            column = self._hash(name, varies=part.varies)
            hashes = column if hashes is None else np.where(hashes != 0, hashes, column)
        return np.zeros(self._rows, np.uint64) if hashes is None else hashes

    def combine(self, parts: Sequence[_Part], kind: int) -> Any:
        """Hash several parts, each in its place; uint64 per row."""
        total = np.zeros(self._rows, np.uint64)
        salts = _GOLDEN * np.arange(1, len(parts) + 1, dtype=np.uint64)
        salts += np.uint64(kind) << np.uint64(32)
        for part, salt in zip(parts, salts, strict=True):
            total += mix64(self.of(part) + salt)
        return total

    def _hash(self, name: str, *, varies: bool) -> Any:
        if (name, varies) not in self._known:
            self._known[name, varies] = _hash_column(self._columns[name], varies=varies)
        return self._known[name, varies]


def _hash_column(values: Any, *, varies: bool) -> Any:
    if pa.types.is_dictionary(values.type):
        by_code = np.append(_hash_column(values.dictionary, varies=varies), np.uint64(0))
        return by_code[pc.fill_null(values.indices, len(values.dictionary)).to_numpy()]
    written = values.cast(pa.string())
    return hash_text(without_ids(written) if varies else written)


def without_ids(values: Any) -> Any:
    """Put `{}` for numbers, UUIDs and long hexadecimal ids, and cut off a query string.

    Example:
        >>> without_ids(pa.array(["GET /v1/users/123?x=1", "job_17", "S3.PutObject"])).to_pylist()
        ['GET /v1/users/{}', 'job_{}', 'S3.PutObject']
    """
    for pattern, replacement in _RULES:
        values = pc.replace_substring_regex(values, pattern, replacement)
    return values


def fingerprint_inputs(
    attributes: Mapping[str, AttributeColumn], overflow: Sequence[OverflowPairs], rows: int
) -> dict[str, Any]:
    """Fetch the attributes among `INPUTS` so that no other row of the batch changes what is found.

    Several keys may fold to one name (`http.method`, `http_method`), and which of them has the
    column of that name, or any column, depends on the batch. So of each row the first key in text
    order that has a value counts, wherever it lies.

    Args:
        attributes: Attribute columns by name.
        overflow: Attributes without a column.
        rows: Rows of the batch.

    Returns:
        Arrays by the names of `INPUTS`.
    """
    found: dict[str, list[tuple[str, int, Any]]] = {}
    for name, column in attributes.items():
        folded = _folded(name, column.key)
        if folded in INPUTS:
            found.setdefault(folded, []).append((column.key, 0, column.values))
    for pairs in overflow:
        for name, (key, _) in pairs.types.items():
            folded = _folded(name, key)
            if folded in INPUTS:
                found.setdefault(folded, []).append((key, 1, _spread(pairs, name, rows)))
    return {name: _first_of(candidates) for name, candidates in found.items()}


def _folded(name: str, key: str) -> str:
    prefix = next((each for each in (RESOURCE, SCOPE, RECORD) if name.startswith(each)), "")
    return column_name(prefix, key) if key else name


def _spread(pairs: OverflowPairs, name: str, rows: int) -> Any:
    positions = np.flatnonzero(pc.equal(pairs.names, name).to_numpy(zero_copy_only=False))
    owners, first = np.unique(pairs.rows[positions], return_index=True)
    places = np.full(rows, -1, np.int64)
    places[owners] = positions[first]
    return pairs.values.take(pa.array(places, mask=places < 0))


def _first_of(candidates: list[tuple[str, int, Any]]) -> Any:
    ordered = [values for _, _, values in sorted(candidates, key=itemgetter(0, 1))]
    if len(ordered) == 1:
        return ordered[0]
    return pc.coalesce(*(values.cast(pa.string()) for values in ordered))
