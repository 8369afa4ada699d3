"""`lakerunner watch`: until idle, until Ctrl-C, and with a source that is wrong."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result


def aged(root: Path) -> Path:
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (1_767_225_600, 1_767_225_600))
    return root


def test_what_arrived_is_taken_and_the_next_watch_skips_it(
    run: Callable[..., Result], bucket: Path, tmp_path: Path
) -> None:
    raw, lake = aged(bucket / "good"), tmp_path / "lake"
    told = run("watch", lake, raw, "--until-idle", 1.5, "--max-age", 0.5).output
    assert "12,000" in told
    told = run("watch", lake, raw, "--until-idle", 1.5).output
    assert "objects skipped" in told
    assert run("sql", lake, "SELECT count(*) AS n FROM logs", "-o", "csv").stdout == (
        '"n"\n12000\n'
    )


def test_the_first_interrupt_drains(
    run: Callable[..., Result], bucket: Path, tmp_path: Path
) -> None:
    raw, lake = aged(bucket / "good"), tmp_path / "lake"
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begun = time.monotonic()
    told = run("watch", lake, raw, "--max-age", 3600).output
    timer.join()
    assert time.monotonic() - begun < 30
    assert "12,000" in told
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_set_aside_gives_its_exit_code(
    run: Callable[..., Result], bucket: Path, tmp_path: Path
) -> None:
    raw = aged(bucket / "bad")
    run("watch", tmp_path / "lake", raw, "--until-idle", 1.5, "--max-age", 0.1, code=3)


def test_a_source_of_an_unknown_kind(run: Callable[..., Result], tmp_path: Path) -> None:
    told = run("watch", tmp_path / "lake", "kafka://topic", code=1).output
    assert "kafka://" in told


def test_rules_say_whose_what_arrives_is(run: Callable[..., Result], tmp_path: Path) -> None:
    raw, lake = tmp_path / "raw", tmp_path / "lake"
    for team in ("web", "cart"):
        (raw / team).mkdir(parents=True)
        (raw / team / "app.jsonl").write_text(f'{{"text": "hello from {team}"}}\n')
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("columns: {body: text}\n")
    rules = [f"--prefix-mapping={raw / team}/={team}" for team in ("web", "cart")]
    idle = ("--until-idle", 1.5, "--max-age", 0.1)
    run("watch", lake, aged(raw), *rules, "--mapping", mapping, *idle)
    for team in ("web", "cart"):
        told = run("sql", lake, "SELECT body FROM logs", "-o", "csv", "--organization", team)
        assert told.stdout == f'"body"\n"hello from {team}"\n'
