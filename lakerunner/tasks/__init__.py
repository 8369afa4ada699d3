"""Pieces of maintenance: what a worker finds to do, done once among all who do it.

A worker computes from the catalog what there is to do and hands it to `run_tasks`. What is done
disappears from the catalog's picture by itself, so whatever breaks off is simply run again.
"""

from __future__ import annotations

from lakerunner.tasks.running import Hold, Manner, Task, run_tasks

__all__ = ["Hold", "Manner", "Task", "run_tasks"]
