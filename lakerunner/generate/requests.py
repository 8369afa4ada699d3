"""A config to export requests: the shop's traffic, written down by signal."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from lakerunner.generate.logs import LogsEncoder
from lakerunner.generate.metrics import MetricsStream
from lakerunner.generate.shop import resources_of
from lakerunner.generate.spans import SpansEncoder
from lakerunner.generate.tracing import SPAN, Spans, Tracing
from lakerunner.generate.traffic import Block, Traffic
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.generate.config import TelemetryConfig


class Request(NamedTuple):
    """One export request.

    Attributes:
        last_ns: Time of its last record.
        records: How many it holds.
        data: Its bytes.
    """

    last_ns: int
    records: int
    data: bytes


class Stream(Protocol):
    """Makes the requests of one signal out of blocks of traffic, given in order."""

    def take(self, block: Block, spans: Spans) -> Iterator[Request]:
        """What is full after a block; `spans` are those that end in it."""

    def finish(self) -> Iterator[Request]:
        """What is left when there are no more blocks."""


def requests_of(config: TelemetryConfig) -> Iterator[tuple[Signal, Request]]:
    """All requests of a config; those of each signal in order of time."""
    streams = [(signal, _STREAMS[signal](config)) for signal in config.kinds]
    tracing = Tracing(config) if config.kinds != (Signal.LOGS,) else None
    for block in Traffic(config).blocks():
        spans = tracing.spans(block) if tracing else np.empty(0, SPAN)
        for signal, stream in streams:
            for request in stream.take(block, spans):
                yield signal, request
    for signal, stream in streams:
        for request in stream.finish():
            yield signal, request


class _Logs:
    """Blocks hold whole objects of log records, so nothing is ever left over."""

    def __init__(self, config: TelemetryConfig) -> None:
        self._size = config.records_per_object
        self._encoder = _logs_encoder(config.services)

    def take(self, block: Block, spans: Spans) -> Iterator[Request]:
        del spans
        rows = block.records
        for position, data in enumerate(self._encoder.requests(rows, self._size)):
            of = rows["time"][position * self._size : (position + 1) * self._size]
            yield Request(int(of[-1]), len(of), data)

    def finish(self) -> Iterator[Request]:
        return iter(())


class _Spans:
    def __init__(self, config: TelemetryConfig) -> None:
        self._size = config.records_per_object
        self._encoder = _spans_encoder(config.services)
        self._rest = np.empty(0, SPAN)

    def take(self, block: Block, spans: Spans) -> Iterator[Request]:
        del block
        rows = np.concatenate([self._rest, spans])
        whole = len(rows) // self._size * self._size
        self._rest = rows[whole:].copy()
        return self._written(rows[:whole])

    def finish(self) -> Iterator[Request]:
        return self._written(self._rest)

    def _written(self, rows: Spans) -> Iterator[Request]:
        for position, data in enumerate(self._encoder.requests(rows, self._size)):
            of = rows["end"][position * self._size : (position + 1) * self._size]
            yield Request(int(of[-1]), len(of), data)


class _Metrics:
    def __init__(self, config: TelemetryConfig) -> None:
        self._stream = MetricsStream(config)

    def take(self, block: Block, spans: Spans) -> Iterator[Request]:
        return self._requests(self._stream.take(spans, block.end_ns))

    def finish(self) -> Iterator[Request]:
        return self._requests(self._stream.finish())

    @staticmethod
    def _requests(written: Iterator[tuple[int, int, bytes]]) -> Iterator[Request]:
        return (Request(*each) for each in written)


@lru_cache(maxsize=4)
def _logs_encoder(services: tuple[str, ...]) -> LogsEncoder:
    return LogsEncoder(resources_of(services))


@lru_cache(maxsize=4)
def _spans_encoder(services: tuple[str, ...]) -> SpansEncoder:
    return SpansEncoder(resources_of(services))


_STREAMS: dict[Signal, type[_Logs | _Spans | _Metrics]] = {
    Signal.LOGS: _Logs,
    Signal.SPANS: _Spans,
    Signal.METRICS: _Metrics,
}
