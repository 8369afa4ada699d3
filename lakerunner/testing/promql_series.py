"""Series as Prometheus' test scripts write them, as points of a lake, and as answers have them."""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from lakerunner.query.promql.lexer import duration_seconds, tokenize
from lakerunner.query.promql.points import HINT_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_EPSILON = 1e-6
_HINTS = {"unknown": 0, "reset": 1, "not_reset": 2, "gauge": 3}
_CUSTOM = -53
STALE = "stale"

_LABEL = re.compile(
    r"\s*([A-Za-z_][\w]*|\"(?:[^\"\\]|\\.)*\")\s*(?:=\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'))?\s*,?"
)
NUMBER = r"[+-]?(?:[iI]nf|NaN|nan|[0-9.]+(?:[eE][+-]?\d+)?)"
_VALUE = re.compile(
    r"\s*(?:(?P<histogram>\{\{.*?\}\})(?:(?P<sign>[+-])(?P<more>\{\{.*?\}\}))?(?:x(?P<times>\d+))?"
    r"|(?P<gap>_)(?:x(?P<gaps>\d+))?|(?P<stale>stale)(?:x(?P<stales>\d+))?"
    rf"|(?P<number>{NUMBER})(?P<step>[+-][0-9.]+(?:[eE][+-]?\d+)?)?(?:x(?P<steps>\d+))?)(?=\s|$)"
)
_FIELD = re.compile(r"(\w+):(\[[^\]]*\]|\S+)")


class NativeHistogram(NamedTuple):
    """A native histogram as a script writes it.

    Attributes:
        schema: -53 for custom buckets.
        total: Observations.
        sum: Of all observations.
        zero_count: Observations in the zero bucket.
        zero_threshold: Where it ends.
        hint: What is known of resets; empty for nothing.
        bounds: Of custom buckets.
        positive: Observations by number of the bucket.
        negative: Likewise below zero.
    """

    schema: int = 0
    total: float = 0.0
    sum: float = 0.0
    zero_count: float = 0.0
    zero_threshold: float = 0.0
    hint: str = ""
    bounds: tuple[float, ...] = ()
    positive: tuple[tuple[int, float], ...] = ()
    negative: tuple[tuple[int, float], ...] = ()

    def plus(self, other: NativeHistogram, sign: float) -> NativeHistogram:
        """The sum or difference of two with the same buckets."""

        def merge(
            mine: tuple[tuple[int, float], ...], its: tuple[tuple[int, float], ...]
        ) -> tuple[tuple[int, float], ...]:
            total = dict(mine)
            for number, amount in its:
                total[number] = total.get(number, 0.0) + sign * amount
            return tuple(sorted((number, one) for number, one in total.items() if one))

        return self._replace(
            total=self.total + sign * other.total,
            sum=self.sum + sign * other.sum,
            zero_count=self.zero_count + sign * other.zero_count,
            positive=merge(self.positive, other.positive),
            negative=merge(self.negative, other.negative),
            hint="" if self.hint == "reset" else self.hint,
        )


Sample = float | str | NativeHistogram | None
Series = tuple[dict[str, str], list[Sample]]


def seconds(text: str) -> float:
    """A time or a duration of a script, in seconds."""
    found = duration_seconds(text)
    return float(text) if found is None else found


def read_series(line: str) -> Series:
    """One line of a `load` block or of an expected result: labels, and values step by step.

    Raises:
        ValueError: It cannot be read.

    Example:
        >>> read_series('up{job="a"} 1 _ 2+1x1')
        ({'__name__': 'up', 'job': 'a'}, [1.0, None, 2.0, 3.0])
    """
    head = re.match(r"\s*([a-zA-Z_:][\w:]*)?\s*(\{(?!\{))?", line)
    if head is None:
        raise ValueError(f"no series: {line}")
    labels = {"__name__": head[1]} if head[1] else {}
    at = head.end()
    if head[2]:
        while not line[at:].lstrip().startswith("}"):
            found = _LABEL.match(line, at)
            if found is None:
                raise ValueError(f"no label: {line[at:]}")
            name = tokenize(found[1])[0].text if found[1].startswith('"') else found[1]
            if found[2] is None:
                labels["__name__"] = name
            else:
                labels[name] = tokenize(found[2])[0].text
            at = found.end()
        at = line.index("}", at) + 1
    values: list[Sample] = []
    while line[at:].strip():
        value = _VALUE.match(line, at)
        if value is None:
            raise ValueError(f"no value: {line[at:]}")
        values += _expanded(value)
        at = value.end()
    return {name: text for name, text in labels.items() if text}, values


def _expanded(value: re.Match[str]) -> Iterable[Sample]:
    if value["histogram"]:
        one = read_histogram(value["histogram"])
        more = read_histogram(value["more"]) if value["more"] else NativeHistogram()
        sign = -1.0 if value["sign"] == "-" else 1.0
        found: list[Sample] = [one]
        for _ in range(int(value["times"] or 0)):
            one = one.plus(more, sign) if value["more"] else one
            found.append(one)
        return found
    if value["gap"]:
        return [None] * int(value["gaps"] or 1)
    if value["stale"]:
        return [STALE] * (int(value["stales"] or 0) + 1)
    number, step = float(value["number"]), float(value["step"] or 0)
    numbers: list[Sample] = [number]
    for _ in range(int(value["steps"] or 0)):
        number += step
        numbers.append(number)
    return numbers


def read_histogram(text: str) -> NativeHistogram:
    """A native histogram such as `{{schema:1 count:4 sum:7 buckets:[1 2 1]}}`."""
    fields = dict(_FIELD.findall(text.removeprefix("{{").removesuffix("}}")))

    def numbers(name: str) -> list[float]:
        return [float(one) for one in fields.get(name, "[]").strip("[]").split()]

    def buckets(name: str, offset: str) -> tuple[tuple[int, float], ...]:
        first = int(fields.get(offset, 0))
        return tuple((first + at, one) for at, one in enumerate(numbers(name)) if one)

    return NativeHistogram(
        schema=int(fields.get("schema", 0)),
        total=float(fields.get("count", 0)),
        sum=float(fields.get("sum", 0)),
        zero_count=float(fields.get("z_bucket", 0)),
        zero_threshold=float(fields.get("z_bucket_w", 0)),
        hint=fields.get("counter_reset_hint", ""),
        bounds=tuple(numbers("custom_values")),
        positive=buckets("buckets", "offset"),
        negative=buckets("n_buckets", "n_offset"),
    )


def custom_buckets(series: Sequence[Series]) -> list[Series]:
    """Native histograms with custom buckets, made of the classic ones that were loaded."""
    groups: dict[tuple[tuple[str, str], ...], dict[float, list[Sample]]] = {}
    for labels, values in series:
        if not labels.get("__name__", "").endswith("_bucket"):
            continue
        kept = {name: text for name, text in labels.items() if name != "le"}
        kept["__name__"] = kept["__name__"].removesuffix("_bucket")
        groups.setdefault(tuple(kept.items()), {})[float(labels["le"])] = values
    made: list[Series] = []
    for kept_labels, by_bound in groups.items():
        bounds = sorted(by_bound)
        values = []
        for cumulated in zip(*(by_bound[bound] for bound in bounds), strict=True):
            counts = [float(one) for one in cumulated if isinstance(one, float)]
            apart = [now - before for now, before in zip(counts, [0.0, *counts], strict=False)]
            values.append(
                NativeHistogram(
                    schema=_CUSTOM,
                    total=counts[-1],
                    bounds=tuple(bound for bound in bounds if math.isfinite(bound)),
                    positive=tuple((at, one) for at, one in enumerate(apart) if one),
                )
            )
        made.append((dict(kept_labels), list(values)))
    return made


def samples_table(series: Iterable[Series], step_ms: int) -> pa.Table:
    """Series as a table that `Lake.ingest` takes as metrics.

    Args:
        series: Labels and values.
        step_ms: Milliseconds from one value to the next; the first is at the epoch.
    """
    rows = [
        _point(labels, at * step_ms, value)
        for labels, values in series
        for at, value in enumerate(values)
        if value is not None
    ]
    return pa.Table.from_pylist(rows, schema=_POINTS)


_POINTS = pa.schema(
    [
        ("metric_name", pa.string()),
        ("metric_type", pa.string()),
        ("temporality", pa.string()),
        ("timestamp", pa.timestamp("ms", "UTC")),
        ("value", pa.float64()),
        ("flags", pa.uint32()),
        ("count", pa.uint64()),
        ("sum", pa.float64()),
        ("explicit_bounds", pa.list_(pa.float64())),
        ("bucket_counts", pa.list_(pa.uint64())),
        ("scale", pa.int32()),
        ("zero_count", pa.uint64()),
        ("zero_threshold", pa.float64()),
        ("positive_offset", pa.int32()),
        ("positive_bucket_counts", pa.list_(pa.uint64())),
        ("negative_offset", pa.int32()),
        ("negative_bucket_counts", pa.list_(pa.uint64())),
        ("attributes", pa.map_(pa.string(), pa.string())),
    ]
)


def _point(labels: Mapping[str, str], time_ms: int, value: Sample) -> dict[str, Any]:
    attributes = [(name, text) for name, text in labels.items() if name != "__name__"]
    point: dict[str, Any] = {
        "metric_name": labels["__name__"],
        "metric_type": "gauge",
        "timestamp": time_ms,
        "attributes": attributes,
    }
    if isinstance(value, NativeHistogram):
        point |= _histogram_point(value)
    elif isinstance(value, str):
        point |= {"flags": 1}
    else:
        point |= {"value": value}
    return point


def _histogram_point(value: NativeHistogram) -> dict[str, Any]:
    point: dict[str, Any] = {
        "temporality": "cumulative",
        "count": _whole(value.total),
        "sum": value.sum,
        "flags": _HINTS.get(value.hint, 0) << HINT_SHIFT,
    }
    if value.schema == _CUSTOM:
        counts = [0] * (len(value.bounds) + 1)
        for number, amount in value.positive:
            counts[number] = _whole(amount)
        bounds = list(value.bounds)
        return point | {
            "metric_type": "histogram",
            "explicit_bounds": bounds,
            "bucket_counts": counts,
        }
    for sign, buckets in (("positive", value.positive), ("negative", value.negative)):
        first = buckets[0][0] if buckets else 0
        counts = [0] * (buckets[-1][0] - first + 1 if buckets else 0)
        for number, amount in buckets:
            counts[number - first] = _whole(amount)
        point |= {f"{sign}_offset": first - 1, f"{sign}_bucket_counts": counts}
    return point | {
        "metric_type": "exponential_histogram",
        "scale": value.schema,
        "zero_count": _whole(value.zero_count),
        "zero_threshold": value.zero_threshold,
    }


def _whole(value: float) -> int:
    if value != int(value) or value < 0:
        raise ValueError(f"a lake keeps whole counts of observations, and no {value}")
    return int(value)


def native_of(row: Mapping[str, Any]) -> NativeHistogram:
    """A native histogram from the column `histogram` of an answer."""
    custom = row["custom_bounds"] is not None

    def buckets(sign: str) -> tuple[tuple[int, float], ...]:
        first = row[f"{sign}_offset"] + (0 if custom else 1)
        counts = row[f"{sign}_bucket_counts"]
        return tuple((first + at, one) for at, one in enumerate(counts) if one)

    hints = {number: name for name, number in _HINTS.items() if number}
    return NativeHistogram(
        schema=_CUSTOM if custom else row["scale"],
        total=row["count"],
        sum=row["sum"],
        zero_count=row["zero_count"],
        zero_threshold=row["zero_threshold"],
        hint=hints.get(row["counter_reset_hint"], ""),
        bounds=tuple(row["custom_bounds"] or ()),
        positive=buckets("positive"),
        negative=buckets("negative"),
    )


def equal(want: Sample, got: Sample) -> bool:
    """Whether two samples are the same, as Prometheus' own runner sees it."""
    if isinstance(want, NativeHistogram) and isinstance(got, NativeHistogram):
        same = want.schema == got.schema and want.bounds == got.bounds
        same = same and want.zero_threshold == got.zero_threshold
        same = same and want.hint in ("", got.hint)
        for mine, its in ((want.positive, got.positive), (want.negative, got.negative)):
            same = same and [number for number, _ in mine] == [number for number, _ in its]
            pairs = zip(mine, its, strict=False)
            same = same and all(_close(one, other) for (_, one), (_, other) in pairs)
        return same and all(map(_close, want[1:4], got[1:4]))
    return isinstance(want, float) and isinstance(got, float) and _close(want, got)


def _close(want: Any, got: Any) -> bool:
    """Equal up to the tolerance that Prometheus' own runner has."""
    if math.isnan(want) or math.isnan(got):
        return math.isnan(want) and math.isnan(got)
    if want == got:
        return True
    if math.isinf(want) or math.isinf(got):
        return False
    both, apart = abs(want) + abs(got), abs(want - got)
    smallest = sys.float_info.min
    if want == 0 or got == 0 or both < smallest:
        return bool(apart < _EPSILON * smallest)
    return bool(apart / min(both, sys.float_info.max) < _EPSILON)
