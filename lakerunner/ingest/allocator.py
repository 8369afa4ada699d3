"""What the C library does with memory that was freed, while batches come one after the other.

A batch allocates and frees a few hundred megabytes in arrays of some kilobytes to some megabytes.
By default the library hands what lies free at the end of its heap back to the system as soon as it
is a little, and the next batch has each page of it zeroed again: a tenth of all processor time.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

from lakerunner.limits import MIB

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of `mallopt`
_MAPPED_BYTES = 32 * MIB
"""To this the library itself raises the threshold in a process that frees large arrays."""

_LEAST_KEPT, _MOST_KEPT = 64 * MIB, 1024 * MIB
_USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory(memory_bytes: int) -> None:
    """Keep what is freed from now on for the next batch, also after the last one.

    Only where glibc is the allocator, and nobody set it up in the environment. Arrays of more than
    32 MiB are handed back at once all the same, so that peaks stay what they are. Thread-safe; it
    is the whole process that keeps it.

    Args:
        memory_bytes: `Config.memory_bytes`, of which a quarter is kept at most.
    """
    if (library := _glibc()) is not None:
        library.mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)
        library.mallopt(_TRIM_THRESHOLD, min(max(_LEAST_KEPT, memory_bytes // 4), _MOST_KEPT))


@cache
def _glibc() -> Any:
    """The C library of this process, if it is glibc and left as it is."""
    if sys.platform != "linux" or any(name in os.environ for name in _USERS_OWN):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
