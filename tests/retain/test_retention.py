"""Retention: expired rows are not seen, whatever asks, and go window by window."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from msgspec.structs import replace

import lakerunner
from lakerunner.errors import ConfigurationError, ReadOnlyError
from lakerunner.limits import RETENTION_NS
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config, read_config
from lakerunner.model.times import MIN_NS
from lakerunner.policies.retention import read_retention
from lakerunner.retain import Retention
from lakerunner.schema.arrays import TIMESTAMP

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400 * 10**9
NOW = time.time_ns()


def rows(ages: list[float], **columns: list[Any]) -> pa.Table:
    """Log records of so many days ago."""
    times = pa.array([NOW - int(age * DAY) for age in ages]).cast(TIMESTAMP)
    return pa.table({"timestamp": times, "body": [f"{age} days" for age in ages], **columns})


def opened(place: str, settings: dict[str, Any], **more: Any) -> lakerunner.Lake:
    return lakerunner.open(place, config=settings, **more)


def count(lake: lakerunner.Lake, table: str = "logs") -> int:
    found: int = lake.sql(f"SELECT count(*) AS n FROM {table}").to_arrow()["n"][0].as_py()
    return found


def test_expired_rows_are_not_seen_at_once(tmp_path: Path) -> None:
    ages = [0.1, 1, 6.9, 7.1, 40]
    with opened(str(tmp_path), {}) as lake:
        lake.ingest(rows(ages))
        assert count(lake) == 5
        snapshot = lake.snapshot()
    with opened(str(tmp_path), {"retention": {"logs": "7d", "spans": "1d"}}) as lake:
        assert count(lake) == 3
        found = lake.sql("SELECT body FROM logs ORDER BY timestamp").to_arrow()["body"].to_pylist()
        assert found == ["6.9 days", "1 days", "0.1 days"]
        assert lake.sql("SELECT max(body) AS b FROM logs WHERE body > '4'").to_arrow()[
            "b"
        ].to_pylist() == ["6.9 days"]
        assert count(lake.at(snapshot)) == 3
        assert count(lake.for_organization("default")) == 3
        explained = lake.explain("SELECT body FROM logs")
        assert [one.keep for one in explained.segments].count(False) == 2
        assert "expired" in str(explained)


def test_a_window_on_the_bound_is_seen_in_part(tmp_path: Path) -> None:
    week = {"window_ns": 365 * DAY, "retention": {"logs": "7d"}}
    with opened(str(tmp_path), week) as lake:
        lake.ingest(rows([1, 2, 8, 9], kind=["a", "b", "c", "d"]))
        assert count(lake) == 2
        kinds = "SELECT attr_kind AS k FROM logs WHERE attr_kind <> 'a' ORDER BY 1"
        assert lake.sql(kinds).to_arrow()["k"].to_pylist() == ["b"]
        assert lake.retain().removed == 0  # it has rows that are kept
        assert count(lake) == 2


def test_promql_sees_no_expired_points(tmp_path: Path) -> None:
    times = pa.array([NOW - 2 * DAY, NOW - 60 * 10**9]).cast(TIMESTAMP)
    points = pa.table(
        {
            "timestamp": times,
            "metric_name": ["up", "up"],
            "metric_type": ["gauge", "gauge"],
            "value": [1.0, 2.0],
        }
    )
    with opened(str(tmp_path), {}) as lake:
        lake.ingest(points, signal="metrics")
        past = NOW - 2 * DAY + 10**9
        assert lake.promql("up", time=past).to_arrow()["value"].to_pylist() == [1.0]
    with opened(str(tmp_path), {"retention": {"metrics": "1d"}}) as lake:
        assert lake.promql("up", time=past).to_arrow().num_rows == 0
        assert lake.promql("up", time=NOW).to_arrow()["value"].to_pylist() == [2.0]
        scan = lake.promql("sum_over_time(up[3d])", time=NOW).to_arrow()
        assert scan["value"].to_pylist() == [2.0]


def test_whole_windows_are_dropped_and_others_untouched(tmp_path: Path) -> None:
    with opened(str(tmp_path), {"retention": {"logs": "7d"}}) as lake:
        lake.ingest(rows([0.1, 6, 8, 9, 10]))
        before = {one.id: one for one in lake.segments()}
        planned = lake.retain(dry_run=True)
        assert len(planned.planned) == 3
        assert all(line.startswith("retain default/logs/") for line in planned.planned)
        assert {one.id for one in lake.segments()} == set(before)
        report = lake.retain()
        assert (report.tasks, report.removed, report.rows_removed) == (3, 3, 3)
        assert report.bytes_removed > 0
        left = lake.segments()
        assert [before[one.id] for one in left] == list(left)
        assert sum(one.rows for one in left) == 2
        assert lake.retain().tasks == 0
        # What was dropped is not taken for a leftover, and stays for as long as any removed one.
        assert not lake.collect_orphans()
        assert len(list(lake.store.list("segments/"))) == 5
        assert lake.verify() == []


def test_each_organization_has_its_own(tmp_path: Path) -> None:
    settings = {
        "retention": "7d",
        "organizations": {"acme": {"retention": {"logs": "forever"}}, "brief": {"retention": "1d"}},
    }
    with opened(str(tmp_path), settings) as lake:
        for owner in ("default", "acme", "brief"):
            lake.ingest(rows([0.1, 3, 10]), organization=owner)
        seen = {o: count(lake.for_organization(o)) for o in ("default", "acme", "brief")}
        assert seen == {"default": 2, "acme": 3, "brief": 1}
        assert lake.for_organization("brief").retain().rows_removed == 2
        assert count(lake) == 2
        assert sum(one.rows for one in lake.segments()) == 3
        assert lake.retain().rows_removed == 1
        acme = lake.for_organization("acme")
        assert sum(one.rows for one in acme.segments()) == 3


def test_a_damaged_segment_is_dropped_like_any_other(tmp_path: Path) -> None:
    with opened(str(tmp_path), {"retention": {"logs": "7d"}}) as lake:
        lake.ingest(rows([0.1, 8, 9]))
        old = lake.segments()[0]
        lake.store.put(old.key, b"nothing of what was written")
        report = lake.retain()
        assert (report.removed, report.failed) == (2, ())
        assert count(lake) == 1


def test_a_clock_ahead_drops_nothing_too_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(str(tmp_path), {"retention": {"logs": "7d"}}) as lake:
        lake.ingest(rows([0.1, 6]))
        monkeypatch.setattr("lakerunner.retain.retention.present_ns", lambda _: NOW + 30 * DAY)
        assert lake.retain().removed == 0
        monkeypatch.undo()
        ahead = SimpleNamespace(time_ns=lambda: NOW + 30 * DAY)
        monkeypatch.setattr("lakerunner.retain.retention.time", ahead)
        assert lake.retain().removed == 0


def test_the_worker_stands_alone(tmp_path: Path) -> None:
    with opened(str(tmp_path), {}) as lake:
        lake.ingest(rows([1, 100]))
        lake.ingest(rows([1, 100]), organization="acme")
        assert Retention(lake.store, lake.catalog).run().tasks == 0
        worker = Retention(lake.store, lake.catalog, config={"retention": "default"})
        assert worker.run().rows_removed == 2


def test_read_only_lakes_retire_nothing(tmp_path: Path) -> None:
    with opened(str(tmp_path), {}) as lake:
        lake.ingest(rows([1]))
    with opened(str(tmp_path), {}, read_only=True) as lake, pytest.raises(ReadOnlyError):
        lake.retain()


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"log": "7d"}, "did you mean 'logs'"),
        ({"logs": "7 days"}, "retention: logs: '7 days' is not a duration"),
        ({"logs": "0d"}, "would keep nothing"),
        ({"logs": {"10s": "7d"}}, "only metrics_rollup has resolutions"),
        ({"metrics_rollup": {"forever": "7d"}}, "only metrics_rollup has resolutions"),
        ("soon", "'soon' is not a duration"),
    ],
)
def test_settings_that_cannot_be_read_are_refused(settings: Any, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        lakerunner.open("memory://", config={"retention": settings})


def test_settings_of_organizations_are_read() -> None:
    with pytest.raises(ConfigurationError, match="organizations"):
        read_config({"organizations": {"acme": {"retentoin": "7d"}}})
    rules = read_retention(
        read_config(
            {
                "retention": {"metrics_rollup": {"10s": "7d", "1h": "forever"}, "logs": "default"},
                "organizations": {"acme": {"retention": {"metrics_rollup": "1d"}}},
            }
        )
    )
    second, hour = 10 * 10**9, 3600 * 10**9
    assert rules.kept_ns("x", "metrics_rollup", second) == 7 * DAY
    assert rules.kept_ns("x", "metrics_rollup", hour) is None
    assert rules.kept_ns("x", "metrics_rollup", 60 * 10**9) is None
    assert rules.kept_ns("x", "logs") == RETENTION_NS
    assert rules.kept_ns("x", "spans") is None
    assert rules.kept_ns("acme", "metrics_rollup", hour) == DAY
    bounds = rules.bounds("x", "metrics_rollup", now_ns=NOW)
    assert bounds == {0: MIN_NS, second: NOW - 7 * DAY, hour: MIN_NS}
    assert read_retention(Config()).kept == {}


def test_what_is_no_table_of_ours_never_expires(tmp_path: Path) -> None:
    """Deletions that are pending, proofs, and whatever a newer version keeps."""
    with opened(str(tmp_path), {"window_ns": 365 * DAY}) as lake:
        lake.ingest(rows([1, 2]))
        lake.delete("logs", "body = '1 days'")
        (ours,) = lake.segments()
        stranger = replace(
            ours, id="stranger", table="profiles", kind="symbolised", min_timestamp_ns=0
        )
        stranger = replace(stranger, max_timestamp_ns=1)
        lake.catalog.commit(Commit("newer", "default", NOW, add=(stranger,)))
    with opened(str(tmp_path), {"retention": "1s", "removed_grace_ns": 1}) as brief:
        assert brief.maintain().failed == ()
        assert list(brief.catalog.segments("default", "profiles")) == [stranger]
        assert [one.deletion.where for one in brief.deletions()] == ["body = '1 days'"]
        assert count(brief) == 0
