"""The sure road: a union of one scan per file, from public calls alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakerunner.compute.table import READ_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from datafusion import DataFrame, SessionContext

    from lakerunner.compute.table import ScanMode


class FileUnion:
    """Scans a list of files as the union of single scans.

    Each scan keeps its pushdown and pruning. Planning takes several times as long as by
    `PatchedPlan`, and top-k does not read the files in the order of their statistics.

    Args:
        context: The session that runs the scans.
        readers: A session by scan mode, whose settings the scans shall have.
        placeholder: A Parquet file without rows.
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
        reader = self._readers[mode]
        frames = [
            reader.read_parquet(file, schema=schema, **READ_OPTIONS)
            for file in files or [self._placeholder]
        ]
        # Pairs of pairs: a chain as deep as the list is long could exhaust the planner's stack.
        while len(frames) > 1:
            pairs = zip(frames[::2], frames[1::2], strict=False)
            frames = [left.union(right) for left, right in pairs] + frames[len(frames) // 2 * 2 :]
        # The alias names the table in the plan, where the other road has it in the scan itself.
        plan = frames[0].alias(name).logical_plan()
        return self._context.create_dataframe_from_logical_plan(plan)
