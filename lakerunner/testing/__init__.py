"""Conformance suites for those who write a store or a catalog; needs the extra `testing`.

`from lakerunner.testing import StoreSuite` loads pytest and hypothesis; importing this package
alone loads neither.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from lakerunner.errors import MissingExtraError

if TYPE_CHECKING:
    from lakerunner.testing.store import StoreSuite

__all__ = ["StoreSuite"]

_HOMES = {
    "StoreSuite": "lakerunner.testing.store",
}

if not TYPE_CHECKING:  # a typed `__getattr__` would let any misspelt name through

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'lakerunner.testing' has no attribute {name!r}")
        try:
            if home not in sys.modules:  # so that a failing assert shows its values
                import_module("pytest").register_assert_rewrite(home)
            return getattr(import_module(home), name)
        except ImportError as error:
            raise MissingExtraError(
                f"{name} needs pytest and hypothesis: pip install 'lakerunner[testing]'",
                missing=error.name,
            ) from error
