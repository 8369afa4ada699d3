"""Whose an object is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.model.profile import PrefixMapping, StorageProfile, read_prefixes
from lakerunner.model.signal import Signal
from lakerunner.policies.ownership import Owner, Ownership, is_below, owner_of

BUCKET = "s3://raw"
UUID = "12340000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("key", "owner"),
    [
        (f"otel-raw/{UUID}/c1/year=2026/month=11/hour=10/logs_1.binpb.gz", Owner(UUID, None, "c1")),
        ("otel-raw/acme/c1/logs_1.binpb", Owner("acme", None, "c1")),
        ("otel-raw/acme/year=2026/logs_1.binpb", Owner("acme")),
        ("acme/otel-raw/c1/traces_1.binpb", Owner("acme", None, "c1")),
        ("acme/otel-raw/year=2026/month=11/traces_1.binpb", Owner("acme")),
        ("logs-raw/acme/a.json", Owner("acme", Signal.LOGS)),
        ("acme/metrics-raw/a.csv", Owner("acme", Signal.METRICS)),
        ("traces-raw/acme/c/a.json", Owner("acme", Signal.SPANS, "c")),
        ("logs-raw/a.json", None),
        ("otel-raw/year=2026/logs_1.binpb", None),
        ("otel-raw/../c1/logs_1.binpb", None),
        ("otel-raw/a..b/c1/logs_1.binpb", None),
        ("somewhere/else.json", None),
        ("a/b/otel-raw/c/d.binpb", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_key_alone(key: str, owner: Owner | None) -> None:
    assert owner_of(BUCKET, key, Ownership(buckets=(BUCKET,))) == owner


def test_the_default_takes_the_rest_and_keeps_the_signal() -> None:
    rules = Ownership(default="mine", buckets=(BUCKET,))
    assert owner_of(BUCKET, "logs-raw/a.json", rules) == Owner("mine", Signal.LOGS)
    assert owner_of(BUCKET, "x.json", rules) == Owner("mine")
    assert owner_of(BUCKET, "otel-raw/acme/c/x.json", rules) == Owner("acme", None, "c")
    believed = rules._replace(by_path=False)
    assert owner_of(BUCKET, "otel-raw/acme/c/x.json", believed) == Owner("mine")


def test_the_longest_prefix_counts() -> None:
    prefixes = read_prefixes(
        [
            {"bucket": "s3://raw/", "prefix": "", "organization": "rest"},
            {"bucket": BUCKET, "prefix": "apps/", "organization": "apps"},
            {"bucket": BUCKET, "prefix": "apps/cart/", "organization": "cart", "signal": "spans"},
            {"bucket": "s3://other", "prefix": "apps/cart/x", "organization": "no"},
        ]
    )
    rules = Ownership(prefixes)
    assert owner_of(BUCKET, "apps/cart/x", rules) == Owner("cart", Signal.SPANS)
    assert owner_of(BUCKET, "apps/cartwheel", rules) == Owner("apps")
    assert owner_of(BUCKET, "otel-raw/acme/c/x", rules) == Owner("rest")
    assert owner_of("gs://raw", "apps/cart/x", rules) is None


def test_profiles() -> None:
    rules = Ownership(
        profiles=(
            StorageProfile(organization_id="a", bucket="raw", collector_name="c1", instance_num=3),
            StorageProfile(organization_id="b", bucket="raw", collector_name="c2"),
            StorageProfile(organization_id="c", bucket="raw", cloud_provider="gcp"),
        ),
        buckets=(BUCKET,),
    )
    assert owner_of(BUCKET, "otel-raw/x/c1/l.binpb", rules) == Owner("a")
    assert owner_of(BUCKET, "logs-raw/c2/l.json", rules) == Owner("b", Signal.LOGS)
    assert owner_of(BUCKET, "otel-raw/x/c3/l.binpb", rules) == Owner("x", None, "c3")
    assert owner_of("gs://raw", "any/thing", rules) == Owner("c")


keys = st.text("ab/-.", max_size=12)
mapped = st.lists(
    st.builds(
        PrefixMapping, bucket=st.just(BUCKET), prefix=keys, organization=st.sampled_from("xyz")
    ),
    max_size=6,
    unique_by=lambda mapping: mapping.prefix,
)


@given(keys, mapped)
def test_a_longer_prefix_is_never_beaten(key: str, prefixes: list[PrefixMapping]) -> None:
    owner = owner_of(BUCKET, key, Ownership(tuple(prefixes), by_path=False))
    matching = [mapping for mapping in prefixes if is_below(key, mapping.prefix)]
    if not matching:
        assert owner is None
    else:
        longest = max(len(mapping.prefix) for mapping in matching)
        assert owner is not None
        assert owner.organization in {m.organization for m in matching if len(m.prefix) == longest}
