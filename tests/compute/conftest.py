"""A session, and small Parquet files of different shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakerunner.compute import Session
from lakerunner.compute.mended_plan import PatchedPlan
from lakerunner.compute.scans import FileUnion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["patched", "union"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session, on each of the two roads by which it can be given a list of files."""
    made = Session(threads=2)
    assert isinstance(made.file_scan, PatchedPlan), "the fast road must work as installed"
    if request.param == "union":
        placeholder = made.directory / "probes" / "empty.parquet"
        patched = made.file_scan
        made.file_scan = FileUnion(patched._context, patched._readers, placeholder)
    yield made
    made.close()


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """Three files of 1,000 rows, ascending in `n`; `attr` is an integer, text, or not there."""
    attributes = [pa.array(range(1000)), pa.array([f"v{n}" for n in range(1000)]), None]
    urls = []
    for number, attribute in enumerate(attributes):
        columns = {
            "n": pa.array(range(number * 1000, number * 1000 + 1000)),
            "word": pa.array([f"w{n % 7}" for n in range(1000)]).dictionary_encode(),
            "body": pa.array([f"body {n}" for n in range(1000)]),
        }
        if attribute is not None:
            columns["attr"] = attribute
        path = (
            tmp_path / f"file {number} %5B[*]?#.parquet"
        )  # nothing in a path may be read as a glob
        pq.write_table(
            pa.table(columns), path, row_group_size=250, max_rows_per_page=50, write_page_index=True
        )
        urls.append(path.as_uri())
    return tuple(urls)
