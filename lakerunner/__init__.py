"""Turn a bucket of raw telemetry into an observability backend.

`lakerunner.open(url)` gives a `Lake`, which bundles the workers over one object store and one
catalog. Each worker also stands alone. From the top down, every part imports only from below it:

| part | what lives there |
|---|---|
| `cli`, `testing` | the command line; suites and strategies for those who write adapters |
| `lake` | `open` and `Lake`: finds store and catalog by URL, hands out the workers |
| `asking`, `upkeep` | the parts of `Lake` that answer questions, and that keep it whole |
| `ingest` | `Ingestor`: object, decode, normalise, window and sort, segment, put, commit |
| `compact` | `Compactor`: the small segments of a window are merged into few |
| `recover` | a lost catalog is made again from the footers of the segments |
| `retain` | what a crash left behind is found and deleted |
| `damage` | segments that are not as they were written are found and set aside |
| `rollup` | `Rollup`: sums of metrics over buckets of time, in tiers |
| `query` | `QueryEngine`: text, plan, prune, compute, `Result` |
| `outside` | the same lake for engines of others: Spark Connect, Iceberg |
| `compute` | the one door to DataFusion |
| `formats`, `generate` | input bytes to Arrow; synthetic telemetry |
| `segments`, `policies`, `tiers` | rows to Parquet files; pure choices; sums over buckets |
| `store`, `catalog` | `ObjectStore` and `Catalog`: the contract and one adapter a file |
| `executors` | tasks on any `concurrent.futures.Executor` |
| `schema`, `registry` | canonical columns; URL scheme to adapter |
| `model`, `limits`, `errors` | plain values; every tunable number; the one tree of errors |

Importing the package is cheap: each name below loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lakerunner import errors
from lakerunner.errors import LakerunnerError

if TYPE_CHECKING:
    from lakerunner.aio import AsyncLake
    from lakerunner.bars import ProgressLike
    from lakerunner.catalog import Catalog
    from lakerunner.compact import Compactor
    from lakerunner.damage import DamagedSegment
    from lakerunner.events import EventSource
    from lakerunner.ingest import Ingestor
    from lakerunner.intake.offered import Offered
    from lakerunner.intake.settings import WriterOptions, WriterReport, WriterSettings
    from lakerunner.intake.writer import Writer
    from lakerunner.lake import Lake
    from lakerunner.maintenance import Maintainer
    from lakerunner.model.aggregate import AggregateRule
    from lakerunner.model.commit import LakeSnapshot
    from lakerunner.model.config import Config
    from lakerunner.model.deletion import Deletion, Proof
    from lakerunner.model.profile import PrefixMapping, SourceMapping, StorageProfile
    from lakerunner.model.report import (
        IngestReport,
        Progress,
        ProgressEvent,
        RecoveryReport,
        Setback,
        WorkReport,
    )
    from lakerunner.model.segment import Rejection, Segment, Segments
    from lakerunner.model.signal import Signal
    from lakerunner.model.times import TimeLike
    from lakerunner.opening import open  # noqa: A004 - `lakerunner.open` is the name
    from lakerunner.outside.iceberg import IcebergTables
    from lakerunner.outside.spark import SparkViews
    from lakerunner.policies.ownership import Ownership
    from lakerunner.query import Explanation, QueryEngine, QueryStats, Result
    from lakerunner.query.promql.answering import SampleResult
    from lakerunner.query.promql.grid import StepLike
    from lakerunner.query.result import TableResult
    from lakerunner.query.sql.params import Params
    from lakerunner.query.tail import Tail
    from lakerunner.query.traces import Trace
    from lakerunner.retain import Retention
    from lakerunner.rollup import Rollup
    from lakerunner.status import Backlog, LakeStatus
    from lakerunner.store import ObjectStore

    __version__: str

__all__ = [
    "AggregateRule",
    "AsyncLake",
    "Backlog",
    "Catalog",
    "Compactor",
    "Config",
    "DamagedSegment",
    "Deletion",
    "EventSource",
    "Explanation",
    "IcebergTables",
    "IngestReport",
    "Ingestor",
    "Lake",
    "LakeSnapshot",
    "LakeStatus",
    "LakerunnerError",
    "Maintainer",
    "ObjectStore",
    "Offered",
    "Ownership",
    "Params",
    "PrefixMapping",
    "Progress",
    "ProgressEvent",
    "ProgressLike",
    "Proof",
    "QueryEngine",
    "QueryStats",
    "RecoveryReport",
    "Rejection",
    "Result",
    "Retention",
    "Rollup",
    "SampleResult",
    "Segment",
    "Segments",
    "Setback",
    "Signal",
    "SourceMapping",
    "SparkViews",
    "StepLike",
    "StorageProfile",
    "TableResult",
    "Tail",
    "TimeLike",
    "Trace",
    "WorkReport",
    "Writer",
    "WriterOptions",
    "WriterReport",
    "WriterSettings",
    "__version__",
    "errors",
    "open",
]

_HOMES = {
    "AggregateRule": "lakerunner.model.aggregate",
    "AsyncLake": "lakerunner.aio",
    "Backlog": "lakerunner.status",
    "Catalog": "lakerunner.catalog",
    "Compactor": "lakerunner.compact",
    "Config": "lakerunner.model.config",
    "DamagedSegment": "lakerunner.damage",
    "Deletion": "lakerunner.model.deletion",
    "EventSource": "lakerunner.events",
    "Explanation": "lakerunner.query",
    "IcebergTables": "lakerunner.outside.iceberg",
    "IngestReport": "lakerunner.model.report",
    "Ingestor": "lakerunner.ingest",
    "Lake": "lakerunner.lake",
    "LakeSnapshot": "lakerunner.model.commit",
    "LakeStatus": "lakerunner.status",
    "Maintainer": "lakerunner.maintenance",
    "ObjectStore": "lakerunner.store",
    "Offered": "lakerunner.intake.offered",
    "Ownership": "lakerunner.policies.ownership",
    "Params": "lakerunner.query.sql.params",
    "PrefixMapping": "lakerunner.model.profile",
    "Progress": "lakerunner.model.report",
    "ProgressEvent": "lakerunner.model.report",
    "ProgressLike": "lakerunner.bars",
    "Proof": "lakerunner.model.deletion",
    "QueryEngine": "lakerunner.query",
    "QueryStats": "lakerunner.query",
    "RecoveryReport": "lakerunner.model.report",
    "Rejection": "lakerunner.model.segment",
    "Result": "lakerunner.query",
    "Retention": "lakerunner.retain",
    "Rollup": "lakerunner.rollup",
    "SampleResult": "lakerunner.query.promql.answering",
    "Segment": "lakerunner.model.segment",
    "Segments": "lakerunner.model.segment",
    "Setback": "lakerunner.model.report",
    "Signal": "lakerunner.model.signal",
    "SourceMapping": "lakerunner.model.profile",
    "SparkViews": "lakerunner.outside.spark",
    "StepLike": "lakerunner.query.promql.grid",
    "StorageProfile": "lakerunner.model.profile",
    "TableResult": "lakerunner.query.result",
    "Tail": "lakerunner.query.tail",
    "TimeLike": "lakerunner.model.times",
    "Trace": "lakerunner.query.traces",
    "WorkReport": "lakerunner.model.report",
    "Writer": "lakerunner.intake.writer",
    "WriterOptions": "lakerunner.intake.settings",
    "WriterReport": "lakerunner.intake.settings",
    "WriterSettings": "lakerunner.intake.settings",
    "open": "lakerunner.opening",
}

if not TYPE_CHECKING:  # a typed `__getattr__` would let any misspelt name through

    def __getattr__(name: str) -> object:
        if name == "__version__":
            value: object = import_module("importlib.metadata").version("lakerunner")
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'lakerunner' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
