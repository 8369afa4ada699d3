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
    from lakerunner.catalog import Catalog
    from lakerunner.compact import Compactor
    from lakerunner.ingest import Ingestor
    from lakerunner.lake import Lake
    from lakerunner.maintenance import Maintainer
    from lakerunner.model.commit import LakeSnapshot
    from lakerunner.model.config import Config
    from lakerunner.model.profile import PrefixMapping, SourceMapping, StorageProfile
    from lakerunner.model.report import IngestReport, RecoveryReport, WorkReport
    from lakerunner.model.segment import Segment
    from lakerunner.model.signal import Signal
    from lakerunner.opening import open  # noqa: A004 - `lakerunner.open` is the name
    from lakerunner.policies.ownership import Ownership
    from lakerunner.query import Explanation, QueryEngine, QueryStats, Result
    from lakerunner.retain import Retention
    from lakerunner.rollup import Rollup
    from lakerunner.store import ObjectStore

    __version__: str

__all__ = [
    "Catalog",
    "Compactor",
    "Config",
    "Explanation",
    "IngestReport",
    "Ingestor",
    "Lake",
    "LakeSnapshot",
    "LakerunnerError",
    "Maintainer",
    "ObjectStore",
    "Ownership",
    "PrefixMapping",
    "QueryEngine",
    "QueryStats",
    "RecoveryReport",
    "Result",
    "Retention",
    "Rollup",
    "Segment",
    "Signal",
    "SourceMapping",
    "StorageProfile",
    "WorkReport",
    "__version__",
    "errors",
    "open",
]

_HOMES = {
    "Catalog": "lakerunner.catalog",
    "Compactor": "lakerunner.compact",
    "Config": "lakerunner.model.config",
    "Explanation": "lakerunner.query",
    "IngestReport": "lakerunner.model.report",
    "Ingestor": "lakerunner.ingest",
    "Lake": "lakerunner.lake",
    "LakeSnapshot": "lakerunner.model.commit",
    "Maintainer": "lakerunner.maintenance",
    "ObjectStore": "lakerunner.store",
    "Ownership": "lakerunner.policies.ownership",
    "PrefixMapping": "lakerunner.model.profile",
    "QueryEngine": "lakerunner.query",
    "QueryStats": "lakerunner.query",
    "RecoveryReport": "lakerunner.model.report",
    "Result": "lakerunner.query",
    "Retention": "lakerunner.retain",
    "Rollup": "lakerunner.rollup",
    "Segment": "lakerunner.model.segment",
    "Signal": "lakerunner.model.signal",
    "SourceMapping": "lakerunner.model.profile",
    "StorageProfile": "lakerunner.model.profile",
    "WorkReport": "lakerunner.model.report",
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
