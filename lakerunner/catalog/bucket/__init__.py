"""The catalog in the lake's own bucket: create-only objects, and no database."""

from __future__ import annotations

from lakerunner.catalog.bucket.catalog import BucketCatalog, open_bucket_catalog

__all__ = ["BucketCatalog", "open_bucket_catalog"]
