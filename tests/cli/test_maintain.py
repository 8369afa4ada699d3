"""The commands that delete, retire and maintain."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

import lakerunner
from lakerunner.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.maintenance import MaintainerState


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


@pytest.fixture
def place(tmp_path: Path) -> str:
    with lakerunner.open(str(tmp_path)) as lake:
        lake.ingest(b'{"time": "2020-01-01T00:00:00Z", "message": "long ago", "user": "x"}')
        lake.ingest(b'{"message": "now", "user": "x"}\n{"message": "later", "user": "y"}')
    return str(tmp_path)


def bodies(place: str) -> list[str]:
    with lakerunner.open(place) as lake:
        found: list[str] = (
            lake.sql("SELECT body FROM logs ORDER BY body").to_arrow()["body"].to_pylist()
        )
        return found


def test_a_dry_run_says_it_all_and_does_nothing(place: str) -> None:
    shown = run("maintain", place, "--dry-run", "--keep", "logs=30d")
    assert shown.exit_code == 0, shown.output
    assert "retain default/logs/2020-01-01T00:00:00Z: drop 1 segments, 1 rows" in shown.stdout
    assert len(bodies(place)) == 3


def test_rows_are_deleted_and_proven(place: str) -> None:
    asked = run("delete", place, "logs", "attr_user = 'x'")
    assert asked.exit_code == 0, asked.output
    assert "logs where attr_user = 'x'" in asked.stdout
    assert bodies(place) == ["later"]
    assert "nothing done yet" in run("deletions", place).stdout
    done = run("retain", place)
    assert done.exit_code == 0, done.output
    assert "2 rows removed" in done.stdout
    assert "complete: 2 rows" in run("deletions", place).stdout
    refused = run("delete", place, "logs", "attr_usr = 'x'")
    assert refused.exit_code == 1
    assert "attr_usr" in refused.stderr


def test_what_has_expired_goes(place: str) -> None:
    assert run("retain", place).exit_code == 0
    assert len(bodies(place)) == 3
    done = run("maintain", place, "--keep", "default")
    assert done.exit_code == 0, done.output
    assert "maintain: " in done.stdout
    assert bodies(place) == ["later", "now"]
    other = run("retain", place, "--organization", "acme", "--keep", "1s")
    assert other.exit_code == 0, other.output
    assert bodies(place) == ["later", "now"]


@pytest.mark.parametrize("keep", [["30d", "logs=7d"], ["logs=7d", "logs.10s=7d"], ["log=7d"]])
def test_what_contradicts_itself_is_refused(place: str, keep: list[str]) -> None:
    options = [text for one in keep for text in ("--keep", one)]
    assert run("retain", place, *options).exit_code == 1
    assert len(bodies(place)) == 3


def test_it_goes_on_until_it_is_stopped(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[MaintainerState] = []

    def tell(state: MaintainerState) -> None:
        told.append(state)
        if len(told) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("lakerunner.cli.maintain._tell", tell)
    done = run("maintain", place, "--watch", "--every", "0.01", "--keep", "logs=30d")
    assert done.exit_code == 0, done.output
    assert [one.runs for one in told] == [1, 2]
    assert bodies(place) == ["later", "now"]
    assert run("maintain", place, "--watch", "--organization", "acme").exit_code == 1
