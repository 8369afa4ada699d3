"""Record shapes known without configuration: Datadog, Splunk, GELF, Fluent Bit, Kubernetes, Docker.

A shape is recognised by its fields, and is a mapping like those that users write, with a step
before it where the mapping does not do. Several shapes may hold at once: Fluent Bit wraps what
Docker wrote and adds what Kubernetes knows. Shapes are told for each payload by itself, so that an
object is read in the same way whatever its neighbours are.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.lake_rows import MARKS, is_lake_row
from lakerunner.formats.records.platforms import PLATFORMS
from lakerunner.model.profile import SourceMapping
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lakerunner.formats.records.platforms import Platform


class Shape(NamedTuple):
    """A known shape.

    Attributes:
        mapping: Which field means what.
        prepare: What has to be done to a table first, in the rows of a mask.
        lake: Whether these are rows that came out of a lake.
    """

    mapping: SourceMapping
    prepare: Callable[[pa.Table, Any], pa.Table]
    lake: bool = False


class ShapedRows(NamedTuple):
    """Records of a known shape.

    Attributes:
        shape: The shape.
        rows: bool per row: which records have it.
    """

    shape: Shape
    rows: Any


class _Known(NamedTuple):
    matches: Callable[[pa.Table, frozenset[str]], bool]
    shape: Shape


def signal_of_shape(table: pa.Table) -> Signal | None:
    """The signal of the shape that some records show; None if it shows none, or none that tells."""
    names = frozenset(name for name in _ASKED_FOR if _type_of(table.schema, name) is not None)
    found = (shape.mapping.signal for shape in shapes_by_names(names, table))
    return next((signal for signal in found if signal is not None), None)


def names_by_payload(table: pa.Table, payload: Any, payloads: int) -> list[frozenset[str]]:
    """Of each payload, the fields with a value among those by which shapes are told.

    Args:
        table: The records; one chunk per column, each name once.
        payload: int per row: position of its payload in the batch.
        payloads: Payloads in the batch.
    """
    filled: list[set[str]] = [set() for _ in range(payloads)]
    for name in _ASKED_FOR:
        if _type_of(table.schema, name) is None:
            continue
        column, *inside = [name] if name in table.column_names else name.split(".")
        values = table[column].combine_chunks()
        for part in inside:
            values = pc.struct_field(values, part)
        counts = np.bincount(payload[np.asarray(values.is_valid())], minlength=payloads)
        for place in np.flatnonzero(counts).tolist():
            filled[place].add(name)
    return list(map(frozenset, filled))


def shapes_by_names(names: frozenset[str], table: pa.Table) -> list[Shape]:
    """The shapes of a payload; an earlier one counts more than a later one.

    Args:
        names: What `names_by_payload` says of it.
        table: Where its records are.
    """
    return [known.shape for known in _KNOWN if known.matches(table, names)]


def shapes_of(table: pa.Table, payload: Any, payloads: int) -> list[ShapedRows]:
    """The shapes of some records; see `shapes_by_names`.

    Args:
        table: The records; one chunk per column, each name once.
        payload: int per row: position of its payload in the batch.
        payloads: Payloads in the batch.
    """
    names = names_by_payload(table, payload, payloads)
    shapes = {each: shapes_by_names(each, table) for each in set(names)}
    found = []
    for shape in (known.shape for known in _KNOWN):
        having = np.array([shape in shapes[each] for each in names], bool)
        if having.any():
            found.append(ShapedRows(shape, having[payload]))
    return found


def renamed(key: str, shapes: list[Shape], said: Mapping[str, str]) -> str:
    """The key that a field has in the end, by what the user says or else by its shapes.

    Args:
        key: Its own.
        shapes: Of its records.
        said: New keys by old ones.
    """
    for names in (said, *(shape.mapping.attributes for shape in shapes)):
        for old, new in names.items():
            if key == old or key.startswith(f"{old}."):
                return new + key[len(old) :]
    return key


def _type_of(schema: pa.Schema, name: str) -> pa.DataType | None:
    """The type of a field by its name, the parts of which are inside of one another."""
    if name in schema.names:
        dtype = schema.field(name).type
        return None if pa.types.is_null(dtype) else dtype
    column, *inside = name.split(".")
    if column not in schema.names:
        return None
    dtype = schema.field(column).type
    for part in inside:
        if not pa.types.is_struct(dtype) or dtype.get_field_index(part) < 0:
            return None
        dtype = dtype.field(part).type
    return None if pa.types.is_null(dtype) else dtype


def _same(table: pa.Table, rows: Any) -> pa.Table:
    del rows
    return table


def _text_column(table: pa.Table, name: str) -> Any:
    """A column as text; None if there is none, or none of text."""
    if name not in table.column_names:
        return None
    values = table[name].combine_chunks()
    return values if pa.types.is_string(values.type) else None


def _strip_newline(table: pa.Table, rows: Any) -> pa.Table:
    """Take away the one line end that Docker leaves at the end of each line."""
    text = _text_column(table, "log")
    if text is None:
        return table
    stripped = pc.replace_substring_regex(text, "\r?\n$", "")
    stripped = pc.if_else(pa.array(rows), stripped, text)
    return table.set_column(table.column_names.index("log"), "log", stripped)


def _tags(table: pa.Table, rows: Any) -> pa.Table:
    """Datadog's tags, `env:prod,team:web`, as resource attributes beside the text itself."""
    text, lists = _text_column(table, "ddtags"), _tag_lists(table)
    if text is not None:
        split = pc.split_pattern(text, ",")
        lists = split if lists is None else pc.coalesce(split, lists)
    if lists is None:
        return table
    lists = pc.if_else(pa.array(rows), lists, pa.scalar(None, lists.type))
    lists = pc.coalesce(lists, pa.scalar([], lists.type))
    tags = pc.utf8_trim_whitespace(lists.values)
    parts = pc.extract_regex(tags, "^(?P<key>[^:]+):(?P<value>.*)$")
    named = np.asarray(parts.is_valid())
    owners = np.asarray(pc.list_parent_indices(lists))[named]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(lists)))])
    kept = parts.filter(pa.array(named))
    maps = pa.MapArray.from_arrays(
        pa.array(offsets.astype(np.int32)), kept.field("key"), kept.field("value")
    )
    return table.append_column("resource.attributes", maps)


def _splunk_fields(table: pa.Table, rows: Any) -> pa.Table:
    """The fields that stand beside a Splunk event, as attributes of their own names."""
    if "fields" not in table.column_names or "attributes" in table.column_names:
        return table
    fields = table["fields"].combine_chunks()
    if not pa.types.is_struct(fields.type):
        return table
    nothing = pa.scalar(None, fields.type)
    mask = pa.array(rows)
    rest = pc.if_else(mask, nothing, fields)
    table = table.set_column(table.column_names.index("fields"), "fields", rest)
    return table.append_column("attributes", pc.if_else(mask, fields, nothing))


def _gelf_fields(table: pa.Table, rows: Any) -> pa.Table:
    """GELF's own fields, which begin with `_`, under their names; its levels are syslog's."""
    mask = pa.array(rows)
    own = [name for name in table.column_names if name.startswith("_") and len(name) > 1]
    if own and "attributes" not in table.column_names:
        values = [table[name].combine_chunks() for name in own]
        inside = pa.StructArray.from_arrays(
            values, [name[1:] for name in own], mask=pc.invert(mask)
        )
        for name, array in zip(own, values, strict=True):
            rest = pc.if_else(mask, pa.scalar(None, array.type), array)
            table = table.set_column(table.column_names.index(name), name, rest)
        table = table.append_column("attributes", inside)
    if "level" not in table.column_names or table.schema.field("level").type != pa.int64():
        return table
    level = table["level"].combine_chunks()
    known = pc.and_(mask, pc.and_(pc.greater_equal(level, 0), pc.less(level, len(_SEVERITIES))))
    places = pc.if_else(known, level, pa.scalar(None, pa.int64()))
    words = pc.coalesce(pa.array(_SEVERITIES).take(places), level.cast(pa.string()))
    return table.set_column(table.column_names.index("level"), "level", words)


_SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


def _tag_lists(table: pa.Table) -> Any:
    if "tags" not in table.column_names:
        return None
    lists = table["tags"].combine_chunks()
    wanted = pa.list_(pa.string())
    return lists if lists.type == wanted else None


_DATADOG = SourceMapping(
    signal=Signal.LOGS,
    columns={"body": "message", "severity_text": "status"},
    attributes={
        "service": "resource.service.name",
        "hostname": "resource.host.name",
        "host": "resource.host.name",
        "ddsource": "datadog.log.source",
        "source": "datadog.log.source",
    },
)

_SPLUNK = SourceMapping(
    signal=Signal.LOGS,
    columns={"body": "event", "timestamp": "time"},
    attributes={
        "host": "resource.host.name",
        "source": "com.splunk.source",
        "sourcetype": "com.splunk.sourcetype",
        "index": "com.splunk.index",
    },
)

_GELF = SourceMapping(
    signal=Signal.LOGS,
    columns={"body": "short_message", "severity_text": "level"},
    attributes={
        "host": "resource.host.name",
        "full_message": "gelf.full_message",
        "version": "gelf.version",
    },
)

_KUBERNETES = SourceMapping(
    signal=Signal.LOGS,
    attributes={
        "kubernetes.pod_name": "resource.k8s.pod.name",
        "kubernetes.pod_id": "resource.k8s.pod.uid",
        "kubernetes.pod_ip": "resource.k8s.pod.ip",
        "kubernetes.namespace_name": "resource.k8s.namespace.name",
        "kubernetes.container_name": "resource.k8s.container.name",
        "kubernetes.container_image": "resource.container.image.name",
        "kubernetes.docker_id": "resource.container.id",
        "kubernetes.host": "resource.k8s.node.name",
        "kubernetes.labels": "resource.k8s.pod.label",
        "kubernetes.annotations": "resource.k8s.pod.annotation",
        "stream": "log.iostream",
    },
)

_CONTAINER = SourceMapping(
    signal=Signal.LOGS,
    columns={"body": "log"},
    attributes={"stream": "log.iostream", "attrs": "resource"},
)

_FLUENT_BIT = SourceMapping(signal=Signal.LOGS, columns={"timestamp": "date"})


def _is_datadog(table: pa.Table, names: frozenset[str]) -> bool:
    del table
    archived = {"_id", "date", "source", "status", "message"} <= names
    return bool(names & {"ddsource", "ddtags"}) or archived


def _is_splunk(table: pa.Table, names: frozenset[str]) -> bool:
    del table
    return {"event", "sourcetype"} <= names


def _is_gelf(table: pa.Table, names: frozenset[str]) -> bool:
    del table
    return {"version", "host", "short_message"} <= names


def _is_kubernetes(table: pa.Table, names: frozenset[str]) -> bool:
    del table
    return "kubernetes.pod_name" in names


def _is_container(table: pa.Table, names: frozenset[str]) -> bool:
    return {"log", "stream"} <= names and pa.types.is_string(table.schema.field("log").type)


def _is_fluent_bit(table: pa.Table, names: frozenset[str]) -> bool:
    if "date" not in names or not names & {"log", "message"}:
        return False
    # Only a time in seconds, or in Fluent Bit's own text; a `date` beside a `time` is a day.
    dtype = table.schema.field("date").type
    return "time" not in names and (pa.types.is_floating(dtype) or pa.types.is_string(dtype))


def _is_platform(platform: Platform, table: pa.Table, names: frozenset[str]) -> bool:
    del table
    return platform.matches(names)


_KNOWN = (
    _Known(is_lake_row, Shape(SourceMapping(), _same, lake=True)),
    _Known(_is_datadog, Shape(_DATADOG, _tags)),
    _Known(_is_splunk, Shape(_SPLUNK, _splunk_fields)),
    _Known(_is_gelf, Shape(_GELF, _gelf_fields)),
    _Known(_is_kubernetes, Shape(_KUBERNETES, _same)),
    _Known(_is_container, Shape(_CONTAINER, _strip_newline)),
    _Known(_is_fluent_bit, Shape(_FLUENT_BIT, _same)),
    *(
        _Known(partial(_is_platform, platform), Shape(platform.mapping, platform.prepare))
        for platform in PLATFORMS
    ),
)

_ASKED_FOR = (
    *("ddsource", "ddtags", "_id", "date", "source", "status", "message"),
    *(
        "event",
        "sourcetype",
        "version",
        "host",
        "short_message",
        "kubernetes.pod_name",
        "log",
        "stream",
        "time",
        *MARKS,
    ),
    *dict.fromkeys(name for platform in PLATFORMS for name in platform.asked),
)
"""Names of the fields by which shapes are told."""
