"""`lakerunner compact`: once, dry, and until it is stopped."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

import lakerunner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    path = tmp_path / "lake"
    with lakerunner.open(str(path)) as opened:
        for number in range(4):
            line = b'{"time": "2026-01-01T00:00:00Z", "message": "%d"}' % number
            opened.for_organization("acme").ingest(line)
    return path


def live(path: Path) -> int:
    with lakerunner.open(str(path), organization="acme", read_only=True) as opened:
        return len(opened.segments())


def test_dry_and_done(run: Callable[..., Result], lake: Path) -> None:
    told = run("compact", lake, "--dry-run").stdout
    assert "acme/logs 2026-01-01T00:00:00Z: 4 segments" in told
    assert "1 planned" in told
    assert live(lake) == 4
    assert "0 tasks" in run("compact", lake, "--table", "spans").stdout
    assert "0 tasks" in run("compact", lake, "--org", "other").stdout
    assert "4 segments to 1, 4 rows read" in run("compact", lake).stdout
    assert live(lake) == 1


def test_damage_is_told(run: Callable[..., Result], lake: Path) -> None:
    (bad, *_) = sorted(lake.rglob("*.parquet"))
    bad.write_bytes(b"x" * bad.stat().st_size)
    told = run("compact", lake, code=3).stdout
    assert "3 segments to 1" in told
    assert "is damaged (the footer" in told


def test_a_watch_ends_by_an_interrupt(run: Callable[..., Result], lake: Path) -> None:
    timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    told = run("compact", lake, "--watch").stdout
    timer.join()
    assert "4 segments to 1" in told
    assert live(lake) == 1
