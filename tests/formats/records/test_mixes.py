"""How a record lands depends on its object alone: a batch lands as its objects one by one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given

from lakerunner.errors import InputError
from lakerunner.formats.table import FORMATS
from lakerunner.model.signal import Signal
from lakerunner.schema.arrays import common_type, type_name

if TYPE_CHECKING:
    from collections.abc import Sequence

TIME = "2026-01-01T00:00:00Z"
WORDS = st.sampled_from(["x", "none", "info", "5", "2026-01-01", ""])
SCALARS = WORDS | st.sampled_from([0, 1, 7, 1.5, 2.0, True, None, 1e300, -0.0])
VALUES = SCALARS | st.sampled_from(
    [
        {},
        [],
        [1, 2.5],
        ["a", 1],
        [{"a": 1}, {"b": 2}],
        {"x": 1},
        {"name": "shop"},
        {"level": "warn"},
    ]
)
SHAPES: tuple[dict[str, Any], ...] = (
    {
        "log": "hello\n",
        "stream": "stderr",
        "time": TIME,
        "kubernetes": {"pod_name": "web-1", "namespace_name": "shop", "labels": {"app": "a"}},
    },
    {"log": "hi\r\n", "stream": "stdout", "time": TIME, "attrs": {"tag": "v1"}},
    {"date": 1767225600.5, "log": "from fluent bit", "kubernetes": {"pod_id": "1"}},
    {"message": "e", "log": {"level": "error"}, "service": {"name": "shop"}, "http": {"status": 5}},
    {"message": "d", "log.level": "error", "service.name": "shop", "@timestamp": TIME},
    {"ddsource": "nginx", "status": "error", "message": "m", "ddtags": "env:prod", "host": "h"},
    {"_id": "1", "date": TIME, "source": "s", "status": "info", "message": "m", "tags": ["a:b"]},
    {"timestamp": 1767225600000, "level": 30, "msg": "pino", "pid": 1, "hostname": "h"},
    {"time": TIME, "severity": "INFO", "textPayload": "gcp", "resource": {"type": "k8s"}},
    {"event": "signup", "user": {"id": 7}, "ts": 1767225600},
    {"data": "loose", "value": 3, "name": "n", "date": "2026-01-01", "clock": "10:00:00"},
    {"date": "2026-01-01", "time": "10:00:00", "raw": "iis", "cs.method": "GET", "cs_method": "X"},
    {"traceId": "0a" * 16, "spanId": "0b" * 8, "trace_id": "0c" * 16, "body": "ids"},
)
POINTS: tuple[dict[str, Any], ...] = (
    {"metric": "m", "value": 3, "time": TIME},
    {"metric": "m", "value": 2.5, "time": TIME, "type": "counter", "tags": {"a": 1}},
    {"metric_name": "h", "bucket_counts": [1, 2], "explicit_bounds": [0.5], "count": 3},
    {"metric_name": "h", "bucketCounts": "[1,2]", "explicit_bounds": "oops", "valueInt": 4},
    {"name": "n", "asInt": 7, "asDouble": None, "labels.a": "x", "labels": {"b": 1}},
)
SPANS: tuple[dict[str, Any], ...] = (
    {"trace_id": "0a" * 16, "span_id": "0b" * 8, "name": "GET", "start": TIME, "duration_ms": 5},
    {"traceId": "0a" * 16, "spanId": "0c" * 8, "operation": "x", "endTime": TIME, "kind": 2},
    {"traceid": "0a" * 16, "spanid": "0d" * 8, "name": "y", "duration": 3, "status.code": "ERROR"},
)
NAMES = st.sampled_from(sorted({name for one in (*SHAPES, *POINTS, *SPANS) for name in one}))


def _objects(known: Sequence[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """A known shape, some of its fields left out, and some fields put in or changed."""
    kept = st.lists(st.booleans(), min_size=12, max_size=12)
    odd = st.dictionaries(NAMES, VALUES, max_size=2)
    return st.builds(
        lambda one, flags, more: {
            **{
                name: value for (name, value), flag in zip(one.items(), flags, strict=False) if flag
            },
            **more,
        },
        st.sampled_from(known),
        st.just([True] * 12) | kept,
        st.just({}) | odd,
    )


def _json(objects: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in objects).encode()


def _flat(one: dict[str, Any]) -> dict[str, str]:
    return {
        name: "" if value is None else value if isinstance(value, str) else json.dumps(value)
        for name, value in one.items()
    }


def _csv(objects: Sequence[dict[str, Any]]) -> bytes:
    names = list(dict.fromkeys(name for one in objects for name in one)) or ["a"]
    rows = [names] + [[_flat(one).get(name, "") for name in names] for one in objects]
    quoted = (
        ",".join(
            '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\n\r') else cell
            for cell in row
        )
        for row in rows
    )
    return ("\n".join(quoted) + "\n").encode()


def _logfmt(objects: Sequence[dict[str, Any]]) -> bytes:
    lines = (
        " ".join(
            f"{name}={json.dumps(text) if set(text) & set(' =' + chr(10)) else text}"
            for name, text in _flat(one).items()
        )
        for one in objects
    )
    return ("\n".join(lines) + "\n").encode()


def _parquet(objects: Sequence[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    try:
        table = pa.Table.from_pylist(list(objects))
        pq.write_table(table, sink)
    except (pa.ArrowException, TypeError):  # no Parquet of these
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"message": ["instead"]}), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


WRITERS = {"json": _json, "csv": _csv, "logfmt": _logfmt, "parquet": _parquet}


@st.composite
def _batches(draw: st.DrawFn) -> tuple[str, str, list[bytes]]:
    signal, known = draw(
        st.sampled_from([("logs", SHAPES), ("logs", SHAPES), ("metrics", POINTS), ("spans", SPANS)])
    )
    name = draw(st.sampled_from(["json", "json", *WRITERS]))
    objects = st.lists(_objects(known), min_size=1, max_size=3)
    contents = draw(st.lists(objects.map(WRITERS[name]), min_size=2, max_size=5))
    return signal, name, contents


def written_rows(table: pa.Table) -> list[dict[str, str]]:
    """Rows without what is NULL, their values as they read under any type."""
    return [
        {name: _written(row[name]) for name in sorted(row) if row[name] is not None}
        for row in table.to_pylist()
    ]


def _written(value: Any) -> str:
    """A value as it reads under any type: numbers by what they are worth."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        whole = int(value) if isinstance(value, int | str) else 0
    except ValueError:
        whole = 0
    if abs(whole) >= 2**53:
        return str(whole)
    try:
        return repr(float(value))
    except (TypeError, ValueError):
        return str(value)


def _decoded(name: str, contents: Sequence[bytes], signal: str) -> Any:
    """What a format makes of objects; what it says of them where it refuses one."""
    times = [10**18] * len(contents)
    try:
        return FORMATS[name].decode(contents, Signal(signal), times)
    except InputError as error:
        return error.message


def check(name: str, contents: Sequence[bytes], signal: str) -> None:
    """Decode objects together, and one by one: the rows are the same, under a type for all."""
    alone = [_decoded(name, [content], signal) for content in contents]
    together = _decoded(name, contents, signal)
    refused = {one for one in alone if isinstance(one, str)}
    if refused:
        assert together in refused
        return
    assert together.rows.tolist() == [one.rows[0] for one in alone]
    assert written_rows(together.table) == [row for one in alone for row in written_rows(one.table)]
    types: dict[str, set[str]] = {}
    for field in (field for one in alone for field in one.table.schema):
        types.setdefault(field.name, set()).add(type_name(field.type))
    for field in together.table.schema:
        if field.name in types:
            found = types[field.name]
            assert type_name(field.type) == common_type(found)
    asides = [
        aside._replace(payload=place) for place, one in enumerate(alone) for aside in one.set_aside
    ]
    assert sorted(together.set_aside) == sorted(asides)


@given(_batches())
def test_a_batch_lands_as_its_objects_do_alone(batch: tuple[str, str, list[bytes]]) -> None:
    signal, name, contents = batch
    check(name, contents, signal)


def test_a_key_is_rare_by_its_object_alone() -> None:
    """Each key of one object stands in one record; beside much text they would not be many."""
    rare = [{"message": "m", f"k{row}": row} for row in range(700)]
    long = [{"message": "m" * 2000 + str(row)} for row in range(700)]
    check("json", [_json(rare), _json(long)], "logs")
    check("logfmt", [_logfmt(rare), _logfmt(long)], "logs")
