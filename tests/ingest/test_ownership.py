"""Whose an object is, from its place in a bucket to the rows of a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import lakerunner
from lakerunner import Ownership, PrefixMapping, Signal, StorageProfile
from lakerunner.catalog.opening import open_catalog
from lakerunner.errors import ConfigurationError, StoreUnavailableError
from lakerunner.events import Delivery, EventSource
from lakerunner.generate import logs_request
from lakerunner.ingest import Ingestor
from lakerunner.model.report import ObjectEvent
from lakerunner.store import open_store
from lakerunner.store.counting import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from lakerunner.store import ObjectMeta, ObjectStore

URL = "s3://raw"
PLACES = {
    "otel-raw/acme/edge/year=2026/month=01/logs_1.binpb": "acme",
    "otel-raw/beta/edge/logs_1.binpb": "beta",
    "gamma/otel-raw/edge/logs_1.binpb": "gamma",
    "logs-raw/acme/a.binpb": "acme",
    "beta/logs-raw/b.binpb": "beta",
}
NOBODY = ["otel-raw/logs_1.binpb", "somewhere/else.binpb", "otel-raw/.hidden/c/x.binpb"]


class Broken(WrapperStore):
    """A bucket that cannot be listed."""

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        raise StoreUnavailableError(f"{prefix}{start_after} cannot be listed")


class Buckets:
    """Buckets of any name, in memory; notes with which options each was opened."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.options: dict[str, Mapping[str, object]] = {}
        self.broken: set[str] = set()

    def open(self, url: str, options: Mapping[str, object]) -> ObjectStore:
        self.options[url] = options
        store = open_store(f"memory://{self.root}/{url.replace('://', '-')}")
        store.url = url
        return Broken(store) if url in self.broken else store

    def fill(self, url: str, keys: Iterable[str]) -> None:
        store = self.open(url, {})
        for key in keys:
            store.put(key, logs_request(10))

    def lake(self, name: str = "lake", **settings: Any) -> tuple[lakerunner.Lake, Ingestor]:
        """A lake, and an ingestor into it that reads these buckets."""
        lake = lakerunner.open(f"memory://{self.root}/{name}")
        return lake, Ingestor(lake.store, lake.catalog, open_bucket=self.open, **settings)


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    return Buckets(str(tmp_path))


def counts(lake: lakerunner.Lake) -> dict[str, int]:
    """Rows of each organization, as its own queries count them."""
    return {
        name: lake.for_organization(name).sql("SELECT body FROM logs").to_arrow().num_rows
        for name in lake.organizations()
    }


def test_keys_say_whose_an_object_is(buckets: Buckets) -> None:
    buckets.fill(URL, [*PLACES, *NOBODY])
    lake, ingestor = buckets.lake(ownership=Ownership(buckets=(URL,)), config={"workers": 2})
    report = ingestor.ingest(f"{URL}/")
    assert (report.objects, report.rows, report.failed) == (5, 50, ())
    assert counts(lake) == {"acme": 20, "beta": 20, "gamma": 10}
    assert {(each.source.key, each.code) for each in report.rejected} == {
        (key, "unknown_owner") for key in NOBODY
    }
    assert {segment.organization for segment in lake.for_organization("acme").segments()} == {
        "acme"
    }
    assert ingestor.ingest(f"{URL}/").skipped == 8


@pytest.mark.parametrize("catalog", ["memory", "sqlite", "bucket"])
def test_objects_without_an_owner_are_taken_once_a_rule_says_whose_they_are(
    tmp_path: Path, catalog: str
) -> None:
    raw = tmp_path / "raw"
    (raw / "apps").mkdir(parents=True)
    for name in ("apps/a.binpb", "apps/b.binpb", "stray.binpb"):
        (raw / name).write_bytes(logs_request(10))
    store = open_store(tmp_path / "lake")
    url = {"memory": f"memory://{tmp_path}", "sqlite": f"sqlite://{tmp_path}/c.db"}.get(catalog)
    known = open_catalog(url) if url else _bucket_catalog(store)
    rules: dict[str, Any] = {"by_path": False}
    with lakerunner.Lake(store, known, ownership=rules) as lake:
        report = lake.ingest(f"{raw}/")
        assert (report.objects, len(report.rejected)) == (0, 3)
        assert [each.code for each in lake.rejected()] == ["unknown_owner"] * 3
        assert lake.retry_rejected().rows == 0
        assert lake.organizations() == []

        rules["prefixes"] = {f"{raw}/apps/": "acme"}
        ruled = lakerunner.Lake(store, known, ownership=rules)
        retried = ruled.retry_rejected()
        assert (retried.objects, retried.rows) == (2, 20)
        assert counts(lake) == {"acme": 20}
        (left,) = lake.rejected()
        assert left.source.key.endswith("stray.binpb")
        assert lake.for_organization("acme").rejected() == []

        rules["default"] = "rest"
        ruled = lakerunner.Lake(store, known, ownership=rules)
        assert ruled.retry_rejected().rows == 10
        assert counts(lake) == {"acme": 20, "rest": 10}
        assert ruled.ingest(f"{raw}/").skipped == 3
        assert lake.rejected() == []


def _bucket_catalog(store: ObjectStore) -> lakerunner.Catalog:
    from lakerunner.catalog.bucket import BucketCatalog  # noqa: PLC0415 - for one of three only

    return BucketCatalog(store)


PROFILES = """
- organization_id: acme
  bucket: raw
  collector_name: edge
  region: eu-1
  endpoint: http://127.0.0.1:8333
  use_path_style: true
- organization_id: beta
  bucket: raw
  collector_name: core
  region: eu-1
  endpoint: http://127.0.0.1:8333
  use_path_style: true
- organization_id: gamma
  cloud_provider: gcp
  bucket: other
  endpoint: http://127.0.0.1:4443
"""


def test_profiles_say_whose_a_bucket_is_and_how_it_is_reached(
    buckets: Buckets, tmp_path: Path
) -> None:
    buckets.fill(URL, ["x/edge/1.binpb", "x/core/1.binpb", "x/far/1.binpb"])
    buckets.fill("gs://other", ["anything.binpb", "otel-raw/someone/else.binpb"])
    path = tmp_path / "profiles.yaml"
    path.write_text(PROFILES)
    for number, given in enumerate((str(path), path, PROFILES)):
        buckets.options.clear()
        lake, ingestor = buckets.lake(f"lake-{number}", ownership={"profiles": given})
        report = ingestor.ingest_owned()
        assert (report.objects, len(report.rejected)) == (4, 1)
        assert counts(lake) == {"acme": 10, "beta": 10, "gamma": 20}
        assert buckets.options[URL]["endpoint_url"] == "http://127.0.0.1:8333"
        assert buckets.options[URL]["client_kwargs"] == {"region_name": "eu-1"}
        assert buckets.options["gs://other"] == {"endpoint_url": "http://127.0.0.1:4443"}
        assert ingestor.ingest_owned().skipped == 5


def test_credentials_of_the_lake_are_kept_and_endpoints_replaced(buckets: Buckets) -> None:
    options = {"key": "k", "endpoint_url": "http://old", "client_kwargs": {"use_ssl": False}}
    lake = open_store(f"memory://{buckets.root}/lake", options)
    catalog = open_catalog(f"memory://{buckets.root}")
    rules = {"profiles": PROFILES}
    ingestor = Ingestor(lake, catalog, open_bucket=buckets.open, ownership=rules)
    buckets.fill(URL, ["x/edge/1.binpb"])
    assert ingestor.ingest(f"{URL}/").rows == 10
    assert buckets.options[URL] == {
        "key": "k",
        "endpoint_url": "http://127.0.0.1:8333",
        "client_kwargs": {"use_ssl": False, "region_name": "eu-1"},
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }
    ingestor.ingest("s3://unnamed/")
    assert buckets.options["s3://unnamed"] == options


def test_a_bucket_that_cannot_be_listed_keeps_no_other_from_being_taken(buckets: Buckets) -> None:
    buckets.fill("gs://other", ["a.binpb"])
    buckets.broken.add(URL)
    _, ingestor = buckets.lake(
        ownership={"profiles": PROFILES}, config={"attempts": 2, "backoff_seconds": 0}
    )
    report = ingestor.ingest_owned()
    assert report.rows == 10
    (failed,) = report.failed
    assert (failed.source.url, failed.code) == (f"{URL}/", "store_unavailable")


def test_a_role_is_not_ignored(buckets: Buckets) -> None:
    profile = StorageProfile(organization_id="acme", bucket="raw", role="arn:aws:iam::1:role/x")
    _, ingestor = buckets.lake(ownership=Ownership(profiles=(profile,)))
    with pytest.raises(ConfigurationError, match="role"):
        ingestor.ingest(f"{URL}/")


def test_the_longest_prefix_counts_and_may_say_the_signal(buckets: Buckets) -> None:
    line = b'{"time": "2026-01-01T00:00:00Z", "name": "a", "value": 1}\n'
    store = buckets.open(URL, {})
    for key in ("apps/x.json", "apps/cart/y.json", "apps/cart/sub/z.json"):
        store.put(key, line)
    prefixes = (
        PrefixMapping(bucket=URL, prefix="apps/", organization="acme"),
        PrefixMapping(bucket=URL, prefix="apps/cart/", organization="cart"),
        PrefixMapping(bucket=URL, prefix="apps/cart/sub/", organization="acme", signal=Signal.LOGS),
    )
    lake, ingestor = buckets.lake(ownership=Ownership(prefixes))
    assert ingestor.ingest_owned().rows == 3
    acme, cart = lake.for_organization("acme"), lake.for_organization("cart")
    assert [len(acme.segments(signal)) for signal in ("logs", "metrics")] == [1, 1]
    assert [len(cart.segments(signal)) for signal in ("logs", "metrics")] == [0, 1]


def test_metrics_below_a_folder_of_logs_are_metrics(buckets: Buckets, telemetry: Path) -> None:
    data = (telemetry / "otlp-json" / "metrics_simple.jsonl").read_bytes()
    buckets.open(URL, {}).put("logs-raw/acme/1.json", data)
    buckets.open(URL, {}).put("metrics-raw/acme/1.csv", b"a,b\nx,1\n")
    lake, ingestor = buckets.lake(ownership=Ownership(buckets=(URL,)))
    report = ingestor.ingest(f"{URL}/")
    (rejection,) = report.rejected
    assert rejection.source.key == "metrics-raw/acme/1.csv"  # no proof, so the folder counts
    assert (report.objects, len(lake.for_organization("acme").segments("metrics"))) == (1, 1)


def test_an_ingestor_of_one_organization_passes_over_what_is_not_its_own(buckets: Buckets) -> None:
    buckets.fill(URL, [*PLACES, *NOBODY])
    lake, ingestor = buckets.lake(ownership=Ownership(buckets=(URL,)))
    report = ingestor.for_organization("acme").ingest(f"{URL}/")
    assert (report.objects, report.rejected) == (2, ())
    assert counts(lake) == {"acme": 20}
    assert ingestor.ingest(f"{URL}/").objects == 3
    assert counts(lake) == {"acme": 20, "beta": 20, "gamma": 10}


class Announcing(EventSource):
    """Announces keys of one bucket, once."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.url = "test://events"
        self.lease_seconds = None
        self._left = [Delivery(key, (ObjectEvent(URL, key),), label=key) for key in keys]

    def receive(self, max_deliveries: int, wait_seconds: float) -> Sequence[Delivery]:
        del wait_seconds
        taken, self._left = self._left[:max_deliveries], self._left[max_deliveries:]
        return taken

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is kept."""

    def release(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        raise AssertionError(deliveries, delay_seconds)


def test_events_are_owned_like_what_is_listed(buckets: Buckets) -> None:
    hostile = ["otel-raw/..acme/c/x.binpb", "otel-raw/a..b/c/x.binpb", "otel-raw/é/c/x.binpb"]
    hostile += [f"otel-raw/{'a' * 200}/c/x.binpb", "otel-raw/ acme/c/x.binpb"]
    buckets.fill(URL, [*PLACES, *hostile])
    lake, ingestor = buckets.lake(ownership=Ownership(buckets=(URL,)))
    keys = [*PLACES, *hostile, "otel-raw/../../etc/x.binpb"]
    report = ingestor.watch(Announcing(keys), until_idle=0.01, max_age=0)
    assert (report.objects, report.rows) == (5, 50)
    assert counts(lake) == {"acme": 20, "beta": 20, "gamma": 10}
    codes = sorted(each.code for each in report.rejected)
    assert codes == ["input", *["unknown_owner"] * 5]
    with pytest.raises(ConfigurationError, match="whole lake"):
        ingestor.for_organization("acme").watch(Announcing(keys))


HOSTILE = ["", "..", "../beta", "a/b", "é", "a" * 129]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_in_rules(name: str) -> None:
    for rules in (
        {"prefixes": {"s3://raw/a/": name}},
        {"prefixes": [{"bucket": URL, "prefix": "a/", "organization": name}]},
        {"profiles": [{"bucket": "raw", "organization_id": name}]},
        {"default": name},
        Ownership(default=name),
    ):
        with pytest.raises(ConfigurationError, match="cannot name an organization"):
            lakerunner.open("memory://hostile", ownership=rules)


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ({"prefix": {}}, "'prefix' is no rule; did you mean 'prefixes'"),
        ({"profiles": "/nowhere/profiles.yaml"}, "cannot be read"),
        ({"profiles": "- {bucket: raw}"}, "organization_id"),
        ({"profiles": [7]}, "storage profiles"),
        ({"profiles": 7}, "storage profiles"),
        ({"prefixes": 7}, "prefix mapping"),
        ({"prefixes": [{"bucket": URL}]}, "prefix mapping"),
        ({"prefixes": "- [a"}, "prefix mapping"),
        ("profiles.yaml", "is no rule"),
    ],
)
def test_wrong_rules_are_refused_before_anything_is_opened(
    tmp_path: Path, rules: Any, match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match):
        lakerunner.open(tmp_path / "lake", ownership=rules)
    assert not list(tmp_path.iterdir())


def test_without_rules_that_name_a_bucket_there_is_nothing_to_take(tmp_path: Path) -> None:
    for rules in (None, Ownership(default="acme")):
        with (
            lakerunner.open(tmp_path, ownership=rules) as lake,
            pytest.raises(ConfigurationError, match="no storage profile"),
        ):
            lake.ingest_owned()


def test_two_ways_to_one_bucket_are_refused() -> None:
    changed = PROFILES.replace("127.0.0.1:8333", "127.0.0.1:9000", 1)
    with pytest.raises(ConfigurationError, match="two ways"):
        lakerunner.open("memory://twice", ownership={"profiles": changed})


def test_a_bound_lake_reads_and_writes_for_one_only(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        acme = lake.for_organization("acme")
        assert repr(acme).endswith("organization='acme')")
        assert acme.ingest(logs_request(10)).rows == 10
        assert lake.ingest(logs_request(5)).rows == 5
        assert counts(lake) == {"acme": 10, "default": 5}
        with pytest.raises(ConfigurationError, match="bound to 'acme'"):
            acme.ingest(logs_request(1), organization="beta")
        with pytest.raises(ConfigurationError, match="bound to 'acme'"):
            acme.for_organization("beta")
        with pytest.raises(ConfigurationError, match="bound to 'acme'"):
            acme.collect_orphans()
        assert acme.for_organization("acme").organizations() == ["acme"]
        assert lake.for_organization("nobody").organizations() == []
        acme.close()
        with lake.for_organization("acme") as again:
            assert counts(again) == {"acme": 10}
        assert counts(lake) == {"acme": 10, "default": 5}
    with pytest.raises(ConfigurationError, match="closed"):
        acme.sql("SELECT 1")


def test_organizations_are_found_by_one_request_each(tmp_path: Path) -> None:
    names = ["a", "a-b", "a.b", "ab", "default", "z" * 128]
    with lakerunner.open(tmp_path / "lake") as lake:
        for name in names:
            for _ in range(3):
                lake.for_organization(name).ingest(logs_request(1))
        lake.store.put("segments/leftover/logs/1.parquet", b"")
        lake.store.put("segments/..x/logs/1.parquet", b"")
        assert lake.organizations() == sorted(names)
