"""Which segments exist, and which sources are in them: the contract and its adapters.

`open_catalog` finds the adapter by URL.
"""

from __future__ import annotations

from lakerunner.catalog.base import Catalog
from lakerunner.catalog.opening import open_catalog

__all__ = ["Catalog", "open_catalog"]
