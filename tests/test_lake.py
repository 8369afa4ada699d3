"""A lake opened by URL: where its catalog lies, what closing and settings do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.errors import (
    CatalogError,
    ConfigurationError,
    InvalidTimeError,
    UnknownSchemeError,
)
from lakerunner.generate import logs_request
from lakerunner.model.config import Config

if TYPE_CHECKING:
    from pathlib import Path

COUNT = "SELECT count(*) AS n FROM logs"


def count(lake: lakerunner.Lake) -> int:
    (found,) = lake.sql(COUNT).to_arrow()["n"].to_pylist()
    return int(found)


def test_a_directory_keeps_its_catalog_and_its_rows(tmp_path: Path) -> None:
    place = tmp_path / "new" / "lake"
    with lakerunner.open(place) as lake:
        assert count(lake) == 0
        assert lake.ingest(logs_request(100)).rows == 100
    assert (place / "catalog.db").is_file()
    with lakerunner.open(f"file://{place}") as lake:
        assert count(lake) == 100


@pytest.mark.parametrize("name", ["with space", "per%20cent", "question?", "hash#1", "größe"])
def test_a_directory_of_any_name(tmp_path: Path, name: str) -> None:
    with lakerunner.open(tmp_path / name) as lake:
        lake.ingest(logs_request(10))
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    with lakerunner.open(str(tmp_path / name)) as lake:
        assert count(lake) == 10


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with lakerunner.open("lake") as lake:
        lake.ingest(logs_request(10))
    with lakerunner.open(tmp_path / "lake") as lake:
        assert count(lake) == 10


def test_memory_is_shared_by_its_url_and_not_beyond() -> None:
    with lakerunner.open("memory://lakes/one") as lake:
        lake.ingest(logs_request(10))
    with lakerunner.open("memory://lakes/one/") as same, lakerunner.open("memory://lakes/2") as two:
        assert (count(same), count(two)) == (10, 0)


def test_a_catalog_elsewhere(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'elsewhere.db'}"
    with lakerunner.open(tmp_path / "lake", catalog=url) as lake:
        lake.ingest(logs_request(10))
    assert not (tmp_path / "lake" / "catalog.db").exists()
    with lakerunner.open(tmp_path / "lake", catalog=url) as lake:
        assert count(lake) == 10


def test_a_catalog_object(tmp_path: Path) -> None:
    catalog = open_catalog("memory://")
    with lakerunner.open(tmp_path, catalog=catalog) as lake:
        assert lake.catalog is catalog
        lake.ingest(logs_request(10))
        assert count(lake) == 10
    assert not (tmp_path / "catalog.db").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"config": {"windows": 1}},
        {"config": {"window_ns": 0}},
        {"config": {"memory_bytes": 1}},
        {"config": {"workers": "two"}},
        {"organization": "../x"},
    ],
)
def test_a_wrong_setting_leaves_no_trace(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        lakerunner.open(tmp_path / "lake", **options)
    assert not list(tmp_path.iterdir())


def test_a_url_of_no_adapter() -> None:
    with pytest.raises(UnknownSchemeError, match="nonsense"):
        lakerunner.open("nonsense://bucket/lake")


def test_what_is_no_catalog(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"not a database, but long enough to look at" * 99)
    with pytest.raises(CatalogError):
        lakerunner.open(tmp_path)


def test_settings_may_be_a_mapping_or_a_config(tmp_path: Path) -> None:
    minute = 60 * 10**9
    mapping = lakerunner.open(tmp_path / "1", config={"window_ns": minute})
    config = lakerunner.open(tmp_path / "2", config=Config(window_ns=minute))
    with mapping, config:
        for lake in (mapping, config):
            lake.ingest(logs_request(100))
            assert [segment.window_ns for segment in lake.segments()] == [minute]


def test_segments_between_times(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path) as lake:
        lake.ingest(logs_request(100))  # within the first second of 2026
        assert len(lake.segments()) == 1
        assert len(lake.segments(start="2026-01-01T00:00:00Z", end="2026-01-01T00:00:01Z")) == 1
        assert not lake.segments(end="2026-01-01T00:00:00Z")
        assert not lake.segments(start="2026-01-01T00:00:01Z")
        assert not lake.segments("spans")
        with pytest.raises(InvalidTimeError):
            lake.segments(start="yesterday-ish")
        with pytest.raises(ValueError, match="nonsense"):
            lake.segments("nonsense")


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    lake = lakerunner.open(tmp_path)
    lake.ingest(logs_request(10))
    lake.close()
    lake.close()


def test_its_text_names_place_and_organization(tmp_path: Path) -> None:
    with lakerunner.open("memory://lakes/repr", organization="acme") as lake:
        assert repr(lake) == "Lake('memory://lakes/repr', organization='acme')"
