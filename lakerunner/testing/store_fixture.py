"""What the store suite stands on: how to open a store, and how to get behind its back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import pytest

from lakerunner.errors import ObjectExistsError
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.store.base import ObjectMeta, ObjectStore

NO_KEYS = ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../../b", "./a", "a/./b"]
NO_KEYS += ["a\0b", "half \ud800"]

ODD_KEYS = ["a b", "+", "a=b", "%", "%2F", "a%20b", "&", "#", "a#b/c", "?", "a?b=c", "é/ü", "日本"]
ODD_KEYS += ["\U0001f600", "\ufffd", "*", "[a]", "{a}", "a\\b", "'\"", ";:@,$!", "~", ".a", "..a"]
ODD_KEYS += ["a..", "-", " ", "year=2026/month=01/x.binpb.gz"]

TREE = [
    "A",
    "a-b/x",
    "a/x",
    "a/y-z",
    "a/y/z",
    "a/y0",
    "a0",
    "ab",
    "b",
    "é/x",
    "\ufffd",
    "\U0001f600",
]
PREFIXES = ["", "a", "a/", "a/y", "a/y/", "a/y/z", "a/y/zz", "b/", "é", "\ufffd", "nothing/here"]
PREFIXES += ["/", "a//", ".", "../", "a/../", "*"]
STARTS = ["", *TREE, "a", "a-", "a/", "a/y", "a/y/", "c", "\U0001f601"]


class StoreFixture(ABC):
    """Opens stores for the tests of a subclass, and reaches their objects by another way.

    Attributes:
        adapter: What the conformance matrix calls the store; the name of the class if empty.
        races: How often creators race for a key; fewer where one takes seconds.
        new_etags: Whether every overwrite gives a new etag, even with equal bytes. Set it to False
            only for a service whose etag is made of the content.
    """

    adapter: ClassVar[str] = ""
    races: ClassVar[int] = 10
    new_etags: ClassVar[bool] = True

    @abstractmethod
    def open_store(self, place: Path) -> ObjectStore:
        """Open the store of a test; the same `place` must lead to the same objects each time.

        Args:
            place: An empty directory of the test's own. A store that is no directory takes its
                name.
        """

    @abstractmethod
    def raw_write(self, store: ObjectStore, key: str, data: bytes) -> None:
        """Write an object without the store: by another client of the same service."""

    @abstractmethod
    def raw_read(self, store: ObjectStore, key: str) -> bytes:
        """Read an object without the store."""

    @abstractmethod
    def raw_delete(self, store: ObjectStore, key: str) -> None:
        """Remove an object without the store; it is there."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Where the objects of one test live."""
        return tmp_path

    @pytest.fixture
    def store(self, place: Path) -> Iterator[ObjectStore]:
        """An empty store."""
        store = self.open_store(place)
        yield store
        store.close()


def keys(store: ObjectStore, prefix: str = "", *, start_after: str = "") -> list[str]:
    """The keys of a listing, in its order."""
    return [meta.key for meta in store.list(prefix, start_after=start_after)]


def create(store: ObjectStore, key: str, number: int) -> ObjectMeta | None:
    """Write a number where there is nothing; None if there is something."""
    try:
        return store.put(key, b"%d" % number, PutMode.CREATE)
    except ObjectExistsError:
        return None
