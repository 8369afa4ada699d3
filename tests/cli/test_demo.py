"""The demo tells its story, and never touches what is not its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import lakerunner
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from pathlib import Path


def test_demo_answers_five_questions_and_can_run_again(run: Any, tmp_path: Path) -> None:
    place = tmp_path / "demo"
    shown = run("demo", place, "--rate", 50).stdout
    assert shown.count("?\n") == 5
    assert re.search(r"│ payment +│ +[\d,]+ │ +[1-9]", shown)
    assert "errors of the payment service" in shown
    assert re.search(r"rise at \d{4}-\d\d-\d\dT\d\d:\d\d:(00|15|30|45)Z", shown)
    assert "504" in shown or "503" in shown
    joined, _, lines = shown.rpartition("in that minute?")[2].rpartition("across all services?")
    for service in ("frontend", "checkout", "payment"):
        assert re.search(rf"│ {service} +│ +\d+ │ +[1-9]\d* │ +[\d.]+ │ +\d+ │ +[\d.]+ │", joined)
        assert service in lines
    assert f"lakerunner sql {place / 'lake'}" in shown
    with lakerunner.open(str(place / "lake")) as lake:
        counts = [
            lake.sql(f"SELECT count(*) AS n FROM {t}").to_arrow()["n"][0].as_py() for t in Signal
        ]
    assert counts[0] == 30_000
    assert all(count > 10_000 for count in counts[:2])
    assert (
        f"{counts[0]:,} log records, {counts[1]:,} spans and {counts[2]:,} metric points" in shown
    )

    again = run("demo", place, "--rate", 20).stdout
    assert "12,000 log records" in again


def test_demo_refuses_a_directory_that_is_not_its_own(run: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("two years")
    assert "is not empty" in run("demo", tmp_path, code=1).stderr
    run("demo", tmp_path, "--rate", 20, "--force")
    assert (tmp_path / "thesis.txt").read_text() == "two years"


def test_even_force_removes_nothing_that_no_demo_made(run: Any, tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "nessie.jpg").touch()
    assert "lake in it" in run("demo", tmp_path, "--force", code=1).stderr
    assert (tmp_path / "lake" / "nessie.jpg").exists()
