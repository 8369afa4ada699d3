"""Run Prometheus' test scripts against a lake: `load` series, `eval` expressions, compare.

The language of these scripts is described in Prometheus' own documentation of `promqltest`. Every
script gets lakes of its own; nothing is evaluated anywhere else than where a user would.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

import lakerunner
from lakerunner.errors import LakerunnerError, QueryError
from lakerunner.query.promql.lexer import tokenize
from lakerunner.testing.promql_series import (
    NUMBER,
    Sample,
    custom_buckets,
    equal,
    native_of,
    read_series,
    samples_table,
    seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.lake import Lake
    from lakerunner.query.promql.answering import SampleResult


_COMMAND = re.compile(r"(?:eval|load|clear)\b")
_EVAL = re.compile(
    r"eval(?P<suffix>_fail|_warn|_info|_ordered)?\s+"
    r"(?:instant\s+at\s+(?P<at>\S+)|range\s+from\s+(?P<start>\S+)\s+to\s+(?P<end>\S+)"
    r"\s+step\s+(?P<step>\S+))\s+(?P<text>.*)"
)
_LOAD = re.compile(r"load(?P<nhcb>_with_nhcb)?\s+(?P<step>\S+)")


class Outcome(NamedTuple):
    """What came of one evaluation.

    Attributes:
        line: Where the script asks for it.
        text: The expression.
        fault: What is wrong; empty if nothing is.
    """

    line: int
    text: str
    fault: str


def run_script(path: str | Path) -> list[Outcome]:
    """Run one script.

    Args:
        path: The file.

    Returns:
        One for each evaluation, in order.

    Raises:
        ValueError: A line of the script cannot be read.
    """
    script = _Script(Path(path).read_text(encoding="utf-8").split("\n"))
    try:
        return list(script.run())
    finally:
        script.close()


class _Script:
    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._at = 0
        self._lake = _new_lake()

    def close(self) -> None:
        self._lake.close()

    def run(self) -> Iterator[Outcome]:
        while self._at < len(self._lines):
            line = self._lines[self._at].strip()
            number = self._at + 1
            self._at += 1
            if not line or line.startswith("#"):
                continue
            if line == "clear":
                self._lake.close()
                self._lake = _new_lake()
            elif (load := _LOAD.fullmatch(line)) is not None:
                self._load(load)
            elif (evaluation := _EVAL.fullmatch(line)) is not None:
                yield Outcome(number, evaluation["text"], self._evaluate(evaluation))
            else:
                raise ValueError(f"line {number} cannot be read: {line}")

    def _block(self) -> Iterator[str]:
        while self._at < len(self._lines):
            line = self._lines[self._at].strip()
            if not line or _COMMAND.match(line):
                return
            self._at += 1
            if not line.startswith("#"):
                yield line

    def _load(self, load: re.Match[str]) -> None:
        step_ms = round(seconds(load["step"]) * 1000)
        # Of several lines of one series the last counts.
        read = (read_series(line) for line in self._block())
        series = list({frozenset(one[0].items()): one for one in read}.values())
        if load["nhcb"]:
            series += custom_buckets(series)
        table = samples_table(series, step_ms)
        if table.num_rows:
            self._lake.ingest(table, signal="metrics")

    def _evaluate(self, evaluation: re.Match[str]) -> str:
        expected, lines = [], []
        for line in self._block():
            if line.startswith("expect "):
                expected.append(line.removeprefix("expect ").strip())
            else:
                lines.append(line)
        if evaluation["suffix"]:
            expected.append(evaluation["suffix"].removeprefix("_"))
        times: dict[str, Any]
        if evaluation["at"]:
            times = {"time": _moment(evaluation["at"])}
        else:
            times = {
                "start": _moment(evaluation["start"]),
                "end": _moment(evaluation["end"]),
                "step": seconds(evaluation["step"]),
            }
        failing = [one for one in expected if one.startswith("fail")]
        try:
            result = self._lake.promql(evaluation["text"], **times)
        except QueryError as error:
            return _fault_of(error, failing)
        if failing:
            return "it should have failed"
        grid = _grid(evaluation)
        return _notes_fault(result, expected) or _result_fault(result, expected, lines, grid)


def _new_lake() -> Lake:
    return lakerunner.open(f"memory://promql-{uuid.uuid4().hex}/lake")


def _moment(text: str) -> str:
    """A time of a script as epoch milliseconds would be ambiguous: nanoseconds in RFC 3339."""
    ms = round(seconds(text) * 1000)
    whole, rest = divmod(ms, 1000)
    stamp = pa.scalar(whole, pa.timestamp("s")).as_py().isoformat()
    return f"{stamp}.{rest:03d}Z"


def _grid(evaluation: re.Match[str]) -> list[int]:
    if evaluation["at"]:
        return [round(seconds(evaluation["at"]) * 1000)]
    first, last, step = (
        round(seconds(evaluation[name]) * 1000) for name in ("start", "end", "step")
    )
    return list(range(first, last + 1, step))


def _fault_of(error: LakerunnerError, failing: Sequence[str]) -> str:
    if not failing:
        return f"it failed: {error}"
    for one in failing:
        kind, _, wanted = one.removeprefix("fail").strip().partition(":")
        if kind == "msg" and wanted.strip() not in str(error):
            return f"it failed with another message: {error}"
        if kind == "regex" and re.search(wanted.strip(), str(error)) is None:
            return f"it failed with another message: {error}"
    return ""


def _notes_fault(result: SampleResult, expected: Sequence[str]) -> str:
    notes = {"warn": result.warnings, "info": result.infos}
    for one in expected:
        found = re.fullmatch(r"(no_)?(warn|info)(?:\s+(msg|regex):\s*(.*))?", one)
        if found is None:
            continue
        said = notes[found[2]]
        if found[1]:
            if said:
                return f"unexpected: {said}"
            continue
        if not said:
            return f"no {found[2]}"
        if found[3] == "msg" and found[4] not in said:
            return f"{said} does not say: {found[4]}"
        if found[3] == "regex" and not any(re.search(found[4], text) for text in said):
            return f"{said} does not say: {found[4]}"
    return ""


def _result_fault(
    result: SampleResult, expected: Sequence[str], lines: Sequence[str], grid: Sequence[int]
) -> str:
    rows = result.to_arrow().to_pylist()
    texts = [one for one in expected if one.startswith("string")]
    if texts:
        wanted = tokenize(texts[0].removeprefix("string").strip())[0].text
        return "" if rows[0]["value"] == wanted else f"{rows[0]['value']!r} is not {wanted!r}"
    for one in expected:
        found = re.fullmatch(r"range vector from (\S+) to (\S+) step (\S+)", one)
        if found is not None:
            first, last, step = (round(seconds(text) * 1000) for text in found.groups())
            grid = range(first, last + 1, step)
    if len(lines) == 1 and result.kind == "scalar" and re.fullmatch(NUMBER, lines[0]):
        lines = [f"{{}} {lines[0]}"]
    got: _SamplesByLabels = {}
    for row in rows:
        key, time_ms, value = _read_row(row)
        if time_ms in got.setdefault(key, {}):
            return f"two samples of {dict(key)} at {time_ms}"
        got[key][time_ms] = value
    return _difference(_expected(lines, grid), got, ordered="ordered" in expected)


_SamplesByLabels = dict[tuple[tuple[str, str], ...], dict[int, Sample]]


def _expected(lines: Sequence[str], grid: Sequence[int]) -> _SamplesByLabels:
    want: _SamplesByLabels = {}
    for line in lines:
        labels, values = read_series(line)
        there = zip(grid, values, strict=False)
        samples: dict[int, Sample] = {at: one for at, one in there if one is not None}
        if samples:
            want[tuple(sorted(labels.items()))] = samples
    return want


def _difference(want: _SamplesByLabels, got: _SamplesByLabels, *, ordered: bool) -> str:
    if ordered and list(got) != list(want):
        return f"order: {list(got)}"
    if set(got) != set(want):
        return f"series: {sorted(got)}, expected {sorted(want)}"
    for key, samples in want.items():
        if set(got[key]) != set(samples):
            return f"times of {dict(key)}: {sorted(got[key])}, expected {sorted(samples)}"
        for at, value in samples.items():
            if not equal(value, got[key][at]):
                return f"{dict(key)} at {at} ms: {got[key][at]}, expected {value}"
    return ""


def _read_row(row: dict[str, Any]) -> tuple[tuple[tuple[str, str], ...], int, Sample]:
    stamp = row.pop("timestamp")
    value = row.pop("value")
    histogram = row.pop("histogram", None)
    labels = {name: text for name, text in row.items() if text is not None}
    time_ms = round(stamp.timestamp() * 1000)
    if histogram is not None:
        value = native_of(histogram)
    return tuple(sorted(labels.items())), time_ms, value
