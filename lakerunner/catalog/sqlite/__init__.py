"""The embedded catalog: one SQLite file, shared by the threads and processes of a machine."""

from __future__ import annotations

from lakerunner.catalog.sqlite.catalog import SqliteCatalog

__all__ = ["SqliteCatalog"]
