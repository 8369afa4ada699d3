"""The SDK of OpenTelemetry with a lake behind it, and `logging`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import lakerunner
from lakerunner.otel import LakeHandler, LakeLogExporter, LakeMetricExporter, LakeSpanExporter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.lake import Lake

RESOURCE = Resource.create({"service.name": "shop"})


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with lakerunner.open(tmp_path / "lake") as opened:
        yield opened


def test_a_process_puts_its_own_telemetry_in_a_lake(lake: Lake) -> None:
    with lake.writer(acknowledge="buffered") as writer:
        tracing = TracerProvider(resource=RESOURCE)
        tracing.add_span_processor(BatchSpanProcessor(LakeSpanExporter(writer)))
        reader = PeriodicExportingMetricReader(LakeMetricExporter(writer), 3_600_000)
        metering = MeterProvider([reader], RESOURCE)
        logs = LoggerProvider(resource=RESOURCE)
        logs.add_log_record_processor(BatchLogRecordProcessor(LakeLogExporter(writer)))
        log = logs.get_logger("t")
        with tracing.get_tracer("t").start_as_current_span("checkout"):
            for number in range(10):
                record = LogRecord(
                    timestamp=time.time_ns(),
                    severity_number=SeverityNumber.WARN,
                    body=f"{number} items",
                )
                log.emit(record)
        metering.get_meter("t").create_counter("orders").add(3)
        for provider in (tracing, metering, logs):
            assert provider.force_flush()
            provider.shutdown()
    assert lake.sql("SELECT count(*) FROM logs WHERE level = 'WARN'").scalar() == 10
    (span,) = lake.sql("SELECT name, trace_id, resource_service_name AS s FROM spans").to_pylist()
    assert (span["name"], span["s"]) == ("checkout", "shop")
    assert lake.sql("SELECT count(DISTINCT trace_id) FROM logs").scalar() == 1
    assert lake.promql("orders_total", time="now").to_pylist()[0]["value"] == 3


def test_what_the_writer_refuses_is_said_to_the_sdk(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    writer = lake.writer()
    exporter = LakeSpanExporter(writer)
    writer.close()
    tracing = TracerProvider(resource=RESOURCE)
    span = tracing.get_tracer("t").start_span("late")
    span.end()
    assert exporter.export([span]).name == "FAILURE"  # type: ignore[list-item] # the SDK's own span
    assert "closed" in caplog.text


def test_records_of_logging_and_none_of_our_own(lake: Lake) -> None:
    log, own = logging.getLogger("test.plain"), logging.getLogger("lakerunner.test")
    with lake.writer(acknowledge="buffered") as writer:
        handler = LakeHandler(writer, "WARNING")
        for one in (log, own):
            one.addHandler(handler)
        try:
            log.info("too low")
            log.error("seen", extra={"user.id": "u1"})
            own.error("about itself")
            handler.flush()
            assert lake.sql("SELECT body, level FROM logs").to_pylist() == [
                {"body": "seen", "level": "ERROR"}
            ]
        finally:
            for one in (log, own):
                one.removeHandler(handler)
