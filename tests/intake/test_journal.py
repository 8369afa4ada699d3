"""The journal: what was acknowledged survives the process, and lands once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lakerunner
from lakerunner.errors import ConfigurationError
from lakerunner.intake.journal import Journal
from lakerunner.intake.payloads import payload_of

if TYPE_CHECKING:
    from pathlib import Path

WRITING = """
import sys, lakerunner
lake = lakerunner.open(sys.argv[1])
writer = lake.writer(acknowledge="logged", journal=sys.argv[2], flush_seconds=0.03)
print("ready", flush=True)
for number in range(int(sys.argv[3]), 10**9):
    writer.write({"message": str(number)})
    print(number, flush=True)
"""


def settled(lake: Path, journal: Path) -> list[str]:
    """The bodies of a lake after somebody has taken over what the dead have left."""
    with lakerunner.open(lake) as opened:
        with opened.writer(journal=journal) as writer:
            writer.flush()
        rows = opened.sql("SELECT body FROM logs").to_arrow()["body"].to_pylist()
    return sorted(rows)


def test_what_was_logged_is_there_once_however_often_the_process_is_killed(tmp_path: Path) -> None:
    lake, journal = tmp_path / "lake", tmp_path / "journal"
    acknowledged: list[str] = []
    begin = 0
    for delay in (0.02, 0.1, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITING, str(lake), str(journal), str(begin)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().splitlines(keepends=True)
        told = [line.strip() for line in lines if line.endswith("\n")]
        acknowledged += told
        begin = int(told[-1]) + 2 if told else begin + 2  # one more may have been on its way
    found = settled(lake, journal)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= 5
    assert not list(journal.rglob("*.jsonl"))


@given(
    st.lists(st.text(max_size=50), min_size=1, max_size=8),
    st.integers(0, 400),
    st.binary(max_size=20),
)
@settings(max_examples=60)
def test_a_torn_end_is_cut_off_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cut: int, rubbish: bytes
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    journal = Journal(directory)
    payloads = [payload_of({"message": text}) for text in texts]
    ends, end = [], 0
    for payload in payloads:
        journal.sync(journal.add("acme", payload))
        end += len(payload.data)
        ends.append(end)
    (data,) = directory.rglob("*.open")
    whole = data.read_bytes()
    kept = min(cut, len(whole))
    data.write_bytes(whole[:kept] + (rubbish if kept == len(whole) else b""))
    journal.close()  # leaves what it has, as if the process had died
    later = Journal(directory)
    found = [sealed.path.read_bytes() for sealed in later.left_behind()]
    later.close()
    good = max((one for one in ends if one <= kept), default=0)
    assert found == ([whole[:good]] if good else [])
    assert all(json.loads(line) for one in found for line in one.splitlines())


def test_those_who_live_are_left_alone(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    first.sync(first.add("acme", payload_of({"message": "mine"})))
    second = Journal(tmp_path)
    assert list(second.left_behind()) == []
    (sealed,) = first.seal()
    assert sealed.path.read_bytes() == b'{"message":"mine"}\n'
    Journal.forget(sealed)
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_committed_and_not_deleted_is_not_taken_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.sync(journal.add("default", payload_of({"message": "once"})))
    (sealed,) = journal.seal()
    with lakerunner.open(tmp_path / "lake") as lake:
        store = lakerunner.store.open_store(sealed.path.parent.as_uri())
        meta = store.head(sealed.path.name)
        assert lake._ingestor.take(store, [meta], "default").rows == 1
    journal.close()  # died before it could delete the file
    assert settled(tmp_path / "lake", tmp_path / "journal") == ["once"]
    assert not list((tmp_path / "journal").rglob("*.jsonl"))


def test_what_cannot_be_taken_stays_on_disk(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        writer = lake.writer(acknowledge="logged", journal=tmp_path / "journal", flush_seconds=600)
        writer.write(b"PK\x03\x04 this is a zip archive")
        writer.write({"message": "good"})
        with pytest.raises(lakerunner.errors.InputError, match="kept in"):
            writer.flush()
        writer.close()
        assert lake.sql("SELECT body FROM logs").to_pylist() == [{"body": "good"}]
    (kept,) = (tmp_path / "journal").rglob("rejected/*")
    assert kept.read_bytes().startswith(b"PK")


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="journal"):
        Journal(tmp_path / "file" / "journal")
