"""Records of odd content: what can be read lands, what cannot is named, and SQL goes on working."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings

import lakerunner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lakerunner.model.report import IngestReport

NOON = 1_790_078_400 * 10**9


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[lakerunner.Lake]:
    with lakerunner.open(tmp_path / "lake") as made:
        yield made


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    made = tmp_path / "raw"
    made.mkdir()
    return made


def take(lake: lakerunner.Lake, raw: Path, name: str, data: bytes) -> IngestReport:
    """Ingest one object from its place; its reasons must be listed afterwards."""
    path = raw / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    report = lake.ingest(path)
    assert list(report.rejected) == [
        each for each in lake.rejected() if each.source.key.endswith(name)
    ]
    assert report.failed == ()
    return report


def rows(lake: lakerunner.Lake, text: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in lake.sql(text).to_arrow().to_pylist()]


def lines_of(report: IngestReport) -> list[tuple[str, int | None]]:
    return [(each.reason.partition(":")[0], each.rows) for each in report.rejected]


def test_broken_lines_of_otlp_are_set_aside_with_their_numbers(
    lake: lakerunner.Lake, raw: Path, telemetry: Path
) -> None:
    data = (telemetry / "otlp-json" / "malformed.jsonl").read_bytes()
    report = take(lake, raw, "malformed.jsonl", data)
    assert (report.objects, report.rows) == (1, 1)
    assert lines_of(report) == [("line 1", 1), ("line 2", 1), ("line 4", 1)]
    assert rows(lake, "SELECT resource_service_name FROM spans") == [("valid-service",)]


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_one_bad_line_among_many(lake: lakerunner.Lake, raw: Path, name: str) -> None:
    count, bad = 200_000, 123_456
    if name == "a.csv":
        lines = ["time,message,n", *(f"{NOON + n},text,{n}" for n in range(count))]
        broken, number = f"{NOON},text,1,2,3,4", bad + 2
    else:
        lines = [f'{{"time":{NOON + n},"message":"text","n":{n}}}' for n in range(count)]
        broken, number = '{"time": 17, "message', bad + 1
    lines.insert(number - 1, broken)
    report = take(lake, raw, name, "\n".join(lines).encode())
    assert (report.objects, report.rows) == (1, count)
    assert lines_of(report) == [(f"line {number}", 1)]
    found = rows(lake, "SELECT count(*), count(DISTINCT attr_n), sum(attr_n) FROM logs")
    assert found == [(count, count, count * (count - 1) // 2)]


def test_ragged_rows(lake: lakerunner.Lake, raw: Path) -> None:
    data = b"time,level,message,x\n1790078400,INFO,a,1\n1790078401,WARN,b\n1790078402,INFO,c,3,4\n"
    report = take(lake, raw, "ragged.csv", data + b'1790078403,INFO,"d\nd",4\n\n')
    assert report.rows == 2
    assert lines_of(report) == [("line 3", 1), ("line 4", 1)]
    assert rows(lake, "SELECT body, attr_x FROM logs ORDER BY timestamp") == [("a", 1), ("d\nd", 4)]


def test_rows_without_a_time_get_that_of_their_object(lake: lakerunner.Lake, raw: Path) -> None:
    assert take(lake, raw, "a.csv", b"level,message,x\nINFO,a,1\nWARN,b,2\n").rows == 2
    found = rows(lake, "SELECT timestamp_source, level, body, attr_x FROM logs ORDER BY body")
    assert found == [("object", "INFO", "a", 1), ("object", "WARN", "b", 2)]
    ((times,),) = rows(lake, "SELECT count(DISTINCT timestamp) FROM logs")
    assert times == 1


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Zurich"])
def test_parquet_with_nested_columns_and_times_of_every_unit(
    lake: lakerunner.Lake, raw: Path, unit: str, zone: str | None
) -> None:
    scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    table = pa.table(
        {
            "timestamp": pa.array([NOON // scale, NOON // scale + 1], pa.timestamp(unit, zone)),
            "message": ["a", "b"],
            "http": [{"status": 200, "route": {"path": "/"}}, {"status": 500, "route": None}],
            "tags": [["x", "y"], []],
            "labels": pa.array([[("team", "web")], None], pa.map_(pa.string(), pa.string())),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, version="2.6")
    assert take(lake, raw, "a.parquet", sink.getvalue().to_pybytes()).rows == 2
    ((first, second),) = rows(lake, "SELECT min(timestamp), max(timestamp) FROM logs")
    assert (first.value, second.value) == (NOON, NOON + scale)
    found = rows(
        lake,
        "SELECT body, attr_http_status, attr_http_route_path, attr_tags, attr_labels_team "
        "FROM logs ORDER BY timestamp",
    )
    assert found == [("a", 200, "/", '["x","y"]', "web"), ("b", 500, None, "[]", None)]


def test_a_number_where_text_was_before(lake: lakerunner.Lake, raw: Path) -> None:
    take(lake, raw, "1.json", b'{"message": "a", "x": "text"}')
    take(lake, raw, "2.json", b'{"message": "b", "x": 42}\n{"message": "c", "x": "43"}')
    take(lake, raw, "3.json", b'{"message": "d", "x": 4.5}')
    found = rows(lake, "SELECT body, attr_x FROM logs ORDER BY body")
    assert found == [("a", "text"), ("b", "42"), ("c", "43"), ("d", "4.5")]
    assert rows(lake, "SELECT body FROM logs WHERE attr_x = '42'") == [("b",)]
    assert rows(lake, "SELECT body FROM logs WHERE try_cast(attr_x AS DOUBLE) < 42") == [("d",)]


def test_keys_that_come_twice_both_survive(lake: lakerunner.Lake, raw: Path) -> None:
    data = b'{"message": "a", "x": 1, "x": 2, "X": 3}\n{"message": "b", "x": 4}'
    assert take(lake, raw, "a.json", data).rows == 2
    (found, *_) = lake.sql("SELECT * FROM logs WHERE body = 'a'").to_arrow().to_pylist()
    assert sorted(value for key, value in found.items() if key.startswith("attr_x")) == [1, 2, 3]


def test_nan_and_infinities(lake: lakerunner.Lake, raw: Path) -> None:
    values = ["NaN", "Infinity", "-Infinity", "1.5"]
    data = "\n".join(f'{{"message": "{n}", "x": {x}}}' for n, x in enumerate(values))
    assert take(lake, raw, "a.json", data.encode()).rows == 4
    (nan, above, below, number) = (
        x for (x,) in rows(lake, "SELECT attr_x FROM logs ORDER BY body")
    )
    assert math.isnan(nan)
    assert (above, below, number) == (math.inf, -math.inf, 1.5)
    assert rows(lake, "SELECT count(*) FROM logs WHERE attr_x > 1e300") in ([(1,)], [(2,)])


def test_twenty_levels_of_nesting(lake: lakerunner.Lake, raw: Path) -> None:
    record: dict[str, Any] = {"v": 7}
    for level in range(20):
        record = {f"l{level}": record}
    assert take(lake, raw, "a.json", json.dumps({**record, "message": "deep"}).encode()).rows == 1
    name = "attr_" + "_".join(f"l{level}" for level in reversed(range(20))) + "_v"
    assert rows(lake, f"SELECT body, {name} FROM logs") == [("deep", 7)]


def test_metrics_below_a_folder_of_logs_are_metrics(
    lake: lakerunner.Lake, raw: Path, telemetry: Path
) -> None:
    data = (telemetry / "otlp-json" / "metrics_simple.jsonl").read_bytes()
    report = take(lake, raw, "logs-raw/logs.jsonl", data)
    assert report.rejected == ()
    assert rows(lake, "SELECT count(*) FROM metrics") == [(report.rows,)]
    assert rows(lake, "SELECT count(*) FROM logs") == [(0,)]


def test_attributes_come_and_go_and_change_their_type(lake: lakerunner.Lake) -> None:
    lake.ingest(b'{"message": "0", "a": 1}')
    lake.ingest(b'{"message": "1", "a": 2.5, "b": "x"}')
    lake.ingest(b'{"message": "2", "b": true}')
    lake.ingest(b'{"message": "3", "c": {"d": [1, {"e": 2}]}}')
    assert len(lake.segments()) == 4
    found = rows(lake, "SELECT body, attr_a, attr_b, attr_c_d FROM logs ORDER BY body")
    assert found == [
        ("0", 1.0, None, None),
        ("1", 2.5, "x", None),
        ("2", None, "true", None),
        ("3", None, None, '[1, {"e": 2}]'),
    ]
    assert rows(lake, "SELECT sum(attr_a) FROM logs WHERE attr_b IS NULL") == [(1.0,)]


scalars = st.one_of(
    st.booleans(), st.integers(-(2**62), 2**62), st.floats(-1e9, 1e9), st.text("ab1", max_size=3)
)
objects = st.lists(st.dictionaries(st.sampled_from("abcd"), scalars, max_size=4), max_size=5)


@settings(max_examples=15)
@given(st.lists(objects, min_size=1, max_size=4))
@example([[{"a": 2**53 + 1, "b": 2**53 + 1}, {"a": 3}], [{"a": 0.5}]])
@example([[{"a": 2**53 + 1}, {"a": 0.5}], [{"a": 2**62 - 1}]])
@example([[{"a": -(2**62) + 1}], [{"a": 0.5}], [{"a": "x"}]])
def test_every_value_is_read_back_whatever_its_neighbours_are(
    batches: Sequence[Sequence[dict[str, Any]]],
) -> None:
    with lakerunner.open("memory://", catalog=_fresh()) as lake:
        number = 0
        wanted: dict[str, dict[str, Any]] = {}
        for batch in batches:
            lines = []
            for values in batch:
                wanted[f"{number:03}"] = values
                lines.append(json.dumps({"message": f"{number:03}", **values}))
                number += 1
            if lines:
                lake.ingest("\n".join(lines).encode(), format="json", signal="logs")
        for key in sorted({key for values in wanted.values() for key in values}):
            answer = lake.sql(f"SELECT body, attr_{key} FROM logs")
            found = {row["body"]: row[f"attr_{key}"] for row in answer.to_arrow().to_pylist()}
            assert found.keys() == wanted.keys()
            rounded = [
                body
                for body, values in wanted.items()
                if not _same(found[body], values.get(key)) and _is_nearest(found[body], values[key])
            ]
            for body in wanted.keys() - rounded:
                assert _same(found[body], wanted[body].get(key)), (key, body)
            assert not rounded or answer.stats.rounded == (f"attr_{key}",)


def _is_nearest(found: object, sent: object) -> bool:
    """Whether an integer beyond 2^53 is read as the double next to it, which the answer says."""
    return (
        isinstance(found, float)
        and isinstance(sent, int)
        and abs(sent) > 2**53
        and found == float(sent)
    )


def _fresh() -> lakerunner.Catalog:
    from lakerunner.catalog import open_catalog  # noqa: PLC0415 - beside its only use

    return open_catalog("memory://")


def _same(found: object, sent: object) -> bool:
    """Whether a value is the one sent, perhaps as text because others of its column are."""
    if sent is None or sent == "":
        return found in (None, "")
    if type(found) is type(sent) or not isinstance(found, str):
        return found == sent
    return bool(json.loads(found) == sent)
