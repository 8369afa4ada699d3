"""Generated telemetry is real OTLP, exact in number, ordered, and fixed by its seed."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.errors import ConfigurationError
from lakerunner.generate import Incident, TelemetryConfig, generate_objects, logs_request
from lakerunner.generate.shop import SERVICE_NAMES, SERVICES
from lakerunner.generate.templates import TEMPLATES
from lakerunner.generate.wire import varint
from lakerunner.model.signal import Signal
from lakerunner.model.times import NANOS


def parse(data: bytes) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    request.ParseFromString(data)
    return request


def attributes(holder: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in holder}


def records(request: ExportLogsServiceRequest) -> list[tuple[dict[str, Any], Any]]:
    return [
        (attributes(of.resource.attributes), record)
        for of in request.resource_logs
        for scope in of.scope_logs
        for record in scope.log_records
    ]


def uncompressed(config: TelemetryConfig) -> list[tuple[str, bytes]]:
    return list(generate_objects(msgspec.structs.replace(config, compression="none")))


@pytest.fixture(scope="module")
def big() -> list[tuple[dict[str, Any], Any]]:
    return records(parse(logs_request(20_000, seed=4)))


def test_bytes_are_what_protobuf_itself_would_write() -> None:
    data = logs_request(3000)
    assert parse(data).SerializeToString() == data


@given(
    total=st.integers(0, 400),
    seed=st.integers(0, 10),
    per_object=st.integers(1, 150),
    rate=st.sampled_from([0.5, 7, 1000, 1e6]),
    services=st.lists(st.sampled_from(SERVICE_NAMES), min_size=1, unique=True),
)
@settings(max_examples=60)
def test_counts_and_times_are_exact(
    total: int, seed: int, per_object: int, rate: float, services: list[str]
) -> None:
    config = TelemetryConfig(
        seed=seed,
        rate=rate,
        duration_s=max(total, 0.1) / rate,
        records_per_object=per_object,
        services=tuple(services),
    )
    objects = uncompressed(config)
    assert config.records == total
    assert len(objects) == config.objects == len({key for key, _ in objects})
    end_ns = config.start_ns + config.duration_ns
    latest, left = config.start_ns, total
    for _, data in objects:
        request = parse(data)
        rows = records(request)
        assert len(rows) == min(per_object, left)
        left -= len(rows)
        times = [record.time_unix_nano for _, record in rows]
        assert latest <= min(times)
        latest = max(times)
        for of in request.resource_logs:
            own = [record.time_unix_nano for record in of.scope_logs[0].log_records]
            assert own == sorted(own)
        assert {resource["service.name"] for resource, _ in rows} <= set(services)
    assert latest < end_ns


def test_seed_decides() -> None:
    config = TelemetryConfig(rate=500, duration_s=5, records_per_object=1000)
    assert uncompressed(config) == uncompressed(config)
    other = uncompressed(msgspec.structs.replace(config, seed=1))
    assert {key for key, _ in other}.isdisjoint(key for key, _ in uncompressed(config))
    assert [data for _, data in other] != [data for _, data in uncompressed(config)]


def test_objects_are_cut_from_one_stream() -> None:
    config = TelemetryConfig(rate=1000, duration_s=4, records_per_object=1000)
    cut = [record for _, data in uncompressed(config) for _, record in records(parse(data))]
    whole = records(parse(logs_request(4000)))
    assert Counter(r.SerializeToString() for r in cut) == Counter(
        r.SerializeToString() for _, r in whole
    )


@pytest.mark.parametrize(
    ("compression", "suffix", "inflate"),
    [
        ("gzip", ".binpb.gz", gzip.decompress),
        ("zstd", ".binpb.zst", lambda data: zstandard.ZstdDecompressor().decompress(data)),
        ("none", ".binpb", bytes),
    ],
)
def test_keys_and_compression(compression: Any, suffix: str, inflate: Any) -> None:
    config = TelemetryConfig(
        rate=10,
        duration_s=70,
        records_per_object=350,
        organization="acme",
        collector="c-7",
        start_ns=1_789_999_990 * NANOS,
        compression=compression,
    )
    found = list(generate_objects(config))
    minutes = [key.split("/")[3:8] for key, _ in found]
    assert minutes == [
        ["year=2026", "month=09", "day=21", "hour=14", "minute=13"],
        ["year=2026", "month=09", "day=21", "hour=14", "minute=14"],
    ]
    for (key, data), (_, raw) in zip(found, uncompressed(config), strict=True):
        assert re.fullmatch(rf"otel-raw/acme/c-7/[^.]*/logs_\d{{9}}{re.escape(suffix)}", key)
        assert inflate(data) == raw


def test_size_and_attributes_are_those_of_real_logs(
    big: list[tuple[dict[str, Any], Any]],
) -> None:
    assert 430 < len(logs_request(20_000)) / 20_000 < 490
    carried = [len(record.attributes) for _, record in big]
    assert 8 <= sum(carried) / len(carried) <= 10
    kinds: dict[str, set[type]] = {}
    for _, record in big:
        for key, value in attributes(record.attributes).items():
            kinds.setdefault(key, set()).add(type(value))
    assert kinds["http.response.status_code"] == {int}
    assert kinds["duration_ms"] == {float}
    assert kinds["cache.hit"] == {bool}
    assert all(len(types) == 1 for types in kinds.values())
    for key in ("user.id", "request.id"):
        distinct = {v for _, r in big if (v := attributes(r.attributes).get(key))}
        assert len(distinct) > 1500


def test_every_replica_and_every_ordinary_message_appears(
    big: list[tuple[dict[str, Any], Any]],
) -> None:
    pods = {resource["k8s.pod.name"]: resource["service.name"] for resource, _ in big}
    assert Counter(pods.values()) == {each.name: each.replicas for each in SERVICES}
    assert len(pods) == 20
    assert len({resource["host.name"] for resource, _ in big}) > 8
    patterns = [
        re.compile(".*".join(map(re.escape, template.literals)), re.DOTALL)
        for template in TEMPLATES
    ]
    bodies = [record.body.string_value for _, record in big]
    seen = {
        next(i for i, pattern in enumerate(patterns) if pattern.fullmatch(body)) for body in bodies
    }
    assert len(seen) > 45
    levels = Counter(record.severity_text for _, record in big)
    assert levels["INFO"] > levels["DEBUG"] > levels["WARN"] > levels["ERROR"] > 0


def test_a_request_is_one_trace_across_services(
    big: list[tuple[dict[str, Any], Any]],
) -> None:
    traces: dict[bytes, list[tuple[str, Any]]] = {}
    for resource, record in big:
        if record.trace_id:
            traces.setdefault(record.trace_id, []).append((resource["service.name"], record))
    checkouts = [
        rows
        for rows in traces.values()
        if any(record.event_name == "shop.order.placed" for _, record in rows)
    ]
    whole = [rows for rows in checkouts if len({service for service, _ in rows}) >= 6]
    assert len(whole) > 0.9 * len(checkouts) > 50
    for rows in whole:
        for key in ("request.id", "user.id"):
            assert len({attributes(record.attributes)[key] for _, record in rows}) == 1
        spans: dict[bytes, set[str]] = {}
        for service, record in rows:
            spans.setdefault(record.span_id, set()).add(service)
        assert all(len(services) == 1 for services in spans.values())


def test_the_incident_is_to_be_seen_and_can_be_left_out() -> None:
    def failures(incident: Incident | None) -> tuple[float, float]:
        config = TelemetryConfig(rate=400, duration_s=100, incident=incident)
        shares = {True: [0, 0], False: [0, 0]}
        for _, data in uncompressed(config):
            for resource, record in records(parse(data)):
                if resource["service.name"] == "payment" and record.trace_id:
                    second = (record.time_unix_nano - config.start_ns) / NANOS
                    share = shares[42 < second < 65]
                    share[0] += record.severity_text == "ERROR"
                    share[1] += 1
        (bad, all_bad), (good, all_good) = shares[True], shares[False]
        return bad / all_bad, good / all_good

    during, otherwise = failures(Incident())
    assert during > 4 * otherwise
    assert during > 0.1
    during, otherwise = failures(None)
    assert max(during, otherwise) < 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signals": ()}, "signals"),
        ({"signals": (Signal.LOGS, Signal.LOGS)}, "once at most"),
        ({"series": -1}, "-1 metric series"),
        ({"metrics_interval_s": 0.5}, "0.5 s is less than a second"),
        ({"temporality": "none"}, "neither cumulative nor delta"),
        ({"services": ("cart", "carts")}, "no service carts"),
        ({"services": ()}, "at least one service"),
        ({"seed": -1}, "seed -1"),
        ({"rate": 0}, "rate 0"),
        ({"rate": float("nan")}, "rate nan"),
        ({"duration_s": -1}, "duration -1"),
        ({"records_per_object": 0}, "0 records per object"),
        ({"records_per_object": 10**7}, "10000000 records per object"),
        ({"compression": "lz4"}, "'lz4' is none of"),
        ({"organization": "a/b"}, "organization is one part"),
        ({"collector": ""}, "collector is one part"),
        ({"duration_s": 1e10}, "1970 to 2262"),
    ],
)
def test_impossible_configs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TelemetryConfig(**change)


def test_impossible_incidents_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="0 <= start <= end <= 1"):
        Incident(start=0.5, end=0.4)


@given(st.integers(0, 2**64 - 1))
def test_varint_is_read_back(value: int) -> None:
    data = varint(value)
    assert sum((byte & 0x7F) << 7 * at for at, byte in enumerate(data)) == value
    assert all(byte & 0x80 for byte in data[:-1])
    assert data[-1] < 0x80
