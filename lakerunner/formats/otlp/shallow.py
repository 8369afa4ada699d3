"""Export requests decoded down to their records, which stay bytes: to count them, and to cut them.

This takes a tenth of the time of decoding, and four bytes a record beside the bytes themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import ptars
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool

from lakerunner.errors import CorruptObjectError

if TYPE_CHECKING:
    from collections.abc import Iterator

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "lakerunner.shallow"
_KINDS_OF_POINTS = (5, 7, 9, 10, 11)  # numbers of the fields of a metric that hold data points
# By message: the name of each field, its number, whether it is repeated, and the message it holds;
# bytes if none. What is not named here is passed over by the first and kept by the second.
_HEADER_BYTES = 60  # what a record counts beside its own bytes: its row takes memory, too
_COUNTED = {
    "Data": [("points", 1, True, "")],
    "Metric": [(f"data_{number}", number, False, "Data") for number in _KINDS_OF_POINTS],
    "MetricScope": [("records", 2, True, "Metric")],
    "MetricResource": [("scopes", 2, True, "MetricScope")],
    "MetricRequest": [("resources", 1, True, "MetricResource")],
    "Scope": [("records", 2, True, "")],
    "Resource": [("scopes", 2, True, "Scope")],
    "Request": [("resources", 1, True, "Resource")],
}
_KEPT = {
    "Scope": [("scope", 1, False, ""), ("records", 2, True, ""), ("schema_url", 3, False, "")],
    "Resource": [
        ("resource", 1, False, ""),
        ("scopes", 2, True, "Scope"),
        ("schema_url", 3, False, ""),
    ],
    "Request": [("resources", 1, True, "Resource")],
}


@cache
def _handler(request: str, *, kept: bool) -> Any:
    name = "kept" if kept else "counted"
    file = descriptor_pb2.FileDescriptorProto(name=name, package=_PACKAGE, syntax="proto3")
    for message, fields in (_KEPT if kept else _COUNTED).items():
        described = file.message_type.add(name=message)
        for field, number, repeated, held in fields:
            described.field.add(
                name=field,
                number=number,
                label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
                type=_Field.TYPE_MESSAGE if held else _Field.TYPE_BYTES,
                type_name=f".{_PACKAGE}.{held}" if held else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.{request}")
    return ptars.HandlerPool([descriptor.file]).get_for_message(descriptor)


def _decoded(data: bytes, request: str, *, kept: bool) -> Any:
    try:
        return _handler(request, kept=kept).list_to_record_batch([data])
    except ValueError as error:
        raise CorruptObjectError(f"not an OTLP message: {error}") from error


def count_records(data: bytes) -> int:
    """Log records or spans of an export request.

    Raises:
        CorruptObjectError: It is no export request.
    """
    scopes = _decoded(data, "Request", kept=False).column(0).values.field("scopes").values
    return len(scopes.field("records").values)


def count_points(data: bytes) -> int:
    """Data points of an export request of metrics, and metrics without any.

    Raises:
        CorruptObjectError: It is no export request.
    """
    scopes = _decoded(data, "MetricRequest", kept=False).column(0).values.field("scopes").values
    metrics = scopes.field("records").values
    points = (metrics.field(f"data_{number}").field("points").values for number in _KINDS_OF_POINTS)
    return len(metrics) + sum(map(len, points))


class Cut(NamedTuple):
    """A piece of an export request.

    Attributes:
        data: A request, or nothing.
        dropped: Records left out before it.
    """

    data: bytes
    dropped: int


def cut_between_records(data: bytes, limit: int, longest: int) -> Iterator[Cut]:
    """Cut an export request between its records; each piece repeats whose records they are.

    Args:
        data: The request.
        limit: Bytes of the records of a piece, unless it is a single one.
        longest: Bytes that a record may have; longer ones are left out.

    Yields:
        Pieces that together hold all other records in order.

    Raises:
        CorruptObjectError: It is no export request.
    """
    holds_long = len(data) > longest
    batch = _decoded(data, "Request", kept=True)
    del data
    resources = batch.column(0).values
    scopes = resources.field("scopes").values
    records = scopes.field("records").values
    offsets = np.frombuffer(records.buffers()[1], np.int32)[: len(records) + 1]
    long = np.flatnonzero(np.diff(offsets) > longest) if holds_long else offsets[:0]
    stops = np.append(long, len(records))
    begin = dropped = 0

    def written(place: int) -> int:
        return int(offsets[place]) + _HEADER_BYTES * place

    while begin < len(records):
        stop = int(stops[np.searchsorted(stops, begin)])
        if stop == begin:
            begin, dropped = begin + 1, dropped + 1
            continue
        room = written(begin) + limit
        end = bisect_right(range(stop + 1), room, lo=begin + 1, key=written) - 1
        end = max(end, begin + 1)
        children, first, last = records, begin, end
        for parents, field in ((scopes, "records"), (resources, "scopes")):
            children, first, last = _parents_of(parents, field, children, first, last)
        whole = pa.ListArray.from_arrays(pa.array([0, len(children)], pa.int32()), children)
        piece = pa.record_batch([whole.cast(batch.schema.field(0).type)], schema=batch.schema)
        message = _handler("Request", kept=True).record_batch_to_array(piece)[0]
        yield Cut(message.as_py(), dropped)
        begin, dropped = end, 0
    if dropped:
        yield Cut(b"", dropped)
    if not len(records):
        yield Cut(_handler("Request", kept=True).record_batch_to_array(batch)[0].as_py(), 0)


def _parents_of(
    parents: Any, field: str, children: Any, first: int, last: int
) -> tuple[Any, int, int]:
    """Those messages that hold some children, without the other children of theirs.

    Args:
        parents: All messages.
        field: Name of the list of children in them.
        children: Either all children, or those from `first` on.
        first: The first child to keep, of all.
        last: The one after the last, of all.

    Returns:
        The messages, and which of all they are.
    """
    offsets = parents.field(field).offsets.to_numpy()
    kept = children.slice(first, last - first) if len(children) > last - first else children
    # Messages without children go with those behind them, or the last ones.
    begin = int(min(np.searchsorted(offsets, first, "right") - 1, np.searchsorted(offsets, first)))
    end = len(parents) if last == offsets[-1] else int(np.searchsorted(offsets, last))
    bounds = np.clip(offsets[begin : end + 1], first, last) - first
    lists = pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), kept)
    columns = [
        lists.cast(part.type) if part.name == field else parents.field(part.name)[begin:end]
        for part in parents.type
    ]
    return pa.StructArray.from_arrays(columns, fields=list(parents.type)), begin, end
