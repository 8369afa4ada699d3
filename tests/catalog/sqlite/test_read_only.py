"""A catalog file where nothing can be written, read by a user who has no right to."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.sqlite import SqliteCatalog
from lakerunner.testing.values import make_commit, make_segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOK = """
import os, sys
from lakerunner.catalog.sqlite import SqliteCatalog
from lakerunner.errors import LakerunnerError
from lakerunner.testing.catalog_fixture import ids
from lakerunner.testing.values import make_commit
if os.getuid() == 0:  # who then may not even read the libraries
    os.setgid(65534)
    os.setuid(65534)
catalog = SqliteCatalog(sys.argv[1])
for line in sys.stdin:
    print(ids(catalog), flush=True)
try:
    catalog.commit(make_commit("c9"))
except LakerunnerError as error:
    print(error.code, "read-only" in str(error))
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory that others may enter."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == tmp_path.owner() and directory.parts[1:2] == ("tmp",):
            directory.chmod(directory.stat().st_mode | 0o005)
    place = tmp_path / "lake"
    place.mkdir()
    yield place
    place.chmod(0o755)


def seal(place: Path) -> None:
    for file in place.iterdir():
        file.chmod(0o444)
    place.chmod(0o555)


def look(place: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", LOOK, str(place / "catalog.db")]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    )


def test_a_file_that_nobody_writes(place: Path) -> None:
    with SqliteCatalog(place / "catalog.db") as catalog:
        catalog.commit(make_commit("c1", add=[make_segment("a")]))
    assert not (place / "catalog.db-wal").exists()
    seal(place)
    before = sorted(place.iterdir())
    output, _ = look(place).communicate("again\nagain\n")
    assert output.splitlines() == ["['a']", "['a']", "catalog True"]
    assert sorted(place.iterdir()) == before


def test_a_file_that_others_write_meanwhile(place: Path) -> None:
    """Who may write keeps the log, and the reader follows; then the log goes, and comes back."""
    writer = SqliteCatalog(place / "catalog.db")
    writer.commit(make_commit("c1", add=[make_segment("a")]))
    for file in place.iterdir():
        file.chmod(0o644)
    place.chmod(0o755)
    with look(place) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None

        def seen() -> str:
            print("again", file=reader.stdin, flush=True)
            return reader.stdout.readline().strip() if reader.stdout else ""

        assert seen() == "['a']"
        writer.commit(make_commit("c2", add=[make_segment("b")]))
        assert seen() == "['a', 'b']"
        writer.close()
        assert seen() == "['a', 'b']"
        writer.commit(make_commit("c3", remove=["a"]))
        assert seen() == "['b']"
        writer.close()
        assert seen() == "['b']"
        reader.stdin.close()
        assert reader.stdout.read().strip() == "catalog True"
