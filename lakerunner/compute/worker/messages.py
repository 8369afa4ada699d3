"""What an engine and its workers say to each other, and how it goes through a pipe.

A message is one byte for its kind, eight for its length, and its content. Both ends are the same
version of the same program, so that values are pickled; batches are messages of Arrow IPC.
"""

from __future__ import annotations

import pickle
import struct
from enum import Enum
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakerunner.compute.execution import ScanMetrics
    from lakerunner.compute.scans import Scan
    from lakerunner.compute.table import Table

_HEAD = struct.Struct("<cQ")
VALUE, BATCH = b"V", b"B"


class WorkerSettings(NamedTuple):
    """What a worker is started with.

    Attributes:
        memory_bytes: What its operators may hold before they spill.
        spare_bytes: What the process may hold beyond that and what it holds when it starts.
        threads: Partitions that a query is split into; 0 means one per core.
        url: Where the segments are.
        storage_options: How to reach them, in fsspec's words.
        nice: By how much its priority is lowered.
    """

    memory_bytes: int
    spare_bytes: int
    threads: int
    url: str
    storage_options: Mapping[str, object]
    nice: int = 0


class Step(Enum):
    """What can be done to a planned query."""

    OPTIMIZE = "optimize"
    MEND = "mend"
    RANKED = "ranked"
    WHOLE = "whole"


class RemoteQuery(NamedTuple):
    """A query that any worker can plan again.

    Attributes:
        number: By which a worker that has planned it before finds its plan.
        text: The statement.
        tables: What it reads.
        values: What its placeholders stand for.
        steps: What is done to it, in order.
        frozen: The plan after it was optimized, as DataFusion writes it, if it can.
        limit: Rows at most.
    """

    number: int
    text: str
    tables: Sequence[Table]
    values: Mapping[str, Any] | None = None
    steps: tuple[Step, ...] = ()
    frozen: bytes | None = None
    limit: int | None = None


class Ask(Enum):
    """What a worker is asked for."""

    PLAN = "plan"
    OPTIMIZE = "optimize"
    DESCRIBE = "describe"
    FIRST_ROWS = "first rows"
    RUN = "run"
    CANCEL = "cancel"


class Ready(NamedTuple):
    """A worker can take queries.

    Attributes:
        resident_bytes: Memory that it holds.
    """

    resident_bytes: int


class Optimized(NamedTuple):
    """What came out of optimizing a query.

    Attributes:
        schema: Of its result.
        scans: What it asks of each table.
        frozen: The plan as DataFusion writes it, if it can.
    """

    schema: Any
    scans: Sequence[Scan]
    frozen: bytes | None


class Ended(NamedTuple):
    """A run is over.

    Attributes:
        error: Why it failed; None if it did not.
        metrics: What its scans have read.
        listed: Files that they were made of.
    """

    error: BaseException | None
    metrics: ScanMetrics
    listed: Mapping[str, int]


class Source(Protocol):
    """Where messages come from: the reading end of a pipe, without a buffer."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read what is there, at least a byte; 0 at the end."""


class Sink(Protocol):
    """Where messages go to: the writing end of a pipe, without a buffer."""

    def write(self, data: memoryview, /) -> int | None:
        """Write a part of something, and say how much."""


def _read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


class _Pickler(pickle.Pickler):
    """Also takes mappings that nobody may change, as tables have them by default."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, MappingProxyType):
            return _read_only, (dict(value),)
        return NotImplemented


def send(pipe: Sink, value: object) -> None:
    """Write one value.

    Raises:
        OSError: The other end is closed.
    """
    data = BytesIO()
    _Pickler(data, pickle.HIGHEST_PROTOCOL).dump(value)
    _write(pipe, _HEAD.pack(VALUE, data.tell()) + data.getvalue())


def send_batch(pipe: Sink, batch: Any) -> None:
    """Write one batch of `pyarrow`, without its schema.

    Raises:
        OSError: The other end is closed.
    """
    data = batch.serialize()
    _write(pipe, _HEAD.pack(BATCH, data.size))
    _write(pipe, data)


def receive(pipe: Source) -> tuple[bytes, Any]:
    """Read one message: its kind, and a value or the bytes of a batch.

    Raises:
        EOFError: The other end is closed.
    """
    kind, size = _HEAD.unpack(_read(pipe, _HEAD.size))
    data = _read(pipe, size)
    # Only our own worker, or the engine that started us, writes to this pipe.
    return kind, pickle.loads(data) if kind == VALUE else data  # noqa: S301 - see above


def _write(pipe: Sink, data: Any) -> None:
    left = memoryview(data)
    while left:
        left = left[pipe.write(left) :]


def _read(pipe: Source, size: int) -> bytearray:
    data = bytearray(size)
    left = memoryview(data)
    while left:
        count = pipe.readinto(left)
        if not count:
            raise EOFError
        left = left[count:]
    return data
