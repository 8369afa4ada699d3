"""From OpenTelemetry's metric points to Prometheus' series and their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.query.promql.labels import NAME, LabelColumn, Labels, word_matches
from lakerunner.query.promql.otlp import (
    IDENTIFYING,
    PARTS,
    SERVICE_INSTANCE,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    TARGET_INFO,
    Stream,
    label_name,
    metric_name,
)
from lakerunner.schema.attribute import RECORD, RESOURCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lakerunner.query.promql.syntax import Matcher

IDENTITY = ("metric_name", "metric_type", "unit", "is_monotonic", "temporality")
"""Columns that decide, with the attributes, what a series is called."""


class Selected(NamedTuple):
    """Series of one kind that a selector asks for.

    Attributes:
        kind: `value`, `native`, `bucket`, `sum`, `count`, `quantile` or `info`.
        rows: int64: which rows of the table of streams.
        labels: Of each of these; without the labels of buckets and quantiles.
    """

    kind: str
    rows: NDArray[np.int64]
    labels: Labels


def select_streams(
    streams: pa.Table, keys: Mapping[str, str], matchers: Sequence[Matcher], *, resource: bool
) -> list[Selected]:
    """Find the series that fulfil a selector's conditions.

    Conditions on the bounds of buckets and quantiles are not looked at here.

    Args:
        streams: One row for each series of points: `IDENTITY` and attribute columns.
        keys: The key of each attribute column, as it was sent.
        matchers: The conditions.
        resource: Whether the attributes of resources are labels.
    """
    names = tuple(one for one in matchers if one.name == NAME)
    others = tuple(one for one in matchers if one.name not in (NAME, "le", "quantile"))
    bounds = tuple(one for one in matchers if one.name in ("le", "quantile"))
    found: list[Selected] = []
    code, distinct = _distinct_streams(streams)
    labels = attribute_labels(streams, keys, resource=resource)
    kept = labels.matching(others)
    parts: dict[str, list[tuple[int, str]]] = {}
    for number, stream in enumerate(distinct):
        base = metric_name(stream)
        for part in PARTS.get(stream.type, ()):
            name = f"{base}{part.suffix}"
            if all(_matches(name, one) for one in names):
                parts.setdefault(part.kind, []).append((number, name))
    for kind, chosen in parts.items():
        word = np.zeros(len(distinct), dtype=np.int32)
        for place, (number, _) in enumerate(chosen):
            word[number] = place + 1
        rows = np.flatnonzero(kept & (word[code] > 0))
        words = pa.array(["", *(name for _, name in chosen)])
        column = LabelColumn(word[code][rows], words)
        own = labels.take(rows).replace(NAME, column)
        if kind not in ("bucket", "quantile") and bounds:
            fits = own.matching(bounds)
            rows, own = rows[fits], own.take(np.flatnonzero(fits))
        if len(rows):
            found.append(Selected(kind, rows, own))
    if all(_matches(TARGET_INFO, one) for one in names):
        found += _infos(streams, keys, (*others, *bounds))
    return found


def _matches(text: str, matcher: Matcher) -> bool:
    return bool(word_matches(pa.array([text]), matcher)[0])


def _distinct_streams(streams: pa.Table) -> tuple[NDArray[np.int64], list[Stream]]:
    """Which of the distinct names each row has."""
    texts = {name: streams[name].cast(pa.string()) for name in IDENTITY[:4]}
    columns = {name: array.combine_chunks() for name, array in texts.items()}
    code, first = Labels.from_texts(streams.num_rows, columns).groups()
    picked = {name: array.take(pa.array(first)).to_pylist() for name, array in columns.items()}
    return code, [
        Stream(name or "", kind or "", unit or "", monotonic == "true")
        for name, kind, unit, monotonic in zip(*(picked[one] for one in IDENTITY[:4]), strict=True)
    ]


def attribute_labels(streams: pa.Table, keys: Mapping[str, str], *, resource: bool) -> Labels:
    """The labels that attributes become; those of points win over those of resources."""
    columns: dict[str, LabelColumn] = {}
    if resource:
        columns |= _labels_of(streams, keys, RESOURCE)
    for name, column in _labels_of(streams, keys, RECORD).items():
        columns[name] = _first_filled(column, columns.get(name))
    for name, column in _target(streams, keys).items():
        columns[name] = _first_filled(column, columns.get(name))
    return Labels(streams.num_rows, columns)


def _labels_of(streams: pa.Table, keys: Mapping[str, str], prefix: str) -> dict[str, LabelColumn]:
    by_label: dict[str, list[str]] = {}
    for column in sorted(keys, key=keys.__getitem__):
        if column.startswith(prefix):
            by_label.setdefault(label_name(keys[column]), []).append(column)
    return {
        label: _joined([label_texts(streams[one]) for one in columns])
        for label, columns in by_label.items()
    }


def _joined(parts: Sequence[pa.Array]) -> LabelColumn:
    """One label of several attributes: their values one after the other, as Prometheus does it."""
    joined = parts[0]
    for part in parts[1:]:
        # Not with `null_handling="skip"`, which leaves out rows where all parts are NULL.
        joined = pc.coalesce(pc.binary_join_element_wise(joined, part, ";"), joined, part)
    return LabelColumn.from_texts(joined)


def label_texts(column: pa.ChunkedArray) -> pa.Array:
    """The text of attribute values, as labels have it."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if pa.types.is_floating(array.type):
        # Go prints numbers without a fraction that is zero.
        text = array.cast(pa.string())
        return pc.replace_substring_regex(text, r"\.0$", "")
    return array.cast(pa.string())


def _first_filled(column: LabelColumn, other: LabelColumn | None) -> LabelColumn:
    if other is None:
        return column
    return LabelColumn.from_texts(pc.coalesce(column.texts(), other.texts()))


def _target(streams: pa.Table, keys: Mapping[str, str]) -> dict[str, LabelColumn]:
    """`job` and `instance`, from the attributes of the resource that identify a service."""
    places = {key: column for column, key in keys.items() if column.startswith(RESOURCE)}
    result = {}
    if SERVICE_NAME in places:
        name = label_texts(streams[places[SERVICE_NAME]])
        if SERVICE_NAMESPACE in places:
            space = label_texts(streams[places[SERVICE_NAMESPACE]])
            name = pc.coalesce(pc.binary_join_element_wise(space, name, "/"), name)
        result["job"] = LabelColumn.from_texts(name)
    if SERVICE_INSTANCE in places:
        result["instance"] = LabelColumn.from_texts(label_texts(streams[places[SERVICE_INSTANCE]]))
    return result


def _infos(
    streams: pa.Table, keys: Mapping[str, str], matchers: Sequence[Matcher]
) -> list[Selected]:
    """`target_info`: the attributes of each resource that has a target."""
    kept = {
        column: key
        for column, key in keys.items()
        if column.startswith(RESOURCE) and key not in IDENTIFYING
    }
    target = Labels(streams.num_rows, _target(streams, keys))
    columns = {**_labels_of(streams, kept, RESOURCE), **target.columns}
    named = pa.array([TARGET_INFO] * streams.num_rows, pa.string())
    labels = Labels(streams.num_rows, {**columns, NAME: LabelColumn.from_texts(named)})
    has_target = np.zeros(streams.num_rows, dtype=bool)
    for column in target.columns.values():
        has_target |= column.codes != 0
    rows = np.flatnonzero(labels.matching(matchers) & has_target)
    return [Selected("info", rows, labels.take(rows))] if len(rows) else []
