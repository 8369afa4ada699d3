"""What a worker works on: a lake, as one organization or as a whole, now or as it was."""

from __future__ import annotations

import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.discretion import Discretion
from lakerunner.errors import ConfigurationError, ReadOnlyError
from lakerunner.model.profile import check_organization
from lakerunner.model.times import read_range

if TYPE_CHECKING:
    import threading

    from lakerunner.catalog import Catalog
    from lakerunner.model.config import Config
    from lakerunner.model.times import TimeLike, TimeRange
    from lakerunner.store import ObjectStore


class Scope(NamedTuple):
    """One lake as one caller may see it. A view of a lake is its workers within another scope.

    Immutable: to narrow it is to make another, which shares store and catalog.

    Attributes:
        store: Where segments lie.
        catalog: What knows them: that of today, or of the past.
        organization: Whose rows are read and written.
        config: Settings.
        read_only: Nothing may be written.
        bound: No other organization may be named.

    Example:
        >>> from lakerunner.catalog.opening import open_catalog
        >>> from lakerunner.model.config import Config
        >>> from lakerunner.store.urls import open_store
        >>> whole = Scope(open_store("memory://"), open_catalog("memory://"), "default", Config())
        >>> whole.of("acme").organization
        'acme'
    """

    store: ObjectStore
    catalog: Catalog
    organization: str
    config: Config
    read_only: bool = False
    bound: bool = False

    def of(self, organization: str) -> Scope:
        """The same, bound to one organization.

        Raises:
            ConfigurationError: It can be no organization's name, or this is bound to another.
        """
        check_organization(organization)
        if organization != self.organization:
            self.require_whole(f"to bind it to '{organization}'")
        return self._replace(organization=organization, bound=True)

    def over(self, past: Catalog) -> Scope:
        """The same as another catalog shows it, to read only."""
        return self._replace(catalog=past, read_only=True)

    def discretion(self) -> Discretion:
        """What messages must leave out: bound to one organization, where the lake lies."""
        places = [self.store.url, self.catalog.url, tempfile.gettempdir()]
        return Discretion(places if self.bound else ())

    def require_writable(self, what: str) -> None:
        """Refuse what would write.

        Raises:
            ReadOnlyError: The lake is read-only.
        """
        if self.read_only:
            raise ReadOnlyError(f"{what}: the lake was opened with read_only=True")

    def require_whole(self, what: str) -> None:
        """Refuse what concerns all organizations.

        Raises:
            ConfigurationError: The lake is bound to one.
        """
        if self.bound:
            raise ConfigurationError(
                f"{what}: this lake is bound to '{self.organization}'; ask the whole lake",
                organization=self.organization,
            )


class Closable:
    """What can be used until it is closed, from any thread; views of it share its end."""

    _closed: threading.Event

    def _require_open(self, what: str) -> None:
        """Refuse what comes too late.

        Raises:
            ConfigurationError: It is closed.
        """
        if self._closed.is_set():
            raise ConfigurationError(f"{what}: the lake is closed")


def time_range(start: TimeLike | None, end: TimeLike | None) -> TimeRange:
    """From a start to an end as people write them, now; see `lakerunner.model.times.read_range`."""
    return read_range(start, end, now_ns=time.time_ns())
