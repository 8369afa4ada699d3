"""Read one version of an input object, in blocks."""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lakerunner.errors import (
    ErrorCode,
    ObjectNotFoundError,
    ObjectRangeError,
    ObjectTooLargeError,
    StoreUnavailableError,
)
from lakerunner.formats.base import Part
from lakerunner.limits import LISTED_ATTEMPTS, MIB
from lakerunner.policies.batching import decoding_bytes, smaller_limit
from lakerunner.registry import split_scheme
from lakerunner.retrying import retrying
from lakerunner.schema.tables import SetAside
from lakerunner.store import ByteRange
from lakerunner.store.failures import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Future

    from lakerunner.formats.base import Format, Measure
    from lakerunner.ingest.inputs import IngestTask
    from lakerunner.model.config import Config
    from lakerunner.model.signal import Signal
    from lakerunner.store import GetResult, ObjectMeta, ObjectStore

    OpenObject: TypeAlias = "Callable[[], Iterator[bytes]]"

    """`ObjectReader.open`, whose answer may be there already."""

_WHOLE_BYTES = 32 * MIB  # objects up to this are read in one request
_BLOCK_BYTES = 8 * MIB
_BEGINNING_BYTES = 64 * 1024


def piece_etag(etag: str, start: int, end: int) -> str:
    """The etag of a part of a file.

    Example:
        >>> piece_etag("18-ff-7", 16, 255), piece_span("18-ff-7@10-ff"), piece_span("18-ff-7")
        ('18-ff-7@10-ff', (16, 255), None)
    """
    return f"{etag}@{start:x}-{end:x}"


def piece_span(etag: str) -> tuple[int, int] | None:
    """Start and end of a part of a file, by its etag; None if it is no part."""
    _, at, span = etag.partition("@")
    if not at:
        return None
    start, end = span.split("-")[:2]
    return int(start, 16), int(end, 16)


class ObjectReader:
    """The bytes of one object, all of one version.

    The version is the one that was there when the first block was read, which may be newer than the
    one that was listed; `meta` tells.

    Args:
        store: Where it lies.
        listed: What the listing said of it.
        config: How often to try again.
        announced: Nobody saw it in a listing; whoever heard of it looks for it again by himself.

    Attributes:
        meta: Of the version that is read. The listed one until `open` was called.
        content_type: Its media type, once it is open and if the store keeps one.
        beginning: The head of the file of which this is a part; empty for whole objects.
    """

    beginning = b""

    def __init__(
        self, store: ObjectStore, listed: ObjectMeta, config: Config, *, announced: bool = False
    ) -> None:
        self._store = store
        self._config = config
        self._looks = 1 if announced else LISTED_ATTEMPTS
        self._block = min(_BLOCK_BYTES, config.read_bytes)
        self.meta = listed
        self.content_type = ""

    def open(self) -> Iterator[bytes]:
        """Read the first block now, and return an iterator over all blocks.

        A listed object that is not there is looked for again: its producer may be replacing it, and
        whoever sets it aside under its version never sees the same bytes under the same key again.

        Raises:
            ObjectNotFoundError: It is gone, and stays gone.
            ObjectDeniedError: It may not be read.
            StoreUnavailableError: The store does not answer, or the object was overwritten while
                it was read.
        """
        first = self._first()
        self.meta, self.content_type = first.meta, first.content_type
        return self._blocks(first)

    def _first(self) -> GetResult:
        whole = self.meta.size <= min(_WHOLE_BYTES, self._config.read_bytes)
        byte_range = None if whole else ByteRange(0, self._block)
        for look in range(1, self._looks):
            try:
                return self._get(byte_range)
            except ObjectNotFoundError:
                time.sleep(self._config.backoff_seconds * 2 ** (look - 1))
        return self._get(byte_range)

    def _blocks(self, first: GetResult) -> Iterator[bytes]:
        data, position = first.data, 0
        while True:
            position += len(data)
            yield data
            if position >= self.meta.size:
                return
            data = self._next(position)

    def _next(self, position: int) -> bytes:
        byte_range = ByteRange(position, min(position + self._block, self.meta.size))
        try:
            result = self._get(byte_range)
        except ObjectRangeError:
            result = None
        if result is None or result.meta.etag != self.meta.etag:
            raise StoreUnavailableError(
                f"'{self.meta.key}' was overwritten while it was read", key=self.meta.key
            )
        return result.data

    def _get(self, byte_range: ByteRange | None) -> GetResult:
        return retrying(lambda: self._store.get(self.meta.key, byte_range), self._config)


class PieceReader(ObjectReader):
    """The bytes of a part of a file of this machine, to which others may be appending.

    Its arguments and attributes are those of `ObjectReader`.
    """

    def open(self) -> Iterator[bytes]:
        """Read the first block now, and return an iterator over all blocks.

        Raises:
            ObjectNotFoundError: The file is gone.
            ObjectDeniedError: It may not be read.
            StoreUnavailableError: It is another file by now, or shorter.
        """
        start, end = piece_span(self.meta.etag) or (0, 0)
        self.beginning = self._span(0, min(start, _BEGINNING_BYTES))
        first = self._span(start, min(start + self._block, end))
        rest = range(start + self._block, end, self._block)
        return chain([first], (self._span(at, min(at + self._block, end)) for at in rest))

    def _span(self, start: int, end: int) -> bytes:
        path = self._store.local_path(self.meta.key)
        inode = int(self.meta.etag.partition("@")[0].split("-")[2], 16)
        with translated(self._store.url, self.meta.key):
            if path is None:
                raise FileNotFoundError(self.meta.key)
            with path.open("rb") as file:
                same = os.fstat(file.fileno()).st_ino == inode
                data = os.pread(file.fileno(), end - start, start) if same else b""
        if len(data) < end - start:
            raise StoreUnavailableError(
                f"'{self.meta.key}' was replaced while it was read", key=self.meta.key
            )
        return data


# Fetch the next objects of a batch while the one before is decoded.

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


# Cut the parts of an object until the decoding of each fits into memory.

_BINARY = "otlp-protobuf"


class FittingPart(NamedTuple):
    """A part whose decoding fits into memory.

    Attributes:
        part: Its bytes; lines are numbered within the object.
        measure: What it holds.
    """

    part: Part
    measure: Measure


def cost_of(chosen: Format, measure: Measure) -> int:
    """Bytes of memory that it takes to decode what was measured, in a format."""
    return decoding_bytes(measure, protobuf=chosen.name == _BINARY)


def fitting(
    chosen: Format, signal: Signal, parts: Iterable[Part], config: Config
) -> Iterator[FittingPart]:
    """Measure parts, and cut those further that would take more than `Config.decode_bytes`.

    A single record that takes more is set aside.

    Args:
        chosen: The format.
        signal: What the parts carry.
        parts: Of one object, in order.
        config: What there is.

    Yields:
        Parts that hold all other records in order; as many as there were, or more.

    Raises:
        ObjectTooLargeError: A record takes more, and nothing tells it from its neighbours.
        InputError: A part is broken.
    """
    room = config.decode_bytes
    for part in parts:
        measure = chosen.measure(part.data, signal)
        cost = cost_of(chosen, measure)
        if cost <= room:
            yield FittingPart(part, measure)
            continue
        limit = smaller_limit(len(part.data), cost, room)
        pieces = _within(part, chosen.split_again(part.data, limit, config.record_bytes))
        whole = len(part.data)
        del part  # its bytes must not stay while its pieces are decoded
        for piece in pieces:
            if len(piece.data) < whole:
                yield from fitting(chosen, signal, [piece], config)
            else:
                without = _without_record(chosen, piece, cost, room)
                yield FittingPart(without, chosen.measure(without.data, signal))


def _within(part: Part, pieces: Iterable[Part]) -> Iterator[Part]:
    """Pieces of a part, with lines numbered as in the object."""
    above, before = part.line - 1, part.set_aside
    del part
    for piece in pieces:
        later = tuple(
            aside._replace(lines=tuple(above + line for line in aside.lines))
            for aside in piece.set_aside
        )
        yield Part(piece.data, above + piece.line, before + later)
        before = ()


def _without_record(chosen: Format, piece: Part, cost: int, room: int) -> Part:
    reason = (
        f"a record that takes {cost:,} bytes of memory to decode, where {room:,} is the limit with "
        "this setting of memory_bytes"
    )
    if chosen.certain:
        raise ObjectTooLargeError(reason, limit=room)
    aside = SetAside(0, (piece.line,), 1, ErrorCode.OBJECT_TOO_LARGE.value, reason)
    return Part(b"", piece.line, (*piece.set_aside, aside))
