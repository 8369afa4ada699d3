"""What there is to ask about: right whatever the catalog knows, and read only where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import lakerunner
from lakerunner.errors import ConfigurationError, InvalidTimeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIME = pa.timestamp("ns", "UTC")
HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lakerunner.Lake]:
    """Two hours of logs in two segments, a span and a point."""
    made = lakerunner.open(str(tmp_path_factory.mktemp("lake")))
    for hour in range(2):
        rows = 200
        made.ingest(
            pa.table(
                {
                    "timestamp": pa.array(
                        [START + hour * HOUR + n * 10**9 for n in range(rows)], TIME
                    ),
                    "body": [f"line {hour} {n}" for n in range(rows)],
                    "service.name": [f"svc-{hour}-{n % 2}" for n in range(rows)],
                    "level": ["INFO", "ERROR"] * (rows // 2),
                    "http.status": [200 + n % 3 for n in range(rows)],
                    "user": [f"user-{hour}-{n:03d}" for n in range(rows)],
                }
            ),
            signal="logs",
        )
    made.ingest(
        pa.table(
            {
                "timestamp": pa.array([START], TIME),
                "trace_id": ["ab" * 16],
                "span_id": ["cd" * 8],
                "name": ["GET /"],
                "service.name": ["svc-0-0"],
            }
        ),
        signal="spans",
    )
    yield made
    made.close()


def listed(result: Any) -> list[Any]:
    return [value for (value,) in result.fetchall()]


def test_services_come_from_the_catalog(lake: Any) -> None:
    column = next(
        one for one in listed_names(lake) if one in ("resource_service_name", "attr_service_name")
    )
    found = lake.values(column)
    assert listed(found) == ["svc-0-0", "svc-0-1", "svc-1-0", "svc-1-1"]


def listed_names(lake: Any) -> list[str]:
    return [row["column"] for row in lake.describe("logs").to_pylist() if row["segments"]]


def test_services_say_what_they_send(lake: Any) -> None:
    found = lake.services()
    assert found.schema.names == ["service", "logs", "spans", "metrics"]
    assert found.to_pylist()[:2] == [
        {"service": "svc-0-0", "logs": True, "spans": True, "metrics": False},
        {"service": "svc-0-1", "logs": True, "spans": False, "metrics": False},
    ]
    assert found.stats.scanned == 0


def test_a_time_range_reads_only_the_segments_it_cuts(lake: Any) -> None:
    found = lake.services(start="2026-09-21T15:00:01Z")
    assert [row["service"] for row in found.to_pylist()] == [
        "svc-0-0", "svc-0-1", "svc-1-0", "svc-1-1",
    ]  # fmt: skip
    assert found.stats.scanned == 1
    later = lake.services(start="2026-09-21T16:00:00Z")
    assert [row["service"] for row in later.to_pylist()] == ["svc-1-0", "svc-1-1"]
    assert later.stats.scanned == 0
    assert lake.services(start="2027-01-01").to_pylist() == []


def test_values_of_many_kinds(lake: Any) -> None:
    assert listed(lake.values("level")) == ["ERROR", "INFO"]
    assert lake.values("level").stats.scanned == 0
    assert listed(lake.values("attr_http_status")) == [200, 201, 202]
    assert listed(lake.values("http.status")) == [200, 201, 202]
    users = lake.values("attr_user", prefix="user-1-00", limit=3)
    assert listed(users) == ["user-1-000", "user-1-001", "user-1-002"]
    assert users.stats.rows_scanned < 400
    assert lake.values("attr_user").to_arrow().num_rows == 400
    assert listed(lake.values("event_name")) == []
    assert len(listed(lake.values("timestamp", limit=7))) == 7


def test_what_cannot_be_asked_says_why(lake: Any) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'attr_user'"):
        lake.values("attr_usr")
    with pytest.raises(ConfigurationError, match="at least 1"):
        lake.values("level", limit=0)
    with pytest.raises(ConfigurationError, match="prefix is for text"):
        lake.values("attr_http_status", prefix="2")
    with pytest.raises(InvalidTimeError, match="lies after"):
        lake.services(start="now", end="now-1h")
    with pytest.raises(ConfigurationError, match="no table 'log'"):
        lake.describe("log")


def test_tables_and_their_columns(lake: Any) -> None:
    tables = {row["table"]: row for row in lake.tables().to_pylist()}
    assert (tables["logs"]["segments"], tables["logs"]["rows"]) == (2, 400)
    assert tables["metrics"]["rows"] == 0
    described = {row["column"]: row for row in lake.describe("logs").to_pylist()}
    assert described["body"] == {
        "column": "body", "key": None, "of": None, "type": "string", "types": ["string"],
        "segments": 2,
        "nulls": 0,
        "examples": [],
    }  # fmt: skip
    assert described["attr_http_status"]["key"] == "http.status"
    assert described["attr_http_status"]["type"] == "int64"
    attributes = {row["column"]: row for row in lake.attributes("logs").to_pylist()}
    assert attributes["attr_user"]["of"] == "record"
    assert "body" not in attributes
    assert lake.attributes("metrics").to_pylist() == []


def test_rows_that_are_hidden_have_no_values(tmp_path: Path) -> None:
    url = str(tmp_path / "kept")
    with lakerunner.open(url) as lake:
        old = pa.array([10**18, 10**18 + 1], TIME)
        lake.ingest(pa.table({"timestamp": old, "level": ["ERROR"] * 2}), signal="logs")
        assert listed(lake.values("level")) == ["ERROR"]
    with lakerunner.open(url, config={"retention": {"logs": "30d"}}) as lake:
        assert listed(lake.values("level")) == []
