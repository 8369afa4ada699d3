"""Processes that one call of ingest uses, without a pool of the caller's."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import lakerunner
from lakerunner.errors import ConfigurationError
from lakerunner.model.config import Config

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import lakerunner
from lakerunner.errors import ConfigurationError
with lakerunner.open("lake", config={"batch_objects": 1}) as lake:
    try:
        lake.ingest("raw/", workers=2)
    except ConfigurationError as error:
        print(error)
"""


def test_processes_take_what_one_would(disk: Any) -> None:
    for number in range(6):
        disk.put(f"{number}.binpb", f"{number}a", f"{number}b")
    disk.store.put("wrong.binpb", b"\xff")
    with disk.open(config=Config(batch_objects=2)) as lake:
        report = lake.ingest(disk.url, workers=2)
        assert (report.objects, report.rows, len(report.rejected)) == (6, 12, 1)
        assert lake.ingest(disk.url, workers=2).skipped == 7
    assert len(set(disk.bodies())) == 12


def test_what_has_no_processes() -> None:
    with lakerunner.open("memory://processes/lake") as lake:
        with pytest.raises(ConfigurationError, match="cannot reach memory://"):
            lake.ingest("memory://processes/raw/", workers=2)
        with pytest.raises(ConfigurationError, match="at least 1"):
            lake.ingest("memory://processes/raw/", workers=0)
        assert lake.ingest("memory://processes/raw/", workers=1).rows == 0


def test_a_program_without_a_guarded_start_is_told(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(3):
        (raw / f"{number}.json").write_text('{"msg": "a"}\n')
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "__main__" in done.stdout.splitlines()[-1]
