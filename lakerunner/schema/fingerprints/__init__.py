"""Fingerprints and templates of log bodies: which rows say the same thing."""

from lakerunner.schema.fingerprints.columns import with_fingerprints
from lakerunner.schema.fingerprints.fingerprint import Fingerprints, log_fingerprints

__all__ = ["Fingerprints", "log_fingerprints", "with_fingerprints"]
