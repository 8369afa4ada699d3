"""Traces: spans as they hang together, and how a person looks at them."""

from __future__ import annotations

from lakerunner.query.traces.trace import Trace

__all__ = ["Trace"]
