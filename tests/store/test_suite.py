"""The suite of stores can fail, and `lakerunner.testing` is light until it is used."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import lakerunner.testing
from lakerunner.limits import RANGE_GAP_BYTES
from lakerunner.store import ByteRange, GetResult, PutMode, open_store
from lakerunner.store.counting import WrapperStore
from lakerunner.testing import CatalogSuite, StoreSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakerunner.store import Buffer, ObjectMeta, ObjectStore


class Suite(StoreSuite):
    """The suite over a store with a defect, which is handed to each test by hand."""

    def open_store(self, place: Path) -> ObjectStore:
        raise NotImplementedError

    def raw_write(self, store: ObjectStore, key: str, data: bytes) -> None:
        store.put(key, data)

    def raw_read(self, store: ObjectStore, key: str) -> bytes:
        return store.get(key).data

    def raw_delete(self, store: ObjectStore, key: str) -> None:
        store.delete(key)


class Overwriting(WrapperStore):
    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        del mode
        return super().put(key, data)


class OneEtag(WrapperStore):
    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        return super().put(key, data, mode)._replace(etag="same")


class ShortReads(WrapperStore):
    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        meta, data, _ = self.inner.get(key)
        if byte_range is None:
            return GetResult(meta, data)
        return GetResult(meta, data[byte_range.start : byte_range.end])


class SizeOfPart(WrapperStore):
    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        meta, data, _ = super().get(key, byte_range)
        return GetResult(meta._replace(size=len(data)), data)


class Utf16Order(WrapperStore):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        found = super().list(prefix, start_after=start_after)
        return iter(sorted(found, key=lambda meta: meta.key.encode("utf-16-be")))


class OnePage(WrapperStore):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        return itertools.islice(super().list(prefix, start_after=start_after), 1000)


class StartIncluded(WrapperStore):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        return (meta for meta in super().list(prefix) if meta.key >= start_after)


class SomeSeconds(WrapperStore):
    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        meta = super().put(key, data, mode)
        return meta._replace(modified_ns=meta.modified_ns // 10**9)


class Garbled(WrapperStore):
    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        if (
            byte_range is not None
            and byte_range.end is not None
            and byte_range.end > RANGE_GAP_BYTES
        ):
            return GetResult(self.inner.head(key), b"?" * (byte_range.end - byte_range.start))
        return super().get(key, byte_range)


DEFECTS: list[tuple[type[WrapperStore], Callable[[Suite, ObjectStore], None]]] = [
    (Overwriting, Suite.test_create_only_never_replaces),
    (Overwriting, Suite.test_a_copy),
    (OneEtag, Suite.test_every_version_has_its_etag),
    (OneEtag, Suite.test_all_descriptions_agree),
    (ShortReads, lambda suite, store: suite.test_a_range_outside(store, ByteRange(0, 11))),
    (ShortReads, Suite.test_an_empty_object_has_no_range),
    (SizeOfPart, Suite.test_all_descriptions_agree),
    (Utf16Order, lambda suite, store: suite.test_a_listing(store, "")),
    (OnePage, Suite.test_a_listing_of_many),
    (StartIncluded, lambda suite, store: suite.test_a_listing(store, "a/")),
    (SomeSeconds, Suite.test_all_descriptions_agree),
    (Garbled, lambda suite, store: suite.test_ranges_that_lie_close_are_joined(store, "near")),
]


@pytest.mark.parametrize(("kind", "check"), DEFECTS)
def test_a_defect_is_found(
    tmp_path: Path, kind: type[WrapperStore], check: Callable[[Suite, ObjectStore], None]
) -> None:
    check(Suite(), open_store(f"memory://{tmp_path}/sound"))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(Suite(), kind(open_store(f"memory://{tmp_path}/defective")))


def test_the_package_alone_loads_no_extra() -> None:
    code = "import sys, lakerunner.testing as t; print(t.__all__, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "lakerunner.testing" in loaded
    assert not loaded & {"pytest", "hypothesis", "pyarrow", "msgspec", "lakerunner.store"}


def test_suites_are_found_by_name() -> None:
    assert lakerunner.testing.__all__ == ["CatalogSuite", "LeasesSuite", "StoreSuite"]
    assert CatalogSuite.__module__ == "lakerunner.testing.catalog"
    assert StoreSuite.__module__ == "lakerunner.testing.store"
    with pytest.raises(AttributeError, match="no attribute 'StorSuite'"):
        getattr(lakerunner.testing, "StorSuite")  # noqa: B009 - mypy refuses the plain spelling


def test_a_missing_extra_says_how_to_mend_it() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "try: from lakerunner.testing import StoreSuite\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingExtraError ")
    assert "pip install 'lakerunner[testing]'" in done.stdout


def test_every_assertion_of_the_suites_shows_its_values() -> None:
    directory = Path(lakerunner.testing.__file__).parent
    asserting = [
        path.stem
        for path in sorted(directory.glob("*.py"))
        if any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text())))
    ]
    assert asserting == sorted(lakerunner.testing._REWRITTEN)
    for name in asserting:
        module = sys.modules.get(f"lakerunner.testing.{name}")
        assert module is None or type(module.__loader__).__name__ == "AssertionRewritingHook"
