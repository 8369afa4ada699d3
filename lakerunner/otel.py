"""OpenTelemetry in this process: exporters for its SDK, and a handler for `logging`, into a lake.

```python
writer = lake.writer(acknowledge="buffered")
provider = TracerProvider(resource=resource)
provider.add_span_processor(BatchSpanProcessor(LakeSpanExporter(writer)))
```

The writer stays the caller's: close it after the providers are shut down, and before the lake.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from lakerunner.errors import InputError, LakerunnerError, MissingExtraError

try:
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
except ImportError as error:
    raise MissingExtraError(
        f"exporters need {error.name}; run: pip install 'lakerunner[otel]'", missing=error.name
    ) from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan

    from lakerunner.intake.writer import Writer

_LOG = logging.getLogger("lakerunner.otel")


def _written(writer: Writer, message: Any) -> bool:
    """Write an export request; whether that went well."""
    try:
        writer.write(message)
    except LakerunnerError as error:
        # The SDK drops what could not be exported, and tells nobody why.
        _LOG.warning("telemetry could not be exported: %s", error)
        return False
    return True


def _flushed(writer: Writer, timeout_millis: float) -> bool:
    try:
        writer.flush(timeout_millis / 1000)
    except (TimeoutError, InputError):
        return False
    return True


class LakeLogExporter(LogRecordExporter):
    """Exports log records of the SDK to a lake. Safe across threads.

    Args:
        writer: Takes them; see `Lake.writer`.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Write a batch; it fails where the writer refuses it."""
        done = _written(self._writer, encode_logs(batch))
        return LogRecordExportResult.SUCCESS if done else LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Commit what was written; whether that was done in time."""
        return _flushed(self._writer, timeout_millis)

    def shutdown(self) -> None:
        """Commit what was written. The writer goes on."""
        _flushed(self._writer, 30_000)


class LakeSpanExporter(SpanExporter):
    """Exports spans of the SDK to a lake. Safe across threads.

    Args:
        writer: Takes them; see `Lake.writer`.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write a batch; it fails where the writer refuses it."""
        done = _written(self._writer, encode_spans(spans))
        return SpanExportResult.SUCCESS if done else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Commit what was written; whether that was done in time."""
        return _flushed(self._writer, timeout_millis)

    def shutdown(self) -> None:
        """Commit what was written. The writer goes on."""
        _flushed(self._writer, 30_000)


class LakeMetricExporter(MetricExporter):
    """Exports metrics of the SDK to a lake, as its `PeriodicExportingMetricReader` reads them.

    Args:
        writer: Takes them; see `Lake.writer`.
        options: Of the SDK's `MetricExporter`: `preferred_temporality`, `preferred_aggregation`.
    """

    def __init__(self, writer: Writer, **options: Any) -> None:
        super().__init__(**options)
        self._writer = writer

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Write what was read; it fails where the writer refuses it."""
        del timeout_millis, kwargs  # the writer bounds what waits, and says no at once
        done = _written(self._writer, encode_metrics(metrics_data))
        return MetricExportResult.SUCCESS if done else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Commit what was written; whether that was done in time."""
        return _flushed(self._writer, timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Commit what was written. The writer goes on."""
        del kwargs
        _flushed(self._writer, timeout_millis)


class LakeHandler(logging.Handler):
    """Sends records of `logging` to a lake, without the SDK.

    What lakerunner logs itself is left out: it would be logged about being logged.

    Args:
        writer: Takes them; see `Lake.writer`. With `acknowledge="buffered"` logging never waits.
        level: Lowest one that is sent.

    Example:
        >>> import lakerunner
        >>> lake = lakerunner.open("memory://doc/handler")
        >>> log = logging.getLogger("doc.shop")
        >>> with lake.writer(acknowledge="buffered") as writer:
        ...     handler = LakeHandler(writer)
        ...     log.addHandler(handler)
        ...     log.error("%d items", 3, extra={"user.id": "u1"})
        ...     log.removeHandler(handler)
        >>> lake.sql('SELECT body, level, "user.id" FROM logs').to_pylist()
        [{'body': '3 items', 'level': 'ERROR', 'user.id': 'u1'}]
    """

    def __init__(self, writer: Writer, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._writer = writer
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if record.name.partition(".")[0] == "lakerunner" or getattr(self._busy, "busy", False):
            return
        self._busy.busy = True
        try:
            self._writer.write(record)
        except LakerunnerError:
            self.handleError(record)
        finally:
            self._busy.busy = False

    def flush(self) -> None:
        """Commit what was written, in at most ten seconds."""
        _flushed(self._writer, 10_000)
