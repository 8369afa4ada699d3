"""Synthetic telemetry: realistic, seeded and fast, for demonstrations, tests and benchmarks."""

from __future__ import annotations

from lakerunner.generate.config import Incident, TelemetryConfig
from lakerunner.generate.objects import (
    ROOT,
    TelemetryObject,
    generate_objects,
    logs_request,
    telemetry_objects,
)

__all__ = [
    "ROOT",
    "Incident",
    "TelemetryConfig",
    "TelemetryObject",
    "generate_objects",
    "logs_request",
    "telemetry_objects",
]
