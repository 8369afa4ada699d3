"""Storage services that fail: through a proxy that spoils requests, on S3 and on Google's."""

from __future__ import annotations

import os
import threading
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple

import pytest

from lakerunner.errors import (
    ConfigurationError,
    ObjectDeniedError,
    ObjectExistsError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.limits import ATTEMPTS
from lakerunner.model.config import Config
from lakerunner.retrying import retrying
from lakerunner.store import (
    ByteRange,
    ObjectStore,
    PutMode,
    check_conditional_puts,
    open_store,
    probe,
    remote,
)
from lakerunner.store.counting import WrapperStore
from lakerunner.testing.servers import Proxy, Service, Spoil, s3_options
from lakerunner.testing.servers.process import send
from lakerunner.testing.store_fixture import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing import Queue
    from multiprocessing.context import ForkContext, SpawnContext

    from lakerunner.store import Buffer, ObjectMeta


class Bucket(NamedTuple):
    """A store behind a proxy."""

    store: ObjectStore
    proxy: Proxy
    scheme: str

    def writes(self) -> int:
        """How many requests to write came through since the last time."""
        return sum(one.method in {"PUT", "POST"} for one in self.proxy.reset())


@pytest.fixture(params=["s3", "gs"])
def bucket(
    request: pytest.FixtureRequest, moto_s3: Service, google: Service, tmp_path: object
) -> Iterator[Bucket]:
    service = moto_s3 if request.param == "s3" else google
    with Proxy(service.endpoint, keep_host=request.param == "s3") as proxy:
        options = {**service.storage_options, "endpoint_url": proxy.url}
        store = open_store(f"{request.param}://lake/{abs(hash(str(tmp_path)))}", options)
        yield Bucket(store, proxy, request.param)
        store.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BACKOFF_SECONDS", 0.01)


class Times:
    """Spoils the first requests of some methods."""

    def __init__(self, count: int, spoil: Spoil, methods: str = "GET HEAD PUT POST DELETE") -> None:
        self.left = count
        self.spoil = spoil
        self.methods = methods.split()
        self._lock = threading.Lock()

    def __call__(self, method: str, _path: str) -> Spoil | None:
        with self._lock:
            if method not in self.methods or not self.left:
                return None
            self.left -= 1
            return self.spoil


@pytest.mark.parametrize("status", [0, 429, 500, 502, 503, 504])
def test_what_may_pass_is_repeated(bucket: Bucket, status: int) -> None:
    store = bucket.store
    for call in (
        lambda: store.put("a", b"1"),
        lambda: store.get("a"),
        lambda: store.get("a", ByteRange(0, 1)),
        lambda: store.head("a"),
        lambda: list(store.list()),
        lambda: store.delete("a"),
    ):
        bucket.proxy.spoil = Times(ATTEMPTS - 1, Spoil(status))
        call()


def test_what_the_store_gave_up_is_not_asked_for_again(bucket: Bucket) -> None:
    bucket.proxy.spoil = lambda _method, _path: Spoil(503)
    bucket.proxy.reset()
    with pytest.raises(StoreUnavailableError):
        retrying(lambda: bucket.store.head("a"), Config(attempts=9))
    assert len(bucket.proxy.reset()) == ATTEMPTS


@pytest.mark.parametrize("status", [0, 503])
def test_repetition_is_bounded(bucket: Bucket, status: int) -> None:
    store = bucket.store
    store.put("a", b"1")
    bucket.proxy.spoil = lambda _method, _path: Spoil(status)
    for call in (store.get, store.head, store.delete, lambda _: list(store.list())):
        bucket.proxy.reset()
        with pytest.raises(StoreUnavailableError):
            call("a")
        assert len(bucket.proxy.reset()) == ATTEMPTS


@pytest.mark.parametrize("status", [0, 500, 503])
def test_a_create_only_put_whose_reply_is_lost_is_not_repeated(bucket: Bucket, status: int) -> None:
    bucket.proxy.spoil = Times(1, Spoil(status, forward=True), "PUT POST")
    with pytest.raises(StoreUnavailableError) as failure:
        bucket.store.put("a", b"mine", PutMode.CREATE)
    assert failure.value.context["lost"] is True
    assert bucket.writes() == 1
    assert bucket.store.get("a").data == b"mine"


def test_a_create_only_put_that_was_turned_away_is_repeated(bucket: Bucket) -> None:
    bucket.proxy.spoil = Times(2, Spoil(429), "PUT POST")
    bucket.store.put("a", b"mine", PutMode.CREATE)
    assert bucket.writes() == 3
    with pytest.raises(ObjectExistsError):
        bucket.store.put("a", b"mine", PutMode.CREATE)
    assert bucket.writes() == 1


def test_an_overwrite_whose_reply_is_lost_is_repeated(bucket: Bucket) -> None:
    bucket.proxy.spoil = Times(2, Spoil(0, forward=True), "PUT POST")
    assert bucket.store.put("a", b"mine") == bucket.store.head("a")


def test_each_verb_costs_these_requests(bucket: Bucket) -> None:
    store, proxy = bucket.store, bucket.proxy
    put = [("PUT", 1), ("HEAD", 1)] if bucket.scheme == "s3" else [("POST", 1)]
    head = "HEAD" if bucket.scheme == "s3" else "GET"
    for call, expected in (
        (lambda: store.put("a/b", b"12345", PutMode.CREATE), put),
        (lambda: store.create("a/d", b"12345"), put[:1]),
        (lambda: store.get("a/b"), [("GET", 1)]),
        (lambda: store.get("a/b", ByteRange(-2)), [("GET", 1)]),
        (lambda: store.get_ranges("a/b", [(0, 1), (3, 4)]), [("GET", 1)]),
        (lambda: store.head("a/b"), [(head, 1)]),
        (lambda: store.exists("a/c"), [(head, 1)]),
        (lambda: list(store.list("a/")), [("GET", 1)]),
        (lambda: store.delete("a/b"), [("DELETE", 1)]),
    ):
        proxy.reset()
        call()
        methods = [one.method for one in proxy.reset()]
        assert sorted((name, methods.count(name)) for name in set(methods)) == sorted(expected)


def test_a_refused_credential(bucket: Bucket) -> None:
    body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    bucket.proxy.spoil = lambda _method, _path: Spoil(403, body=body)
    for call in (bucket.store.get, bucket.store.head, bucket.store.delete):
        with pytest.raises(ObjectDeniedError):
            call("a")
    with pytest.raises(ObjectDeniedError):
        list(bucket.store.list())
    with pytest.raises(ObjectDeniedError):
        bucket.store.put("a", b"", PutMode.CREATE)
    assert len(bucket.proxy.reset()) == 5, "to ask again would not help"


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    missing = open_store(f"{bucket.scheme}://no-such-bucket/a", bucket.store.storage_options)
    for call in (lambda: missing.put("a", b""), lambda: list(missing.list())):
        with pytest.raises(
            StoreError, match=r"there is no bucket for \w+://no-such-bucket"
        ) as failure:
            call()
        assert type(failure.value) is StoreError
    missing.close()


def test_nobody_listens(bucket: Bucket) -> None:
    options = {**bucket.store.storage_options, "endpoint_url": "http://127.0.0.1:9"}
    store = open_store(f"{bucket.scheme}://lake", options)
    with pytest.raises(StoreUnavailableError) as failure:
        store.put("a", b"", PutMode.CREATE)
    assert failure.value.context["lost"] is False
    store.close()


def test_a_url_without_a_bucket(bucket: Bucket) -> None:
    for url in ("", "/", "/a"):
        with pytest.raises(ConfigurationError, match="names no bucket"):
            open_store(f"{bucket.scheme}://{url}")
    with pytest.raises(ConfigurationError):
        open_store(f"{bucket.scheme}://lake/a/../b")


def _read_in_child(store: ObjectStore, results: Queue[bytes]) -> None:
    store.put("child", str(os.getpid()).encode())
    results.put(store.get("a").data)
    store.close()


@pytest.mark.parametrize(
    "context", [get_context("fork"), get_context("spawn")], ids=["fork", "spawn"]
)
def test_processes_do_not_share_connections(
    bucket: Bucket, context: ForkContext | SpawnContext
) -> None:
    bucket.store.put("a", b"parent")
    results: Queue[bytes] = context.Queue()
    child = context.Process(target=_read_in_child, args=(bucket.store, results))
    child.start()
    assert results.get(timeout=30) == b"parent"
    child.join(30)
    assert child.exitcode == 0
    assert bucket.store.get("child").data == str(child.pid).encode()


class Overwriting(WrapperStore):
    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        del mode
        return super().put(key, data)


def test_conditional_puts_are_asked_for_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_KEPT", set())
    check_conditional_puts(bucket.store)
    assert bucket.writes() == 2
    check_conditional_puts(bucket.store)
    assert bucket.writes() == 0
    monkeypatch.setattr(probe, "_KEPT", set())  # as another process would
    check_conditional_puts(bucket.store)
    assert bucket.writes() == 1
    assert keys(bucket.store) == [probe.PROBE_KEY]


def test_the_answer_may_be_lost(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_KEPT", set())
    bucket.proxy.spoil = Times(1, Spoil(0, forward=True), "PUT POST")
    check_conditional_puts(bucket.store)


def test_a_store_that_replaces_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_KEPT", set())
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="would lose commits"):
            check_conditional_puts(Overwriting(bucket.store))


def test_a_store_that_cannot_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_KEPT", set())
    body = b"<Error><Code>NotImplemented</Code><Message>If-None-Match</Message></Error>"
    bucket.proxy.spoil = lambda _method, _path: Spoil(501, body=body)
    with pytest.raises(ConfigurationError, match="takes no create-only puts"):
        check_conditional_puts(bucket.store)


def test_the_identity_of_a_reader_cannot_write(seaweed: Service) -> None:
    writer = open_store("s3://lake/rights", seaweed.storage_options)
    writer.put("a", b"1")
    reader = open_store("s3://lake/rights", s3_options(seaweed.endpoint, "reader"))
    assert reader.get("a").data == b"1"
    assert keys(reader) == ["a"]
    for mode in PutMode:
        with pytest.raises(ObjectDeniedError, match="AccessDenied"):
            reader.put("b", b"1", mode)
    with pytest.raises(ObjectDeniedError):
        reader.delete("a")
    assert keys(writer) == ["a"]
    for wrong in ({"secret": "wrong"}, {"key": "nobody"}):
        stranger = open_store("s3://lake/rights", {**seaweed.storage_options, **wrong})
        for call in (stranger.get, stranger.head, lambda _, s=stranger: list(s.list())):
            with pytest.raises(ObjectDeniedError):
                call("a")
        stranger.close()
    reader.close()
    writer.close()


def test_no_credentials_at_all(seaweed: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    store = open_store("s3://lake", {"endpoint_url": seaweed.endpoint})
    with pytest.raises(ObjectDeniedError, match="no credentials for s3://lake"):
        store.get("a")
    store.close()


def test_keys_that_no_store_can_have_are_left_out(
    moto_s3: Service, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("odd/marker/", "odd/a//b", "odd/a/b", "odd/../c"):
        send("PUT", f"{moto_s3.endpoint}/lake/{key.replace('..', '%2E%2E')}", b"1")
    store = open_store("s3://lake/odd", moto_s3.storage_options)
    assert keys(store) == ["a/b"]
    assert "a//b" in caplog.text
    assert "marker" not in caplog.text, "a directory marker is nobody's data"
    store.close()
