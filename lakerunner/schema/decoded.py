"""What a decoder hands over: rows under their final column names, and where each came from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.schema.attribute import (
    AttributeColumn,
    OverflowPairs,
    attribute_field,
    overflow_field,
    overflow_map,
)
from lakerunner.schema.names import OVERFLOW


class SetAside(NamedTuple):
    """Lines of one payload that cannot be taken, for one reason, while the others are.

    Attributes:
        payload: Position of the payload in its batch.
        lines: Their numbers within the payload, from 1, ascending; none for formats without lines.
        rows: How many there are.
        code: An `lakerunner.errors.ErrorCode` value.
        reason: One sentence for a person, without the line number.
    """

    payload: int
    lines: tuple[int, ...]
    rows: int
    code: str
    reason: str


class Days(NamedTuple):
    """What a payload tells of the order in which it writes day and month as numbers.

    Attributes:
        day_first: One of its dates can only be read with the day first.
        month_first: One of its dates can only be read with the month first.
    """

    day_first: bool = False
    month_first: bool = False

    @property
    def turned(self) -> bool:
        """Whether the day comes first, which is not taken for granted."""
        return self.day_first and not self.month_first

    def with_more(self, other: Days) -> Days:
        """What two payloads tell of the object that both belong to."""
        return Days(self.day_first or other.day_first, self.month_first or other.month_first)


class Decoded(NamedTuple):
    """Rows of one batch of payloads.

    Attributes:
        table: One chunk per column; attribute fields carry their original key and types.
        rows: int64, one per payload: how many rows came from it.
        set_aside: Lines that were left out.
        days: One per payload, where times were read in the order of day and month that it tells;
            empty if there are none.
    """

    table: pa.Table
    rows: Any
    set_aside: tuple[SetAside, ...] = ()
    days: tuple[Days, ...] = ()


class PayloadRows(NamedTuple):
    """Which payload of a batch each row came from.

    Attributes:
        payload: int array, one per row: position of its payload in the batch.
        payloads: Payloads in the batch.
    """

    payload: Any
    payloads: int


def decoded(
    columns: dict[str, Any],
    attributes: dict[str, AttributeColumn],
    overflow: list[OverflowPairs],
    origin: PayloadRows,
    types: dict[str, tuple[str, ...]],
) -> Decoded:
    """Put the parts of a decoded batch together.

    Args:
        columns: Canonical columns.
        attributes: Attribute columns by name.
        overflow: Overflow pairs of each prefix.
        origin: Which payload each row came from.
        types: Value types that were merged into a canonical column, where it may have several.
    """
    fields = [
        pa.field(
            name,
            values.type,
            metadata={b"lakerunner.types": ",".join(types[name]).encode()}
            if name in types
            else None,
        )
        for name, values in columns.items()
    ]
    arrays = list(columns.values())
    for name, column in attributes.items():
        fields.append(attribute_field(name, column))
        arrays.append(column.values)
    if overflow:
        known: dict[str, tuple[str, tuple[str, ...]]] = {}
        for part in overflow:
            known |= part.types
        folded = overflow_map(overflow, len(origin.payload))
        known |= {new: known[old] for new, old in folded.repeats.items() if old in known}
        fields.append(overflow_field(OVERFLOW, known))
        arrays.append(folded.values)
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    return Decoded(table, np.bincount(origin.payload, minlength=origin.payloads))
