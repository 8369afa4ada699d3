"""Lines of OTLP JSON to the nested batch that all OTLP decoders take.

Whatever most producers write is read by pyarrow's JSON reader in one call. What it refuses is
rewritten (`json_repairs`) and read again; then the lines that are no JSON are left out; and the
rest is halved until the few documents are found that have to be read patiently (`json_lenient`).
So one odd line costs about twice its neighbours' time, not theirs a hundredfold.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.json_batch import TooDeepError, UnreadableError, to_batch
from lakerunner.formats.otlp.json_lenient import read_patiently
from lakerunner.formats.otlp.json_repairs import lenient_bytes
from lakerunner.formats.otlp.json_types import (
    ROOTS,
    Numbers,
    Shape,
    batch_type,
    reading_schema,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.formats.otlp.json_lines import Lines
    from lakerunner.model.signal import Signal

_LEVELS = (3, 6)  # each further one doubles the schema; deeper documents are read patiently
_FEW_LINES = 16  # below this, reading them one by one costs no more than halving them
_OPENING = ord("{")
_BYTE = re.compile(r" \(byte \d+\)")
_DOCUMENT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Refused(NamedTuple):
    """A line that was left out.

    Attributes:
        line: Its position among the lines.
        reason: Why.
        other: Whether it is a document, and what was left out are records of other signals.
    """

    line: int
    reason: str
    other: bool = False


class Documents(NamedTuple):
    """What was read.

    Attributes:
        resources: Array of `batch_type`, one element per line that was taken.
        lines: int64: the position of each of them among the lines, ascending.
        refused: The lines that were left out, in no order.
    """

    resources: Any
    lines: Any
    refused: list[Refused]


def read_documents(lines: Lines, signal: Signal, *, several: bool = False) -> Documents:
    """Read documents, one a line, with fields under their JSON names.

    A line that is broken or carries another signal is left out and named; the others land.

    Args:
        lines: The documents.
        signal: Which to read.
        several: Those of other signals are left out without a word.
    """
    documents = _read_documents(lines, signal)
    if not several:
        return documents
    return documents._replace(refused=[each for each in documents.refused if not each.other])


def _read_documents(lines: Lines, signal: Signal) -> Documents:
    count = len(lines.starts)
    try:
        _check_text(lines.data)
        _check_objects(lines)
        return _with_strangers(
            lines, signal, [_read(lines, 0, count, signal, Numbers.STRICT)], np.arange(count), []
        )
    except ValueError:  # what exactly was wrong does not matter: each further step is more patient
        return _read_patiently(lines, signal)


def _check_text(data: bytes) -> None:
    """Raise a `ValueError` if it is not UTF-8; the JSON reader does not look."""
    if not data.isascii():
        ends = pa.py_buffer(np.array([0, len(data)], np.int64))
        text = pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(data)])
        text.validate(full=True)


def _check_objects(lines: Lines) -> None:
    """Raise a `ValueError` if a line begins no object: the JSON reader ends the process at `null`.

    A `null` behind an object only makes it count one row more.
    """
    heads = np.frombuffer(lines.data, np.uint8)[lines.starts]
    for index in np.flatnonzero(heads != _OPENING).tolist():
        if not lines.text(index).lstrip().startswith(b"{"):
            raise UnreadableError("a line begins no object")


class _Piece(NamedTuple):
    """Some consecutive lines.

    Attributes:
        resources: As in `Documents`.
        taken: bool per line.
        strange: bool per line that was taken: without the signal's field, or with another one's.
    """

    resources: Any
    taken: Any
    strange: Any


def _read(lines: Lines, first: int, last: int, signal: Signal, numbers: Numbers) -> _Piece:
    """Read lines in one call, or raise a `ValueError` if one of them is not as expected."""
    count = last - first
    if not count:
        nothing = pa.array([], batch_type(signal))
        return _Piece(nothing, np.zeros(0, bool), np.zeros(0, bool))
    data = memoryview(lines.data)[lines.starts[first] : lines.ends[last - 1] + 1]
    nested = b"arrayValue" in lines.data or b"kvlistValue" in lines.data
    for levels in _LEVELS if nested else (0,):
        table = _parse(data, reading_schema(signal, Shape(numbers, levels)))
        if table.num_rows != count:
            raise UnreadableError("a line holds more or less than one document")
        own, *others = (column.combine_chunks() for column in table.columns)
        try:
            resources = to_batch(own, batch_type(signal))
        except TooDeepError:
            continue
        strange = own.is_null().to_numpy(zero_copy_only=False)
        for other in others:
            strange = strange | (np.diff(other.offsets.to_numpy()) > 0)
        return _Piece(resources, np.ones(count, bool), strange)
    raise UnreadableError(f"a value is nested deeper than {_LEVELS[-1] - 1} levels")


def _parse(data: memoryview, schema: Any) -> Any:
    return pj.read_json(
        pa.BufferReader(pa.py_buffer(data)),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    ).select(schema.names)


def _read_patiently(lines: Lines, signal: Signal) -> Documents:
    """Leave out what is no JSON, and find the documents that the columnar reader refuses."""
    dense = lines.keep(np.arange(len(lines.starts)))
    dense = dense.rewritten(lenient_bytes(dense.data))
    reasons = {
        index: reason
        for index in range(len(dense.starts))
        if (reason := _not_a_document(dense.text(index)))
    }
    kept = np.array([i for i in range(len(dense.starts)) if i not in reasons], np.int64)
    refused = [Refused(index, reason) for index, reason in reasons.items()]
    valid = dense.keep(kept)
    pieces = list(_halves(valid, 0, len(kept), signal, refused, kept))
    return _with_strangers(valid, signal, pieces, kept, refused)


def _not_a_document(line: bytes) -> str | None:
    try:
        _DOCUMENT.decode(line)
    except RecursionError:
        return "it is nested too deep"
    except ValueError as error:
        return f"not OTLP JSON: {_BYTE.sub('', str(error))}"
    return None


def _halves(
    lines: Lines, first: int, last: int, signal: Signal, refused: list[Refused], origin: Any
) -> Iterator[_Piece]:
    try:
        yield _read(lines, first, last, signal, Numbers.LENIENT)
    except ValueError:
        pass
    else:
        return
    if last - first > _FEW_LINES:
        middle = (first + last) // 2
        yield from _halves(lines, first, middle, signal, refused, origin)
        yield from _halves(lines, middle, last, signal, refused, origin)
        return
    for index in range(first, last):
        line = lines.text(index)
        try:
            resources = read_patiently(line, signal)
        except CorruptObjectError as error:
            refused.append(Refused(int(origin[index]), error.message))
            resources = pa.array([], batch_type(signal))
        taken = np.full(1, bool(len(resources)))
        yield _Piece(resources, taken, np.ones(len(resources), bool))


def _with_strangers(
    lines: Lines, signal: Signal, pieces: list[_Piece], origin: Any, refused: list[Refused]
) -> Documents:
    """Put pieces together, and name the lines that carry something else."""
    resources = [piece.resources for piece in pieces] or [pa.array([], batch_type(signal))]
    taken = np.flatnonzero(np.concatenate([[], *(piece.taken for piece in pieces)]))
    strange = np.flatnonzero(np.concatenate([[], *(piece.strange for piece in pieces)]))
    for index in taken[strange].tolist():
        refusal = _strangeness(int(origin[index]), lines.text(index), signal)
        refused += [] if refusal is None else [refusal]
    whole = resources[0] if len(resources) == 1 else pa.concat_arrays(resources)
    return Documents(whole, origin[taken], refused)


def _strangeness(line: int, text: bytes, signal: Signal) -> Refused | None:
    try:
        document = _DOCUMENT.decode(text)
    except RecursionError:
        return Refused(line, "it is nested too deep")
    other = next((kind for kind in ROOTS if kind is not signal and ROOTS[kind] in document), None)
    if other is not None and ROOTS[signal] in document:
        return Refused(line, f"it also carries {other}, which were left out", other=True)
    if other is not None:
        return Refused(line, f"it carries {other}, and the others {signal}", other=True)
    if not document or ROOTS[signal] in document:
        return None
    return Refused(line, "not OTLP JSON: it has no resourceLogs, resourceSpans or resourceMetrics")
