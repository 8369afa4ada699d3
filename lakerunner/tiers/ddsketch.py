"""Sketches as DataDog's libraries exchange them: `DDSketch` messages of Protocol Buffers.

Their bins are those of this library: `floor(log(value) / log(gamma))`. Whole columns are written
and read at once.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import ptars
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool

from lakerunner.errors import CorruptObjectError
from lakerunner.schema.arrays import expand, list_lengths, list_values, numbers
from lakerunner.schema.sketch import (
    GAMMA,
    ORIGIN,
    Sketches,
    merge_sketches,
    read_sketches,
    sketch_column,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Field = descriptor_pb2.FieldDescriptorProto
_ONE, _MANY = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
_PACKAGE = "lakerunner.ddsketch"
_MESSAGES: dict[str, tuple[tuple[str, int, Any, Any, str], ...]] = {
    "IndexMapping": (
        ("gamma", 1, _Field.TYPE_DOUBLE, _ONE, ""),
        ("indexOffset", 2, _Field.TYPE_DOUBLE, _ONE, ""),
        ("interpolation", 3, _Field.TYPE_INT32, _ONE, ""),
    ),
    # A map in the original, which is this on the wire.
    "Bin": (
        ("key", 1, _Field.TYPE_SINT32, _ONE, ""),
        ("value", 2, _Field.TYPE_DOUBLE, _ONE, ""),
    ),
    "Store": (
        ("binCounts", 1, _Field.TYPE_MESSAGE, _MANY, "Bin"),
        ("contiguousBinCounts", 2, _Field.TYPE_DOUBLE, _MANY, ""),
        ("contiguousBinIndexOffset", 3, _Field.TYPE_SINT32, _ONE, ""),
    ),
    "DDSketch": (
        ("mapping", 1, _Field.TYPE_MESSAGE, _ONE, "IndexMapping"),
        ("positiveValues", 2, _Field.TYPE_MESSAGE, _ONE, "Store"),
        ("negativeValues", 3, _Field.TYPE_MESSAGE, _ONE, "Store"),
        ("zeroCount", 4, _Field.TYPE_DOUBLE, _ONE, ""),
    ),
}
_GAMMA_DIGITS = 1e-9  # others compute it from an accuracy by another formula


@cache
def _handler() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="lakerunner/ddsketch.proto", syntax="proto3", package=_PACKAGE
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label, of in fields:
            added = message.field.add(name=field, number=number, type=kind, label=label)
            if of:
                added.type_name = f".{_PACKAGE}.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.DDSketch")
    return ptars.HandlerPool([descriptor.file]).get_for_message(descriptor)


def encode_ddsketches(column: Any) -> pa.BinaryArray:
    """Write sketches as messages.

    Args:
        column: `pa.StructArray` of `SKETCH_TYPE`, or chunks of it. NULL is written as an empty one.

    Returns:
        One message for each.

    Example:
        >>> from lakerunner.schema.sketch import sketch_values
        >>> sketches = sketch_values(np.array([1.0, -2.0, 0.0]), np.zeros(3, np.int64), 1)
        >>> message = encode_ddsketches(sketch_column(sketches))
        >>> decode_ddsketches(message).field("counts").to_pylist()
        [[1, 1, 1]]
    """
    sketches = read_sketches(column)
    size = len(sketches.offsets) - 1
    group = np.repeat(np.arange(size), np.diff(sketches.offsets))
    zero = np.bincount(group, np.where(sketches.bins == 0, sketches.counts, 0), size)
    handler = _handler()
    empty = handler.list_to_record_batch([]).schema
    mapping = pa.StructArray.from_arrays(
        [
            pa.array(np.full(size, GAMMA)),
            pa.array(np.zeros(size)),
            pa.array(np.zeros(size, np.int32)),
        ],
        fields=list(empty.field("mapping").type),
    )
    stores = [
        _store(sketches, group, sketches.bins * sign > 0, empty.field(name).type)
        for sign, name in ((1, "positiveValues"), (-1, "negativeValues"))
    ]
    columns = [mapping, *stores, pa.array(zero)]
    return handler.record_batch_to_array(pa.RecordBatch.from_arrays(columns, schema=empty))


def _store(
    sketches: Sketches,
    group: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    dtype: pa.DataType,
) -> pa.StructArray:
    size = len(sketches.offsets) - 1
    keys = (np.abs(sketches.bins[chosen]) - ORIGIN).astype(np.int32)
    counts = sketches.counts[chosen].astype(np.float64)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(group[chosen], minlength=size))])
    pairs = pa.StructArray.from_arrays(
        [pa.array(keys), pa.array(counts)], fields=list(dtype.field("binCounts").type.value_type)
    )
    listed = pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), pairs, type=dtype.field("binCounts").type
    )
    none = pa.ListArray.from_arrays(
        pa.array(np.zeros(size + 1, np.int32)),
        pa.array([], pa.float64()),
        type=dtype.field("contiguousBinCounts").type,
    )
    return pa.StructArray.from_arrays(
        [listed, none, pa.array(np.zeros(size, np.int32))], fields=list(dtype)
    )


def decode_ddsketches(messages: Any) -> pa.StructArray:
    """Read sketches from messages.

    Args:
        messages: `pa.BinaryArray`.

    Returns:
        A column of `SKETCH_TYPE`; an empty sketch is NULL.

    Raises:
        CorruptObjectError: A message cannot be read; its bins are not those of 1 % relative error
            by logarithms, so that they would have to be guessed; or a count is no whole number.
    """
    try:
        batch = _handler().array_to_record_batch(messages)
    except ValueError as error:
        raise CorruptObjectError(f"not a DDSketch message: {error}") from error
    mapping = batch.column("mapping")
    gamma, offset, interpolation = (
        numbers(mapping.field(name), np.float64)
        for name in ("gamma", "indexOffset", "interpolation")
    )
    zero = numbers(batch.column("zeroCount"), np.float64)
    parts = [(np.arange(len(zero)), np.zeros(len(zero), np.int64), zero)]
    for sign, name in ((1, "positiveValues"), (-1, "negativeValues")):
        parts += _bins(batch.column(name), offset, sign)
    group, bins, counts = (np.concatenate(each) for each in zip(*parts, strict=True))
    filled = counts != 0
    owners = np.unique(group[filled])
    other = (np.abs(gamma - GAMMA) > _GAMMA_DIGITS) | (offset % 1 != 0) | (interpolation != 0)
    if other[owners].any():
        raise CorruptObjectError(
            f"a sketch has other bins than those of gamma {GAMMA:.6f} by logarithms: its values "
            "could only be guessed"
        )
    if ((counts < 0) | (counts % 1 != 0)).any():
        raise CorruptObjectError("a bin of a sketch counts what is no whole number")
    single = Sketches(
        np.arange(int(filled.sum()) + 1), bins[filled], counts[filled].astype(np.int64)
    )
    return sketch_column(merge_sketches(single, group[filled], len(zero)))


def _bins(
    store: Any, offset: NDArray[np.float64], sign: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Sketch, bin and count of each entry of the stores of one sign."""
    found = []
    pairs = store.field("binCounts")
    lengths = list_lengths(pairs)
    entries = pairs.filter(pa.array(lengths > 0)).flatten()
    group = np.repeat(np.arange(len(lengths)), lengths)
    keys = numbers(entries.field("key"), np.int64)
    found.append((group, keys, numbers(entries.field("value"), np.float64)))
    dense = store.field("contiguousBinCounts")
    lengths = list_lengths(dense)
    first = numbers(store.field("contiguousBinIndexOffset"), np.int64)
    group = np.repeat(np.arange(len(lengths)), lengths)
    found.append((group, expand(first, lengths), list_values(dense, lengths)))
    return [
        (group, sign * (keys - offset[group].astype(np.int64) + ORIGIN), counts)
        for group, keys, counts in found
    ]
