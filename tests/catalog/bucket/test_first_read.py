"""What many threads decode at once, and nobody has decoded before."""

from __future__ import annotations

import subprocess
import sys

ROUNDS = """
import gc, importlib, sys, threading
from concurrent.futures import ThreadPoolExecutor
from lakerunner.catalog.bucket import records

gc.set_threshold(1)
sys.setswitchinterval(1e-6)
for _ in range(30):
    importlib.reload(records)
    data = records.encode(records.Entry(2, "a", "", 1, ()))
    start = threading.Barrier(8)

    def read(_):
        start.wait()
        return records.decode(data, records.ENTRY, "key").id

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(read, range(8))) == ["a"] * 8
"""


def test_the_first_entries_are_read_by_many_threads_at_once() -> None:
    """A type that is looked at by several threads at once ends the process: msgspec crashes."""
    found = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", ROUNDS],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
