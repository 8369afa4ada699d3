"""Fetch the next objects of a batch while the one before is decoded."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lakerunner.ingest.reading import ObjectReader, PieceReader, piece_span
from lakerunner.limits import MIB
from lakerunner.registry import split_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future

    from lakerunner.ingest.task import IngestTask

    OpenObject: TypeAlias = "Callable[[], Iterator[bytes]]"
    """`ObjectReader.open`, whose answer may be there already."""

_AHEAD = 16
"""Objects on their way at a time. A small one is inflated in 2 ms, and a request takes 20 to 50."""

_AHEAD_BYTES = 16 * MIB

_LOCAL = frozenset({"file", "memory"})
"""Stores of this machine answer at once; there, a thread would cost more than it saves."""


class _Fetched(NamedTuple):
    reader: ObjectReader
    blocks: Future[Iterator[bytes]]
    size: int


def opened_in_order(task: IngestTask) -> Generator[tuple[ObjectReader, OpenObject]]:
    """Readers of a batch's objects in their order, each with a call that opens it.

    In a bucket of a service the next objects are requested beforehand, each once: `_AHEAD` at a
    time, and no more than `_AHEAD_BYTES` or a batch's bytes together, unless it is a single one.
    What goes wrong is raised by the call, as `ObjectReader.open` does. Close the generator: then
    nothing runs on.

    Args:
        task: The batch.

    Yields:
        A reader, and what to call in place of its `open`.
    """
    if len(task.objects) == 1 or split_scheme(task.source.url)[0] in _LOCAL:
        for listed in task.objects:
            kind = PieceReader if piece_span(listed.etag) else ObjectReader
            reader = kind(task.source, listed, task.config, announced=task.announced)
            yield reader, reader.open
        return
    limit = min(_AHEAD_BYTES, task.config.batch_bytes)
    waiting = deque(task.objects)
    fetched: deque[_Fetched] = deque()
    held = 0  # bytes that are here or on their way
    threads = ThreadPoolExecutor(_AHEAD, thread_name_prefix="lakerunner-fetch")
    try:
        while waiting or fetched:
            while (
                waiting and len(fetched) < _AHEAD and (not held or held + waiting[0].size <= limit)
            ):
                listed = waiting.popleft()
                reader = ObjectReader(task.source, listed, task.config, announced=task.announced)
                fetched.append(_Fetched(reader, threads.submit(reader.open), listed.size))
                held += listed.size
            current = fetched.popleft()
            size = current.size
            yield current.reader, current.blocks.result
            held -= size
            del current  # its bytes must not outlive its turn
    finally:
        threads.shutdown(cancel_futures=True)
