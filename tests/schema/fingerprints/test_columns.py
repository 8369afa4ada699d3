"""The fingerprint columns of a table."""

from __future__ import annotations

import pyarrow as pa

from lakerunner.schema.fingerprints import with_fingerprints


def test_columns_are_added() -> None:
    table = pa.table({"body": pa.chunked_array([["a 1"], ["a 2", None]]), "level": ["x", "y", "z"]})
    filled = with_fingerprints(table)
    assert filled.column_names == ["body", "level", "fingerprint", "template"]
    assert filled.column("template").to_pylist() == ["a <*>", "a <*>", None]
    assert filled.column("fingerprint").null_count == 1


def test_columns_are_replaced() -> None:
    table = pa.table({"template": ["old"], "body": ["a 1"]})
    assert with_fingerprints(table).column("template").to_pylist() == ["a <*>"]


def test_tables_without_bodies_are_left_alone() -> None:
    table = pa.table({"name": ["a"]})
    assert with_fingerprints(table) is table


def test_no_rows() -> None:
    assert with_fingerprints(pa.table({"body": pa.array([], pa.string())})).num_rows == 0
