"""Storage profiles from YAML, and what is refused."""

from __future__ import annotations

import pytest

from lakerunner.errors import ConfigurationError
from lakerunner.model.profile import read_prefixes, read_profiles

YAML = """
- organization_id: 12340000-0000-4000-8000-000000000000
  instance_num: 1
  collector_name: lakerunner
  cloud_provider: aws
  region: us-east-2
  bucket: acme-telemetry
  endpoint: http://127.0.0.1:8333
  use_path_style: true
  insecure_tls: true
- organization_id: other
  cloud_provider: gcp
  bucket: other-telemetry
  endpoint: http://127.0.0.1:4443
"""


def test_profiles_are_read() -> None:
    first, second = read_profiles(YAML)
    assert first.url == "s3://acme-telemetry"
    assert first.storage_options == {
        "endpoint_url": "http://127.0.0.1:8333",
        "client_kwargs": {"region_name": "us-east-2", "verify": False},
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }
    assert second.url == "gs://other-telemetry"
    assert second.storage_options == {"endpoint_url": "http://127.0.0.1:4443"}


ONE = "- {organization_id: a, bucket: raw"
SAME = f"{ONE}, collector_name: c"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("- {organization_id: a}", "bucket"),
        (f"{ONE}, cloud_provider: ibm}}", "cloud_provider"),
        (f"{ONE}, bukket: x}}", "bukket"),
        ("a: [", "storage profiles"),
        ("42", "storage profiles"),
        (f"{ONE}}}\n- {{organization_id: b, bucket: raw}}", "overlap"),
        (f"{ONE}}}\n- {{organization_id: b, bucket: raw, collector_name: c}}", "overlap"),
        (f"{ONE}, collector_name: c}}\n- {{organization_id: b, bucket: raw}}", "overlap"),
        (f"{SAME}}}\n{SAME.replace('_id: a', '_id: b')}}}", "overlap"),
        (f"{ONE}}}\n- {{organization_id: a, bucket: rew}}", "instance_num"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        read_profiles(text)


def test_prefixes_mapped_twice_are_refused() -> None:
    mapping = {"bucket": "s3://raw", "prefix": "a/", "organization": "x"}
    assert read_prefixes([mapping])[0].prefix == "a/"
    with pytest.raises(ConfigurationError, match="twice"):
        read_prefixes([mapping, {**mapping, "bucket": "s3://raw/"}])
    with pytest.raises(ConfigurationError, match="signal"):
        read_prefixes([{**mapping, "signal": "profiles"}])
