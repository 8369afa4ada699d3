"""Conformance suites for those who write a store or a catalog; needs the extra `testing`.

`from lakerunner.testing import StoreSuite` loads pytest and hypothesis; importing this package
alone loads neither. Inside a test run it asks pytest to show the values of an assertion that fails.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from lakerunner.errors import MissingExtraError

if TYPE_CHECKING:
    from lakerunner.testing.catalog import CatalogSuite
    from lakerunner.testing.leases import LeasesSuite
    from lakerunner.testing.store import StoreSuite

__all__ = ["CatalogSuite", "LeasesSuite", "StoreSuite"]

_HOMES = {
    "CatalogSuite": "lakerunner.testing.catalog",
    "LeasesSuite": "lakerunner.testing.leases",
    "StoreSuite": "lakerunner.testing.store",
}

_REWRITTEN = (
    "catalog",
    "catalog_commits",
    "catalog_fences",
    "catalog_fixture",
    "catalog_machine",
    "catalog_reads",
    "leases",
    "store",
    "store_machine",
)
"""Modules with assertions. pytest can only rewrite what is not loaded yet, so this comes first."""

if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite(*(f"{__name__}.{name}" for name in _REWRITTEN))

if not TYPE_CHECKING:  # a typed `__getattr__` would let any misspelt name through

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'lakerunner.testing' has no attribute {name!r}")
        try:
            return getattr(import_module(home), name)
        except ImportError as error:
            raise MissingExtraError(
                f"{name} needs pytest and hypothesis: pip install 'lakerunner[testing]'",
                missing=error.name,
            ) from error
