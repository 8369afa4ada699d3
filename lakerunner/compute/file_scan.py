"""The contract of a scan over an explicit list of files, and which of its two roads is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from datafusion import SessionContext, col, lit

from lakerunner.compute.file_union import FileUnion
from lakerunner.compute.patched_plan import PatchedPlan
from lakerunner.compute.table import ScanMode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from datafusion import DataFrame


class FileScan(Protocol):
    """A way to scan exactly the given Parquet files as one table."""

    def frame(self, name: str, schema: Any, files: Sequence[str], mode: ScanMode) -> DataFrame:
        """Describe the scan; nothing is read yet.

        Args:
            name: The table's name, for plans and messages.
            schema: Arrow schema under which every file is read.
            files: URLs of the files; none makes an empty table.
            mode: How filters are treated.
        """


def choose_file_scan(
    context: SessionContext, readers: Mapping[ScanMode, SessionContext], directory: Path
) -> FileScan:
    """The fast road if it works with the installed DataFusion, or else the sure one.

    The fast road depends on how DataFusion serialises a plan. Before it is taken, two small files
    are scanned by it and the answer and the physical plan are looked at.

    Args:
        context: The session that runs queries.
        readers: A session by scan mode, whose settings the scans shall have.
        directory: An empty directory that outlives the scans.
    """
    files = [_write_probe(directory / f"{number}.parquet", number) for number in (1, 2)]
    empty = directory / "empty.parquet"
    pq.write_table(pa.table({"number": pa.array([], pa.int64())}), empty)
    patched = PatchedPlan(context, readers, empty)
    return patched if _works(patched, files) else FileUnion(context, readers, empty)


def _write_probe(path: Path, number: int) -> str:
    """A file of two rows, declared as sorted by a column that is read as another type."""
    words = pa.array(["a", "b"]).dictionary_encode()
    order = [pq.SortingColumn(0, nulls_first=False)]
    table = pa.table({"word": words, "number": [number, number]})
    pq.write_table(table, path, sorting_columns=order)
    return path.as_uri()


def _works(scan: FileScan, files: Sequence[str]) -> bool:
    """Whether a scan reads all its files, no others, and takes filters and no order from them."""
    schema = pa.schema(
        [("word", pa.string_view()), ("number", pa.int64()), ("absent", pa.string_view())]
    )
    try:
        for mode in ScanMode:
            frame = scan.frame("probe", schema, files, mode)
            found = frame.sort(col("word").sort(), col("number").sort()).to_arrow_table()
            one = scan.frame("probe", schema, files[1:], mode).filter(col("number") > lit(1))
            plan = one.execution_plan().display_indent()
            if (
                found["word"].to_pylist() != ["a", "a", "b", "b"]
                or found["number"].to_pylist() != [1, 2, 1, 2]
                or found["absent"].null_count != found.num_rows
                or one.count() != 2  # noqa: PLR2004 - the rows of one file
                or scan.frame("probe", schema, [], mode).count() != 0
                or "predicate=number@1 > 1" not in plan
                or ("FilterExec" in plan) is not (mode is ScanMode.SWEEP)
            ):
                return False
    except Exception:  # noqa: BLE001 - whatever breaks it, the other road is there
        return False
    return True
