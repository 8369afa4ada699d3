"""A URL leads to the adapter of its scheme, to an error that helps, and never anywhere else."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from lakerunner import registry
from lakerunner.catalog import open_catalog
from lakerunner.errors import ErrorCode, MissingExtraError, UnknownSchemeError
from lakerunner.registry import CATALOGS, STORES, Adapter, load_adapter, split_scheme
from lakerunner.store import ObjectStore, open_store

if TYPE_CHECKING:
    from pathlib import Path

TABLES = {"store": STORES, "catalog": CATALOGS}


@pytest.mark.parametrize(
    ("kind", "scheme"), [(kind, scheme) for kind, table in TABLES.items() for scheme in table]
)
def test_every_entry_can_be_loaded(kind: str, scheme: str) -> None:
    adapter = TABLES[kind][scheme]
    assert load_adapter(kind, scheme).__name__ == adapter.path.partition(":")[2]


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("scheme", ["ftp", "", "FILE"])
def test_an_unknown_scheme_lists_the_known_ones(kind: str, scheme: str) -> None:
    with pytest.raises(UnknownSchemeError) as failure:
        load_adapter(kind, scheme)
    assert f"no {kind} for '{scheme}://'" in str(failure.value)
    for known in TABLES[kind]:
        assert f"{known}://" in str(failure.value)
    assert failure.value.code is ErrorCode.UNKNOWN_SCHEME
    assert failure.value.context["scheme"] == scheme


def test_a_url_of_an_unknown_scheme_is_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownSchemeError, match=r"file://, gs://, memory://, s3://"):
        open_store("ftp://host/lake")
    with pytest.raises(UnknownSchemeError, match=r"memory://, .*sqlite://"):
        open_catalog("mysql://host/lake")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_names_the_line_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STORES, "moon", Adapter("lakerunner_moon.store:MoonStore", "moon"))
    with pytest.raises(MissingExtraError) as failure:
        open_store("moon://crater")
    assert "pip install 'lakerunner[moon]'" in str(failure.value)
    assert failure.value.context["missing"] == "lakerunner_moon"
    assert isinstance(failure.value, ImportError)


def test_a_broken_adapter_without_an_extra_is_no_missing_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(STORES, "moon", Adapter("lakerunner_moon.store:MoonStore"))
    with pytest.raises(ModuleNotFoundError, match="lakerunner_moon") as failure:
        load_adapter("store", "moon")
    assert not isinstance(failure.value, MissingExtraError)


def test_another_package_adds_a_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "acme_moon-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-moon\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        f"[{registry.GROUPS['store']}]\nmoon = acme_moon:MoonStore\nmemory = acme_moon:MoonStore\n"
    )
    (tmp_path / "acme_moon.py").write_text(
        "from lakerunner.store.memory import MemoryStore\nclass MoonStore(MemoryStore): pass\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    store = open_store("moon://crater/lake")
    assert isinstance(store, ObjectStore)
    assert (type(store).__name__, store.url) == ("MoonStore", "moon://crater/lake")
    assert type(open_store("memory://x")).__name__ == "MemoryStore"  # ours cannot be replaced
    with pytest.raises(UnknownSchemeError):
        open_catalog("moon://crater")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://bucket/a/b", ("s3", "bucket/a/b")),
        ("memory://", ("memory", "")),
        ("file:///a", ("file", "/a")),
        ("a/b", ("file", "a/b")),
        ("/a:b", ("file", "/a:b")),
        ("s3://a/b://c", ("s3", "a/b://c")),
    ],
)
def test_a_url_is_split_at_its_first_mark(url: str, parts: tuple[str, str]) -> None:
    assert split_scheme(url) == parts
