"""What a reader of records hands over: columns as they were written, and where each row stood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from lakerunner.schema.decoded import SetAside


class Records(NamedTuple):
    """Rows of a batch of payloads, before anything is known of what their columns mean.

    Attributes:
        table: One chunk per column. Names are the keys as they were written, in order of
            appearance, each once; values may be nested. Columns of type null are allowed.
        payload: int32 per row: position of its payload in the batch, ascending.
        set_aside: Lines that are no record.
        alike: Whether the types of columns are what each payload alone would have; see `grouping`.
    """

    table: pa.Table
    payload: Any
    set_aside: tuple[SetAside, ...] = ()
    alike: bool = True
