"""A catalog that any version wrote is read by this one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.catalog.bucket.records import FORMAT_VERSION
from lakerunner.errors import SnapshotExpiredError
from lakerunner.model.commit import ColumnSummary, Commit, Snapshot
from lakerunner.model.segment import ColumnStats, SourceState, TakenSource
from lakerunner.store import open_store
from lakerunner.testing.catalog_fixture import A, B, C, ids
from lakerunner.testing.values import make_commit, make_rejection, make_segment

if TYPE_CHECKING:
    from lakerunner.catalog import Catalog

GOLDEN = Path(__file__).with_name("golden")
ACME, GLOBEX = ("acme", "logs"), ("globex", "spans")
RICH = make_segment(
    "s1",
    -5,
    7,
    rows=3,
    columns={
        "body": ColumnStats("string", nulls=1, min="", max="\x00'\U0001f600", values=("", "é")),
        "attr_n": ColumnStats("int64", min=-(2**63), max=2**63 - 1, key="N", types=("int",)),
        "attr_f": ColumnStats("double", min=-1e308, max=0.1, overflow=True),
    },
)


def commits() -> list[Commit]:
    """Seven commits; checkpoints come after the third and the sixth."""
    span = make_segment("s3", organization="globex", table="spans")
    part = make_rejection(B, "line 3", at_ns=9, rows=1)
    return [
        make_commit("c1", add=[RICH], take=[A]),
        make_commit("c2", add=[make_segment("s2", 4)], reject=[C], committed_ns=5),
        make_commit("c3", organization="globex", add=[span]),
        Commit("c4", "acme", 6, taken=(TakenSource(B, 2),), rejected=(part,)),
        make_commit("c5", add=[make_segment("s4", 4)], remove=["s2"], committed_ns=7),
        make_commit("c6", organization="globex", remove=["s3"]),
        make_commit("c7", remove=["s1"], add=[make_segment("s5", -1)], committed_ns=8),
    ]


def write(place: Path) -> None:
    """How the golden catalog was made; a new version gets a directory of its own."""
    catalog = BucketCatalog(open_store(place), checkpoint_every=3)
    for commit in commits():
        catalog.commit(commit)
    catalog.purge(["s3"])


def check(catalog: Catalog) -> None:
    assert ids(catalog) == ["s5", "s4"]
    assert catalog.snapshot(*ACME) == Snapshot(
        7, 2, 2, 200, {"timestamp": ColumnSummary(("timestamp",), 2, 0)}
    )
    assert catalog.snapshot(*GLOBEX) == Snapshot(7, 0, 0, 0, {})
    assert [segment.id for segment in catalog.removed(99)] == ["s2", "s1"]
    states = {A: SourceState.TAKEN, B: SourceState.TAKEN, C: SourceState.REJECTED}
    assert catalog.sources([A, B, C]) == states
    assert [(entry.source, entry.reason) for entry in catalog.rejections("acme")] == [
        (C, "broken"),
        (B, "line 3"),
    ]
    assert [catalog.commit(commit) for commit in commits()] == list(range(1, 8))


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
@pytest.mark.parametrize("without", ["", "checkpoints", "log"])
def test_an_old_catalog_is_read(tmp_path: Path, version: int, without: str) -> None:
    shutil.copytree(GOLDEN / f"v{version}", tmp_path, dirs_exist_ok=True)
    if without == "checkpoints":
        shutil.rmtree(tmp_path / "catalog" / without)
    if without == "log":  # only what the last checkpoint does not have
        for entry in sorted((tmp_path / "catalog" / without).iterdir())[:6]:
            entry.unlink()
    with BucketCatalog(open_store(tmp_path)) as catalog:
        check(catalog)
        # The first versions did not keep up to where something was purged.
        oldest, then = (2, ["s1", "s2"]) if version <= 2 else (6, ["s1", "s4"])
        assert ids(catalog, sequence=oldest) == then
        assert catalog.segments(*ACME, sequence=oldest)[0] == RICH
        assert catalog.commit(make_commit("c8", remove=["s4"])) == 9
        assert catalog.checkpoint()
    with BucketCatalog(open_store(tmp_path)) as catalog:
        assert ids(catalog) == ["s5"]
        states = {A: SourceState.TAKEN, B: SourceState.TAKEN, C: SourceState.REJECTED}
        assert catalog.sources([A, B, C]) == states


def test_what_is_written_now_is_read_as_well(tmp_path: Path) -> None:
    write(tmp_path)
    catalog = BucketCatalog(open_store(tmp_path))
    check(catalog)
    with pytest.raises(SnapshotExpiredError):
        ids(catalog, sequence=5)
    assert ids(catalog, sequence=6) == ["s1", "s4"]
