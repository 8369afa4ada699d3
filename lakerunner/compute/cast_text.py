"""Numbers as the text that a query makes of them, for columns that are text from now on."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from datafusion import SessionConfig, SessionContext, col

_VALUE = "value"


class TextOfNumbers:
    """Casts doubles to text by DataFusion itself, so that it is the text that queries have seen.

    Arrow writes `5` and `1e+16` where DataFusion writes `5.0` and `1e16`. A session is opened when
    it is first needed. Used by one thread.

    Example:
        >>> TextOfNumbers()(pa.array([5.0, 1e16, None, float("nan")])).to_pylist()
        ['5.0', '1e16', None, 'NaN']
    """

    def __init__(self) -> None:
        self._session: SessionContext | None = None

    def __call__(self, values: Any) -> Any:
        """Text of each value, in their order.

        Args:
            values: An array of doubles.
        """
        if not len(values):
            return pa.array([], pa.string())
        if self._session is None:
            # One partition: batches of several would come in any order.
            self._session = SessionContext(SessionConfig().with_target_partitions(1))
        table = pa.table({_VALUE: values})
        frame = self._session.from_arrow(table)
        found = frame.select(col(_VALUE).try_cast(pa.string()).alias(_VALUE)).to_arrow_table()
        return found[_VALUE].cast(pa.string()).combine_chunks()
