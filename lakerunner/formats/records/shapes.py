"""Record shapes that are known without configuration: Datadog, Fluent Bit, Kubernetes, Docker.

A shape is recognised by its fields, and is a mapping like those that users write, with a step
before it where the mapping does not do. Several shapes may hold at once: Fluent Bit wraps what
Docker wrote and adds what Kubernetes knows.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.model.mapping import SourceMapping
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable


class Shape(NamedTuple):
    """A known shape.

    Attributes:
        mapping: Which field means what.
        prepare: What has to be done to the table first.
    """

    mapping: SourceMapping
    prepare: Callable[[pa.Table], pa.Table]

    @property
    def signal(self) -> Signal | None:
        """What such records are."""
        return self.mapping.signal


class _Known(NamedTuple):
    matches: Callable[[pa.Schema, frozenset[str]], bool]
    shape: Shape


def shape_of(schema: pa.Schema) -> Shape | None:
    """The shape, or the several shapes put together, that a schema shows; None if it shows none."""
    names = frozenset(schema.names)
    found = [known.shape for known in _KNOWN if known.matches(schema, names)]
    return reduce(_both, found) if found else None


def _both(first: Shape, second: Shape) -> Shape:
    mapping = SourceMapping(
        signal=first.mapping.signal or second.mapping.signal,
        columns={**second.mapping.columns, **first.mapping.columns},
        attributes={**second.mapping.attributes, **first.mapping.attributes},
    )
    return Shape(mapping, lambda table: second.prepare(first.prepare(table)))


def _same(table: pa.Table) -> pa.Table:
    return table


def _text_column(table: pa.Table, name: str) -> Any:
    """A column as text; None if there is none, or none of text."""
    if name not in table.column_names:
        return None
    values = table[name].combine_chunks()
    return values if pa.types.is_string(values.type) else None


def _strip_newline(table: pa.Table) -> pa.Table:
    """Take away the one line end that Docker leaves at the end of each line."""
    text = _text_column(table, "log")
    if text is None:
        return table
    stripped = pc.replace_substring_regex(text, "\r?\n$", "")
    return table.set_column(table.column_names.index("log"), "log", stripped)


def _tags(table: pa.Table) -> pa.Table:
    """Datadog's tags, `env:prod,team:web`, as resource attributes beside the text itself."""
    text = _text_column(table, "ddtags")
    lists = pc.split_pattern(text, ",") if text is not None else _tag_lists(table)
    if lists is None:
        return table
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


def _is_datadog(schema: pa.Schema, names: frozenset[str]) -> bool:
    del schema
    archived = {"_id", "date", "source", "status", "message"} <= names
    return bool(names & {"ddsource", "ddtags"}) or archived


def _is_kubernetes(schema: pa.Schema, names: frozenset[str]) -> bool:
    if "kubernetes" not in names:
        return False
    dtype = schema.field("kubernetes").type
    return bool(pa.types.is_struct(dtype) and dtype.get_field_index("pod_name") >= 0)


def _is_container(schema: pa.Schema, names: frozenset[str]) -> bool:
    return {"log", "stream"} <= names and pa.types.is_string(schema.field("log").type)


def _is_fluent_bit(schema: pa.Schema, names: frozenset[str]) -> bool:
    if "date" not in names or not names & {"log", "message"}:
        return False
    # Only a time in seconds, or in Fluent Bit's own text; a `date` beside a `time` is a day.
    dtype = schema.field("date").type
    return "time" not in names and (pa.types.is_floating(dtype) or pa.types.is_string(dtype))


_KNOWN = (
    _Known(_is_datadog, Shape(_DATADOG, _tags)),
    _Known(_is_kubernetes, Shape(_KUBERNETES, _same)),
    _Known(_is_container, Shape(_CONTAINER, _strip_newline)),
    _Known(_is_fluent_bit, Shape(_FLUENT_BIT, _same)),
)
