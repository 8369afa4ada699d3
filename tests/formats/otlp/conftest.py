"""Random requests, written with OpenTelemetry's own classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope as Scope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

_INT64 = st.integers(-(2**63), 2**63 - 1)
_UINT32 = st.integers(0, 2**32 - 1)
_TEXT = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["", "\x00", 'say "hi"\\\n\t\x1f\x7f', "größe", "🦜", "\u2028", "null", "7"]
)
# Few keys, so that they repeat inside a record and fold to the same name.
_KEYS = _TEXT | st.sampled_from(
    [
        "http.method",
        "http_method",
        "HTTP.Method",
        "http__method",
        "service.name",
        "service_name",
        "name",
        "version",
        "schema_url",
        "dropped_attributes_count",
        "",
        "a",
        "b",
        "c",
    ]
)
_SCALARS = st.one_of(
    st.builds(AnyValue),
    st.builds(AnyValue, string_value=_TEXT),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, int_value=_INT64 | st.integers(-3, 3)),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bytes_value=st.binary(max_size=5)),
)


def _nested(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.builds(KeyValue, key=_KEYS, value=st.none() | values)
    return st.one_of(
        st.builds(ArrayValue, values=st.lists(values, max_size=3)).map(
            lambda array: AnyValue(array_value=array)
        ),
        st.builds(KeyValueList, values=st.lists(pairs, max_size=3)).map(
            lambda pairs: AnyValue(kvlist_value=pairs)
        ),
    )


_VALUES = st.recursive(_SCALARS, _nested, max_leaves=6)
_ATTRIBUTES = st.lists(st.builds(KeyValue, key=_KEYS, value=st.none() | _VALUES), max_size=5)
_TIMES = st.integers(0, 2**64 - 1) | st.sampled_from(
    [
        0,
        1,
        1767225600,
        1767225600123,
        1767225600123456,
        1767225600 * 10**9,
        7258118400 * 10**9,
        2**63 - 1,
        2**63,
        2**64 - 5,
    ]
)
_RECORDS = st.builds(
    LogRecord,
    time_unix_nano=_TIMES,
    observed_time_unix_nano=_TIMES,
    severity_number=st.integers(0, 24),
    severity_text=_TEXT | st.sampled_from(["warning", "INFO", "Error"]),
    body=st.none() | _VALUES,
    attributes=_ATTRIBUTES,
    dropped_attributes_count=_UINT32,
    flags=_UINT32,
    trace_id=st.binary(max_size=17),
    span_id=st.binary(max_size=9),
    event_name=_TEXT,
)
_SCOPES = st.builds(
    Scope,
    name=_TEXT,
    version=_TEXT,
    attributes=_ATTRIBUTES,
    dropped_attributes_count=st.integers(0, 2),
)
_SCOPE_LOGS = st.builds(
    ScopeLogs,
    scope=st.none() | _SCOPES,
    log_records=st.lists(_RECORDS, max_size=3),
    schema_url=_TEXT,
)
_RESOURCES = st.builds(Resource, attributes=_ATTRIBUTES, dropped_attributes_count=st.integers(0, 2))
_RESOURCE_LOGS = st.builds(
    ResourceLogs,
    resource=st.none() | _RESOURCES,
    scope_logs=st.lists(_SCOPE_LOGS, max_size=3),
    schema_url=_TEXT,
)


@pytest.fixture(scope="session")
def log_requests() -> st.SearchStrategy[Any]:
    """Any `ExportLogsServiceRequest`: nothing is left out, and everything may be missing."""
    return st.builds(ExportLogsServiceRequest, resource_logs=st.lists(_RESOURCE_LOGS, max_size=3))


class OtlpParts(NamedTuple):
    """What the requests of every signal are made of."""

    text: st.SearchStrategy[str]
    uint32: st.SearchStrategy[int]
    times: st.SearchStrategy[int]
    attributes: st.SearchStrategy[Any]
    scope: st.SearchStrategy[Any]
    resource: st.SearchStrategy[Any]


@pytest.fixture(scope="session")
def otlp_parts() -> OtlpParts:
    """Strategies for parts of any request: nothing is left out, everything may be missing."""
    return OtlpParts(
        text=_TEXT,
        uint32=_UINT32,
        times=_TIMES,
        attributes=_ATTRIBUTES,
        scope=st.none() | _SCOPES,
        resource=st.none() | _RESOURCES,
    )
