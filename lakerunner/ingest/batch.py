"""Take one batch of objects from their bytes to segments: the work a worker process does."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from functools import reduce
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from lakerunner.errors import (
    DecoderFailedError,
    ErrorCode,
    InputError,
    LakerunnerError,
    ObjectDeniedError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnknownOwnerError,
)
from lakerunner.formats.base import Measure, Part
from lakerunner.formats.compression import decompress
from lakerunner.formats.detect import choose_format, choose_signal, to_utf8
from lakerunner.ingest.aside import (
    Found,
    LinesAside,
    are_lines,
    head_of_rows,
)
from lakerunner.ingest.inputs import IngestOutcome, IngestTask
from lakerunner.ingest.reading import cost_of, fitting, opened_in_order
from lakerunner.limits import FINGERPRINT_RULES
from lakerunner.model.profile import SourceMapping
from lakerunner.model.segment import Rejection, Source, TakenSource
from lakerunner.model.signal import Signal
from lakerunner.publish.writing import (
    Encoder,
    EncodingError,
    Origin,
    SegmentWriter,
    make_segments,
)
from lakerunner.schema.fingerprints import with_fingerprints
from lakerunner.schema.tables import TABLE_OF, Days, configured
from lakerunner.schema.timestamps import rows_without_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.formats.base import Format
    from lakerunner.ingest.reading import ObjectReader, OpenObject
    from lakerunner.schema.tables import TableSpec
    from lakerunner.segments.codec import Later
    from lakerunner.store import ObjectMeta


class _Payload(NamedTuple):
    """A decompressed object, or a part of a large one."""

    source: Source
    part: Part
    measure: Measure
    modified_ns: int


class _Written(NamedTuple):
    """What became of some payloads.

    Attributes:
        rows: Of each payload.
        aside: Lines that were set aside, with the position of their payload.
        days: What payloads tell of the order of day and month, where that was asked.
    """

    rows: list[int]
    aside: list[tuple[int, Found]]
    days: tuple[Days, ...]


_UNOWNED = UnknownOwnerError(
    "no rule says which organization it belongs to; add a prefix mapping or a storage profile"
)


def _of_the_machine(error: Exception) -> bool:
    """Whether an error tells of this machine, such as a full disk, and not of the object."""
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno is not None
    )


def _told(error: Exception) -> DecoderFailedError:
    """An error that is not one of ours, as one that says what it was."""
    return DecoderFailedError(f"a decoder failed with {type(error).__name__}: {error}")


class _OtherOrderError(Exception):
    """A later part of an object told that day and month are in another order than was read."""

    def __init__(self, *, day_first: bool) -> None:
        super().__init__(day_first)
        self.day_first = day_first


def _check_order(days: Days, read: set[bool]) -> None:
    """Compare how the parts of an object were read with what all of them tell together."""
    if read - {days.turned}:
        raise _OtherOrderError(day_first=days.turned)


class _PutFailedError(Exception):
    """The lake refused a segment: no fault of the object at hand, which is not set aside."""

    def __init__(self, error: StoreError) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def _putting() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise _PutFailedError(error) from error


class _Kind(NamedTuple):
    """Payloads of one kind are decoded together."""

    format: Format
    signal: Signal

    @property
    def table(self) -> TableSpec:
        """Where their rows belong."""
        return TABLE_OF[self.signal]


def ingest_batch(task: IngestTask) -> IngestOutcome:
    """Read, decode, sort, encode and put a batch; commit nothing.

    An object that cannot be read or decoded is set aside and leaves no row behind.

    Raises:
        StoreError: A segment could not be put.
    """
    try:
        try:
            return _Batch(task).run()
        except EncodingError:  # once more, so that it is known which object is at fault
            return _Batch(task, beside=False).run()
    except _PutFailedError as failed:
        raise failed.error from None


def _handed_over(ahead: list[_Payload], rest: Iterator[_Payload]) -> Iterator[_Payload]:
    """Payloads that nothing else holds any more."""
    while ahead:
        yield ahead.pop(0)
    yield from rest


class _Batch:
    """The state of one batch while it is worked on, by one thread."""

    def __init__(self, task: IngestTask, *, beside: bool = True) -> None:
        self._task = task
        self._encoder = Encoder(task.config.decode_bytes)
        self._later = self._encoder.begin if beside else None
        self._formats: dict[str, Format] = {}
        self._pending: dict[_Kind, list[_Payload]] = {}
        self._waiting: dict[_Kind, Measure] = {}
        self._writer = SegmentWriter(task.lake, task.config)
        self._taken: list[TakenSource] = []
        self._aside: list[Rejection] = []
        self._rejected: list[Rejection] = []
        self._failed: list[Rejection] = []
        self._bytes_read = 0
        self._untimed: dict[str, int] = {}

    def run(self) -> IngestOutcome:
        with self._encoder:
            try:
                return self._run()
            except EncodingError:
                self._writer.discard()
                raise

    def _run(self) -> IngestOutcome:
        if self._task.organization is None:
            sources = map(self._source, self._task.objects)
            self._rejected += [self._set_aside(source, _UNOWNED) for source in sources]
        else:
            with closing(opened_in_order(self._task)) as opened:
                for reader, open_object in opened:
                    self._object(reader, open_object)
        self._flush()
        return IngestOutcome(
            task=self._task,
            segments=self._writer.finish(),
            taken=tuple(self._taken),
            aside=tuple(self._aside),
            rejected=tuple(self._rejected),
            failed=tuple(self._failed),
            bytes_read=self._bytes_read,
            untimed=self._untimed,
        )

    def _object(self, reader: ObjectReader, open_object: OpenObject) -> None:
        left_over: list[str] = []
        try:
            blocks = open_object()
            self._bytes_read += reader.meta.size
            try:
                self._payloads(reader, blocks, left_over)
            except _OtherOrderError as found:
                left_over.clear()
                self._payloads(reader, reader.open(), left_over, day_first=found.day_first)
        except (_PutFailedError, EncodingError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever one object does, the others land
            self._refuse(self._source(reader.meta), error)
            return
        code, now_ns = ErrorCode.CORRUPT_OBJECT.value, time.time_ns()
        for said in left_over:  # the rows before it land; how many it was nobody knows
            self._aside.append(Rejection(self._source(reader.meta), code, said, now_ns, rows=0))

    def _refuse(self, source: Source, error: Exception) -> None:
        """Set an object aside, or count it as failed where it may well be taken another time."""
        match error:
            case ObjectNotFoundError():
                self._note(self._failed if self._task.announced else self._rejected, source, error)
            case ObjectDeniedError() | StoreUnavailableError():
                self._note(self._failed, source, error)
            case InputError():
                self._note(self._rejected, source, error)
            case LakerunnerError():
                raise error
            case _ if _of_the_machine(error):
                self._note(self._failed, source, _told(error))
            case _:
                self._note(self._rejected, source, _told(error))

    def _note(self, aside: list[Rejection], source: Source, error: LakerunnerError) -> None:
        aside.append(self._set_aside(source, error))

    def _payloads(
        self,
        reader: ObjectReader,
        blocks: Iterator[bytes],
        left_over: list[str],
        *,
        day_first: bool | None = None,
    ) -> None:
        task, key = self._task, reader.meta.key
        plain = to_utf8(decompress(blocks, left_over=left_over.append))
        head = next(plain, b"")
        if not head:  # a marker, or a file that was begun and not written: it holds no row
            self._taken.append(TakenSource(self._source(reader.meta), 0))
            return
        known = choose_format(key, reader.beginning or head, task.format, reader.content_type)
        chosen = self._mapped(known, day_first)
        if reader.beginning:  # rows that were appended have no header of their own
            head = head_of_rows(reader.beginning, chosen.name) + head
        parts = chosen.split(
            chain([head], plain), task.config.batch_bytes, task.config.record_bytes
        )
        first = next(parts)
        signal = choose_signal(chosen, key, first.data, task.signal, task.hint)
        kind, source = _Kind(chosen, signal), self._source(reader.meta)
        fitted = (
            _Payload(source, *found, reader.meta.modified_ns)
            for found in fitting(chosen, signal, chain([first], parts), task.config)
        )
        del first, head
        ahead = list(islice(fitted, 2))
        if len(ahead) > 1 or self._kinds(kind, ahead[0]) != [kind]:
            self._large_object(kind, _handed_over(ahead, fitted))
            return
        payload = ahead[0]
        if not self._has_room(kind, payload.measure):
            self._flush()
        self._pending.setdefault(kind, []).append(payload)
        waiting = self._waiting.get(kind)
        self._waiting[kind] = (
            waiting.with_more(payload.measure) if waiting is not None else payload.measure
        )

    def _has_room(self, kind: _Kind, more: Measure) -> bool:
        """Whether what is pending may wait for another payload, to be decoded together."""
        config, waiting = self._task.config, self._waiting.get(kind)
        size = sum(measure.size for measure in self._waiting.values())
        if size + more.size > config.batch_bytes:
            return not self._waiting
        together = more if waiting is None else waiting.with_more(more)
        return cost_of(kind.format, together) <= config.decode_bytes

    def _kinds(self, kind: _Kind, payload: _Payload) -> list[_Kind]:
        """As what a payload is decoded: as each signal in it, unless the user named one."""
        if self._task.signal is not None:
            return [kind]
        found = kind.format.by_signal(payload.part.data, kind.signal)
        return [_Kind(chosen, signal) for signal, chosen in found.items()]

    def _mapped(self, chosen: Format, day_first: bool | None) -> Format:  # noqa: FBT001 - as found
        """The format with the user's mapping; the same one for all objects of the batch.

        An object whose order of day and month was found out while it was read has its own.
        """
        mapping = self._task.mapping
        if day_first is not None:
            return chosen.mapped(replace(mapping or SourceMapping(), day_first=day_first))
        if mapping is None:
            return chosen
        if chosen.name not in self._formats:
            self._formats[chosen.name] = chosen.mapped(mapping)
        return self._formats[chosen.name]

    def _flush(self) -> None:
        """Decode and write everything that is pending."""
        pending, self._pending, self._waiting = self._pending, {}, {}
        for kind in list(pending):
            self._write(kind, pending.pop(kind))

    def _write(self, kind: _Kind, payloads: list[_Payload]) -> None:
        """Decode and write payloads together; those that cannot be are found and set aside."""
        try:
            written = self._decode_and_write_all(kind, payloads)
        except (_PutFailedError, EncodingError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever one object does, the others land
            if len(payloads) == 1:
                self._refuse(payloads[0].source, error)
            else:
                self._write_apart(kind, payloads)
            return
        aside = {
            position: [each for _, each in found]
            for position, found in groupby(written.aside, key=itemgetter(0))
        }
        for position, (payload, count) in enumerate(zip(payloads, written.rows, strict=True)):
            self._taken.append(TakenSource(payload.source, count))
            if position in aside:
                lines = self._lines_aside(kind, payload)
                with _putting():
                    lines.add(aside[position])
                self._set_lines_aside(lines)

    def _write_apart(self, kind: _Kind, payloads: list[_Payload]) -> None:
        """Write those of some payloads that can be decoded alone, together if that can be done."""
        good = [payload for payload in payloads if self._decodes(kind, payload)]
        if len(good) < len(payloads):
            payloads.clear()
            if good:
                self._write(kind, good)
            return
        for payload in good:  # nothing is wrong with any of them, only with all at once
            self._write(kind, [payload])

    def _decodes(self, kind: _Kind, payload: _Payload) -> bool:
        """Whether a payload can be decoded by itself; sets it aside if not."""
        try:
            kind.format.decode([payload.part.data], kind.signal, [payload.modified_ns])
        except Exception as error:  # noqa: BLE001 - this is the object at fault
            self._refuse(payload.source, error)
            return False
        return True

    def _decode_and_write_all(self, kind: _Kind, payloads: list[_Payload]) -> _Written:
        """Decode and write payloads: the rows of all of them, or none."""
        writer = self._writer.branch()
        try:
            written = self._decode_and_write(kind, payloads, writer, self._later)
        except Exception:
            writer.discard()
            raise
        with _putting():
            self._writer.merge(writer)
        return written

    def _large_object(self, kind: _Kind, payloads: Iterator[_Payload]) -> None:
        """Take an object part by part, and signal by signal; if any is broken, take none of it."""
        self._flush()
        writer = self._writer.branch()
        aside: LinesAside | None = None
        days, turned = Days(), set[bool]()
        total, last = 0, None
        try:
            for payload in payloads:
                last = payload._replace(part=Part(b""))
                every: list[Found] = []
                for each in self._kinds(kind, payload):
                    written = self._decode_and_write(each, [payload], writer)
                    every += [found for _, found in written.aside if found not in every]
                    total += sum(written.rows)
                    for told in written.days:
                        days = days.with_more(told)
                        turned.add(told.turned)
                if every:
                    aside = aside or self._lines_aside(kind, payload)
                    with _putting():
                        aside.add(every)
                del payload  # before the next part is made
            _check_order(days, turned)
        except Exception:
            writer.discard()  # nothing will ever name these segments
            raise
        if last is not None:
            with _putting():
                self._writer.merge(writer)
            self._taken.append(TakenSource(last.source, total))
            self._set_lines_aside(aside)

    def _lines_aside(self, kind: _Kind, payload: _Payload) -> LinesAside:
        task = self._task
        return LinesAside(
            task.lake,
            task.account,
            task.batch_id if task.record else "",
            payload.source,
            kind.format.name,
            payload.modified_ns,
        )

    def _set_lines_aside(self, lines: LinesAside | None) -> None:
        """Set lines of an object aside of which all others were taken just now."""
        if not lines:
            return
        taken = self._taken[-1]
        if are_lines(taken.source) and not taken.rows:
            del self._taken[-1]  # tried again in vain: they stay as they are
            tried = lines.rejections()
            self._failed += [replace(each, source=taken.source) for each in tried]
            return
        with _putting():
            lines.put()
        self._aside += lines.rejections()

    def _decode_and_write(
        self,
        kind: _Kind,
        payloads: list[_Payload],
        writer: SegmentWriter,
        later: Later | None = None,  # none for parts of a large object, each of which may take all
    ) -> _Written:
        fallback = [payload.modified_ns for payload in payloads]
        data = [payload.part.data for payload in payloads]
        together = reduce(Measure.with_more, (payload.measure for payload in payloads))
        self._encoder.make_room(cost_of(kind.format, together))
        decoded = kind.format.decode(data, kind.signal, fallback)
        table = decoded.table
        rules: tuple[int, ...] = ()  # other tables have none
        self._count_untimed(kind, table)
        if kind.signal is Signal.LOGS:
            table, rules = with_fingerprints(table), (FINGERPRINT_RULES,)
        sources = tuple(payload.source for payload in payloads)
        name = self._task.batch_id
        origin = Origin(
            self._task.account, name, sources, epoch=self._task.epoch, fingerprint_rules=rules
        )
        config = self._task.config
        spec, filters = configured(kind.table, config), config.word_filters == "ingest"
        for made in make_segments(
            table, spec, origin, config.window_ns, filters=filters, later=later
        ):
            with _putting():
                writer.add(made)
        aside = [
            (lines.payload, Found.of(lines, payloads[lines.payload].part, kind.format.name))
            for lines in decoded.set_aside
        ]
        aside += [
            (position, Found(lines, 1))
            for position, payload in enumerate(payloads)
            for lines in payload.part.set_aside
        ]
        aside.sort(key=itemgetter(0))
        return _Written(decoded.rows.tolist(), aside, decoded.days)

    def _count_untimed(self, kind: _Kind, table: Any) -> None:
        """Count rows that have the time of their object, for want of one of their own."""
        count = rows_without_time(table["timestamp_source"])
        if count:
            name = kind.format.name
            self._untimed[name] = self._untimed.get(name, 0) + count

    def _source(self, meta: ObjectMeta) -> Source:
        return Source(self._task.source.url, meta.key, meta.etag)

    def _set_aside(self, source: Source, error: LakerunnerError) -> Rejection:
        return Rejection(source, error.code.value, error.message, time.time_ns())
