"""What a reader of records hands over: columns as they were written, and where each row stood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from lakerunner.formats.records.payload_lines import Lines
    from lakerunner.schema.tables import SetAside


class Between(NamedTuple):
    """Lines of text between records of another kind.

    Attributes:
        lines: The lines.
        reasons: Why each is no record of that kind.
        after: int64 per line: how many records of its payload stand before it.
    """

    lines: Lines
    reasons: tuple[str, ...]
    after: Any


class Records(NamedTuple):
    """Rows of a batch of payloads, before anything is known of what their columns mean.

    Attributes:
        table: One chunk per column. Names are the keys as they were written, in order of
            appearance, each once; values may be nested. Columns of type null are allowed.
        payload: int32 per row: position of its payload in the batch, ascending.
        set_aside: Lines that are no record.
        between: Text among the records, each line of which may be a record of its own.
        alike: Whether the types of columns are what each payload alone would have; see `grouping`.
    """

    table: pa.Table
    payload: Any
    set_aside: tuple[SetAside, ...] = ()
    alike: bool = True
    between: Between | None = None
