"""Which segments exist, and which sources are in them: the contract and one adapter a file."""

from __future__ import annotations

from lakerunner.catalog.base import Catalog

__all__ = ["Catalog"]
