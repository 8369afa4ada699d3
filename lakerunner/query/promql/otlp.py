"""How OpenTelemetry metrics are called in Prometheus: names, units, suffixes, labels.

The rules are those of Prometheus' own OTLP endpoint:
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

from __future__ import annotations

import re
from typing import NamedTuple

TARGET_INFO = "target_info"
"""The metric that has the attributes of each resource as labels."""

SERVICE_NAME = "service.name"
SERVICE_NAMESPACE = "service.namespace"
SERVICE_INSTANCE = "service.instance.id"
IDENTIFYING = (SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE)
"""Resource attributes that make up `job` and `instance`."""

_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "1": "",
    "%": "percent",
}
_PER_UNITS = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}

_PROMETHEUS_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_TOKEN = re.compile(r"[^\W_]+(?::[^\W_]*)*|:[^\W_]*", re.ASCII)
_NO_LABEL_CHAR = re.compile(r"[^a-zA-Z0-9_]")


class Stream(NamedTuple):
    """What decides the name of a metric.

    Attributes:
        name: As it was sent.
        type: `gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`.
        unit: As it was sent; empty for none.
        monotonic: Whether a sum never falls.
    """

    name: str
    type: str
    unit: str
    monotonic: bool


def metric_name(stream: Stream) -> str:
    """The name of a metric in Prometheus, without what its parts add to it (`_bucket`, …).

    Example:
        >>> metric_name(Stream("http.server.request.duration", "histogram", "s", False))
        'http_server_request_duration_seconds'
        >>> metric_name(Stream("http.requests", "sum", "{request}", True))
        'http_requests_total'
        >>> metric_name(Stream("http_requests_total", "sum", "", True))
        'http_requests_total'
    """
    tokens = _TOKEN.findall(stream.name)
    # Nothing would be left of a name that has no character of Prometheus' own: it stays, too.
    plain = not tokens or _PROMETHEUS_NAME.fullmatch(stream.name) is not None
    suffixes = _unit_suffixes(stream.unit, tokens)
    last = ""
    if stream.type == "sum" and stream.monotonic:
        last = "total"
    elif stream.type == "gauge" and stream.unit == "1":
        last = "ratio"
    if plain:
        # A name that is Prometheus' own already stays as it is, underscores and all.
        base = stream.name
        if last and suffixes and base.endswith(f"_{last}"):
            base = base.removesuffix(f"_{last}")
        elif last and base.endswith(f"_{last}"):
            last = ""
        return "_".join((base, *suffixes, *([last] if last else [])))
    tokens += suffixes
    if last:
        tokens = [*(token for token in tokens if token != last), last]
    name = "_".join(tokens)
    return f"_{name}" if name[:1].isdigit() else name


def _unit_suffixes(unit: str, tokens: list[str]) -> list[str]:
    main, _, per = (part.strip() for part in unit.partition("/"))
    suffixes = []
    if main and "{" not in main:
        word = _cleaned(_UNITS.get(main, main))
        if word and word not in tokens:
            suffixes.append(word)
    if per and "{" not in per:
        word = _cleaned(_PER_UNITS.get(per, per))
        if word and word not in tokens:
            suffixes += ["per", word]
    return suffixes


def _cleaned(unit: str) -> str:
    return "_".join(re.findall(r"[a-zA-Z0-9:]+", unit))


def label_name(key: str) -> str:
    """The label of an attribute.

    Example:
        >>> label_name("http.route"), label_name("5xx")
        ('http_route', 'key_5xx')
    """
    name = _NO_LABEL_CHAR.sub("_", key)
    return f"key_{name}" if name[:1].isdigit() else name


class Part(NamedTuple):
    """One of the metrics that Prometheus makes of one of OpenTelemetry's.

    Attributes:
        suffix: What it adds to the name.
        kind: `value`, `native`, `bucket`, `sum`, `count` or `quantile`.
    """

    suffix: str
    kind: str


PARTS: dict[str, tuple[Part, ...]] = {
    "gauge": (Part("", "value"),),
    "sum": (Part("", "value"),),
    "histogram": (
        Part("", "native"),
        Part("_bucket", "bucket"),
        Part("_sum", "sum"),
        Part("_count", "count"),
    ),
    "exponential_histogram": (Part("", "native"),),
    "summary": (Part("", "quantile"), Part("_sum", "sum"), Part("_count", "count")),
}
"""What becomes of each type of metric."""
