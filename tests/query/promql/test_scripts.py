"""Prometheus' test scripts, and scripts of our own for what these leave out."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakerunner.testing.promql import Outcome, run_script
from lakerunner.testing.promql_series import read_series
from tests.conftest import ROOT, TELEMETRY

OWN = sorted((Path(__file__).parent / "scripts").glob("*.test"))
SHARED = TELEMETRY / "promql"
PAGE = ROOT / "docs" / "reference" / "promql.md"


def faults(path: Path) -> list[Outcome]:
    outcomes = run_script(path)
    assert outcomes
    return [outcome for outcome in outcomes if outcome.fault]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_our_own_scripts(path: Path) -> None:
    assert faults(path) == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared scripts of Prometheus are not here")
@pytest.mark.parametrize(
    "name",
    [
        "aggregators",
        "collision",
        "functions",
        "literals",
        "name_label_dropping",
        "operators",
        "range_queries",
        "selectors",
        "staleness",
        "subquery",
    ],
)
def test_the_scripts_of_prometheus(name: str) -> None:
    outcomes = run_script(SHARED / f"{name}.test")
    assert [outcome for outcome in outcomes if outcome.fault] == []
    assert f"| {name} | {len(outcomes)} | {len(outcomes)} |" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("eval instant at 1m up\n  up 2", "expected 2.0"),
        ("eval instant at 1m up\n  up{a='b'} 1", "series:"),
        ("eval instant at 1m up", "series:"),
        ("eval instant at 1m up\n  expect fail", "should have failed"),
        ("eval instant at 1m sum(\n  {} 1", "it failed"),
        ("eval instant at 1m up\n  expect warn\n  up 1", "no warn"),
        ("eval range from 0 to 2m step 1m up\n  up 1 1", "times of"),
    ],
)
def test_a_script_that_is_wrong_is_told(tmp_path: Path, lines: str, fault: str) -> None:
    path = tmp_path / "wrong.test"
    path.write_text(f"load 1m\n  up 1 1 1\n\n{lines}\n")
    (outcome,) = run_script(path)
    assert fault in outcome.fault


def test_values_are_written_out() -> None:
    assert read_series("m{} 1-2x2 _x2 stale 5x1")[1] == [1, -1, -3, None, None, "stale", 5, 5]
