"""Formats of records, each a splitter and a reader, as the rest of the library knows formats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lakerunner.errors import ConfigurationError
from lakerunner.formats.records.adopt import adopt, signal_of
from lakerunner.formats.records.between import rows_between, without_text
from lakerunner.formats.records.grouping import alike, grouped
from lakerunner.formats.records.measures import measure_text
from lakerunner.formats.records.patterns import apply_pattern
from lakerunner.formats.records.unwrap import unwrap
from lakerunner.limits import OBJECT_BYTES
from lakerunner.model.signal import Signal
from lakerunner.schema.tables import TABLE_OF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from lakerunner.formats.base import Format, Measure, Part
    from lakerunner.formats.records.between import TextRows
    from lakerunner.formats.records.read import Records
    from lakerunner.model.profile import SourceMapping
    from lakerunner.schema.tables import Decoded

_HEAD_BYTES = 64 * 1024
_COLUMNS = frozenset(name for table in TABLE_OF.values() for name in table.schema.names)


@dataclass(frozen=True, eq=False)
class RecordFormat:
    """A format whose objects are records of named fields.

    Attributes:
        name: What users call it.
        splitter: Cuts objects; see `Format.split`.
        reader: Reads payloads.
        recognise: Whether the beginning of an object, which is not empty, looks like this format.
        measurer: Counts what a payload holds; see `Format.measure`.
        sample: Reads a few records of a payload, to tell the signal.
        certain: Names of fields tell the signal, which is not beyond doubt.
        lines: Records are lines of text, to be taken apart by patterns.
        apart: Each payload is read by itself in any case.
        mapping: What the user says of the records.
    """

    name: str
    splitter: Callable[[Iterable[bytes], int, int], Iterator[Part]]
    reader: Callable[[Sequence[bytes]], Records]
    recognise: Callable[[bytes], bool]
    sample: Callable[[bytes], pa.Table]
    measurer: Callable[[bytes], Measure] = measure_text
    certain: bool = False
    lines: bool = False
    apart: bool = False
    mapping: SourceMapping | None = None

    def mapped(self, mapping: SourceMapping) -> RecordFormat:
        """The same format, reading by a mapping; see `Format.mapped`.

        Raises:
            ConfigurationError: No table has a column that the mapping fills.
        """
        unknown = mapping.columns.keys() - _COLUMNS
        if unknown:
            raise ConfigurationError(
                f"mapping: there is no column {min(unknown)!r} in logs, spans or metrics; "
                "'attributes' gives fields names of their own",
                columns=sorted(unknown),
            )
        return replace(self, mapping=mapping)

    def recognises(self, head: bytes) -> bool:
        """Whether the beginning of an object is of this format; see `Format.recognises`."""
        return bool(head) and self.recognise(head)

    def split(
        self, blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES
    ) -> Iterator[Part]:
        """Cut an object between records; see `Format.split`."""
        return self.splitter(blocks, limit, longest)

    def measure(self, payload: bytes, signal: Signal) -> Measure:
        """Count records and their fields; see `Format.measure`."""
        del signal
        found = self.measurer(payload)
        if self.mapping is not None and self.mapping.rows is not None:
            return found._replace(rows=found.rows + found.values)  # elements become rows
        return found

    def signal(self, payload: bytes) -> Signal | None:
        """Judge by the names of the fields; see `Format.signal`."""
        return signal_of(self.sample(payload), self.mapping)

    def by_signal(self, payload: bytes, signal: Signal) -> dict[Signal, Format]:
        """One signal, as all of an object is of one; see `Format.by_signal`."""
        del payload
        return {signal: self}

    def decode(self, payloads: Sequence[bytes], signal: Signal, fallback_ns: Any) -> Decoded:
        """Decode records; see `Format.decode`."""
        groups, texts = self._groups(payloads, signal)
        return adopt(groups, signal, fallback_ns, self.mapping, texts)

    def _groups(
        self, payloads: Sequence[bytes], signal: Signal
    ) -> tuple[list[Records], list[TextRows]]:
        """Read payloads in one go where none of them changes how another is read, or apart."""
        said = self.mapping
        plain = said is None or said.rows is None
        mixed = plain and signal is Signal.LOGS  # lines of text are records of logs
        if not self.apart and plain:
            records = self._read(payloads)
            if records.alike and alike(records, len(payloads), signal):
                parts, texts = _texts_apart([records], mixed=mixed)
                return parts, texts
        parts = [_moved(self._read([payload]), at) for at, payload in enumerate(payloads)]
        parts, texts = _texts_apart(parts, mixed=mixed)
        if said is not None and said.rows is not None:
            parts = [unwrap(part, said.rows) for part in parts]
        return grouped(parts, {} if said is None else said.attributes), texts

    def _read(self, payloads: Sequence[bytes]) -> Records:
        records = self.reader(payloads)
        return apply_pattern(records, self.mapping) if self.lines else records


def _texts_apart(parts: list[Records], *, mixed: bool) -> tuple[list[Records], list[TextRows]]:
    """Records without the text among them, which is made records of its own or set aside."""
    if not mixed:
        return list(map(without_text, parts)), []
    found = [rows_between(part.between) for part in parts if part.between is not None]
    return [part._replace(between=None) for part in parts], found


def _moved(records: Records, place: int) -> Records:
    """The records of a payload that is not the first of its batch."""
    aside = tuple(each._replace(payload=place) for each in records.set_aside)
    text = records.between
    if text is not None:
        lines = text.lines._replace(payload=text.lines.payload + np.int32(place))
        text = text._replace(lines=lines)
    payload = records.payload + np.int32(place)
    return records._replace(payload=payload, set_aside=aside, between=text)


def head_of(payload: bytes) -> bytes:
    """The first lines of a payload, or all of it where its first line is long."""
    if len(payload) <= _HEAD_BYTES:
        return payload
    end = payload.rfind(b"\n", 0, _HEAD_BYTES)
    return payload[: end + 1] if end >= 0 else payload
