"""Which organizations a lake has rows of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.model.organization import is_organization
from lakerunner.model.signal import Signal
from lakerunner.segments.naming import SEGMENTS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.catalog.base import Catalog
    from lakerunner.store import ObjectStore


def organizations_with_rows(store: ObjectStore, catalog: Catalog) -> list[str]:
    """Organizations that have live segments, in order of their names.

    One request to the store for each, and one look at the catalog for each and each table: a
    catalog does not list organizations, but each one's segments lie below a folder of its own.
    """
    return sorted(name for name in _folders(store) if has_rows(catalog, name))


def has_rows(catalog: Catalog, organization: str) -> bool:
    """Whether an organization has live segments."""
    return any(catalog.snapshot(organization, signal).segments for signal in Signal)


def _folders(store: ObjectStore) -> Iterator[str]:
    """Organizations with objects in the store, which may be leftovers."""
    after = ""
    while first := next(store.list(SEGMENTS_PREFIX, start_after=after), None):
        name = first.key.removeprefix(SEGMENTS_PREFIX).partition("/")[0]
        if is_organization(name):
            yield name
        after = f"{SEGMENTS_PREFIX}{name}/\U0010ffff"
