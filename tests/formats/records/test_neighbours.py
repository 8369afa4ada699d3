"""What becomes of an object does not depend on the objects it is decoded with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis import given, settings

from lakerunner.errors import InputError
from lakerunner.formats.table import FORMATS
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from lakerunner.schema.tables import Decoded

WORDS = st.sampled_from(["x", "y z", "INFO", "0a0b"])
TIMES = st.sampled_from(["2024-01-01T00:00:00Z", "soon", "1700000000", "10:00:00", "2024-01-01"])
TEXTS = ["a", "message", "level", "log", "stream", "ddsource", "status", "service", "host"]
TEXTS += ["hostname", "trace_id", "metric_name", "name", "organization", "source"]
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(TEXTS, WORDS),
    **dict.fromkeys(["timestamp", "date", "time"], TIMES),
    "timestamp_source": st.sampled_from(["time", "object"]),
    "tags": st.lists(WORDS, max_size=2),
    "ddtags": st.just("env:prod,a:b"),
    "kubernetes": st.fixed_dictionaries({"pod_name": st.just("p"), "z": WORDS}),
    "value": st.integers(1, 10),
    "duration_ms": st.integers(0, 10**15),
}
OBJECTS = st.lists(st.sampled_from(sorted(FIELDS)), max_size=6, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
)
LINES = OBJECTS.map(json.dumps) | st.sampled_from(
    ["", "null", "[1]", "{", "5", '{"a":1}x', "{} {}"]
)
PAYLOADS = st.lists(LINES, max_size=4).map(lambda lines: "\n".join(lines).encode())


def rows_of(table: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()]


@settings(max_examples=60, deadline=None)
@given(st.lists(PAYLOADS, min_size=1, max_size=4), st.sampled_from(list(Signal)))
def test_json_lines(payloads: list[bytes], signal: Signal) -> None:
    json_lines = FORMATS["json"]
    times = [10**18 + place for place in range(len(payloads))]
    alone: list[Decoded | None] = []
    for payload, time in zip(payloads, times, strict=True):
        try:
            alone.append(json_lines.decode([payload], signal, [time]))
        except InputError:
            alone.append(None)
    try:
        together = json_lines.decode(payloads, signal, times)
    except InputError:
        assert None in alone
        return
    whole = [one for one in alone if one is not None]
    assert len(whole) == len(alone)
    assert together.rows.tolist() == [int(one.rows[0]) for one in whole]
    assert rows_of(together.table) == [row for one in whole for row in rows_of(one.table)]
    expected = [
        aside._replace(payload=place) for place, one in enumerate(whole) for aside in one.set_aside
    ]
    assert sorted(together.set_aside) == sorted(expected)


def test_a_shape_is_that_of_its_own_object() -> None:
    datadog = b'{"ddsource": "nginx", "status": "error", "hostname": "h", "message": "m"}'
    other = b'{"status": "shipped", "hostname": "h", "message": "m"}'
    table = FORMATS["json"].decode([datadog, other], Signal.LOGS, [0, 0]).table
    first, second = rows_of(table)
    assert (first["severity_text"], first["resource_host_name"]) == ("error", "h")
    assert (second["attr_status"], second["attr_hostname"]) == ("shipped", "h")
    assert "severity_text" not in second
