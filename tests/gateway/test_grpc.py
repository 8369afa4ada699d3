"""OTLP over gRPC and the log service: what clients send lands, and statuses are those they know."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import lakerunner
from lakerunner.gateway import AccessScope, new_key
from lakerunner.gateway.grpc_services import grpc_server, grpc_services
from lakerunner.generate import TelemetryConfig, logs_request
from lakerunner.generate.requests import requests_of
from lakerunner.intake.payloads import REQUESTS
from lakerunner.intake.protocols.messages import RPC_STATUS, SEND_LOGS, new_message
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.lake import Lake

WRITES, READS = new_key("collector", ("acme",), AccessScope.WRITE), new_key("reader", ("acme",))
KEY = (("authorization", f"Bearer {WRITES[0]}"),)
SETTINGS = {"access": {"keys": [WRITES[1], READS[1]]}}
STUBS: dict[Signal, Any] = {
    Signal.LOGS: LogsServiceStub,
    Signal.SPANS: TraceServiceStub,
    Signal.METRICS: MetricsServiceStub,
}


class Served(NamedTuple):
    lake: Lake
    channel: grpc.Channel
    address: str


def serve(lake: Lake, **settings: Any) -> Iterator[Served]:
    with lake.writer(**{"linger_seconds": 0.01, **settings}) as writer:
        services = grpc_services(lake, SETTINGS, writer=writer)
        server, port = grpc_server("127.0.0.1:0", services, message_bytes=3_000_000)
        server.start()
        address = f"127.0.0.1:{port}"
        try:
            with grpc.insecure_channel(address) as channel:
                yield Served(lake, channel, address)
        finally:
            server.stop(5).wait()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with lakerunner.open(tmp_path / "lake") as lake:
        yield from serve(lake)


def rows(lake: Lake, table: str = "logs") -> int:
    return sum(one.rows for one in lake.for_organization("acme").segments(table))


@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_all_signals_land(served: Served, compression: Any) -> None:
    config = TelemetryConfig(rate=20, duration_s=30, signals=tuple(Signal), records_per_object=500)
    sent = dict.fromkeys(Signal, 0)
    for signal, request in requests_of(config):
        message = REQUESTS[signal].FromString(request.data)
        stub = STUBS[signal](served.channel)
        answer = stub.Export(message, metadata=KEY, compression=compression)
        assert not answer.HasField("partial_success")
        sent[signal] += request.records
    assert sent == {signal: rows(served.lake, str(signal)) for signal in Signal}


def test_the_exporter_of_the_sdk(served: Served) -> None:
    exporter = OTLPSpanExporter(served.address, insecure=True, headers=KEY)
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("t").start_as_current_span("checkout"):
        pass
    provider.shutdown()
    assert rows(served.lake, "spans") == 1


@pytest.mark.parametrize(
    ("data", "metadata", "code"),
    [
        (b"\xff\xff", KEY, grpc.StatusCode.INVALID_ARGUMENT),
        (b"", (("authorization", "Bearer lr_nobody"),), grpc.StatusCode.UNAUTHENTICATED),
        (b"", (), grpc.StatusCode.UNAUTHENTICATED),
        (b"", (("x-api-key", READS[0]),), grpc.StatusCode.PERMISSION_DENIED),
        (b"", (*KEY, ("x-scope-orgid", "webshop")), grpc.StatusCode.PERMISSION_DENIED),
        (bytes(3_000_001), KEY, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_what_is_wrong_has_its_status(
    served: Served, data: bytes, metadata: Any, code: grpc.StatusCode
) -> None:
    export = served.channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with pytest.raises(grpc.RpcError) as caught:
            export(data, metadata=metadata, compression=compression)
        assert caught.value.code() == code
    assert rows(served.lake) == 0


def test_a_full_writer_says_when_to_come_again(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        for served in serve(
            lake, acknowledge="buffered", pressure="reject", waiting_bytes=1000, flush_seconds=600
        ):
            stub = STUBS[Signal.LOGS](served.channel)
            message = ExportLogsServiceRequest.FromString(logs_request(5))
            stub.Export(message, metadata=KEY)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Export(message, metadata=KEY)
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
            status = new_message(RPC_STATUS)
            status.ParseFromString(details)
            assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
            assert status.details[0].type_url == "type.googleapis.com/google.rpc.RetryInfo"
            assert status.details[0].value == b"\x0a\x02\x08\x01"  # one second


def test_the_log_service(served: Served) -> None:
    request = new_message(SEND_LOGS)
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    entry = request.entries.add(
        service="shop",
        level="error",
        message="no stock",
        host="web-1",
        tags=["env:prod", "canary"],
        trace_id="0af7651916cd43dd8448eb211c80319c",
        timestamp_ns=int(at.timestamp()) * 10**9,
    )
    entry.metadata.add(key="user.id", value="u1")
    request.entries.add(message="only this")
    send = served.channel.unary_unary("/lakerunner.logs.v1.LogService/SendLogs")
    send(request.SerializeToString(), metadata=KEY)
    found = served.lake.for_organization("acme").sql(
        'SELECT timestamp, level, body, trace_id, "user.id", resource_service_name AS service, '
        "resource_host_name AS host, resource_env AS env, resource_canary AS canary FROM logs"
    )
    by_body = {one["body"]: one for one in found.to_pylist()}
    assert by_body["only this"]["service"] is None
    one = by_body["no stock"]
    assert (one["level"], one["service"], one["host"], one["env"], one["canary"]) == (
        "ERROR", "shop", "web-1", "prod", "true"
    )  # fmt: skip
    assert (one["timestamp"], one["user.id"]) == (at, "u1")
    assert one["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
