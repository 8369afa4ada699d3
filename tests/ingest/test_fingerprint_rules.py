"""Segments say by which rules the fingerprints of their log rows were made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lakerunner
from lakerunner.generate import logs_request
from lakerunner.limits import FINGERPRINT_RULES
from lakerunner.segments.codec import read_description

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.model.segment import Segment


def described(folder: Path) -> list[Segment]:
    files = sorted(folder.rglob("*.parquet"))
    return [read_description(path, key=path.name, size=path.stat().st_size) for path in files]


def test_logs_say_and_keep_them(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        lake.ingest(logs_request(50, seed=1))
        lake.ingest(logs_request(50, seed=2))
        before = lake.sql("SELECT body, template, fingerprint FROM logs ORDER BY body").to_arrow()
        found = described(tmp_path / "lake")
        assert found
        assert {one.fingerprint_rules for one in found} == {(FINGERPRINT_RULES,)}
        lake.compact()
        after = lake.sql("SELECT body, template, fingerprint FROM logs ORDER BY body").to_arrow()
    merged = [one for one in described(tmp_path / "lake") if one.level]
    assert {one.fingerprint_rules for one in merged} <= {(FINGERPRINT_RULES,)}
    assert merged
    assert before.equals(after)
