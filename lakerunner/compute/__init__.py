"""The one door to DataFusion: SQL and a list of files go in, Arrow batches come out.

`Session` plans and runs, `Scan` says what a plan asks of each table, and `SegmentFiles` puts
segments where DataFusion can read them. Nothing else imports `datafusion`.
"""

from __future__ import annotations

from lakerunner.compute.execution import Execution, ScanMetrics
from lakerunner.compute.planned import PlannedQuery
from lakerunner.compute.scans import Scan
from lakerunner.compute.segment_files import SegmentFiles
from lakerunner.compute.session import Session
from lakerunner.compute.table import Recast, ScanMode, Table
from lakerunner.compute.turns import Allowance, Turns

__all__ = [
    "Allowance",
    "Execution",
    "PlannedQuery",
    "Recast",
    "Scan",
    "ScanMetrics",
    "ScanMode",
    "SegmentFiles",
    "Session",
    "Table",
    "Turns",
]
