"""Take one batch of objects from their bytes to segments: the work a worker process does."""

from __future__ import annotations

import time
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import (
    InputError,
    LakerunnerError,
    ObjectDeniedError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.formats.compression import decompress
from lakerunner.formats.detect import choose_format, choose_signal
from lakerunner.ingest.reading import ObjectReader
from lakerunner.ingest.task import IngestOutcome, IngestTask
from lakerunner.ingest.writing import write_segments
from lakerunner.model.source import Rejection, Source, TakenSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.formats.base import Format
    from lakerunner.model.segment import Segment
    from lakerunner.model.signal import Signal
    from lakerunner.store import ObjectMeta


class _Payload(NamedTuple):
    """A decompressed object, or a part of a large one."""

    source: Source
    data: bytes
    modified_ns: int


class _PutFailedError(Exception):
    """The lake refused a segment: no fault of the object at hand, which is not set aside."""

    def __init__(self, error: StoreError) -> None:
        super().__init__(error)
        self.error = error


class _Kind(NamedTuple):
    """Payloads of one kind are decoded together."""

    format: Format
    signal: Signal


def ingest_batch(task: IngestTask) -> IngestOutcome:
    """Read, decode, sort, encode and put a batch; commit nothing.

    An object that cannot be read or decoded is set aside and leaves no row behind.

    Raises:
        StoreError: A segment could not be put.
    """
    try:
        return _Batch(task).run()
    except _PutFailedError as failed:
        raise failed.error from None


class _Batch:
    """The state of one batch while it is worked on, by one thread."""

    def __init__(self, task: IngestTask) -> None:
        self._task = task
        self._pending: dict[_Kind, list[_Payload]] = {}
        self._pending_bytes = 0
        self._segments: list[Segment] = []
        self._taken: dict[Signal, list[TakenSource]] = {}
        self._rejected: list[Rejection] = []
        self._failed: list[Rejection] = []
        self._bytes_read = 0

    def run(self) -> IngestOutcome:
        for listed in self._task.objects:
            self._object(listed)
        self._flush()
        return IngestOutcome(
            task=self._task,
            segments=tuple(self._segments),
            taken={signal: tuple(sources) for signal, sources in self._taken.items()},
            rejected=tuple(self._rejected),
            failed=tuple(self._failed),
            bytes_read=self._bytes_read,
        )

    def _object(self, listed: ObjectMeta) -> None:
        reader = ObjectReader(self._task.source, listed, self._task.config)
        try:
            blocks = reader.open()
            self._bytes_read += reader.meta.size
            self._payloads(reader, blocks)
        except (InputError, ObjectNotFoundError) as error:
            self._rejected.append(self._set_aside(self._source(reader.meta), error))
        except (ObjectDeniedError, StoreUnavailableError) as error:
            self._failed.append(self._set_aside(self._source(reader.meta), error))

    def _payloads(self, reader: ObjectReader, blocks: Iterator[bytes]) -> None:
        task, key = self._task, reader.meta.key
        plain = decompress(blocks)
        head = next(plain, b"")
        chosen = choose_format(key, head, task.format)
        limit = task.config.batch_bytes
        parts = chosen.split(chain([head], plain), limit)
        first = next(parts)
        signal = choose_signal(chosen, key, first, task.signal)
        second = next(parts, None)
        kind, source = _Kind(chosen, signal), self._source(reader.meta)
        payload = _Payload(source, first, reader.meta.modified_ns)
        if second is not None:
            rest = (payload._replace(data=part) for part in chain([second], parts))
            self._large_object(kind, chain([payload], rest))
            return
        if self._pending and self._pending_bytes + len(first) > limit:
            self._flush()
        self._pending.setdefault(kind, []).append(payload)
        self._pending_bytes += len(first)

    def _flush(self) -> None:
        """Decode and write everything that is pending."""
        pending, self._pending, self._pending_bytes = self._pending, {}, 0
        for kind in list(pending):
            self._write(kind, pending.pop(kind))

    def _write(self, kind: _Kind, payloads: list[_Payload]) -> None:
        try:
            segments, rows = self._decode_and_write(kind, payloads)
        except InputError:
            good = [payload for payload in payloads if self._decodes(kind, payload)]
            payloads.clear()
            if not good:
                return
            segments, rows = self._decode_and_write(kind, good)
            payloads = good
        self._segments += segments
        self._take(kind.signal, payloads, rows)

    def _decodes(self, kind: _Kind, payload: _Payload) -> bool:
        """Whether a payload can be decoded by itself; sets it aside if not."""
        try:
            kind.format.decode([payload.data], kind.signal, [payload.modified_ns])
        except InputError as error:
            self._rejected.append(self._set_aside(payload.source, error))
            return False
        return True

    def _large_object(self, kind: _Kind, payloads: Iterator[_Payload]) -> None:
        """Take an object part by part; if a part is broken, take nothing of it."""
        self._flush()
        segments: list[Segment] = []
        total, source = 0, None
        try:
            for payload in payloads:
                source = payload.source
                written, rows = self._decode_and_write(kind, [payload])
                segments += written
                total += sum(rows)
        except Exception:
            # Nothing will ever name these segments. If they cannot be deleted now, the orphan
            # collection finds them later.
            for segment in segments:
                self._discard(segment)
            raise
        if source is not None:
            self._segments += segments
            self._taken.setdefault(kind.signal, []).append(TakenSource(source, total))

    def _discard(self, segment: Segment) -> None:
        try:
            self._task.lake.delete(segment.key)
        except LakerunnerError:
            return

    def _decode_and_write(
        self, kind: _Kind, payloads: list[_Payload]
    ) -> tuple[list[Segment], list[int]]:
        fallback = [payload.modified_ns for payload in payloads]
        data = [payload.data for payload in payloads]
        decoded = kind.format.decode(data, kind.signal, fallback)
        sources = tuple(payload.source for payload in payloads)
        try:
            segments = list(write_segments(self._task, decoded.table, kind.signal, sources))
        except StoreError as error:
            raise _PutFailedError(error) from error
        return segments, decoded.rows.tolist()

    def _take(self, signal: Signal, payloads: list[_Payload], rows: list[int]) -> None:
        self._taken.setdefault(signal, []).extend(
            TakenSource(payload.source, count)
            for payload, count in zip(payloads, rows, strict=True)
        )

    def _source(self, meta: ObjectMeta) -> Source:
        return Source(self._task.source.url, meta.key, meta.etag)

    def _set_aside(self, source: Source, error: LakerunnerError) -> Rejection:
        return Rejection(source, error.code.value, error.message, time.time_ns())
