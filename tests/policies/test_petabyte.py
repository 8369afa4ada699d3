"""The figures of a petabyte a day in the documentation are those that the simulator prints."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_documentation_has_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "benchmarks" / "petabyte.py"), run_name="__main__")
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    page = (ROOT / "docs" / "guides" / "scale-out.md").read_text()
    assert len(printed) > 15
    assert [line for line in printed if line not in page] == []
