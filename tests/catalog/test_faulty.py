"""A catalog that fails on schedule fails exactly then, before or after the fact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import CatalogUnavailableError, CommitConflictError, CommitUnknownError
from lakerunner.testing.catalog import CatalogSuite
from lakerunner.testing.catalog_fixture import A, ids
from lakerunner.testing.faults import Fault, FaultPlan, FaultyCatalog, SimulatedCrash
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lakerunner.catalog import Catalog

COMMIT = make_commit("c1", add=[make_segment("a")], take=[A])
CALLS: dict[str, Callable[[Catalog], object]] = {
    "catalog.commit": lambda catalog: catalog.commit(COMMIT),
    "catalog.segments": lambda catalog: catalog.segments(ORGANIZATION, "logs"),
    "catalog.sources": lambda catalog: catalog.sources([A]),
    "catalog.snapshot": lambda catalog: catalog.snapshot(ORGANIZATION, "logs"),
    "catalog.rejections": lambda catalog: catalog.rejections(ORGANIZATION),
    "catalog.removed": lambda catalog: catalog.removed(0),
    "catalog.head": lambda catalog: catalog.head(),
    "catalog.condemn": lambda catalog: catalog.condemn(["unknown"], 0),
    "catalog.forget": lambda catalog: catalog.forget([]),
    "catalog.settle": lambda catalog: catalog.settle("lake", 0, whole=True),
    "catalog.purge": lambda catalog: catalog.purge(["unknown"]),
}


class TestFaultyCatalog(CatalogSuite):
    """Without a fault nothing can be told from the catalog inside."""

    adapter = "memory, wrapped in `FaultyCatalog`"

    def open_catalog(self, place: Path) -> Catalog:
        return FaultyCatalog(MemoryCatalog(f"memory://{place}"), FaultPlan())


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("after", [False, True])
def test_every_call_can_be_the_last(name: str, *, after: bool) -> None:
    inner = MemoryCatalog()
    plan = FaultPlan.crash_at(1, name=name, after=after)
    catalog = FaultyCatalog(inner, plan)
    for other, call in CALLS.items():
        if other != name:
            call(catalog)
    with pytest.raises(SimulatedCrash):
        CALLS[name](catalog)
    assert plan.calls[-1] == name
    assert len(plan.calls) == len(CALLS)
    assert ids(inner) == ["a"] * (after or name != "catalog.commit")
    with pytest.raises(SimulatedCrash):
        catalog.segments(ORGANIZATION, "logs")  # a dead process makes no more calls
    catalog.close()


def test_a_commit_that_never_began() -> None:
    error = CatalogUnavailableError("locked")
    catalog = FaultyCatalog(MemoryCatalog(), FaultPlan(Fault(1, "catalog.commit", error=error)))
    with pytest.raises(CatalogUnavailableError, match="locked"):
        catalog.commit(COMMIT)
    assert ids(catalog) == []
    assert catalog.commit(COMMIT) == 1


def test_a_commit_whose_reply_was_lost() -> None:
    lost = Fault(1, "catalog.commit", after=True, error=CommitUnknownError("no reply"))
    catalog = FaultyCatalog(MemoryCatalog(), FaultPlan(lost))
    with pytest.raises(CommitUnknownError):
        catalog.commit(COMMIT)
    assert ids(catalog) == ["a"]
    with pytest.raises(CommitConflictError):
        catalog.commit(make_commit("another id", take=[A]))
    assert catalog.commit(COMMIT) == 1
