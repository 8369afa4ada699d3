"""What those who run a gateway rely on: keys that change, certificates, limits, records, lakes."""

from __future__ import annotations

import io
import json
import logging
import os
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import zstandard
from starlette.testclient import TestClient

import lakerunner
from lakerunner.errors import ConfigurationError, ReadOnlyError
from lakerunner.gateway import AccessScope, AccessSettings, app, new_key
from lakerunner.gateway.access import Access, Refused
from lakerunner.gateway.credentials import KeyFile, Subject
from lakerunner.gateway.quotas import Quotas, QuotaSettings, TooMany

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.lake import Lake
    from tests.gateway.conftest import Keys

OPEN = {"access": {"anonymous": "acme", "anonymous_scope": "admin"}}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Lake]:
    with lakerunner.open(tmp_path / "lake") as made:
        made.ingest(b'{"message": "hello"}\n{"message": "again"}', organization="acme")
        yield made


def written(path: Path, *keys: Any) -> None:
    path.write_bytes(msgspec.yaml.encode(KeyFile(keys)))
    os.utime(path, ns=(time.time_ns(), time.time_ns()))


def test_a_file_of_keys_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakerunner.gateway.access._LOOK_SECONDS", 0)
    path = tmp_path / "keys.yaml"
    (old, kept_old), (new, kept_new) = new_key("old"), new_key("new")
    written(path, kept_old)
    access = Access(AccessSettings(keys_file=str(path)))
    assert access.caller({"x-api-key": old}, {}).name == "old"
    written(path, kept_old, kept_new)
    assert access.caller({"x-api-key": new}, {}).name == "new"
    written(path, kept_new)
    with pytest.raises(Refused):
        access.caller({"x-api-key": old}, {})
    path.write_text("keys: [{name: broken")
    assert access.caller({"x-api-key": new}, {}).name == "new"
    path.unlink()
    assert access.caller({"x-api-key": new}, {}).name == "new"
    with pytest.raises(ConfigurationError, match=r"keys\.yaml"):
        Access(AccessSettings(keys_file=str(path)))


def test_every_key_is_compared_whichever_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [new_key(str(number)) for number in range(20)]
    access = Access(AccessSettings(tuple(kept for _, kept in made)))
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("lakerunner.gateway.access.hmac.compare_digest", compare)
    counts = set()
    for shown in (made[0][0], made[-1][0], "lr_unknown", ""):
        compared.clear()
        with suppress(Refused):
            access.caller({"authorization": f"Bearer {shown}"}, {})
        counts.add(len(compared))
    assert counts == {20}


COLLECTOR = Subject("collector", "CN=collector,O=Acme", ("acme",), AccessScope.WRITE)


def scope(peer: str, *headers: tuple[bytes, bytes], name: str | None = None) -> dict[str, Any]:
    extensions = {} if name is None else {"tls": {"client_cert_name": name}}
    return {"client": (peer, 1), "headers": list(headers), "extensions": extensions}


@pytest.mark.parametrize(
    ("seen", "let_in"),
    [
        (scope("203.0.113.9", name="CN=collector,O=Acme"), True),
        (scope("203.0.113.9", name="CN=other,O=Acme"), False),
        (scope("10.1.2.3", (b"x-client-subject", b"CN=collector,O=Acme")), True),
        (scope("203.0.113.9", (b"x-client-subject", b"CN=collector,O=Acme")), False),
        (scope("10.1.2.3", *[(b"x-client-subject", b"CN=collector,O=Acme")] * 2), False),
        (scope("10.1.2.3", (b"x-other", b"CN=collector,O=Acme")), False),
        (scope("not an address", (b"x-client-subject", b"CN=collector,O=Acme")), False),
    ],
)
def test_a_subject_is_believed_of_the_server_and_of_a_trusted_proxy(
    seen: dict[str, Any], *, let_in: bool
) -> None:
    access = Access(
        AccessSettings(
            subjects=(COLLECTOR,),
            subject_header="X-Client-Subject",
            trusted_proxies=("10.0.0.0/8",),
        )
    )
    subject = access.subject_of(seen)
    if let_in:
        assert access.caller({}, {}, None, subject) == ("collector", "acme", AccessScope.WRITE)
    else:
        with pytest.raises(Refused):
            access.caller({}, {}, None, subject)


def test_no_header_is_a_subject_unless_that_is_configured() -> None:
    access = Access(AccessSettings(subjects=(COLLECTOR,)))
    assert access.subject_of(scope("127.0.0.1", (b"x-client-subject", b"CN=collector"))) is None
    for half in ({"subject_header": "x"}, {"trusted_proxies": ("127.0.0.1",)}):
        with pytest.raises(ConfigurationError, match="belong together"):
            AccessSettings(**half)
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        AccessSettings(subject_header="x", trusted_proxies=("everywhere",))


def test_who_reads_much_waits() -> None:
    now = [0.0]
    quotas = Quotas(QuotaSettings(scanned_bytes=600), clock=lambda: now[0])
    with quotas.query("acme"):
        quotas.scanned("acme", 1200)
    with pytest.raises(TooMany) as told, quotas.query("acme"):
        pass
    assert 60 <= told.value.seconds <= 62
    with quotas.query("webshop"):
        pass
    now[0] += told.value.seconds
    with quotas.query("acme"):
        pass


def test_an_answer_has_no_more_rows_than_it_may(small: Lake) -> None:
    client = TestClient(app(small, {**OPEN, "quotas": {"rows": 1}}))
    enough = client.get("/v1/sql", params={"query": "SELECT body FROM logs LIMIT 1"})
    assert enough.status_code == 200
    for path, params in (
        ("/v1/sql", {"query": "SELECT body FROM logs"}),
        ("/v1/export", {"query": "SELECT body FROM logs", "format": "parquet"}),
    ):
        answer = client.get(path, params=params)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (422, "query_limit")


def test_queries_of_those_who_scanned_too_much_are_told_when_to_come_again(small: Lake) -> None:
    client = TestClient(app(small, {**OPEN, "quotas": {"scanned_bytes": 1}}))
    text = {"query": "SELECT body FROM logs"}
    assert client.get("/v1/sql", params=text).status_code == 200
    answer = client.get("/v1/sql", params=text)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


def test_each_query_leaves_a_record(small: Lake, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lakerunner.gateway.audit")
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    settings = {**OPEN, "audit": {"organization": "ops", "flush_seconds": 0.05}}
    headers = {"traceparent": f"00-{trace_id}-{parent}-01", "x-request-id": "mine"}
    with TestClient(app(small, settings)) as client:
        client.get("/v1/sql", params={"query": "SELECT body FROM logs"}, headers=headers)
        client.get("/v1/sql", params={"query": "SELECT nobody FROM logs"})
        client.get("/api/v1/query", params={"query": "up"})
    records = [json.loads(one.getMessage()) for one in caplog.records]
    assert [(one["route"], one["query"], one["rows"], one["code"]) for one in records] == [
        ("/v1/sql", "SELECT body FROM logs", 2, "ok"),
        ("/v1/sql", "SELECT nobody FROM logs", 0, "query_syntax"),
        ("/api/v1/query", "up", 0, "ok"),
    ]
    first = records[0]
    assert (first["caller"], first["organization"], first["request_id"]) == (
        "anonymous",
        "acme",
        "mine",
    )
    assert first["bytes"] > 0
    ops = small.for_organization("ops")
    logs = ops.sql('SELECT level, "lakerunner.query" AS q, trace_id FROM logs').to_arrow()
    assert sorted(logs["level"].to_pylist()) == ["INFO", "INFO", "WARN"]
    assert "SELECT body FROM logs" in logs["q"].to_pylist()
    text = f"SELECT name, parent_span_id FROM spans WHERE trace_id = '{trace_id}'"
    assert ops.sql(text).fetchall() == [("/v1/sql", parent)]
    assert ops.sql("SELECT count(*) FROM spans").scalar() == 3


def test_records_of_a_lake_that_is_read_only_go_to_another(small: Lake, tmp_path: Path) -> None:
    location = small.store.url
    small.close()
    with lakerunner.open(location, read_only=True) as lake:
        with pytest.raises(ReadOnlyError):
            app(lake, {**OPEN, "audit": {"organization": "ops"}})
        audit = {"organization": "ops", "lake": str(tmp_path / "audit")}
        with TestClient(app(lake, {**OPEN, "audit": audit})) as client:
            client.get("/v1/sql", params={"query": "SELECT 1"})
    with lakerunner.open(tmp_path / "audit", read_only=True) as kept:
        assert kept.for_organization("ops").sql("SELECT count(*) FROM logs").scalar() == 1
    with pytest.raises(ConfigurationError, match="audit"):
        app(lake, {"audit": {"lake": "x"}})


def test_administration_shows_what_a_key_reaches(client: TestClient, keys: Keys) -> None:
    for path in ("organizations", "keys", "profiles", "rejected"):
        assert client.get(f"/v1/{path}").status_code == 401
        assert client.get(f"/v1/{path}", headers=keys.acme).status_code == 403
    assert client.get("/v1/organizations", headers=keys.operator).json() == ["acme", "webshop"]
    found = {one["name"]: one for one in client.get("/v1/keys", headers=keys.operator).json()}
    assert set(found) == {"acme-dashboards", "webshop-dashboards", "operator"}
    assert found["acme-dashboards"]["last_used"] > "2026"
    assert "sha256" not in found["operator"]
    assert client.get("/v1/profiles", headers=keys.operator).json() == []


def test_profiles_are_those_of_a_key(tmp_path: Path) -> None:
    profiles = [{"organization_id": whose, "bucket": f"raw-{whose}"} for whose in ("acme", "other")]
    key, kept = new_key("operator", ("acme",), AccessScope.ADMIN)
    with lakerunner.open(tmp_path, ownership={"profiles": profiles}) as lake:
        made = TestClient(app(lake, {"access": {"keys": [kept]}}))
        found = made.get("/v1/profiles", headers={"x-api-key": key}).json()
        assert [one["bucket"] for one in found] == ["raw-acme"]
        bound = lake.for_organization("other")
        assert [one.bucket for one in bound.profiles] == ["raw-other"]


def test_several_lakes_each_in_its_own_right(small: Lake, tmp_path: Path) -> None:
    key, kept = new_key("two", ("default",))
    with lakerunner.open(tmp_path / "two") as other:
        other.ingest(b'{"message": "of the other"}')
    lakes = {
        "two": {"location": str(tmp_path / "two"), "access": {"keys": [kept]}},
        "same": {"location": small.store.url},
    }
    text = {"query": "SELECT body FROM logs ORDER BY body"}
    with TestClient(app(small, {**OPEN, "lakes": lakes})) as client:
        assert client.get("/v1/sql", params=text).text.count("\n") == 2
        assert client.get("/lakes/same/v1/sql", params=text).text.count("\n") == 2
        assert client.get("/lakes/two/v1/sql", params=text).status_code == 401
        answer = client.get("/lakes/two/v1/sql", params=text, headers={"x-api-key": key})
        assert answer.json() == {"body": "of the other"}
        assert len(answer.headers.get_list("x-request-id")) == 1
        assert client.get("/v1/sql", params=text, headers={"x-api-key": key}).status_code == 401
        assert client.get("/lakes/three/v1/sql", params=text).status_code == 404
        assert client.get("/lakes/two/readyz").text == "ready\n"
    with pytest.raises(ConfigurationError):
        app(small, {**OPEN, "lakes": {"../up": {"location": "x"}}})


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", ""])
def test_whole_answers_are_compressed(client: TestClient, keys: Keys, encoding: str) -> None:
    headers = {**keys.acme, "accept-encoding": encoding}
    plain = client.get("/v1/segments", headers={**keys.acme, "accept-encoding": "identity"})
    with client.stream("GET", "/openapi.json", headers=headers) as answer:
        data = b"".join(answer.iter_raw())
    told = answer.headers.get("content-encoding")
    assert told == (encoding if encoding in ("gzip", "zstd") else None)
    assert int(answer.headers["content-length"]) == len(data)
    if told == "gzip":
        data = zlib.decompress(data, zlib.MAX_WBITS | 16)
    elif told == "zstd":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    assert json.loads(data)["openapi"] == "3.1.0"
    assert plain.headers.get("content-encoding") is None


def test_what_has_not_changed_is_not_sent_again(small: Lake) -> None:
    client = TestClient(app(small, OPEN))
    first = client.get("/v1/tables")
    known = {"if-none-match": first.headers["etag"]}
    assert first.headers["cache-control"] == "private, no-cache"
    again = client.get("/v1/tables", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/v1/tables", headers={**known, "accept": "text/csv"}).status_code == 200
    small.ingest(b'{"message": "new"}', organization="acme")
    assert client.get("/v1/tables", headers=known).status_code == 200
    assert client.get("/v1/services").headers["cache-control"] == "no-store"
