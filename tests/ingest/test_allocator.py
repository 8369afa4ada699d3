"""What the process keeps of the memory that a batch freed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes
from lakerunner.ingest.allocator import keep_freed_memory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


def held():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))


def after_freeing(each, count):
    blocks = [library.malloc(each << 20) for _ in range(count)]
    for block in blocks:
        library.memset(block, 1, each << 20)
    for block in blocks:
        library.free(block)
    return held()


keep_freed_memory(512 << 20)
before = held()
for each, count in (1, 100), (100, 2), (1, 400):
    print(after_freeing(each, count) - before)
"""


def kept(**environment: str) -> list[int]:
    """MiB that a process keeps of 100 that it freed, then of 200 in two pieces, then of 400."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is changed")
def test_a_quarter_of_the_setting_is_kept_and_no_large_array() -> None:
    small, large, much = kept()
    assert 90 <= small <= 110
    assert large <= 110
    assert much <= 128


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is changed")
def test_what_the_environment_says_stands() -> None:
    small, *_ = kept(MALLOC_TRIM_THRESHOLD_="1048576", MALLOC_MMAP_THRESHOLD_="65536")
    assert small <= 10
