"""How DataFusion is told to read a Parquet file, whichever road takes it there."""

from __future__ import annotations

from typing import Any, Final

READ_OPTIONS: Final[dict[str, Any]] = {
    # Any name will do; a file of another extension would be left out in silence.
    "file_extension": "",
    # No order is declared. Left to itself, DataFusion (seen in 55.2) takes it from the footer, and
    # where a column is read as another type than its own it believes that files which overlap
    # follow one another: ORDER BY then returns rows out of order.
    "file_sort_order": [[]],
}
"""Options of `SessionContext.read_parquet`."""
