"""Processes that are killed between their puts and their commit, on purpose: they harm nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.model.config import Config
from lakerunner.segments.layout import SEGMENTS_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

KILLED = """
import os, signal, sys
import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.store import open_store
from lakerunner.testing.faults import FaultPlan, FaultyCatalog, FaultyStore

class Killing(FaultPlan):
    def __init__(self, name, number):
        super().__init__()
        self.name, self.left = name, number

    def begin(self, name):
        self.left -= name == self.name
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().begin(name)

lake, catalog, source, name, number = sys.argv[1:]
plan = Killing(name, int(number))
store = FaultyStore(open_store(lake), plan)
lakerunner.Lake(store, FaultyCatalog(open_catalog(catalog), plan)).ingest(source)
"""

POINTS = [("catalog.commit", 1), ("store.put", 4)]
"""Before the commit, with all segments there; and with some of them."""


@pytest.mark.parametrize("catalog", ["sqlite", "bucket"])
def test_what_killed_writers_leave_is_never_half_of_anything(tmp_path: Path, catalog: str) -> None:
    """Neither the ingest that follows nor a recovery loses or doubles a row for it."""
    source, lake = tmp_path / "in", tmp_path / "lake"
    source.mkdir()
    lake.mkdir()
    url = f"sqlite://{tmp_path}/catalog.db" if catalog == "sqlite" else f"bucket+file://{lake}"
    expected = Counter[str]()
    left = 0
    for number, (name, call) in enumerate(POINTS):
        for part in range(2):
            texts = [f"{number}-{part}-{line}" for line in range(3)]
            expected.update(texts)
            lines = [
                f'{{"message": "{text}", "time": {1_790_078_400 + 7200 * line}}}'
                for line, text in enumerate(texts)
            ]
            (source / f"{number}-{part}.jsonl").write_text("\n".join(lines))
        before = count(lake)
        arguments = [str(lake), url, str(source), name, str(call)]
        killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
        assert killed.returncode == -signal.SIGKILL
        left += count(lake) > before
        with lakerunner.open(lake, catalog=url) as opened:
            opened.ingest(source)
            assert bodies(opened) == expected
    assert left == len(POINTS)  # each of them left something behind
    config = Config(orphan_grace_ns=1)
    new = f"sqlite://{tmp_path}/new.db"
    with lakerunner.open(lake, catalog=new, config=config) as opened:
        opened.recover()
        opened.ingest(source)
        assert bodies(opened) == expected
        opened.collect_orphans(force=True)
        assert bodies(opened) == expected
        named = {segment.key for segment in opened.segments()}
        assert count(lake) == len(named)
    open_catalog(new).close()


def count(lake: Path) -> int:
    return sum(path.is_file() for path in (lake / SEGMENTS_PREFIX).rglob("*"))


def bodies(lake: lakerunner.Lake) -> Counter[str]:
    return Counter(body for (body,) in lake.sql("SELECT body FROM logs").fetchall())
