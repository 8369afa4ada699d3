"""The protobuf wire format, against protobuf itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lakerunner.compute.wire import Field, message_field, read_fields, text_field, write_fields


@given(
    st.integers(0, 2**64 - 1),
    st.text(max_size=300),
    st.binary(max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_messages_survive_being_taken_apart(time: int, text: str, span: bytes, flags: int) -> None:
    record = LogRecord(time_unix_nano=time, severity_text=text, span_id=span, flags=flags)
    data = record.SerializeToString()
    assert write_fields(read_fields(data)) == data


def test_fields_are_those_of_protobuf() -> None:
    record = LogRecord(severity_text="INFO", dropped_attributes_count=300)
    fields = [text_field(3, "INFO"), Field(7, 0, 300)]
    assert read_fields(record.SerializeToString()) == fields
    body = message_field(5, [text_field(1, "hello")])
    assert LogRecord.FromString(write_fields([*fields, body])).body.string_value == "hello"


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x08\x80", b"\x12\x05ab", b"\x0d\x01", b"\x0b", b"\x80"], ids=bytes.hex
)
def test_broken_messages_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"past the end|wire type"):
        read_fields(data)


def test_only_length_delimited_fields_have_bytes() -> None:
    with pytest.raises(ValueError, match="field 1 is not length-delimited"):
        _ = Field(1, 0, 5).data
