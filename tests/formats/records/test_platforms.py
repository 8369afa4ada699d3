"""Logs in the shapes that programs and clouds publish: time, level, body and service of each."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

import lakerunner
from lakerunner.formats.records.w3c import read_w3c, split_w3c

HERE = Path(__file__).parent
PUBLISHED = json.loads((HERE / "published.json").read_text())
ROWS = (
    "SELECT CAST(timestamp AS TEXT) AS at, level, body, {service} AS service FROM logs ORDER BY 1"
)


def taken(path: Path) -> tuple[list[Any], lakerunner.IngestReport]:
    lake = lakerunner.open("memory://")
    report = lake.ingest(path)
    names = [row["column"] for row in lake.describe("logs").to_pylist() if row["segments"]]
    service = "resource_service_name" if "resource_service_name" in names else "NULL"
    return [list(row) for row in lake.sql(ROWS.format(service=service)).fetchall()], report


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_shape(name: str) -> None:
    rows, report = taken(HERE / "published" / name)
    assert rows == PUBLISHED[name]
    assert not report.rejected
    assert report.untimed == {}


def test_every_fixture_is_expected() -> None:
    assert sorted(PUBLISHED) == sorted(path.name for path in (HERE / "published").iterdir())


def test_bytes_of_journald_are_text_where_they_are_utf_8(tmp_path: Path) -> None:
    rows = [
        {"__REALTIME_TIMESTAMP": "1767225600000000", "MESSAGE": "[1, 2]"},
        {"__REALTIME_TIMESTAMP": "1767225601000000", "MESSAGE": [195, 164, 10, 98]},
        {"__REALTIME_TIMESTAMP": "1767225602000000", "MESSAGE": None, "PRIORITY": "4"},
    ]
    (tmp_path / "j.json").write_text("\n".join(map(json.dumps, rows)))
    found, _ = taken(tmp_path / "j.json")
    assert [row[2] for row in found][1:] == ["ä\nb", None]
    assert found[2][1] == "WARN"


@pytest.mark.parametrize("size", [40, 4000])
def test_rows_of_the_w3c_format_in_parts_are_those_of_the_whole(size: int, tmp_path: Path) -> None:
    chosen = random.Random(size)  # noqa: S311 - for a test
    statuses = [chosen.choice([200, 404, 503]) for _ in range(size)]
    head = "#Version: 1.0\n#Fields: date time cs-method cs-uri-stem sc-status cs(Host)\n"
    lines = "".join(
        f"2026-01-01\t{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}\tGET\t/x/{at}\t{status}\td1\n"
        for at, status in enumerate(statuses)
    )
    path = tmp_path / "E2ABC.2026-01-01-00.log"
    path.write_text(head + lines)
    parts = list(split_w3c([path.read_bytes()], 2000))
    assert (len(parts) > 1) is (size > 40)
    assert sum(read_w3c([part.data]).table.num_rows for part in parts) == size
    assert parts[-1].line <= size + 2
    lake = lakerunner.open("memory://")
    assert lake.ingest(path).rows == size
    rows = lake.sql("SELECT level, attr_sc_status FROM logs ORDER BY timestamp, body").fetchall()
    wanted = {200: "INFO", 404: "WARN", 503: "ERROR"}
    assert rows == [(wanted[status], status) for status in statuses]


def test_a_broken_row_of_the_w3c_format_is_set_aside_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("#Version: 1.0\n#Fields: date time a\n2026-01-01 00:00:00 1\nonly one\n")
    lake = lakerunner.open(tmp_path / "lake")
    assert lake.ingest(path).rows == 1
    assert lake.rejected_lines()["line"].to_pylist() == [4]


def test_rows_without_a_time_are_counted_by_format(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"message": "a"}\n{"message": "b", "time": "2026-01-01"}\n')
    (tmp_path / "b.log").write_text("no time\n2026-01-01T00:00:00Z a time\n")
    lake = lakerunner.open("memory://")
    report = lake.ingest(tmp_path / "a.json", tmp_path / "b.log")
    assert report.untimed == {"json": 1, "text": 1}
    assert "1 row of json without a time of their own" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["untimed"] == {"json": 1, "text": 1}


def test_a_list_within_an_object_is_only_unwrapped_where_a_platform_wraps(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"Records": [{"eventTime": "2026-01-01"}], "message": "m"}')
    rows, _ = taken(tmp_path / "a.json")
    assert [row[2] for row in rows] == ["m"]


def test_cloudwatch_keeps_what_stands_beside_its_events(tmp_path: Path) -> None:
    events = [{"id": str(at), "timestamp": 1767225600000 + at, "message": "m"} for at in range(3)]
    wrapped = {"messageType": "DATA_MESSAGE", "logGroup": "/aws/lambda/x", "logEvents": events}
    path = tmp_path / "cw.json"
    path.write_text(json.dumps(wrapped))
    os.utime(path, (0, 0))
    lake = lakerunner.open("memory://")
    assert lake.ingest(path).rows == 3
    groups = lake.sql("SELECT DISTINCT attr_loggroup FROM logs").fetchall()
    assert groups == [("/aws/lambda/x",)]
