"""OTLP as protobuf: one export request per object, as the collector's S3 exporter writes it.

Streams of requests with their lengths before them, as its file exporter writes, are taken too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.base import Measure, Part, too_long
from lakerunner.formats.otlp.requests import decode_requests
from lakerunner.formats.otlp.shallow import count_points, count_records, cut_between_records
from lakerunner.formats.otlp.wire import (
    MAX_FIELD_BYTES,
    first_message,
    recognise_signal,
    request_handler,
    split_message,
    unframed,
)
from lakerunner.limits import OBJECT_BYTES
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.formats.base import Format
    from lakerunner.model.profile import SourceMapping
    from lakerunner.schema.tables import Decoded

_RESOURCE = 3


class OtlpProtobuf:
    """`ExportLogsServiceRequest` and its siblings in the protobuf wire format."""

    name = "otlp-protobuf"
    certain = True

    def recognises(self, head: bytes) -> bool:
        """Whether a record of a known signal begins here; see `Format.recognises`."""
        try:
            return recognise_signal(first_message(head)) is not None
        except CorruptObjectError:
            return False

    def mapped(self, mapping: SourceMapping) -> OtlpProtobuf:
        """Itself: its fields are known."""
        del mapping
        return self

    def split(
        self, blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES
    ) -> Iterator[Part]:
        """Cut an object between resources, and a large resource between records.

        See `Format.split`. A resource is cut in memory, so it may have `_RESOURCE` times the bytes
        of a record.
        """
        most = min(_RESOURCE * longest, MAX_FIELD_BYTES)
        for data in split_message(unframed(blocks), limit, most):
            if len(data) <= limit:
                yield Part(data)
                continue
            pieces = cut_between_records(data, limit, longest)
            del data  # which is held a second time in what is cut
            for piece in pieces:
                yield Part(piece.data, set_aside=too_long((), longest, piece.dropped))

    def measure(self, payload: bytes, signal: Signal) -> Measure:
        """Count records or points; see `Format.measure`."""
        if signal is Signal.METRICS:
            return Measure(len(payload), count_points(payload))
        return Measure(len(payload), count_records(payload))

    def split_again(
        self, payload: bytes, limit: int, longest: int = OBJECT_BYTES
    ) -> Iterator[Part]:
        """Cut the data of a part once more; see `Format.split_again`."""
        return self.split([payload], limit, longest)

    def signal(self, payload: bytes) -> Signal | None:
        """Judge by the first record; see `Format.signal`."""
        return recognise_signal(first_message(payload))

    def by_signal(self, payload: bytes, signal: Signal) -> dict[Signal, Format]:
        """One signal, as all of an object is of one; see `Format.by_signal`."""
        del payload
        return {signal: self}

    def decode(self, payloads: Sequence[bytes], signal: Signal, fallback_ns: Any) -> Decoded:
        """Decode export requests; see `Format.decode`.

        Text that is not valid UTF-8 is repaired: each invalid byte becomes U+FFFD.
        """
        return decode_requests(_nested_batch(payloads, signal), signal, fallback_ns)


def _nested_batch(payloads: Sequence[bytes], signal: Signal) -> Any:
    batch = list(payloads)
    try:
        return request_handler(signal, raw=True).list_to_record_batch(batch)
    except ValueError:  # text that is not UTF-8, or broken; the second try tells
        pass
    try:
        return request_handler(signal, text_as_bytes=True, raw=True).list_to_record_batch(batch)
    except ValueError as error:
        raise CorruptObjectError(f"not an OTLP {signal} message: {error}") from error
