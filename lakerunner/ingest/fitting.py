"""Cut the parts of an object until the decoding of each fits into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import ErrorCode, ObjectTooLargeError
from lakerunner.formats.base import Part
from lakerunner.policies.costs import decoding_bytes, smaller_limit
from lakerunner.schema.decoded import SetAside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakerunner.formats.base import Format, Measure
    from lakerunner.model.config import Config
    from lakerunner.model.signal import Signal

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
        pieces = _within(part, chosen.split([part.data], limit, config.record_bytes))
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
