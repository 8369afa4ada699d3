"""Ingestion: raw objects to committed segments."""

from __future__ import annotations

from lakerunner.ingest.ingestor import Ingestor

__all__ = ["Ingestor"]
