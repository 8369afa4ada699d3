"""Where messages of Kafka come from, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lakerunner.errors import ConfigurationError, InputError
from lakerunner.intake.payloads import Payload, lines_payload, payload_of
from lakerunner.limits import MIB
from lakerunner.model.signal import Signal, read_signal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FORMATS = ("auto", "otlp", "json", "text")
_OTLP_TOPICS = {
    "otlp_logs": Signal.LOGS,
    "otlp_spans": Signal.SPANS,
    "otlp_traces": Signal.SPANS,
    "otlp_metrics": Signal.METRICS,
}
_OTLP_JSON = (b'"resourceLogs"', b'"resourceSpans"', b'"resourceMetrics"')


class KafkaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where messages come from, and what they are.

    Attributes:
        brokers: Where to find the cluster: `host:port`, several with commas between them.
        topics: Which topics to take.
        group: Name of the consumer group, among whose members partitions are divided.
        format: What a message holds: `otlp` (an export request, as protobuf or JSON), `json` (a
            record, or one on each line), `text` (lines), or `auto`, by looking at each.
        signal: What the records are; by the name of a topic where that is `otlp_logs`,
            `otlp_spans`, `otlp_traces` or `otlp_metrics`; else logs.
        organization_header: The header of a message that says whose it is; None if none does.
        flush_bytes: Commit when so many bytes were gathered.
        flush_seconds: Commit what has waited for so long.
        client: Further settings of librdkafka: `security.protocol`, `sasl.username`, ….
    """

    brokers: str
    topics: tuple[str, ...]
    group: str = "lakerunner"
    format: str = "auto"
    signal: str | None = None
    organization_header: str | None = None
    flush_bytes: int = 16 * MIB
    flush_seconds: float = 5.0
    client: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not self.brokers or not self.topics:
            raise ConfigurationError("name at least one broker and one topic")
        if self.format not in _FORMATS:
            raise ConfigurationError(
                f"{self.format!r} is no format of messages: {', '.join(_FORMATS)}", setting="format"
            )
        if self.signal is not None:
            read_signal(self.signal)
        for name in ("flush_bytes", "flush_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be above 0", setting=name)


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(KafkaSettings)


def read_kafka_settings(
    brokers: str, topics: str | Sequence[str], options: Mapping[str, Any]
) -> KafkaSettings:
    """Settings from keywords.

    Raises:
        ConfigurationError: One is unknown or wrong; the message names it.

    Example:
        >>> read_kafka_settings("localhost:9092", "otlp_logs", {"flush_seconds": 1}).topics
        ('otlp_logs',)
    """
    named = (topics,) if isinstance(topics, str) else tuple(topics)
    try:
        settings = {"brokers": brokers, "topics": named, **options}
        return msgspec.convert(settings, KafkaSettings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings of a consumer: {error}") from error


def payloads_of(message: Any, settings: KafkaSettings) -> Sequence[Payload]:
    """What a message holds; what is not what it should be is looked at by ingestion.

    Args:
        message: Of `confluent_kafka`.
        settings: What messages are said to be.
    """
    value = message.value()
    if not value:
        return ()
    said = settings.signal
    topic = _OTLP_TOPICS.get(message.topic())
    signal = topic if said is None else read_signal(said)
    kind = settings.format
    if kind == "auto":
        kind = _kind_of(value, is_otlp=topic is not None)
    try:
        if kind == "otlp":
            return (payload_of(value, signal or Signal.LOGS),)
        if kind == "json":
            return (lines_payload(_one_line(value), signal or Signal.LOGS, 1),)
        if kind == "text":
            lines = value if value.endswith(b"\n") else value + b"\n"
            return (Payload("logs.log", "logs_{}.log", lines, 1),)
    except InputError:
        pass
    return (payload_of(value),)


def _kind_of(value: bytes, *, is_otlp: bool) -> str:
    if is_otlp:
        return "otlp"
    is_json = value.lstrip()[:1] == b"{" and not any(word in value for word in _OTLP_JSON)
    return "json" if is_json else "auto"


def _one_line(value: bytes) -> bytes:
    """JSON that is laid out over several lines, on one; lines of JSON stay as they are."""
    if b"\n" not in value.strip():
        return value
    try:
        return msgspec.json.format(value, indent=0)
    except msgspec.DecodeError:
        return value
