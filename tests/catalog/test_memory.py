"""The catalog in memory: the suite, and what holds for it alone."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog import open_catalog
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import ConfigurationError
from lakerunner.testing.catalog import CatalogSuite
from lakerunner.testing.catalog_fixture import ids
from lakerunner.testing.values import make_commit, make_segment

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.catalog import Catalog


class TestMemoryCatalog(CatalogSuite):
    adapter = "memory"

    def open_catalog(self, place: Path) -> Catalog:
        return MemoryCatalog(f"memory://{place}")


@pytest.mark.parametrize("url", ["memory://shared", "memory://shared/"])
def test_catalogs_of_one_name_are_one(url: str) -> None:
    commit = make_commit("c1", add=[make_segment("a")])
    assert open_catalog(url).commit(commit) == open_catalog("memory://shared").commit(commit)
    assert ids(open_catalog("memory://shared")) == ["a"]
    assert ids(open_catalog("memory://other")) == []


def test_a_catalog_without_a_name_is_private() -> None:
    one, other = MemoryCatalog(), open_catalog("memory://")
    one.commit(make_commit("c1", add=[make_segment("a")]))
    assert ids(one) == ["a"]
    assert ids(other) == []


def test_it_does_not_travel() -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        pickle.dumps(MemoryCatalog("memory://here"))
