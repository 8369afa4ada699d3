"""The conformance matrix of the documentation leaves out no suite and no adapter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lakerunner.testing.matrix import MatrixPlugin, conformance_of, read_counts, read_names, render
from lakerunner.testing.store import StoreSuite

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "conformance.md"

TESTS = """
import pytest
from lakerunner.testing.store import StoreSuite

class TestMine(StoreSuite):
    adapter = "mine"
    test_any_history = None

    def open_store(self, place):
        from lakerunner.store import open_store
        return open_store(f"memory://{place}")

    def raw_write(self, store, key, data):
        store.put(key, data)

    def raw_read(self, store, key):
        return store.get(key).data

    def raw_delete(self, store, key):
        store.delete(key)

    def test_a_copy(self):
        assert False

    def test_a_delete(self):
        pytest.skip("not now")
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Suites and adapters of all tests, found by collecting them and running none."""
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if "Suite)" in path.read_text()]
    page = tmp_path_factory.mktemp("matrix") / "matrix.md"
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", *map(str, files)]
    subprocess.run(
        [*command, f"--conformance-matrix={page}"], cwd=ROOT, check=True, capture_output=True
    )
    return read_names(page.read_text())


def test_the_page_names_what_there_is(collected: list[tuple[str, str]]) -> None:
    assert read_names(PAGE.read_text()) == collected


def test_nothing_fails_on_the_page() -> None:
    counts = read_counts(PAGE.read_text())
    assert all(outcomes["passed"] > 5 and not outcomes["failed"] for outcomes in counts.values())


def test_a_page_is_read_as_it_was_written() -> None:
    counts = {
        ("CatalogSuite", "a, b"): {"passed": 3, "failed": 1, "skipped": 2},
        ("StoreSuite", "`x`"): {"passed": 1, "failed": 0, "skipped": 0},
    }
    assert read_counts(render(counts)) == counts


def test_outcomes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS)
    page = tmp_path / "page.md"
    plugin = MatrixPlugin(page)
    pytest.main(["-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)], [plugin])
    (outcomes,) = read_counts(page.read_text()).values()
    assert (outcomes["failed"], outcomes["skipped"]) == (1, 1)
    assert outcomes["passed"] > 50


def test_an_adapter_without_a_name_is_called_by_its_class() -> None:
    class TestOther(StoreSuite):
        pass

    assert conformance_of(TestOther) == ("StoreSuite", "Other")
    assert conformance_of(Path) is None
