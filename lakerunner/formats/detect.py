"""Which format an object has, and which signal: by its name first, then by its content."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lakerunner.errors import ConfigurationError, CorruptObjectError, UnknownFormatError
from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from lakerunner.formats.base import Format

FORMATS: dict[str, Format] = {"otlp-protobuf": OtlpProtobuf()}
"""Every input format by name."""

_BY_SUFFIX = {
    "binpb": "otlp-protobuf",
    "pb": "otlp-protobuf",
    "proto": "otlp-protobuf",
    "otlp": "otlp-protobuf",
}
_COMPRESSIONS = frozenset({"gz", "gzip", "zst", "zstd"})
_WORDS = {
    "log": Signal.LOGS,
    "logs": Signal.LOGS,
    "trace": Signal.SPANS,
    "traces": Signal.SPANS,
    "span": Signal.SPANS,
    "spans": Signal.SPANS,
    "metric": Signal.METRICS,
    "metrics": Signal.METRICS,
}


def format_by_name(key: str) -> str | None:
    """The format that an object's name promises, or None.

    Example:
        >>> format_by_name("otel-raw/acme/c1/logs_17.binpb.gz"), format_by_name("logs_17")
        ('otlp-protobuf', None)
    """
    suffixes = key.rpartition("/")[2].lower().split(".")[1:]
    while suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    return _BY_SUFFIX.get(suffixes[-1]) if suffixes else None


def signal_by_name(key: str) -> Signal | None:
    """The signal that an object's name or, failing that, its nearest folder speaks of, or None.

    Example:
        >>> signal_by_name("otel-raw/acme/c1/metrics_17.binpb"), signal_by_name("logs-raw/a.json")
        (<Signal.METRICS: 'metrics'>, <Signal.LOGS: 'logs'>)
    """
    for part in reversed(key.lower().split("/")):
        for word in re.split(r"[^a-z]+", part):
            if word in _WORDS:
                return _WORDS[word]
    return None


def choose_format(key: str, head: bytes, name: str | None = None) -> Format:
    """Choose the format of an object.

    Args:
        key: Its key.
        head: Its first bytes, decompressed.
        name: A format the user named; it is taken without looking.

    Raises:
        ConfigurationError: `name` is no format.
        UnknownFormatError: Neither name nor content is known.
    """
    if name is not None:
        if name not in FORMATS:
            raise ConfigurationError(
                f"no format {name!r}; known are {', '.join(FORMATS)}", format=name
            )
        return FORMATS[name]
    by_name = format_by_name(key)
    if by_name is not None:
        return FORMATS[by_name]
    for candidate in FORMATS.values():
        try:
            if candidate.signal(head) is not None:
                return candidate
        except CorruptObjectError:
            continue
    raise UnknownFormatError(
        "neither its name nor its content is a known format; name one with format=…", key=key
    )


def choose_signal(chosen: Format, key: str, payload: bytes, wanted: Signal | None = None) -> Signal:
    """Choose the signal of an object: what it holds decides, its name only where that is silent.

    Raises:
        CorruptObjectError: The payload is broken, or holds another signal than `wanted`.
        UnknownFormatError: Nothing tells.
    """
    found = chosen.signal(payload) if payload else None
    if found is not None and wanted is not None and found is not wanted:
        raise CorruptObjectError(f"it holds {found}, not {wanted}", key=key)
    signal = found or wanted or signal_by_name(key)
    if signal is None:
        raise UnknownFormatError(
            "it holds no record, and its name does not tell a signal; name one with signal=…",
            key=key,
        )
    return signal
