"""SQL: what must be known of a text before DataFusion parses it, and what it is put as."""

from __future__ import annotations

from lakerunner.query.sql.query import SqlQuery, read_sql

__all__ = ["SqlQuery", "read_sql"]
