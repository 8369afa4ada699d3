"""Values read from the wire are those that a decoder of protobuf finds, however written."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.logs import decode_logs
from lakerunner.formats.otlp.wire import request_handler, value_handler
from lakerunner.formats.otlp.wire_values import WireValues, any_values
from lakerunner.generate import logs_request
from lakerunner.model.signal import Signal

FIELDS = (
    *("string_value", "bool_value", "int_value", "double_value"),
    *("array_value", "kvlist_value", "bytes_value"),
)


def some_array(texts: list[str]) -> AnyValue:
    value = AnyValue()
    value.array_value.SetInParent()
    for text in texts:
        value.array_value.values.add(string_value=text)
    return value


def some_map(texts: list[str]) -> AnyValue:
    value = AnyValue()
    value.kvlist_value.SetInParent()
    for text in texts:
        value.kvlist_value.values.add(key=text).value.int_value = len(text)
    return value


TEXTS = st.lists(st.text(max_size=4), max_size=3)
LONG = st.integers(0, 3).map(lambda power: "é" * (60 * 14**power))
VALUES = st.one_of(
    st.builds(AnyValue, string_value=st.text(max_size=9)),
    st.builds(AnyValue, string_value=LONG),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bytes_value=st.binary(max_size=200)),
    st.just(AnyValue()),
    TEXTS.map(some_array),
    TEXTS.map(some_map),
)
ENCODED = VALUES.map(lambda value: value.SerializeToString())
ODD = st.sampled_from(
    [
        b"\x0a\x81\x00a",  # a length of one byte, in two
        b"\x10\x02",  # a truth value that is neither
        b"\x18\x80\x00",
        b"\x08\x01",  # the number of a text, as a number
        b"\x0a\x01a\x18\x05",  # two fields, of which the last counts
        b"\x0a\x01a\x78\x01",  # and one that nobody knows
        b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x0a\x01\xff",
    ]
)


def lists_of(parts: list[list[bytes]]) -> Any:
    return pa.array(parts, pa.list_(pa.binary()))


def columns(values: Any) -> dict[str, list[Any]]:
    """Every field as comparable lists: text as bytes, and NaN as itself."""
    return {
        name: [
            "nan" if isinstance(one, float) and math.isnan(one) else one
            for one in as_bytes(values.field(name)).to_pylist()
        ]
        for name in FIELDS
    }


def as_bytes(column: Any) -> Any:
    return column.cast(pa.binary()) if pa.types.is_string(column.type) else column


def decoded(parts: list[list[bytes]]) -> Any:
    encoded = pa.array([b"".join(part) for part in parts], pa.binary())
    return value_handler("AnyValue", text_as_bytes=True).array_to_record_batch(encoded)


@given(st.lists(ENCODED, min_size=1, max_size=12))
def test_usual_values(encoded: list[bytes]) -> None:
    values = any_values(lists_of([[each] for each in encoded]))
    assert isinstance(values, WireValues)
    assert columns(values) == columns(decoded([[each] for each in encoded]).to_struct_array())


@given(st.lists(st.lists(ENCODED | ODD, max_size=2), max_size=8))
def test_any_values(parts: list[list[bytes]]) -> None:
    found, truth = any_values(lists_of(parts)), decoded(parts).to_struct_array()
    assert len(found) == len(parts)
    assert columns(found) == columns(truth)


@given(st.lists(ENCODED | ODD | st.binary(max_size=6), max_size=8), st.data())
def test_some_of_the_values(encoded: list[bytes], data: st.DataObject) -> None:
    parts = [[each] for each in encoded]
    try:
        truth = decoded(parts)
    except ValueError:
        with pytest.raises(CorruptObjectError, match="cannot be decoded"):
            any_values(lists_of(parts))
        return
    found = any_values(lists_of(parts))
    assert columns(found) == columns(truth.to_struct_array())
    if isinstance(found, WireValues) and encoded:
        places = data.draw(st.lists(st.integers(0, len(encoded) - 1), max_size=9))
        absent = data.draw(st.lists(st.booleans(), min_size=len(places), max_size=len(places)))
        indices = pa.array(places, pa.int64(), mask=np.array(absent, bool))
        taken = found.take("string_value", np.array(places, np.int64), np.array(absent, bool))
        assert taken.to_pylist() == as_bytes(truth.column("string_value")).take(indices).to_pylist()


def test_parts_of_an_array() -> None:
    column = lists_of([[b"\x0a\x01a"], [b"\x18\x05"], [], [b"\x0a\x02bc"]])
    assert any_values(column.slice(1, 3)).field("int_value").to_pylist() == [5, None, None]
    assert any_values(column.slice(3)).field("string_value").to_pylist() == [b"bc"]
    assert any_values(column.slice(0, 0)).field("string_value").to_pylist() == []


@pytest.mark.parametrize("twice", [False, True])
def test_logs_are_those_of_decoded_values(*, twice: bool) -> None:
    data = logs_request(500, seed=3)
    if twice:
        request = ExportLogsServiceRequest.FromString(data)
        record = request.resource_logs[0].scope_logs[0].log_records[0]
        # A body behind the body: the messages are merged, so the second text counts.
        more = ExportLogsServiceRequest()
        again = more.resource_logs.add().scope_logs.add().log_records
        again.add().MergeFromString(record.SerializeToString() + b"\x2a\x03\x0a\x01b")
        data += more.SerializeToString()
    raw, whole = (
        decode_logs(request_handler(Signal.LOGS, raw=wire).list_to_record_batch([data]), [0]).table
        for wire in (True, False)
    )
    assert raw.equals(whole, check_metadata=True)
    assert raw["body"][-1].as_py() == "b" or not twice
