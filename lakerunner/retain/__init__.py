"""Retirement: rows that are old enough, rows that are to be deleted, files that nobody needs."""

from __future__ import annotations

from lakerunner.retain.retention import Retention

__all__ = ["Retention"]
