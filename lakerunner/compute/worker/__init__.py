"""Queries in processes of their own, whose memory is limited and which can be ended at any time.

`WorkerSession` plans and runs like `Session`, in processes that `WorkerPool` keeps; `serving` is
what runs in them.
"""

from __future__ import annotations

from lakerunner.compute.worker.pool import WorkerPool
from lakerunner.compute.worker.remote import WorkerSession

__all__ = ["WorkerPool", "WorkerSession"]
