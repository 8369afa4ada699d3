"""Which format an object has, and which signal: by its name first, then by its content."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lakerunner.errors import ConfigurationError, CorruptObjectError, UnknownFormatError
from lakerunner.formats.table import BY_CONTENT_TYPE, BY_SUFFIX, FORMATS
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from lakerunner.formats.base import Format

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


def formats_by_name(key: str) -> tuple[str, ...]:
    """The formats that an object's name promises.

    Example:
        >>> formats_by_name("otel-raw/acme/c1/logs_17.binpb.gz"), formats_by_name("logs_17")
        (('otlp-protobuf',), ())
    """
    suffixes = key.rpartition("/")[2].lower().split(".")[1:]
    while suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    return BY_SUFFIX.get(suffixes[-1], ()) if suffixes else ()


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


def choose_format(key: str, head: bytes, name: str | None = None, content_type: str = "") -> Format:
    """Choose the format of an object.

    Args:
        key: Its key.
        head: Its first bytes, decompressed.
        name: A format the user named; it is taken without looking.
        content_type: Its media type, if it has one.

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
    media_type = content_type.partition(";")[0].strip().lower()
    promised = formats_by_name(key) or BY_CONTENT_TYPE.get(media_type, ())
    for candidate in promised or FORMATS:
        if FORMATS[candidate].recognises(head):
            return FORMATS[candidate]
    if promised:
        return FORMATS[promised[-1]]
    raise UnknownFormatError(
        "neither its name nor its content is a known format; name one with format=…", key=key
    )


def choose_signal(
    chosen: Format,
    key: str,
    payload: bytes,
    wanted: Signal | None = None,
    hint: Signal | None = None,
) -> Signal:
    """Choose the signal of an object: what it holds decides, its name only where that is silent.

    Records of named fields tell their signal by the names alone, so there the user's word counts
    more, and so does that of a rule of ownership; records of which nothing is known are logs.

    Args:
        chosen: The format.
        key: The object's key.
        payload: Its first part.
        wanted: The signal the user named.
        hint: The signal that a rule of ownership tells for the object's place.

    Raises:
        CorruptObjectError: The payload is broken, or holds another signal than `wanted`.
        UnknownFormatError: Nothing tells.
    """
    found = chosen.signal(payload) if payload else None
    said = wanted or hint
    if said is not None and not chosen.certain:
        return said
    if found is not None and wanted is not None and found is not wanted:
        raise CorruptObjectError(f"it holds {found}, not {wanted}", key=key)
    signal = found or said or signal_by_name(key)
    if signal is not None:
        return signal
    if not chosen.certain:
        return Signal.LOGS
    raise UnknownFormatError(
        "it holds no record, and its name does not tell a signal; name one with signal=…", key=key
    )
