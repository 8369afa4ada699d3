"""`lakerunner rollup`: once, dry, and until it is stopped."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import lakerunner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    path = tmp_path / "lake"
    times = pa.array([1767225600 * 10**9, 1767232800 * 10**9], pa.timestamp("ns", "UTC"))
    points = pa.table(
        {
            "metric_name": ["level"] * 2,
            "metric_type": ["gauge"] * 2,
            "timestamp": times,
            "value": [1.0, 2.0],
        }
    )
    with lakerunner.open(str(path), organization="acme") as opened:
        opened.ingest(points, signal="metrics")
    return path


def made(path: Path) -> int:
    with lakerunner.open(str(path), organization="acme", read_only=True) as opened:
        return len(opened.segments("metrics_rollup"))


def test_dry_in_part_and_done(run: Callable[..., Result], lake: Path) -> None:
    told = run("rollup", lake, "--dry-run").stdout
    assert "acme/metrics_rollup/2026-01-01T00:00:00Z to 2026-01-01T01:00:00Z: afresh" in told
    assert "2 planned" in told
    assert made(lake) == 0
    assert "0 tasks" in run("rollup", lake, "--org", "other").stdout
    assert "1 task" in run("rollup", lake, "--end", "2026-01-01T01:00:00Z").stdout
    assert made(lake) == 5
    assert "1 task" in run("rollup", lake, "--workers", "2").stdout
    assert made(lake) == 10


def test_a_watch_ends_by_an_interrupt(run: Callable[..., Result], lake: Path) -> None:
    timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    told = run("rollup", lake, "--watch").stdout
    timer.join()
    assert "2 tasks" in told
    assert made(lake) == 10


def test_rules_of_a_file(run: Callable[..., Result], lake: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("- metric: log.lines\n  by: [level]\n")
    with lakerunner.open(str(lake), organization="acme") as opened:
        opened.ingest(b'{"time": "2026-01-01T00:00:00Z", "level": "info", "message": "a"}')
    assert "0 tasks" in run("aggregate", lake, rules, "--org", "acme").stdout
    since = (lake, rules, "--org", "acme", "--start", "2026-01-01")
    assert "1 planned" in run("aggregate", *since, "--dry-run").stdout
    assert "1 task, 0 segments to 1" in run("aggregate", *since).stdout
