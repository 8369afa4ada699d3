"""Settings and fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
TELEMETRY = ROOT.parent / "shared" / "data"

# Files, SQLite and DataFusion make single examples slow now and then: no deadline anywhere.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
# The same commit gives the same answer: new examples are looked for at night, not in a review.
settings.register_profile(
    "ci", settings.get_profile("default"), max_examples=60, derandomize=True, database=None
)
settings.register_profile("nightly", settings.get_profile("default"), max_examples=2000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
)


@pytest.fixture(scope="session")
def telemetry() -> Path:
    """The directory of captured telemetry; it lies beside the checkout, not in it."""
    if not TELEMETRY.is_dir():
        pytest.skip(f"no captured telemetry at {TELEMETRY}")
    return TELEMETRY
