"""Synthetic telemetry: realistic, seeded and fast, for demonstrations, tests and benchmarks."""

from __future__ import annotations

from lakerunner.generate.config import Incident, TelemetryConfig
from lakerunner.generate.objects import ROOT, generate_objects, logs_request

__all__ = ["ROOT", "Incident", "TelemetryConfig", "generate_objects", "logs_request"]
