"""What every part of the catalog suite stands on: how to open a catalog, and how to ask it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import pytest

from lakerunner.catalog.base import ALL_TIME
from lakerunner.errors import CommitConflictError
from lakerunner.testing.values import ORGANIZATION, make_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.catalog.base import Catalog
    from lakerunner.model.commit import Commit, Snapshot
    from lakerunner.model.segment import Source, SourceState
    from lakerunner.model.times import TimeRange

A, B, C = (make_source(name) for name in "abc")


class CatalogFixture(ABC):
    """Opens catalogs for the tests of a subclass.

    Attributes:
        adapter: What the conformance matrix calls the catalog; the name of the class if empty.
        races: How often writers race in each test of a race; fewer where one takes seconds.
        histories: The state machine tries one history for so many examples of the loaded
            hypothesis profile; more where a request takes milliseconds.
        many: Commits of a test that needs many: more than any one object of the catalog holds.
    """

    adapter: ClassVar[str] = ""
    races: ClassVar[int] = 10
    histories: ClassVar[int] = 4
    many: ClassVar[int] = 240

    @abstractmethod
    def open_catalog(self, place: Path) -> Catalog:
        """Open the catalog of a test; the same `place` must lead to the same catalog each time.

        Args:
            place: An empty directory of the test's own. A catalog that is no file takes its name.
        """

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Where the catalog of one test lives."""
        return tmp_path

    @pytest.fixture
    def catalog(self, place: Path) -> Iterator[Catalog]:
        """An empty catalog."""
        with self.open_catalog(place) as catalog:
            yield catalog


def ids(
    catalog: Catalog,
    time_range: TimeRange = ALL_TIME,
    *,
    organization: str = ORGANIZATION,
    table: str = "logs",
    sequence: int | None = None,
) -> list[str]:
    """The ids of the segments a catalog finds, in its order."""
    found = catalog.segments(organization, table, time_range, sequence=sequence)
    return [segment.id for segment in found]


def everything(catalog: Catalog) -> tuple[Snapshot, list[str], dict[Source, SourceState], int]:
    """All that a refused commit must leave as it was."""
    return (
        catalog.snapshot(ORGANIZATION, "logs"),
        ids(catalog),
        catalog.sources([A, B, C]),
        len(catalog.rejections(ORGANIZATION)) + len(catalog.removed(2**62)),
    )


def refused(catalog: Catalog, commit: Commit) -> CommitConflictError:
    """The conflict that a commit meets, which must leave the catalog as it was."""
    before = everything(catalog)
    with pytest.raises(CommitConflictError) as conflict:
        catalog.commit(commit)
    assert everything(catalog) == before
    return conflict.value
