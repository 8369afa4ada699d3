"""Receivers over HTTP: what the clients of others send lands, and they get the answer they expect.

Bodies have the shapes that the publishers of the protocols document.
"""

from __future__ import annotations

import gzip
import json
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from google.protobuf import message_factory
from starlette.testclient import TestClient

import lakerunner
from lakerunner.gateway import AccessScope, app, new_key
from lakerunner.intake.protocols.messages import PUSH, WRITE, WRITE_2, message_descriptor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.intake.writer import Writer
    from lakerunner.lake import Lake

WRITES = new_key("shipper", ("acme",), AccessScope.WRITE)
CENTRAL = new_key("gateway", ("*",), AccessScope.WRITE)
KEY = {"authorization": f"Bearer {WRITES[0]}"}
T = 1767225600  # 2026-01-01
STALE: float = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
SNAPPY = pa.Codec("snappy")


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with lakerunner.open(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def writer(lake: Lake) -> Iterator[Writer]:
    with lake.writer(linger_seconds=0.01) as made:
        yield made


@pytest.fixture
def client(lake: Lake, writer: Writer) -> Iterator[TestClient]:
    settings = {
        "access": {"keys": [WRITES[1], CENTRAL[1]]},
        "body_bytes": 1_000_000,
        "inflated_bytes": 3_000_000,
    }
    with TestClient(app(lake, settings, writer=writer)) as made:
        yield made


def rows(lake: Lake, columns: str = "*", table: str = "logs", organization: str = "acme") -> Any:
    """All rows in the order of time and body."""
    order = "timestamp, body" if table == "logs" else "metric_name, timestamp"
    text = f"SELECT {columns} FROM {table} ORDER BY {order}"
    return lake.for_organization(organization).sql(text).to_pylist()


def message(name: tuple[str, str]) -> Any:
    return message_factory.GetMessageClass(message_descriptor(name))()


def snapped(data: bytes) -> bytes:
    packed: bytes = SNAPPY.compress(data, asbytes=True)
    return packed


LOKI = {
    "streams": [
        {
            "stream": {"app": "shop", "env": "prod"},
            "values": [
                [f"{T}000000001", "hello"],
                [f"{T}000000002", "timeout", {"trace_id": "0af7651916cd43dd8448eb211c80319c",
                                               "level": "error"}],
            ],
        },
        {"stream": {"service_name": "cart"}, "values": [[f"{T}000000003", "again"]]},
    ]
}  # fmt: skip


def loki_message() -> bytes:
    push = message(PUSH)
    texts = ('{app="shop", env="prod"}', '{service_name="c\\x61rt"}')
    streams: list[Any] = LOKI["streams"]
    for stream, labels in zip(streams, texts, strict=True):
        made = push.streams.add(labels=labels)
        for value in stream["values"]:
            entry = made.entries.add(line=value[1])
            entry.timestamp.seconds, entry.timestamp.nanos = T, int(str(value[0])[-9:])
            for name, text in (value[2] if len(value) > 2 else {}).items():
                entry.metadata.add(name=name, value=text)
    data: bytes = push.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"content-type": "application/json"}, json.dumps(LOKI).encode()),
        (
            {"content-type": "application/json; charset=utf-8", "content-encoding": "gzip"},
            gzip.compress(json.dumps(LOKI).encode()),
        ),
        ({"content-type": "application/x-protobuf"}, snapped(loki_message())),
    ],
    ids=["json", "gzip", "protobuf"],
)
def test_loki_streams_and_metadata(
    client: TestClient, lake: Lake, headers: dict[str, str], content: bytes
) -> None:
    answer = client.post("/loki/api/v1/push", content=content, headers={**KEY, **headers})
    assert (answer.status_code, answer.content) == (204, b"")
    found = rows(lake, "body, level, trace_id, resource_service_name AS service, resource_env")
    assert [(one["body"], one["service"], one["resource_env"]) for one in found] == [
        ("hello", "shop", "prod"),
        ("timeout", "shop", "prod"),
        ("again", "cart", None),
    ]
    assert found[1]["level"] == "ERROR"
    assert found[1]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert rows(lake, "CAST(timestamp AS BIGINT) % 10 AS t") == [{"t": 1}, {"t": 2}, {"t": 3}]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"streams": [{"stream": {"a": 1}, "values": []}]}',
        b'{"streams": [{"stream": {}, "values": [["x", "line"]]}]}',
        b'{"streams": [{"stream": {}, "values": [["1"]]}]}',
        b"[" * 100_000,
    ],
)
def test_pushes_that_are_none(client: TestClient, lake: Lake, content: bytes) -> None:
    headers = {**KEY, "content-type": "application/json"}
    answer = client.post("/loki/api/v1/push", content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert lake.for_organization("acme").segments("logs") == []


def prometheus_series(write: Any, labels: dict[str, str], *samples: tuple[int, float]) -> Any:
    series = write.series.add()
    for name, text in labels.items():
        series.labels.add(name=name, value=text)
    for at, value in samples:
        series.samples.add(timestamp=(T + at) * 1000, value=value)
    return series


def native(series: Any, **fields: Any) -> Any:
    return series.histograms.add(timestamp=T * 1000, **fields)


PROMETHEUS = {**KEY, "content-type": "application/x-protobuf", "content-encoding": "snappy"}


def test_remote_write_1(client: TestClient, lake: Lake) -> None:
    write = message(WRITE)
    who = {"job": "ns/api", "instance": "h:1"}
    prometheus_series(write, {"__name__": "http_requests_total", **who, "code": "200"},
                      (0, 1.0), (15, 2.0), (30, STALE))  # fmt: skip
    latency = prometheus_series(write, {"__name__": "latency_seconds", **who})
    exemplar = latency.exemplars.add(value=0.5, timestamp=T * 1000)
    exemplar.labels.add(name="trace_id", value="4bf92f3577b34da6a3ce929d0e0e4736")
    one = native(latency, count_int=8, sum=3.5, schema=3, zero_threshold=1e-9, zero_int=1)
    one.positive_spans.add(offset=-2, length=2)
    one.positive_spans.add(offset=3, length=1)
    one.positive_deltas.extend([1, 1, 1])
    one.negative_spans.add(offset=0, length=1)
    one.negative_deltas.extend([1])
    custom = native(prometheus_series(write, {"__name__": "sizes", **who}),
                    count_int=3, sum=3.5, schema=-53)  # fmt: skip
    custom.custom_values.extend([0.1, 1.0])
    custom.positive_spans.add(offset=1, length=2)
    custom.positive_deltas.extend([1, 1])
    write.metadata.add(type=1, name="http_requests_total", help="Requests.")
    write.metadata.add(type=3, name="latency_seconds", unit="seconds")
    content = snapped(write.SerializeToString())
    answer = client.post("/api/v1/write", content=content, headers=PROMETHEUS)
    assert (answer.status_code, answer.content) == (204, b"")

    found = rows(lake, table="metrics")
    requests = [one for one in found if one["metric_name"] == "http_requests_total"]
    assert [(one["value"], one["flags"]) for one in requests] == [(1.0, 0), (2.0, 0), (None, 1)]
    assert {(one["metric_type"], one["is_monotonic"], one["description"]) for one in requests} == {
        ("sum", True, "Requests.")
    }
    (latencies,) = (one for one in found if one["metric_name"] == "latency_seconds")
    assert (latencies["scale"], latencies["positive_offset"], latencies["unit"]) == (
        3, -3, "seconds"
    )  # fmt: skip
    assert latencies["positive_bucket_counts"] == [1, 2, 0, 0, 0, 3]
    assert (latencies["negative_offset"], latencies["negative_bucket_counts"]) == (-1, [1])
    assert latencies["exemplars"][0]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    (sizes,) = (one for one in found if one["metric_name"] == "sizes")
    assert (sizes["bucket_counts"], sizes["explicit_bounds"]) == ([0, 1, 2], [0.1, 1.0])

    acme = lake.for_organization("acme")
    (now,) = acme.promql("http_requests_total", time=T + 16).to_pylist()
    assert (now["job"], now["instance"], now["code"], now["value"]) == ("ns/api", "h:1", "200", 2.0)
    assert acme.promql("http_requests_total", time=T + 31).to_pylist() == []
    assert acme.promql("histogram_count(latency_seconds)", time=T).to_pylist()[0]["value"] == 8


def test_remote_write_2_counts_what_it_wrote(client: TestClient, lake: Lake) -> None:
    write = message(WRITE_2)
    symbols = ["", "__name__", "steps_total", "job", "api", "Steps taken.", "trace_id", "ab"]
    write.symbols.extend(symbols)
    series = write.series.add(labels=[1, 2, 3, 4], created=(T - 60) * 1000)
    series.metadata.type, series.metadata.help = 1, 5
    series.samples.add(value=7.0, timestamp=T * 1000)
    series.exemplars.add(labels=[6, 7], value=1.0, timestamp=T * 1000)
    kind = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
    headers = {**PROMETHEUS, "content-type": kind, "x-prometheus-remote-write-version": "2.0.0"}
    content = snapped(write.SerializeToString())
    answer = client.post("/api/v1/write", content=content, headers=headers)
    assert answer.status_code == 204
    counted = [f"x-prometheus-remote-write-{name}-written" for name in ("samples", "exemplars")]
    assert [answer.headers[name] for name in counted] == ["1", "1"]
    (found,) = rows(lake, table="metrics")
    assert (found["metric_name"], found["metric_type"]) == ("steps_total", "sum")
    assert (found["description"], found["resource_service_name"]) == ("Steps taken.", "api")
    assert found["start_timestamp"].timestamp() == T - 60

    write.series[0].labels.append(99)
    write.series[0].labels.append(98)
    content = snapped(write.SerializeToString())
    answer = client.post("/api/v1/write", content=content, headers=headers)
    assert (answer.status_code, "symbol" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("headers", "change", "status"),
    [
        ({"content-type": "text/plain"}, bytes, 415),
        ({"content-type": "application/x-protobuf;proto=some.other.Request"}, bytes, 415),
        ({}, lambda data: b"\xff" + data, 400),
        ({}, lambda data: data[:-3], 400),
        ({}, lambda _: b"\xff\xff\xff\xff\x0f" + bytes(10), 413),
        ({"content-encoding": "br"}, bytes, 415),
        ({"authorization": "Bearer lr_nobody"}, bytes, 401),
        ({"x-scope-orgid": "webshop"}, bytes, 403),
    ],
)
def test_writes_that_are_refused(
    client: TestClient, lake: Lake, headers: dict[str, str], change: Any, status: int
) -> None:
    write = message(WRITE)
    prometheus_series(write, {"__name__": "up"}, (0, 1.0))
    content = change(snapped(write.SerializeToString()))
    answer = client.post("/api/v1/write", content=content, headers={**PROMETHEUS, **headers})
    assert answer.status_code == status
    assert lake.for_organization("acme").segments("metrics") == []


def test_a_histogram_that_cannot_be_kept_is_told_and_the_rest_is(
    client: TestClient, lake: Lake, writer: Writer
) -> None:
    write = message(WRITE)
    prometheus_series(write, {"__name__": "up"}, (0, 1.0))
    native(prometheus_series(write, {"__name__": "rates"}), count_float=1.5, schema=3)
    content = snapped(write.SerializeToString())
    answer = client.post("/api/v1/write", content=content, headers=PROMETHEUS)
    assert (answer.status_code, "fractions" in answer.text) == (400, True)
    assert [one["metric_name"] for one in rows(lake, table="metrics")] == ["up"]
    assert writer.report().refused == 1


BULK = b"""{"create":{"_index":"logs-web"}}
{"@timestamp":"2026-01-01T00:00:00Z","message":"hello","service.name":"web","log.level":"warn"}
{"index":{"_index":"logs-db","_id":"1"}}
{"@timestamp":"2026-01-01T00:00:01Z","message":"again","service.name":"db"}
{"create":{"_index":"logs-web"}}
{}
"""


@pytest.mark.parametrize("path", ["/_bulk", "/elasticsearch/_bulk", "/elasticsearch/web/_bulk"])
def test_elasticsearch_bulk(client: TestClient, lake: Lake, path: str) -> None:
    headers = {**KEY, "content-type": "application/x-ndjson"}
    answer = client.post(path, content=BULK, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["x-elastic-product"] == "Elasticsearch"
    assert answer.json() == {
        "took": 0,
        "errors": False,
        "items": [
            {"create": {"_index": "logs-web", "status": 201}},
            {"index": {"_index": "logs-db", "_id": "1", "status": 201}},
            {"create": {"_index": "logs-web", "status": 201}},
        ],
    }
    found = rows(lake, 'body, level, resource_service_name AS s, "elasticsearch.index" AS i')
    assert [(one["body"], one["s"], one["i"]) for one in found] == [
        ("hello", "web", "logs-web"),
        ("again", "db", "logs-db"),
        (None, None, "logs-web"),
    ]


def test_a_bulk_of_which_some_is_wrong(client: TestClient, lake: Lake, writer: Writer) -> None:
    content = (
        b'{"create":{}}\n{"message":"good"}\n{"delete":{"_index":"a","_id":"9"}}\n'
        b'{"create":{}}\n{"message": broken}\n{"update":{"_id":"1"}}\n{"doc":{}}\n'
        b'{"create":{}}\n{"message":"as good"}\n'
    )
    answer = client.post("/_bulk", content=content, headers=KEY)
    items = [next(iter(one.items())) for one in answer.json()["items"]]
    assert answer.json()["errors"] is True
    assert [(name, one["status"]) for name, one in items] == [
        ("create", 201), ("delete", 400), ("create", 400), ("update", 400), ("create", 201)
    ]  # fmt: skip
    assert items[2][1]["error"]["type"] == "document_parsing_exception"
    assert [one["body"] for one in rows(lake)] == ["as good", "good"]
    assert writer.report().refused == 3
    answer = client.post("/_bulk", content=b"nothing of the kind", headers=KEY)
    assert (answer.status_code, answer.json()["status"]) == (400, 400)


def test_what_shippers_ask_elasticsearch_first(client: TestClient) -> None:
    root = client.get("/elasticsearch/", headers=KEY)
    assert root.headers["x-elastic-product"] == "Elasticsearch"
    assert root.json()["version"]["number"].startswith("8.")
    assert client.head("/elasticsearch/", headers=KEY).status_code == 200
    assert client.get("/elasticsearch/_license", headers=KEY).json()["license"]["type"] == "basic"
    template = client.put("/elasticsearch/_index_template/logs", content=b"{}", headers=KEY)
    assert template.json() == {"acknowledged": True}


DATADOG = [
    {
        "ddsource": "nginx",
        "ddtags": "env:staging,version:5.1",
        "hostname": "i-012345678",
        "message": "2019-11-19T14:37:58,995 INFO [process.name][20081] Hello World",
        "service": "payment",
        "status": "error",
    },
    {"message": "second", "service": "payment"},
]


def test_datadog_logs(client: TestClient, lake: Lake) -> None:
    key = {"dd-api-key": WRITES[0], "content-type": "application/json"}
    content = gzip.compress(json.dumps(DATADOG).encode())
    headers = {**key, "content-encoding": "gzip"}
    answer = client.post("/api/v2/logs", content=content, headers=headers)
    assert (answer.status_code, answer.content) == (202, b"{}")
    found = rows(lake, "body, level, resource_service_name AS s, resource_env, resource_host_name")
    assert {one["s"] for one in found} == {"payment"}
    (first,) = (one for one in found if one["resource_env"])
    assert (first["resource_env"], first["resource_host_name"]) == ("staging", "i-012345678")
    assert first["level"] == "ERROR"
    text = {**key, "content-type": "text/plain"}
    answer = client.post(
        "/api/v2/logs?ddtags=env:qa&service=cron", content=b"one\ntwo\n", headers=text
    )
    assert answer.status_code == 202
    assert sum(one["s"] == "cron" for one in rows(lake, "resource_service_name AS s")) == 2
    answer = client.post("/api/v2/logs", content=b"[{]", headers=key)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["title"] == "Bad Request"
    answer = client.post("/api/v2/logs", content=b"[]", headers={"dd-api-key": "no"})
    assert (answer.status_code, answer.json()["errors"][0]["status"]) == (401, "401")


HEC = (
    b'{"time":1767225600.25,"host":"web-1","source":"app.log","sourcetype":"json","index":"main",'
    b'"event":"hello","fields":{"region":"eu"}}{"time":1767225601,"event":{"message":"inside",'
    b'"user":"u1"}}\n{"event":"third }{ one"}'
)


def test_splunk_events(client: TestClient, lake: Lake) -> None:
    headers = {"authorization": f"Splunk {WRITES[0]}"}
    answer = client.post("/services/collector/event", content=HEC, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"text": "Success", "code": 0})
    found = rows(lake)
    by_body = {one["body"]: one for one in found}
    assert len(found) == 3
    assert {"hello", "third }{ one"} <= by_body.keys()
    assert by_body["hello"]["timestamp"].timestamp() == T + 0.25
    assert by_body["hello"]["resource_host_name"] == "web-1"
    assert by_body["hello"]["attr_region"] == "eu"
    raw = "/services/collector/raw?sourcetype=syslog&host=db"
    answer = client.post(raw, content=b"one\ntwo\n", headers=headers)
    assert answer.json()["code"] == 0
    assert len(rows(lake)) == 5


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", {}, 400, 5),
        (b"{", {}, 400, 6),
        (b'{"event":"a"}{"time":1}', {}, 400, 12),
        (b'{"event":"a"}', {"authorization": "Splunk nobody"}, 401, 2),
    ],
)
def test_splunk_refusals(
    client: TestClient, content: bytes, headers: dict[str, str], status: int, code: int
) -> None:
    answer = client.post("/services/collector", content=content, headers={**KEY, **headers})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    health = client.get("/services/collector/health", headers=KEY)
    assert health.json() == {"text": "HEC is healthy", "code": 17}


def test_gelf(client: TestClient, lake: Lake) -> None:
    sent = {
        "version": "1.1",
        "host": "example.org",
        "short_message": "A short message that helps you identify what is going on",
        "timestamp": T + 0.3072,
        "level": 3,
        "_user_id": 9001,
    }
    answer = client.post("/gelf", content=json.dumps(sent).encode(), headers=KEY)
    assert (answer.status_code, answer.content) == (202, b"")
    (found,) = rows(lake)
    assert round(found["timestamp"].timestamp(), 4) == T + 0.3072
    assert (found["attr_user_id"], found["level"]) == (9001, "ERROR")
    assert (found["body"], found["resource_host_name"]) == (sent["short_message"], "example.org")
    assert client.post("/gelf", content=b"not json", headers=KEY).status_code == 400


def test_plain_lines_and_what_is_wrong_among_them(
    client: TestClient, lake: Lake, writer: Writer
) -> None:
    content = b'{"message":"one"}\nnot json\n{"message":"two"}\n\n[1]\n'
    answer = client.post("/v1/ingest/logs", content=content, headers=KEY)
    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (2, 2)
    assert [one.partition(":")[0] for one in answer.json()["reasons"]] == ["line 2", "line 5"]
    assert [one["body"] for one in rows(lake)] == ["one", "two"]
    points = b'[{"metric_name":"a","value":1,"timestamp":1767225600}]'
    answer = client.post("/v1/ingest/metrics", content=points, headers=KEY)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
    assert len(rows(lake, table="metrics")) == 1
    assert client.post("/v1/ingest/logs", content=b"nothing", headers=KEY).status_code == 400
    assert client.post("/v1/ingest/profiles", content=b"{}", headers=KEY).status_code == 400
    assert writer.report().refused == 3


JOURNAL = (
    b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1767225600000001\n_HOSTNAME=host\nPRIORITY=6\n"
    b"SYSLOG_IDENTIFIER=sshd\n_PID=5\nMESSAGE=hello\n\n"
    b"__REALTIME_TIMESTAMP=1767225600000002\nPRIORITY=3\n_SYSTEMD_UNIT=shop.service\n"
    b"MESSAGE\n" + (13).to_bytes(8, "little") + b"line1\n\nline=2\n_PID=9\n\n"
)


def test_journald(client: TestClient, lake: Lake) -> None:
    headers = {**KEY, "content-type": "application/vnd.fdo.journal"}
    answer = client.post("/upload", content=JOURNAL, headers=headers)
    assert (answer.status_code, answer.content) == (202, b"OK.\n")
    found = rows(lake, "body, level, resource_service_name AS s, attr__pid AS pid")
    assert [(one["body"], one["level"], one["s"], one["pid"]) for one in found] == [
        ("hello", "INFO", "sshd", "5"),
        ("line1\n\nline=2", "ERROR", "shop", "9"),
    ]
    assert client.post("/upload", content=JOURNAL[:-30], headers=headers).status_code == 400
    assert client.post("/upload", content=b"text", headers=KEY).status_code == 415


def test_a_path_or_a_header_names_the_organization(client: TestClient, lake: Lake) -> None:
    key = {"authorization": f"Bearer {CENTRAL[0]}"}
    body = b'{"message":"hello"}'
    by_path = client.post("/org/webshop/v1/ingest/logs", content=body, headers=key)
    header = {**key, "x-scope-orgid": "globex"}
    by_header = client.post("/v1/ingest/logs", content=body, headers=header)
    assert (by_path.status_code, by_header.status_code) == (200, 200)
    assert len(rows(lake, organization="webshop")) == len(rows(lake, organization="globex")) == 1
    statuses = [
        client.post("/v1/ingest/logs", content=body, headers=key),
        client.post("/org/webshop/v1/ingest/logs", content=body, headers=header),
        client.post("/org/webshop/v1/ingest/logs", content=body, headers=KEY),
        client.post("/org/..%2Fx/v1/ingest/logs", content=body, headers=key),
    ]
    assert [one.status_code for one in statuses] == [403, 403, 403, 404]


@pytest.mark.parametrize("path", ["/v1/ingest/logs", "/_bulk", "/api/v2/logs", "/gelf"])
def test_bombs_are_stopped(client: TestClient, path: str) -> None:
    headers = {**KEY, "content-encoding": "gzip"}
    bomb = gzip.compress(bytes(20_000_000))
    assert client.post(path, content=bomb, headers=headers).status_code == 413
    assert client.post(path, content=bytes(1_000_001), headers=KEY).status_code == 413
