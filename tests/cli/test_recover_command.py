"""`lakerunner recover`, from the loss of a catalog to the same answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import lakerunner
from lakerunner.generate import logs_request

if TYPE_CHECKING:
    from pathlib import Path


def rows_in(printed: str, name: str) -> str:
    found = re.search(rf"│ {name} +│ +([\d,]+) │", printed)
    assert found is not None, printed
    return found[1]


def test_a_lost_catalog_comes_back(run: Any, tmp_path: Path) -> None:
    place = tmp_path / "lake"
    with lakerunner.open(place) as lake:
        lake.ingest(logs_request(100))
        lake.ingest(logs_request(50))
        victim = lake.segments()[0].key
    assert "merge=True" in run("recover", place, code=1).stderr
    (place / "catalog.db").unlink()
    assert rows_in(run("recover", place, "--dry-run").stdout, "rows") == "150"
    report = run("recover", place)
    assert rows_in(report.stdout, "segments") == "2"
    assert rows_in(run("recover", place, "--merge").stdout, "rows") == "150"
    with lakerunner.open(place, read_only=True) as lake:
        assert lake.sql("SELECT count(*) AS n FROM logs").to_arrow()["n"].to_pylist() == [150]

    (place / "catalog.db").unlink()
    (place / victim).write_bytes(b"gone")
    report = run("recover", place, code=3)
    assert f"{victim}: " in report.stdout.replace("\n", "")
    assert rows_in(report.stdout, "files broken") == "1"
