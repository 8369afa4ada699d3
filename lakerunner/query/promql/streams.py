"""From streams of metric points to Prometheus' series and their labels, and what is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.model.times import TimeRange
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
from lakerunner.schema.arrays import one_chunk
from lakerunner.schema.attribute import RECORD, RESOURCE

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from lakerunner.model.commit import ColumnSummary
    from lakerunner.model.segment import Segment
    from lakerunner.query.backing import Recent
    from lakerunner.query.promql.otlp import Known
    from lakerunner.query.promql.syntax import Matcher

IDENTITY = ("metric_name", "metric_type", "unit", "is_monotonic", "temporality")
"""Columns that decide, with the attributes, what a series is called."""

_ORDER = ("series_id", "temporality", "is_monotonic")

POINTS = "points of it"
"""What the number of points of a stream is called where streams are listed: like no column."""

_KNOWN_SEGMENTS = 10_000
"""More segments than most selectors look at; of so many it is remembered that they were read."""


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


class Streams(NamedTuple):
    """The streams that fulfil a selector's conditions, as far as they were read.

    An id says what a series is called. So what was read of some segments is true of all others.

    Attributes:
        table: One row a stream, in order of ids: `series_id`, `IDENTITY`, attribute columns and
            `POINTS`.
        keys: The key of each attribute column, as it was sent.
        ids: int64: of each stream.
        delta: bool: points of the stream are what was added since the one before.
        selected: The series that are made of them, by kind.
        spans: By segment, the time of which all streams of it are among these.
    """

    table: pa.Table
    keys: Mapping[str, str]
    ids: NDArray[np.int64]
    delta: NDArray[np.bool_]
    selected: tuple[Selected, ...]
    spans: Mapping[str, TimeRange]

    @classmethod
    def of(
        cls,
        streams: pa.Table,
        keys: Mapping[str, str],
        matchers: Sequence[Matcher],
        spans: Mapping[str, TimeRange],
        *,
        resource: bool,
    ) -> Streams:
        """What streams become, that were read and may come several times."""
        streams = distinct_streams(streams)
        # The last digit of a sum depends on the order of what is added up: always the same one. A
        # series that is said to be two things is the first of them, wherever it was said.
        streams = streams.sort_by([(name, "ascending") for name in _ORDER]).combine_chunks()
        selected = select_streams(streams, keys, matchers, resource=resource)
        delta = np.asarray(pc.equal(streams["temporality"].fill_null(""), "delta"))
        ids = np.asarray(streams["series_id"])
        return cls(streams, keys, ids, delta, tuple(selected), spans)

    @property
    def points(self) -> NDArray[np.int64]:
        """int64: how many points each stream has where it was read."""
        return np.asarray(self.table[POINTS])

    @property
    def lasting(self) -> bool:
        """Whether it may be used again: no series has sums and deltas, or may and may not fall."""
        return bool((self.ids[1:] != self.ids[:-1]).all())

    @property
    def bytes(self) -> int:
        """Memory that it takes, about: labels are texts once more, and numbers."""
        return 2 * int(self.table.nbytes) + 256 * len(self.spans)

    def unread(self, segments: Iterable[Segment], span: TimeRange) -> list[Segment]:
        """The segments that may have other streams in a time range."""
        return [
            one
            for one in segments
            if (known := self.spans.get(one.id)) is None
            or max(one.min_timestamp_ns, span.start_ns) < known.start_ns
            or min(one.max_timestamp_ns, span.end_ns - 1) >= known.end_ns
        ]

    def joined(
        self,
        streams: pa.Table,
        matchers: Sequence[Matcher],
        spans: Mapping[str, TimeRange],
        *,
        resource: bool,
    ) -> Streams:
        """With what was read of other segments, or of another time of them."""
        ids = np.asarray(streams["series_id"])
        place = np.minimum(np.searchsorted(self.ids, ids), max(len(self.ids) - 1, 0))
        known = np.zeros(len(ids), bool)
        if len(self.ids):
            there = self.table.select(_ORDER).take(pa.array(place))
            equal = [_same(streams[name], there[name]) for name in _ORDER]
            known = np.logical_and.reduce(equal)
        spans = {name: _hull(self.spans.get(name), span) for name, span in spans.items()}
        if len(self.spans) <= _KNOWN_SEGMENTS:
            spans = {**self.spans, **spans}
        if known.all():
            return self._replace(spans=spans)
        both = pa.concat_tables([self.table, streams.filter(pa.array(~known))])
        return Streams.of(both, self.keys, matchers, spans, resource=resource)

    def present(self, some: NDArray[np.bool_]) -> tuple[Selected, ...]:
        """Of the series that are made of them, those of some streams."""
        found = []
        for one in self.selected:
            kept = some[one.rows]
            if kept.all():
                found.append(one)
            elif kept.any():
                labels = one.labels.take(np.flatnonzero(kept))
                found.append(Selected(one.kind, one.rows[kept], labels))
        return tuple(found)


class KeptStreams(NamedTuple):
    """What queries of one state of the metrics know of streams, from those before them.

    Attributes:
        recent: Where it is kept.
        whose: Whose metrics, and how they are read.
        columns: Those of the table: a text that was read of a column is that of its type.
    """

    recent: Recent[Streams]
    whose: tuple[Hashable, ...]
    columns: Mapping[str, ColumnSummary]

    def place(self, matchers: Sequence[Matcher], known: Known) -> Hashable:
        """Under which name the streams of a selector are kept."""
        attributes = [
            (column, key, one and (one.types, one.physical > 0, one.overflow > 0))
            for column, key in sorted(known.keys.items())
            for one in [self.columns.get(column)]
        ]
        return self.whose, tuple(matchers), tuple(known.where), tuple(attributes)


def spans_of(segments: Iterable[Segment], span: TimeRange) -> dict[str, TimeRange]:
    """That segments were read in a time range, as `Streams` remembers it."""
    return {
        one.id: TimeRange()
        if span.start_ns <= one.min_timestamp_ns and one.max_timestamp_ns < span.end_ns
        else span
        for one in segments
    }


def _hull(known: TimeRange | None, span: TimeRange) -> TimeRange:
    """Both times together, if nothing lies between them; else the second."""
    if known is None or known.start_ns > span.end_ns or span.start_ns > known.end_ns:
        return span
    return TimeRange(min(known.start_ns, span.start_ns), max(known.end_ns, span.end_ns))


def _same(one: pa.ChunkedArray, other: pa.ChunkedArray) -> NDArray[np.bool_]:
    equal = pc.coalesce(pc.equal(one, other), pc.and_(one.is_null(), other.is_null()))
    return np.asarray(equal.cast(pa.bool_()))


def stream_starts(points: pa.Table) -> NDArray[np.int64]:
    """Where runs of points of one stream begin, given the columns of `_ORDER` of each point."""
    changes = np.zeros(max(points.num_rows - 1, 0), dtype=bool)
    monotonic = points["is_monotonic"].cast(pa.int8()).fill_null(-1)
    for several in (points["series_id"], points["temporality"].fill_null(""), monotonic):
        column = one_chunk(several)
        changes |= np.asarray(pc.not_equal(column[1:], column[:-1]))
    inner = np.flatnonzero(changes) + 1
    return np.concatenate([np.zeros(min(points.num_rows, 1), dtype=np.int64), inner])


def distinct_streams(streams: pa.Table) -> pa.Table:
    """Streams of several runs of points as one each, with all their points.

    An id tells all but whether points are what was added, and whether they may fall.
    """
    known, first, place = np.unique(
        np.asarray(streams["series_id"]), return_index=True, return_inverse=True
    )
    if len(known) == len(place):
        return streams
    for name in ("temporality", "is_monotonic"):
        column = streams[name].combine_chunks()
        if not column.equals(column.take(pa.array(first[place]))):
            columns = [one for one in streams.schema.names if one != POINTS]
            found = streams.group_by(columns, use_threads=False).aggregate([(POINTS, "sum")])
            return found.rename_columns([*columns, POINTS])
    points = np.bincount(place, np.asarray(streams[POINTS]), len(known)).astype(np.int64)
    chosen = streams.take(pa.array(first)).drop_columns([POINTS])
    return chosen.append_column(POINTS, pa.array(points))


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
