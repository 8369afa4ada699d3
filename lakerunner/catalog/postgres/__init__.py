"""The catalog in a PostgreSQL server: for many machines, and many lakes in one database."""

from __future__ import annotations

from lakerunner.catalog.postgres.catalog import PostgresCatalog

__all__ = ["PostgresCatalog"]
