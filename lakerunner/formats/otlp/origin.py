"""What all records of one resource and scope share: their attributes, names and schema URLs.

It is made once per resource or scope and handed to the records by dictionary indices, so that a
resource's hundred bytes are not copied for each of its records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.otlp.attributes import children, pivot, text
from lakerunner.limits import ATTRIBUTE_COLUMNS
from lakerunner.schema.arrays import absent_if_empty, absent_if_zero, compact_strings
from lakerunner.schema.attribute import RECORD, RESOURCE, SCOPE, AttributeColumn, AttributeTable
from lakerunner.schema.text import json_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.schema.attribute import OverflowPairs


class Origin(NamedTuple):
    """Records, with what they share.

    Attributes:
        records: Struct array of all records of the batch.
        columns: Canonical columns made from resources and scopes, one row per record.
        attributes: Attribute columns of resources and scopes, one row per record.
        overflow: Overflow of resources and scopes, one row per record.
        payload: int32; which payload each record came from.
    """

    records: Any
    columns: dict[str, Any]
    attributes: dict[str, AttributeColumn]
    overflow: list[OverflowPairs]
    payload: Any


def spread(
    batch: Any,
    scopes: str,
    records: str,
    reserved: frozenset[str],
    bearing: Callable[[Any], Any] | None = None,
) -> Origin:
    """Take a batch of export requests apart down to its records.

    Args:
        batch: Record batch of one column, one export request per row.
        scopes: Name of the list of scopes inside a resource message: `scope_logs`.
        records: Name of the list of records inside a scope message: `log_records`.
        reserved: Column names that no attribute may have.
        bearing: Which records have rows of their own, as booleans of a struct array of records;
            those that have none are left out. None if each record is a row.
    """
    payload_of, resources = children(batch.column(0))
    resource_of, scope_messages = children(resources.field(scopes))
    scope_of, leaves = children(scope_messages.field(records))
    if bearing is not None and not (kept := bearing(leaves)).all():
        scope_of, leaves = scope_of[kept], leaves.filter(pa.array(kept))
    resource_of_record = resource_of[scope_of]
    resource, scope = resources.field("resource"), scope_messages.field("scope")
    per_resource = {
        "resource_schema_url": absent_if_empty(text(resources.field("schema_url"))),
        "resource_dropped_attributes_count": absent_if_zero(
            resource.field("dropped_attributes_count")
        ),
        **_entity_refs(resource),
    }
    per_scope = {
        "scope_name": absent_if_empty(text(scope.field("name"))),
        "scope_version": absent_if_empty(text(scope.field("version"))),
        "scope_schema_url": absent_if_empty(text(scope_messages.field("schema_url"))),
        "scope_dropped_attributes_count": absent_if_zero(scope.field("dropped_attributes_count")),
    }
    columns = {
        **_spread_columns(per_scope, scope_of),
        **_spread_columns(per_resource, resource_of_record),
    }
    cap = ATTRIBUTE_COLUMNS // 2
    attributes: dict[str, AttributeColumn] = {}
    overflow: list[OverflowPairs] = []
    for lists, prefix, owners in (
        (resource.field("attributes"), RESOURCE, resource_of_record),
        (scope.field("attributes"), SCOPE, scope_of),
    ):
        having, owner = _having_records(owners, len(lists))
        table = pivot(
            lists if having is None else lists.take(having), prefix, cap=cap, reserved=reserved
        )
        cap -= len(table.columns)
        attributes |= _spread_attributes(table, owner)
        if table.overflow is not None:
            overflow.append(_spread_overflow(table.overflow, owner))
    return Origin(leaves, columns, attributes, overflow, payload_of[resource_of_record])


def _having_records(owners: Any, count: int) -> tuple[Any, Any]:
    """Resources or scopes that have records, None for all, and whose each record is among these.

    One without records must not name keys: a key of it may fold to the name of another's.
    """
    having = np.zeros(count, bool)
    having[owners] = True
    if having.all():
        return None, owners
    return pa.array(np.flatnonzero(having)), (np.cumsum(having) - 1)[owners].astype(np.int32)


def pass_down(origin: Origin, owner: Any) -> Origin:
    """Hand what records share on to their children.

    Args:
        origin: Records that have children.
        owner: int32: the record each child belongs to.

    Returns:
        The same with one row per child; `records` stays as it is.
    """
    return Origin(
        records=origin.records,
        columns=_spread_columns(origin.columns, owner),
        attributes=_spread_attributes(AttributeTable(origin.attributes, None), owner),
        overflow=[_spread_overflow(part, owner) for part in origin.overflow],
        payload=origin.payload[owner],
    )


def _spread_columns(columns: dict[str, Any], owner: Any) -> dict[str, Any]:
    indices = pa.array(owner)
    return {
        name: _spread_values(values, indices)
        for name, values in columns.items()
        if values.null_count < len(values)
    }


def _spread_attributes(table: AttributeTable, owner: Any) -> dict[str, AttributeColumn]:
    indices = pa.array(owner)
    return {
        name: column._replace(values=_spread_values(column.values, indices))
        for name, column in table.columns.items()
    }


def _spread_values(values: Any, indices: Any) -> Any:
    if not pa.types.is_string(values.type):
        return values.take(indices)
    encoded = values.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.take(indices), encoded.dictionary)


def _spread_overflow(overflow: OverflowPairs, owner: Any) -> OverflowPairs:
    """Repeat the pairs of each resource for each of its records."""
    lists = pa.ListArray.from_arrays(
        _offsets(overflow.rows, int(owner.max(initial=-1)) + 1),
        pa.StructArray.from_arrays([overflow.names, overflow.values], ["name", "value"]),
    )
    rows, pairs = children(lists.take(pa.array(owner)))
    return overflow._replace(rows=rows, names=pairs.field("name"), values=pairs.field("value"))


def _offsets(rows: Any, count: int) -> Any:
    return pa.array(np.searchsorted(rows, np.arange(count + 1)).astype(np.int32))


def _entity_refs(resource: Any) -> dict[str, Any]:
    """The entities a resource speaks of, as JSON text; hardly anything sends them yet."""
    if resource.type.get_field_index("entity_refs") < 0:
        return {}
    refs = resource.field("entity_refs")
    if not len(children(refs).values):
        return {}
    empty = pc.equal(pc.list_value_length(refs), 0)
    return {
        "resource_entity_refs": pc.if_else(empty, pa.scalar(None, pa.string()), json_text(refs))
    }


def own_attributes(lists: Any, origin: Origin, reserved: frozenset[str]) -> AttributeTable:
    """The attributes of the records themselves, beside those they share.

    Args:
        lists: List array of `KeyValue`, one per record, without NULLs.
        origin: What the records share; its columns count towards the cap.
        reserved: Column names that no attribute may have.
    """
    cap = ATTRIBUTE_COLUMNS - len(origin.attributes)
    own = pivot(lists, RECORD, cap=cap, reserved=reserved | origin.attributes.keys())
    columns = {
        name: AttributeColumn(compact_strings(column.values), column.key, column.types)
        for name, column in own.columns.items()
    }
    return own._replace(columns=columns)
