"""The demo tells its story, and never touches what is not its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import lakerunner

if TYPE_CHECKING:
    from pathlib import Path


def test_demo_answers_four_questions_and_can_run_again(run: Any, tmp_path: Path) -> None:
    place = tmp_path / "demo"
    shown = run("demo", place, "--rate", 50).stdout
    assert shown.count("?\n") >= 4
    assert re.search(r"│ payment +│ +[\d,]+ │ +[1-9]", shown)
    assert "errors of the payment service" in shown
    assert re.search(r"rise at \d{4}-\d\d-\d\dT\d\d:\d\d:(00|15|30|45)Z", shown)
    assert "504" in shown or "503" in shown
    for service in ("frontend", "checkout", "payment"):
        assert service in shown.rpartition("across all services?")[2]
    assert f"lakerunner sql {place / 'lake'}" in shown
    with lakerunner.open(str(place / "lake")) as lake:
        table = lake.sql("SELECT count(*) AS n FROM logs").to_arrow()
    assert table["n"].to_pylist() == [30_000]

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
