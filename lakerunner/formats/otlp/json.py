"""OTLP as JSON: whole documents, and one document a line as the collector's file exporter writes.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakerunner.errors import CorruptObjectError, ErrorCode
from lakerunner.formats.base import Measure
from lakerunner.formats.otlp.json_lines import lines_of
from lakerunner.formats.otlp.json_read import read_documents
from lakerunner.formats.otlp.json_repairs import camel_case_keys
from lakerunner.formats.otlp.json_signal import recognise_signal, signals_in
from lakerunner.formats.otlp.json_split import split_documents
from lakerunner.formats.otlp.json_types import request_schema
from lakerunner.formats.otlp.requests import decode_requests
from lakerunner.limits import OBJECT_BYTES
from lakerunner.model.signal import Signal
from lakerunner.schema.tables import SetAside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.formats.base import Format, Part
    from lakerunner.formats.otlp.json_lines import Lines
    from lakerunner.formats.otlp.json_read import Documents
    from lakerunner.model.profile import SourceMapping
    from lakerunner.schema.tables import Decoded


class OtlpJson:
    """`ExportLogsServiceRequest` and its siblings in OTLP's JSON encoding.

    Args:
        several: Documents of other signals are passed over, as they are decoded as these.
    """

    name = "otlp-json"
    certain = True

    def __init__(self, *, several: bool = False) -> None:
        self._several = several

    def recognises(self, head: bytes) -> bool:
        """Whether a field that only OTLP has stands in a document's outermost object.

        See `Format.recognises`.
        """
        try:
            return recognise_signal(head) is not None
        except CorruptObjectError:
            return False

    def mapped(self, mapping: SourceMapping) -> OtlpJson:
        """Itself: its fields are known."""
        del mapping
        return self

    def split(
        self, blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES
    ) -> Iterator[Part]:
        """Cut an object between lines, or between the resources of a large document.

        See `Format.split`. In every part each document stands on a line of its own.
        """
        return split_documents(blocks, limit, longest)

    def measure(self, payload: bytes, signal: Signal) -> Measure:
        """Count the objects in it, of which each may be a record; see `Format.measure`."""
        del signal
        return Measure(len(payload), payload.count(b"{"))

    def split_again(
        self, payload: bytes, limit: int, longest: int = OBJECT_BYTES
    ) -> Iterator[Part]:
        """Cut the data of a part once more; see `Format.split_again`."""
        return self.split([payload], limit, longest)

    def signal(self, payload: bytes) -> Signal | None:
        """Judge by the first field that only one signal has; see `Format.signal`.

        Raises:
            CorruptObjectError: The payload does not begin with an object, and there is no such
                field in it.
        """
        return recognise_signal(payload)

    def by_signal(self, payload: bytes, signal: Signal) -> dict[Signal, Format]:
        """All signals that have a document here; see `Format.by_signal`."""
        found = signals_in(payload)
        if found <= {signal}:
            return {signal: self}
        return {each: _AMONG_OTHERS for each in Signal if each in found}

    def decode(self, payloads: Sequence[bytes], signal: Signal, fallback_ns: Any) -> Decoded:
        """Decode payloads as `split` yields them; see `Format.decode`.

        Lines that are broken or carry another signal are set aside, unless those of others are
        passed over. Ids may be in hex or, if they
        cannot be that, in base64; fields may have either of their names, enums name or number,
        64-bit integers may be numbers or text. Unknown fields and nulls are ignored. Of a key that
        stands twice in an object the last one counts.
        """
        lines = lines_of([camel_case_keys(payload) for payload in payloads])
        documents = read_documents(lines, signal, several=self._several)
        batch = _one_row_per_payload(documents, lines, len(payloads), signal)
        decoded = decode_requests(batch, signal, fallback_ns)
        return decoded._replace(set_aside=_set_aside(documents, lines))


_AMONG_OTHERS = OtlpJson(several=True)


def _one_row_per_payload(documents: Documents, lines: Lines, count: int, signal: Signal) -> Any:
    """Merge the documents of each payload, as protobuf messages are merged by concatenation."""
    bounds = np.searchsorted(lines.payload[documents.lines], np.arange(count + 1))
    schema = request_schema(signal)
    column = pa.ListArray.from_arrays(
        documents.resources.offsets.take(pa.array(bounds)),
        documents.resources.values,
        type=schema.field(0).type,
    )
    return pa.record_batch([column], schema=schema)


def _set_aside(documents: Documents, lines: Lines) -> tuple[SetAside, ...]:
    found: dict[tuple[int, str], list[int]] = {}
    for refused in sorted(documents.refused):
        key = (int(lines.payload[refused.line]), refused.reason)
        found.setdefault(key, []).append(int(lines.number[refused.line]))
    return tuple(
        SetAside(
            payload=payload,
            lines=tuple(numbers),
            rows=len(numbers),
            code=ErrorCode.CORRUPT_OBJECT.value,
            reason=reason,
        )
        for (payload, reason), numbers in found.items()
    )
