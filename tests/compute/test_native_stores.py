"""DataFusion reads buckets by itself: what it is told of the options, and what it asks for."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakerunner
from lakerunner.compute.native_stores import (
    NotNativeError,
    gcs_account,
    native_store,
    s3_arguments,
)
from lakerunner.errors import QueryExecutionError
from lakerunner.ingest import Ingestor
from lakerunner.store import CountingStore, open_store
from lakerunner.testing.servers import Proxy, fake_gcs, seaweedfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.store import ObjectStore

NOWHERE = Path("/nowhere")
REGION = {"client_kwargs": {"region_name": "eu-west-1"}}
KEY = {"key": "k", "secret": "s"}
ACCOUNT = {"type": "service_account", "client_email": "a@b", "private_key": "p"}


def s3(options: dict[str, Any], **environment: str) -> dict[str, Any]:
    made = s3_arguments(options, environment, NOWHERE)
    return {name: value for name, value in made.items() if value}


def test_options_of_s3_in_the_words_of_datafusion() -> None:
    keys = {"access_key_id": "k", "secret_access_key": "s"}
    region = {"region": "eu-west-1"}
    assert s3({**KEY, **REGION}) == {**keys, **region}
    assert s3({"username": "k", "password": "s", **REGION}) == {**keys, **region}
    assert s3({**KEY, "token": "t", **REGION}) == {**keys, **region, "session_token": "t"}
    assert s3(REGION) == region
    assert s3({}, AWS_DEFAULT_REGION="eu-west-1") == region
    client = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "eu-west-1"}
    assert s3({"client_kwargs": client}) == {**keys, **region}
    minio = {"endpoint": "http://minio:9000", "allow_http": True, "region": "us-east-1"}
    assert s3({**KEY, "endpoint_url": "http://minio:9000"}) == {**keys, **minio}
    assert s3(KEY, AWS_ENDPOINT_URL_S3="http://minio:9000") == {**keys, **minio}
    harmless = {"anon": False, "use_listings_cache": False, "config_kwargs": {"read_timeout": 9}}
    assert s3({**KEY, **REGION, **harmless}) == {**keys, **region}


@pytest.mark.parametrize(
    ("options", "environment", "reason"),
    [
        ({"anon": True}, {}, "options anon"),
        ({"profile": "dev"}, {}, "options profile"),
        ({"requester_pays": True}, {}, "options requester_pays"),
        ({"client_kwargs": {"verify": "/ca.pem", "region_name": "x"}}, {}, "client_kwargs.verify"),
        ({"config_kwargs": {"s3": {"addressing_style": "virtual"}}}, {}, "config_kwargs.s3"),
        ({"client_kwargs": {}}, {}, "region is not named"),
        ({**KEY, "use_ssl": False, **REGION}, {}, "https only"),
        (REGION, {"AWS_PROFILE": "dev"}, "no AWS profiles"),
        (REGION, {"AWS_CONFIG_FILE": __file__}, "files of the AWS command line"),
        ({**KEY, **REGION}, {"AWS_SESSION_TOKEN": "t"}, "AWS_SESSION_TOKEN"),
    ],
)
def test_what_datafusion_has_no_word_for(
    options: dict[str, Any], environment: dict[str, str], reason: str
) -> None:
    with pytest.raises(NotNativeError, match=reason):
        s3(options, **environment)


def test_options_of_gcs_in_the_words_of_datafusion(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    path.write_text(json.dumps(ACCOUNT))
    anonymous = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    emulator = {"gcs_base_url": "http://127.0.0.1:1"}
    assert gcs_account({}, {}) is None
    assert gcs_account({"token": "google_default", "project": "p"}, {}) is None
    assert gcs_account({"token": str(path)}, {}) == path
    assert gcs_account({"token": ACCOUNT}, {}) == ACCOUNT
    assert gcs_account({"token": "anon"}, {}) == anonymous
    options = {"token": str(path), "endpoint_url": "http://127.0.0.1:1/"}
    assert gcs_account(options, {}) == {**ACCOUNT, **emulator}
    variable = {"STORAGE_EMULATOR_HOST": "127.0.0.1:1"}
    assert gcs_account({"token": "anon"}, variable) == {**anonymous, **emulator}
    for token in ("cache", "browser", {"type": "authorized_user"}, object()):
        with pytest.raises(NotNativeError, match="takes no credentials but"):
            gcs_account({"token": token}, {})
    with pytest.raises(NotNativeError, match="options requester_pays"):
        gcs_account({"requester_pays": True}, {})


def test_no_file_of_credentials_is_left(tmp_path: Path) -> None:
    native = native_store("gs://acme/lake", {"token": "anon"}, tmp_path)
    assert native.url("a/ü ?*[1].parquet") == "gs://acme/lake/a/%C3%BC%20%3F%2A%5B1%5D.parquet"
    assert list(tmp_path.iterdir()) == []


class Lake(NamedTuple):
    """Where a lake in a bucket is, behind a proxy."""

    url: str
    raw: str
    catalog: str
    options: dict[str, object]
    proxy: Proxy

    def open(self) -> lakerunner.Lake:
        return lakerunner.open(self.url, catalog=self.catalog, storage_options=self.options)

    def asked(self) -> Counter[tuple[str, str]]:
        """What was asked for, by method and the end of the key."""
        return Counter((one.method, one.path.rpartition("/")[2]) for one in self.proxy.reset())


@pytest.fixture(scope="module", params=["s3", "gs"])
def service(request: pytest.FixtureRequest) -> Iterator[tuple[str, Proxy, dict[str, object]]]:
    scheme = request.param
    with (
        (seaweedfs if scheme == "s3" else fake_gcs)() as server,
        Proxy(server.endpoint, keep_host=scheme == "s3") as proxy,
    ):
        yield scheme, proxy, {**server.storage_options, "endpoint_url": proxy.url}


@pytest.fixture
def lake(service: tuple[str, Proxy, dict[str, object]], telemetry: Path, tmp_path: Path) -> Lake:
    scheme, proxy, options = service
    raw = f"{scheme}://lake/otel-raw/{tmp_path.name}/"
    store = open_store(raw, options)
    for path in sorted((telemetry / "otlp" / "logs").iterdir()):
        store.put(path.name, path.read_bytes())
    store.close()
    proxy.reset()
    catalog = f"sqlite://{tmp_path / 'catalog.db'}"
    return Lake(f"{scheme}://lake/a lake/{tmp_path.name}", raw, catalog, options, proxy)


def test_from_raw_objects_to_answers(lake: Lake) -> None:
    writes = {"PUT", "POST"}
    with lake.open() as opened:
        report = opened.ingest(lake.raw)
        assert (report.objects, report.rows, report.segments) == (2, 2300, 2)
        asked = lake.asked()
        raw = {key: count for key, count in asked.items() if key[1].endswith(".binpb.gz")}
        assert set(raw.values()) == {1}
        # Two segments, and what a new lake says of itself: its identity, and the height it reached.
        assert sum(count for (method, _), count in asked.items() if method in writes) == 4
        again = opened.ingest(lake.raw)
        assert (again.rows, again.skipped) == (0, 2)
        assert sum(lake.asked().values()) == 1, "one listing"

        first, second = opened.segments("logs")
        names = {one.key.rpartition("/")[2]: one for one in (first, second)}
        result = opened.sql("SELECT count(*) AS n, max(length(body)) AS m FROM logs").to_arrow()
        assert result["n"].to_pylist() == [2300]
        asked = lake.asked()
        assert {name for _, name in asked} == set(names)
        assert all(asked["HEAD", name] == 1 for name in names), "by DataFusion, and by nobody else"

        late = second.min_timestamp_ns
        text = "SELECT count(*) AS n, max(length(body)) AS m FROM logs"
        text += f" WHERE timestamp >= to_timestamp_nanos({late})"
        pruned = opened.sql(text)
        assert pruned.to_arrow()["n"].to_pylist() == [second.rows]
        assert pruned.stats.pruned == 1
        assert {name for _, name in lake.asked()} == {second.key.rpartition("/")[2]}


def test_requests_through_the_store_are_counted(lake: Lake, tmp_path: Path) -> None:
    stores: list[CountingStore] = []

    def counted(url: str, options: Any) -> ObjectStore:
        stores.append(CountingStore(open_store(url, options)))
        return stores[-1]

    with lake.open() as opened:
        store = counted(lake.url, lake.options)
        Ingestor(store, opened.catalog, open_bucket=counted).ingest(lake.raw)
    segments, raw = (one.counts for one in stores)
    # Beside two segments, a new lake's identity and height, and three looks whether it has any.
    assert (segments.put, segments.get, segments.head, segments.list) == (4, 0, 0, 3)
    assert (raw.get, raw.head, raw.list, raw.put) == (2, 0, 1, 0)
    for one in stores:
        one.close()


@pytest.mark.parametrize("text", ["SELECT count(*) FROM logs", "SELECT max(body) FROM logs"])
def test_a_missing_segment_is_an_error_that_names_it(lake: Lake, text: str) -> None:
    with lake.open() as opened:
        opened.ingest(lake.raw)
        opened.sql(text).to_arrow()
        lost = opened.segments("logs")[0]
        opened.store.delete(lost.key)
        with pytest.raises(QueryExecutionError, match="its file is missing") as failure:
            opened.sql(text).to_arrow()
        assert failure.value.context["key"] == lost.key


def test_a_segment_of_another_size_is_refused(lake: Lake) -> None:
    with lake.open() as opened:
        opened.ingest(lake.raw)
        replaced = opened.segments("logs")[0]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"body": ["another"]}), sink)
        opened.store.put(replaced.key, sink.getvalue().to_pybytes())
        for text in ("SELECT count(*) FROM logs", "SELECT max(body) FROM logs"):
            with pytest.raises(QueryExecutionError, match="but the catalog says"):
                opened.sql(text).to_arrow()


@pytest.mark.parametrize("service", ["s3"], indirect=True)
def test_without_a_word_for_an_option_segments_are_copied(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    text = "SELECT max(body) AS m FROM logs"
    with lake.open() as opened:
        opened.ingest(lake.raw)
        expected = opened.sql(text).to_arrow()
    odd = lake._replace(options={**lake.options, "config_kwargs": {"tcp_keepalive": True}})
    with caplog.at_level(logging.WARNING), odd.open() as opened:
        assert opened.sql(text).to_arrow() == expected
    assert "are copied before they are read" in caplog.text
    assert "config_kwargs.tcp_keepalive" in caplog.text
