"""Prometheus' test scripts, and scripts of our own for what these leave out."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest

from lakerunner.query.promql.checks import AGGREGATIONS, FUNCTIONS
from lakerunner.testing.promql import Outcome, run_script
from lakerunner.testing.promql_series import read_series
from tests.conftest import ROOT, TELEMETRY

OWN = sorted((Path(__file__).parent / "scripts").glob("*.test"))
SHARED = TELEMETRY / "promql"
THEIRS = [
    SHARED / f"{name}.test"
    for name in (
        *("aggregators", "collision", "functions", "literals", "name_label_dropping"),
        *("operators", "range_queries", "selectors", "staleness", "subquery"),
    )
]
PAGE = ROOT / "docs" / "reference" / "promql.md"
ROW = re.compile(r"^\| (?P<suite>\w+) \| (?P<whose>\S+) \| \d+ \| \d+ \|\n", re.MULTILINE)
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the shared scripts of Prometheus are not here"
)


@cache
def outcomes(path: Path) -> list[Outcome]:
    return run_script(path)


def table() -> str:
    """What this run found, as the page says it."""
    rows = []
    for whose, paths in (("Prometheus", THEIRS), ("ours", OWN)):
        for path in paths:
            found = outcomes(path)
            passed = sum(not one.fault for one in found)
            rows.append(f"| {path.stem} | {whose} | {len(found)} | {passed} |\n")
    return "".join(rows)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_our_own_scripts(path: Path) -> None:
    assert outcomes(path)
    assert [one for one in outcomes(path) if one.fault] == []


@needs_shared
@pytest.mark.parametrize("path", THEIRS, ids=lambda path: path.stem)
def test_the_scripts_of_prometheus(path: Path) -> None:
    assert outcomes(path)
    assert [one for one in outcomes(path) if one.fault] == []


@needs_shared
def test_the_page_has_the_table_of_this_run() -> None:
    """With `PROMQL_TABLE=write` in the environment it is written into the page."""
    text = PAGE.read_text(encoding="utf-8")
    rows = list(ROW.finditer(text))
    begin, end = rows[0].start(), rows[-1].end()
    if os.environ.get("PROMQL_TABLE") == "write":
        PAGE.write_text(text[:begin] + table() + text[end:], encoding="utf-8")
        text, end = PAGE.read_text(encoding="utf-8"), begin + len(table())
    assert text[begin:end] == table()


@needs_shared
def test_every_function_is_asked_in_a_script() -> None:
    texts = "\n".join(one.text for path in (*THEIRS, *OWN) for one in outcomes(path))
    unasked = [
        name
        for name in (*FUNCTIONS, *AGGREGATIONS)
        if not re.search(rf"\b{name}\b\s*(\(|by\b|without\b)", texts)
    ]
    assert unasked == []


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
