"""Options that say whose input is and how it is read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import lakerunner
from lakerunner.generate import logs_request

if TYPE_CHECKING:
    from pathlib import Path


def bodies(lake: Path, organization: str = "default") -> list[str]:
    with lakerunner.open(lake, organization=organization) as opened:
        found: list[str] = opened.sql("SELECT body FROM logs").to_arrow()["body"].to_pylist()
        return sorted(found)


def test_prefixes_say_whose_objects_are(run: Any, tmp_path: Path) -> None:
    raw, lake = tmp_path / "raw", tmp_path / "lake"
    for name, rows in (("apps/a.binpb", 3), ("apps/cart/b.binpb", 4), ("other/c.binpb", 5)):
        path = raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(logs_request(rows))
    rules = ["--prefix-mapping", f"{raw}/apps/=acme", "--prefix-mapping", f"{raw}/apps/cart/=cart"]
    run("ingest", lake, *rules)
    assert (len(bodies(lake, "acme")), len(bodies(lake, "cart"))) == (3, 4)
    run("ingest", lake, f"{raw}/", *rules, code=3)
    assert "unknown_owner" in run("rejected", lake, "--output", "jsonl").stdout
    run("rejected", lake, "--retry", *rules, code=3)
    run("rejected", lake, "--retry", "--prefix-mapping", f"{raw}/=rest")
    assert len(bodies(lake, "rest")) == 5


def test_profiles_come_from_a_file(run: Any, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text("- {organization_id: acme, bucket: raw, role: reader}")
    failed = run("ingest", tmp_path / "lake", "--profiles", profiles, code=1)
    assert "role" in failed.stderr
    profiles.write_text("- {organization_id: ../acme, bucket: raw}")
    failed = run("ingest", tmp_path / "lake", "--profiles", profiles, code=1)
    assert "cannot name an organization" in failed.stderr


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_mapping_comes_from_a_file(run: Any, tmp_path: Path, suffix: str) -> None:
    lake, raw, mapping = tmp_path / "lake", tmp_path / "raw.json", tmp_path / f"m.{suffix}"
    raw.write_text('{"what": "hello", "when": "2026-01-01T00:00:00Z"}')
    said = {"columns": {"body": "what", "timestamp": "when"}}
    yaml = "columns:\n  body: what\n  timestamp: when\n"
    mapping.write_text(json.dumps(said) if suffix == "json" else yaml)
    run("ingest", lake, raw, "--mapping", mapping)
    assert bodies(lake) == ["hello"]


@pytest.mark.parametrize(
    ("text", "match"), [("[1]", "mapping"), ("{a: [", "mapping"), ("bukket: 1", "bukket")]
)
def test_a_wrong_mapping_is_refused(run: Any, tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    raw = tmp_path / "raw.json"
    raw.write_text("{}")
    failed = run("ingest", tmp_path / "lake", raw, "--mapping", tmp_path / "m.yaml", code=1)
    assert match in failed.stderr
    failed = run("ingest", tmp_path / "lake", raw, "--mapping", tmp_path / "none", code=1)
    assert "cannot be read" in failed.stderr


def test_wrong_usage_is_said(run: Any, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    run("ingest", lake, code=2)
    run("ingest", lake, "--signal", "logs", "--prefix-mapping", "a/=acme", code=2)
    run("ingest", lake, "--prefix-mapping", "acme", code=1)
    run("ingest", lake, "--prefix-mapping", "a=b", "--prefix-mapping", "a=c", code=1)
    run("rejected", lake, "--profiles", "x.yaml", code=2)
    assert not lake.exists()
