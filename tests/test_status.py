"""What `lake.status()` and `lakerunner status` tell adds up with what was done."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from typer.testing import CliRunner

import lakerunner
from lakerunner.cli.app import app
from lakerunner.generate import logs_request
from lakerunner.intake.journal import waiting_in
from lakerunner.status import Backlog, Waiting

if TYPE_CHECKING:
    from pathlib import Path

T = 1_767_225_600


def test_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "bad.json").write_bytes(b"PK\x03\x04")
    (tmp_path / "raw" / "some.jsonl").write_bytes(
        b'{"message": "a", "timestamp": %d}\n{"message": \n{"message": "b", "timestamp": %d}\n'
        % (T, T + 60)
    )
    with lakerunner.open(tmp_path / "lake") as lake:
        assert lake.status().tables == ()
        lake.ingest(str(tmp_path / "raw"))
        lake.ingest(b'{"message": "x"}', organization="acme")
        found = lake.status()
        mine = lake.for_organization("acme").status()
        assert found.sequence == lake.catalog.head().sequence
    acme, default = found.tables
    assert (default.organization, default.table, default.rows) == ("default", "logs", 2)
    assert (default.first_ns, default.last_ns) == (T * 10**9, (T + 60) * 10**9)
    assert default.bytes > 0
    assert mine.tables == (acme,)
    (aside,) = found.set_aside
    assert (aside.organization, aside.objects, aside.rows) == ("default", 1, 1)
    assert str(found) == "3 rows in 2 segments of 2 tables, 2 set aside, 0 tasks put off"
    told = CliRunner().invoke(app, ["status", str(tmp_path / "lake"), "--output", "jsonl"])
    assert [one["rows"] for one in map(json.loads, told.stdout.splitlines())] == [1, 2]
    assert "1 objects and 1 lines set aside" in " ".join(told.stderr.split())


def test_what_waits_in_a_journal(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        writer = lake.writer(acknowledge="logged", journal=tmp_path / "journal", flush_seconds=600)
        writer.write(logs_request(10), signal="logs", organization="acme")
        (waits,) = waiting_in(tmp_path / "journal")
        assert (waits.organization, waits.files, waits.rejected) == ("acme", 1, 0)
        assert waits.bytes == writer.report().waiting_bytes
        told = CliRunner().invoke(
            app, ["status", str(tmp_path / "lake"), "--journal", str(tmp_path / "journal")]
        )
        assert "acme: 1 files with" in " ".join(told.stderr.split())
        writer.close()
        assert sum(one.files for one in waiting_in(tmp_path / "journal")) == 0


def test_how_far_it_is_behind(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("a", "b", "c"):
        line = f'{{"message": "{name}", "timestamp": {T}}}\n'
        (raw / f"{name}.jsonl").write_text(line)
    os.utime(raw / "b.jsonl", (T, T))
    with lakerunner.open(tmp_path / "lake", config={"batch_objects": 1}) as lake:
        lake.ingest(str(raw / "a.jsonl"))
        behind = lake.backlog(raw).input
        size = (raw / "b.jsonl").stat().st_size
        assert (behind.files, behind.bytes) == (2, 2 * size)
        assert behind.age_seconds > 3600
        assert lake.backlog(raw / "a.jsonl").input == Waiting()
        assert lake.backlog(raw).merges == Waiting()  # one segment has nothing to merge with
        lake.ingest(f"{raw}/")
        merges = lake.backlog(f"{raw}/").merges
        assert (merges.files, merges.bytes) == (3, sum(one.bytes for one in lake.segments()))
        assert merges.age_seconds > 0
        assert lake.for_organization("other").backlog().merges == Waiting()
        lake.compact()
        assert lake.backlog(raw) == Backlog(Waiting(), Waiting())
