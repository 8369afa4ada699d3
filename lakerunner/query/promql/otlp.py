"""How OpenTelemetry metrics are called in Prometheus: names, units, suffixes, labels.

The rules are those of Prometheus' own OTLP endpoint:
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.model.times import TimeRange
from lakerunner.schema.attribute import RECORD, RESOURCE
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lakerunner.model.segment import Segment
    from lakerunner.query.promql.grid import Read
    from lakerunner.query.promql.syntax import Matcher

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


# What the catalog tells of a selector: which rows can fulfil its conditions, said in SQL.

NAME = "__name__"
_NS_PER_MS = 1_000_000


class Known(NamedTuple):
    """What the catalog tells of a selector.

    Attributes:
        where: Conditions on rows, in SQL.
        keys: The key of each attribute column, as it was sent.
        narrow: They leave few rows but those of the series that are wanted.
    """

    where: list[str]
    keys: dict[str, str]
    narrow: bool


def conditions(read: Read, segments: Sequence[Segment], *, resource: bool) -> Known | None:
    """What the catalog tells of a selector; None where no row can fulfil it."""
    names = candidates(segments, read.matchers)
    if not segments or names == ():
        return None
    keys = attribute_keys(segments)
    where = [is_one_of("metric_name", names)] if names else []
    told = pushed(read.matchers, segments, keys, resource=resource)
    narrow = names is not None and len(told) == sum(one.name != NAME for one in read.matchers)
    return Known(where + told, keys, narrow)


def candidates(segments: Iterable[Segment], matchers: Sequence[Matcher]) -> tuple[str, ...] | None:
    """The metrics, as they were sent, that may have the name a selector asks for.

    Returns:
        Their names; None where the catalog cannot tell.
    """
    found = _kinds_by_name(segments, matchers)
    return None if found is None else tuple(sorted(found))


def may_be_numbers(segments: Iterable[Segment], matchers: Sequence[Matcher]) -> bool:
    """Whether a selector may ask for numbers that were sent as such: gauges and sums.

    What is counted by histograms and summaries is none, and neither are histograms themselves.
    """
    segments = list(segments)
    types = [segment.columns.get("metric_type") for segment in segments]
    told = [one.values for one in types if one is not None]
    if None not in told and {"gauge", "sum"}.isdisjoint(kind for one in told for kind in one or ()):
        return False
    found = _kinds_by_name(segments, matchers)
    return found is None or any("value" in kinds for kinds in found.values())


def _kinds_by_name(
    segments: Iterable[Segment], matchers: Sequence[Matcher]
) -> dict[str, set[str]] | None:
    """What may have the name a selector asks for: kinds of `Part` by names as they were sent."""
    wanted = [one.value for one in matchers if one.name == NAME and one.op == "="]
    names: set[str] = set()
    units: set[str] = set()
    for segment in segments:
        for column, found in (("metric_name", names), ("unit", units)):
            stats = segment.columns.get(column)
            if stats is None:
                continue
            if stats.values is None:
                return None
            found.update(stats.values)
    if not wanted or "target_info" in wanted:
        return None
    kinds = {
        name: set[str].intersection(*(_kinds_called(name, one, units | {""}) for one in wanted))
        for name in names
    }
    return {name: some for name, some in kinds.items() if some}


def _kinds_called(name: str, wanted: str, units: Iterable[str]) -> set[str]:
    plain = metric_name(Stream(name, "", "", monotonic=False))
    if not (wanted.startswith(plain) or plain.endswith(("_total", "_ratio", "total", "ratio"))):
        return set()
    return {
        part.kind
        for unit in units
        for kind, parts in PARTS.items()
        for monotonic in (False, True)
        for base in [metric_name(Stream(name, kind, unit, monotonic))]
        for part in parts
        if f"{base}{part.suffix}" == wanted
    }


def attribute_keys(segments: Iterable[Segment]) -> dict[str, str]:
    """The key of each attribute of points and resources, as it was sent, by column."""
    keys: dict[str, str] = {}
    canonical = set(TABLES["metrics"].schema.names) - {"resource_service_name"}
    for segment in segments:
        for column, stats in segment.columns.items():
            if column in canonical or column in keys:
                continue
            for prefix in (RESOURCE, RECORD):
                if column.startswith(prefix):
                    keys[column] = stats.key or column.removeprefix(prefix)
    if "resource_service_name" in keys:
        keys["resource_service_name"] = "service.name"
    return keys


def pushed(
    matchers: Sequence[Matcher],
    segments: Iterable[Segment],
    keys: dict[str, str],
    *,
    resource: bool,
) -> list[str]:
    """Conditions on labels as conditions on columns, as far as that loses nothing."""
    text = dict.fromkeys(keys, True)
    for segment in segments:
        for column in keys:
            stats = segment.columns.get(column)
            if stats is not None and stats.type != "string":
                text[column] = False
    conditions = []
    for one in matchers:
        if one.op != "=" or not one.value or one.name in (NAME, "le", "quantile"):
            continue
        wanted = _values(one, keys, resource=resource)
        places = Counter(
            RESOURCE if column.startswith(RESOURCE) else RECORD
            for column, key in keys.items()
            if column in wanted and label_name(key) == one.name
        )
        if not wanted:
            conditions.append("false")
        elif all(text[column] for column in wanted) and max(places.values(), default=1) == 1:
            equal = [is_one_of(quoted(column), values) for column, values in wanted.items()]
            conditions.append(f"({' OR '.join(equal)})")
    return conditions


def _values(matcher: Matcher, keys: dict[str, str], *, resource: bool) -> dict[str, list[str]]:
    """What each attribute may be, by column, of which at least one must be, for a label to match.

    `job` is made of two attributes with a slash between them, and either may have one itself.
    """
    wanted = {
        column: [matcher.value]
        for column, key in keys.items()
        if label_name(key) == matcher.name and (resource or not column.startswith(RESOURCE))
    }
    source = {"job": SERVICE_NAME, "instance": SERVICE_INSTANCE}.get(matcher.name)
    for column, key in keys.items():
        if key == source and column.startswith(RESOURCE):
            pieces = matcher.value.split("/") if matcher.name == "job" else [matcher.value]
            wanted[column] = ["/".join(pieces[first:]) for first in range(len(pieces))]
    return wanted


def span_of(after_ms: int, until_ms: int) -> TimeRange:
    """The times after one moment and up to another, in milliseconds, as a half-open range."""
    return TimeRange((after_ms + 1) * _NS_PER_MS, (until_ms + 1) * _NS_PER_MS)


def within(span: TimeRange) -> str:
    """That a row lies within a time range."""
    start, end = (
        f"arrow_cast({ns}, 'Timestamp(Nanosecond, Some(\"UTC\"))')"
        for ns in (span.start_ns, span.end_ns)
    )
    return f"timestamp >= {start} AND timestamp < {end}"


def is_one_of(column: str, values: Sequence[str]) -> str:
    """That a column has one of some texts."""
    return f"{column} IN ({', '.join(map(literal, values))})"


def one_of_series(ids: Iterable[int]) -> str:
    """That a point is one of some series."""
    return f"series_id IN ({', '.join(map(str, ids))})"


def quoted(column: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + column.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
