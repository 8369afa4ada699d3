"""Whose an object is cannot be claimed by whoever writes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.errors import ConfigurationError
from lakerunner.events.polling import PrefixPoller
from lakerunner.ingest import Ingestor
from lakerunner.ingest.owners import read_ownership
from lakerunner.policies.ownership import Ownership, owner_of
from lakerunner.store import open_store
from lakerunner.store.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

LINE = json.dumps({"message": "hello"}).encode()
KEY = "otel-raw/acme/c1/a.json"


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(LINE)


@pytest.mark.parametrize(
    ("buckets", "bucket", "key", "organization"),
    [
        ((), "s3://raw", KEY, None),
        (("s3://raw",), "s3://raw", KEY, "acme"),
        (("s3://raw",), "s3://rawer", KEY, None),
        (("s3://raw",), "s3://evil", KEY, None),
        (("s3://raw/in",), "s3://raw", f"in/{KEY}", "acme"),
        (("s3://raw/in/",), "s3://raw", KEY, None),
        (("s3://raw/in",), "s3://raw", f"inside/{KEY}", None),
        (("s3://a", "gs://raw"), "gs://raw", "acme/logs-raw/1.json", "acme"),
    ],
)
def test_keys_are_believed_in_known_buckets_only(
    buckets: tuple[str, ...], bucket: str, key: str, organization: str | None
) -> None:
    rules = read_ownership({"buckets": buckets})
    assert rules is not None
    owner = owner_of(bucket, key, rules)
    assert (owner.organization if owner else None) == organization
    assert owner_of(bucket, key, rules._replace(by_path=False)) is None


def test_an_object_of_an_unknown_bucket_is_set_aside(tmp_path: Path) -> None:
    put(tmp_path / "known" / KEY)
    put(tmp_path / "unknown" / KEY)
    rules = {"buckets": [str(tmp_path / "known")]}
    with lakerunner.open(tmp_path / "lake", ownership=rules) as lake:
        report = lake.ingest(f"{tmp_path}/")
        assert report.objects == 1
        assert [one.code for one in report.rejected] == ["unknown_owner"]
        assert lake.organizations() == ["acme"]


def test_prefixes_are_whole_parts_of_a_path(tmp_path: Path) -> None:
    for name in ("web", "webshop", "web2/x"):
        put(tmp_path / "raw" / name / "a.json")
    rules = {"prefixes": {f"{tmp_path}/raw/web": "acme"}}
    with lakerunner.open(tmp_path / "lake", ownership=rules) as lake:
        report = lake.ingest_owned()
        assert (report.objects, report.rejected) == (1, ())
        assert lake.organizations() == ["acme"]
    poller = PrefixPoller(f"{tmp_path}/raw/web")
    found = [event.key for one in poller.receive(10, 0) for event in one.events]
    assert [key.rpartition("/raw/")[2] for key in found] == ["web/a.json"]
    poller.close()
    assert owner_of("s3://b", "webshop/a", Ownership()) is None


def test_links_out_of_a_tree_are_not_followed_unless_asked(tmp_path: Path) -> None:
    put(tmp_path / "outside" / "secret.json")
    put(tmp_path / "raw" / "own" / "a.json")
    (tmp_path / "raw" / "file.json").symlink_to(tmp_path / "outside" / "secret.json")
    (tmp_path / "raw" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "raw" / "up").symlink_to("..")
    (tmp_path / "raw" / "twin").symlink_to("own")
    (tmp_path / "link").symlink_to(tmp_path / "raw")

    def keys(place: str, **options: object) -> list[str]:
        store = open_store("file://", options)
        prefix = f"{tmp_path}/{place}"[1:]
        return [one.key.removeprefix(prefix) for one in store.list(prefix)]

    assert keys("raw/") == ["own/a.json", "twin/a.json"]
    assert keys("link/") == ["own/a.json", "twin/a.json"]
    assert {"file.json", "folder/secret.json"} <= set(keys("raw/", follow_symlinks=True))
    with lakerunner.open(tmp_path / "lake") as lake:
        assert lake.ingest(f"{tmp_path}/raw/").objects == 1  # the twin is the same file
        assert lake.ingest(f"{tmp_path}/raw/**/*.json").objects == 0
        # To name it is to ask for it.
        assert lake.ingest(f"{tmp_path}/raw/file.json").objects == 1
    asked = {"follow_symlinks": True}
    with lakerunner.open(tmp_path / "another", storage_options=asked) as lake:
        assert lake.ingest(f"{tmp_path}/raw/").objects > 2


class IgnoresCase(LocalStore):
    """A store as on a machine whose file system ignores case."""

    ignores_case = True


@pytest.mark.parametrize("kind", [IgnoresCase, LocalStore])
def test_names_that_a_store_cannot_hold_apart_are_refused(
    tmp_path: Path, kind: type[LocalStore]
) -> None:
    with open_catalog(f"sqlite:///{tmp_path}/c.db") as catalog:
        ingestor = Ingestor(kind(tmp_path / "lake"), catalog)
        ingestor.ingest(LINE, organization="acme")
        for name in ("ACME", "con", "NUL.x", "acme."):
            if kind is IgnoresCase:
                with pytest.raises(ConfigurationError, match="this store"):
                    ingestor.ingest(LINE, organization=name)
            else:
                assert ingestor.ingest(LINE, organization=name).rows == 1
        assert ingestor.ingest(LINE, organization="acme").rows == 1


def test_a_file_system_tells_whether_it_ignores_case(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    ignores = (tmp_path / "LAKE").exists()
    assert LocalStore(tmp_path / "lake").ignores_case is ignores
    assert LocalStore(tmp_path / "lake" / "none").ignores_case is ignores
