"""The conformance matrix: which adapter passed which suite, written down by a run of the tests."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pytest

_PACKAGE = __name__.rpartition(".")[0]
_OUTCOMES = ("passed", "failed", "skipped")
_HEAD = """# Conformance

Stores, catalogs and leases keep their contracts: one suite for each kind runs unchanged over every
adapter, against a real service where there is one. A test that is rewritten for a service which
differs counts like any other. [Write your own](../guides/catalogs.md) adapter by the same suites.

This page is written by a run of the tests, and a test checks that it leaves nothing out:

```bash
python3 noxfile.py -s matrix
```
"""


def conformance_of(kind: type | None) -> tuple[str, str] | None:
    """Suite and adapter of a class of tests; None if it is of no suite.

    The adapter is what the class says in `adapter`, else the name of the class.

    Example:
        >>> class TestMine:
        ...     pass
        >>> conformance_of(TestMine) is None
        True
    """
    if kind is None:
        return None
    for base in kind.__mro__:
        if base.__module__.startswith(f"{_PACKAGE}.") and base.__name__.endswith("Suite"):
            adapter = getattr(kind, "adapter", "") or kind.__name__.removeprefix("Test")
            return base.__name__, str(adapter)
    return None


class MatrixPlugin:
    """A plugin of pytest that counts outcomes by suite and adapter, and writes them to a page.

    Args:
        file: The page, Markdown. It is replaced when the run ends.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._cells: dict[str, tuple[str, str]] = {}
        self._outcomes: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which tests are of a suite."""
        for item in session.items:
            cell = conformance_of(getattr(item, "cls", None))
            if cell is not None:
                self._cells[item.nodeid] = cell

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what became of a test: the worst of its setup, its call and its end."""
        before = self._outcomes.get(report.nodeid, "passed")
        worst = max(before, report.outcome, key=("passed", "skipped", "failed").index)
        if report.nodeid in self._cells:
            self._outcomes[report.nodeid] = worst

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        counts: dict[tuple[str, str], Counter[str]] = {
            cell: Counter() for cell in sorted(set(self._cells.values()))
        }
        for nodeid, outcome in self._outcomes.items():
            counts[self._cells[nodeid]][outcome] += 1
        self._file.write_text(render(counts), encoding="utf-8")


def render(counts: Mapping[tuple[str, str], Mapping[str, int]]) -> str:
    """The page of some counts, by suite and adapter.

    Example:
        >>> page = render({("StoreSuite", "memory"): {"passed": 7}})
        >>> read_names(page)
        [('StoreSuite', 'memory')]
    """
    lines = [_HEAD]
    for suite in dict.fromkeys(suite for suite, _ in counts):
        lines += [f"## {suite}", "", f"| adapter | {' | '.join(_OUTCOMES)} |", "|---|---|---|---|"]
        for (name, adapter), outcomes in counts.items():
            if name == suite:
                figures = " | ".join(str(outcomes.get(outcome, 0)) for outcome in _OUTCOMES)
                lines.append(f"| {adapter} | {figures} |")
        lines.append("")
    return "\n".join(lines)


def read_names(page: str) -> list[tuple[str, str]]:
    """Suites and adapters that a page names, in its order."""
    return [(suite, adapter) for suite, adapter, _ in _rows(page.splitlines())]


def read_counts(page: str) -> dict[tuple[str, str], dict[str, int]]:
    """The figures of a page.

    Example:
        >>> read_counts(render({("StoreSuite", "memory"): {"passed": 7}}))
        {('StoreSuite', 'memory'): {'passed': 7, 'failed': 0, 'skipped': 0}}
    """
    return {
        (suite, adapter): dict(zip(_OUTCOMES, map(int, figures), strict=True))
        for suite, adapter, figures in _rows(page.splitlines())
    }


def _rows(lines: Iterable[str]) -> Iterable[tuple[str, str, list[str]]]:
    suite = ""
    for line in lines:
        if line.startswith("## "):
            suite = line.removeprefix("## ")
        elif suite and line.startswith("| ") and not line.startswith("| adapter "):
            adapter, *figures = (cell.strip() for cell in line.strip("|").split("|"))
            yield suite, adapter, figures
