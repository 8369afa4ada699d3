"""Streams of messages with their lengths before them, told from bare messages."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]
from hypothesis import assume, given
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.formats.otlp.wire import first_message, unframed
from lakerunner.generate import logs_request
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def fixed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def varint(message: bytes) -> bytes:
    return bytes(_VarintBytes(len(message))) + message


FRAMINGS = [fixed, varint]


def blocks_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("frame", FRAMINGS)
@given(data=st.data())
def test_a_stream_is_its_messages(
    frame: Callable[[bytes], bytes], log_requests: Any, data: st.DataObject
) -> None:
    requests = data.draw(st.lists(log_requests, min_size=1, max_size=4))
    messages = [request.SerializeToString() for request in requests]
    stream = b"".join(map(frame, messages))
    # A varint of 0 may be the first byte of four, and one of 10 the tag of a bare message.
    assume(frame is fixed or stream[0] not in (0, 10))
    size = data.draw(st.integers(1, 200))
    found = b"".join(unframed(blocks_of(stream, size)))
    assert ExportLogsServiceRequest.FromString(found) == ExportLogsServiceRequest.FromString(
        b"".join(messages)
    )


@given(data=st.data())
def test_a_bare_message_is_left_alone(log_requests: Any, data: st.DataObject) -> None:
    message = data.draw(log_requests).SerializeToString()
    size = data.draw(st.integers(1, 200))
    assert b"".join(unframed(blocks_of(message, size))) == message
    assert first_message(message) == message


@pytest.mark.parametrize("frame", FRAMINGS)
def test_large_streams_are_read_in_parts(frame: Callable[[bytes], bytes]) -> None:
    stream = b"".join(frame(logs_request(300, seed=seed)) for seed in range(5))
    form = OtlpProtobuf()
    assert form.recognises(stream)
    parts = [part.data for part in form.split(blocks_of(stream, 7001), 100_000)]
    assert len(parts) > 3
    assert max(map(len, parts)) <= 100_000
    decoded = form.decode(parts, Signal.LOGS, [0] * len(parts))
    assert decoded.rows.sum() == 1500


@pytest.mark.parametrize("frame", FRAMINGS)
def test_captured_messages_are_bare_and_framed_the_same(
    frame: Callable[[bytes], bytes], telemetry: Path
) -> None:
    for path in sorted((telemetry / "otlp").glob("*/*.binpb.gz")):
        message = gzip.decompress(path.read_bytes())
        assert b"".join(unframed([message])) == message
        assert b"".join(unframed([frame(message) + frame(b"") + frame(message)])) == message * 2
        assert OtlpProtobuf().signal(frame(message)) is OtlpProtobuf().signal(message)


@pytest.mark.parametrize("frame", FRAMINGS)
@pytest.mark.parametrize("kept", [1, 2, 3, 50])
def test_a_stream_that_is_cut_off_is_corrupt(frame: Callable[[bytes], bytes], kept: int) -> None:
    message = logs_request(3)
    stream = frame(message) + frame(message)[:kept]
    with pytest.raises(CorruptObjectError, match="middle of a message"):
        list(OtlpProtobuf().split([stream], 1 << 20))


@given(st.binary(max_size=60), st.integers(1, 9))
def test_any_bytes_pass_or_are_corrupt(data: bytes, size: int) -> None:
    try:
        found = b"".join(unframed(blocks_of(data, size)))
    except CorruptObjectError:
        return
    assert len(found) <= len(data)


def test_nothing_is_nothing() -> None:
    assert b"".join(unframed([])) == b""
    assert [part.data for part in OtlpProtobuf().split([b""], 100)] == [b""]
