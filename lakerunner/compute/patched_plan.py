"""The fast road: one serialised scan of a placeholder, with its list of paths replaced.

`SessionContext.read_parquet` takes one path. The plan it makes holds a *list* of paths, so the plan
is serialised, the list replaced, and the plan read back. The scan that comes out is DataFusion's
own: statistics, page index, pushdown and the order in which top-k reads files all stay. The options
of the session that made the plan travel in it, so scans of different modes can live in one session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datafusion import LogicalPlan

from lakerunner.compute.table import READ_OPTIONS
from lakerunner.compute.wire import message_field, read_fields, text_field, write_fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from datafusion import DataFrame, SessionContext

    from lakerunner.compute.table import ScanMode

# Field numbers in `datafusion.proto`: ListingTableScanNode, TableReference and BareTableReference.
_PATHS, _TABLE_NAME = 2, 14
_BARE, _BARE_NAME = 1, 1


class PatchedPlan:
    """Scans a list of files by replacing the paths in a serialised plan.

    Args:
        context: The session that runs the scans.
        readers: A session by scan mode, whose settings the scans shall have.
        placeholder: Any Parquet file.
    """

    def __init__(
        self,
        context: SessionContext,
        readers: Mapping[ScanMode, SessionContext],
        placeholder: Path,
    ) -> None:
        self._context = context
        self._readers = readers
        self._placeholder = placeholder.as_uri()

    def frame(self, name: str, schema: Any, files: Sequence[str], mode: ScanMode) -> DataFrame:
        """Describe the scan; see `FileScan.frame`."""
        frame = self._readers[mode].read_parquet(self._placeholder, schema=schema, **READ_OPTIONS)
        data = patch_scan(frame.logical_plan().to_bytes(), name, files)
        plan = LogicalPlan.from_bytes(self._context, data)
        return self._context.create_dataframe_from_logical_plan(plan)


def patch_scan(plan: bytes, name: str, files: Sequence[str]) -> bytes:
    """Give a serialised plan that is nothing but a scan another table name and other paths.

    Raises:
        ValueError: The plan is not what this version of DataFusion makes of one scan.
    """
    (node,) = read_fields(plan)
    kept = [field for field in read_fields(node.data) if field.number not in (_PATHS, _TABLE_NAME)]
    paths = [text_field(_PATHS, file) for file in files]
    bare = message_field(_BARE, [text_field(_BARE_NAME, name)])
    scan = [*kept, *paths, message_field(_TABLE_NAME, [bare])]
    return write_fields([message_field(node.number, scan)])
