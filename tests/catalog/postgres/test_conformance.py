"""The suites of catalogs and leases on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.postgres import PostgresCatalog
from lakerunner.testing.catalog import CatalogSuite
from lakerunner.testing.leases import LeasesSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lakerunner.catalog import Catalog
    from lakerunner.catalog.leases import Leases


class _OnServer:
    url_of: Callable[[Path], str]

    @pytest.fixture(autouse=True)
    def _server(self, url_of: Callable[[Path], str]) -> None:
        self.url_of = url_of


class TestPostgresCatalog(_OnServer, CatalogSuite):
    adapter = "PostgreSQL"

    def open_catalog(self, place: Path) -> Catalog:
        return PostgresCatalog(self.url_of(place))


class TestPostgresLeases(_OnServer, LeasesSuite):
    adapter = "PostgreSQL"

    def open_leases(self, place: Path) -> Iterator[Leases]:
        with PostgresCatalog(self.url_of(place)) as catalog:
            yield catalog.leases()
