"""The fast road: one serialised scan of a placeholder, with its list of paths replaced.

`SessionContext.read_parquet` takes one path. The plan it makes holds a *list* of paths, so the plan
is serialised, the list replaced, and the plan read back. The scan that comes out is DataFusion's
own: statistics, page index, pushdown and the order in which top-k reads files all stay. The options
of the session that made the plan travel in it, so scans of different modes can live in one session.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from datafusion import LogicalPlan

from lakerunner.compute.table import READ_OPTIONS
from lakerunner.compute.wire import (
    bytes_field,
    message_field,
    read_fields,
    text_field,
    write_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from datafusion import DataFrame, SessionContext

    from lakerunner.compute.table import ScanMode

# Field numbers in `datafusion.proto`: ListingTableScanNode, TableReference and BareTableReference.
_PATHS, _TABLE_NAME = 2, 14
_BARE, _BARE_NAME = 1, 1

_KEPT = 64
"""Templates that are kept; one takes a few kilobytes."""


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
        self._lock = threading.Lock()
        self._templates: OrderedDict[tuple[bytes, ScanMode], Template] = OrderedDict()

    def frame(self, name: str, schema: Any, files: Sequence[str], mode: ScanMode) -> DataFrame:
        """Describe the scan; see `FileScan.frame`."""
        data = patch_scan(self._template(schema, mode), name, files)
        plan = LogicalPlan.from_bytes(self._context, data)
        return self._context.create_dataframe_from_logical_plan(plan)

    def _template(self, schema: Any, mode: ScanMode) -> Template:
        """The scan of the placeholder; queries of one kind ask for the same again and again."""
        key = (schema.serialize().to_pybytes(), mode)
        with self._lock:
            found = self._templates.get(key)
            if found is not None:
                self._templates.move_to_end(key)
                return found
        reader = self._readers[mode]
        frame = reader.read_parquet(self._placeholder, schema=schema, **READ_OPTIONS)
        made = read_template(frame.logical_plan().to_bytes())
        with self._lock:
            self._templates[key] = made
            if len(self._templates) > _KEPT:
                self._templates.popitem(last=False)
        return made


class Template(NamedTuple):
    """A serialised scan without the name of its table and without its paths.

    Attributes:
        number: Of the field that the scan is, among the kinds of nodes.
        kept: All its other fields, serialised.
    """

    number: int
    kept: bytes


def read_template(plan: bytes) -> Template:
    """Take a serialised plan that is nothing but a scan as a template.

    Raises:
        ValueError: The plan is not what this version of DataFusion makes of one scan.
    """
    (node,) = read_fields(plan)
    kept = [field for field in read_fields(node.data) if field.number not in (_PATHS, _TABLE_NAME)]
    return Template(node.number, write_fields(kept))


def patch_scan(template: Template, name: str, files: Sequence[str]) -> bytes:
    """The serialised plan of a scan with this name of its table and these paths."""
    bare = message_field(_BARE, [text_field(_BARE_NAME, name)])
    patched = [*(text_field(_PATHS, file) for file in files), message_field(_TABLE_NAME, [bare])]
    return write_fields([bytes_field(template.number, template.kept + write_fields(patched))])
