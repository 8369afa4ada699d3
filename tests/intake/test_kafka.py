"""Topics of two independent brokers: each message in the lake once, whoever is killed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import lakerunner
from lakerunner.errors import ConfigurationError, StoreUnavailableError
from lakerunner.generate import logs_request
from lakerunner.intake.kafka_claims import Claim, Claims
from lakerunner.store import open_store
from lakerunner.testing.servers import kafka, mock_kafka

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lakerunner import Lake

PARTITIONS = 4
# How soon a broker takes a consumer for dead.
CLIENT = {"session.timeout.ms": 6000, "max.poll.interval.ms": 10000}


@pytest.fixture(scope="module", params=["noida", "librdkafka"])
def brokers(request: pytest.FixtureRequest) -> Iterator[str]:
    with kafka() if request.param == "noida" else mock_kafka() as address:
        yield address


@pytest.fixture
def topic(brokers: str, request: pytest.FixtureRequest) -> str:
    """A topic of four partitions."""
    name = f"topic-{abs(hash(request.node.name)) % 10**9}"
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    for made in admin.create_topics([NewTopic(name, PARTITIONS, 1)], request_timeout=1).values():
        try:
            made.result(2)
        except Exception:  # noqa: BLE001 - librdkafka's makes them when they are asked for
            admin.list_topics(name, timeout=10)
    return name


def produce(
    brokers: str, topic: str, values: Sequence[bytes], headers: dict[str, bytes] | None = None
) -> None:
    producer = Producer({"bootstrap.servers": brokers, "log_level": 0})
    for number, value in enumerate(values):
        producer.produce(
            topic, value=value, partition=number % PARTITIONS, headers=list((headers or {}).items())
        )
    assert producer.flush(30) == 0


def lines(count: int, start: int = 0) -> list[bytes]:
    return [
        json.dumps({"body": f"line {start + n}", "n": start + n}).encode() for n in range(count)
    ]


def consume(lake: Lake, brokers: str, topic: str, **settings: Any) -> Any:
    options = {"group": topic, "client": CLIENT, "flush_seconds": 0.3, **settings}
    return lake.consume(brokers, topic, until_idle=2.0, **options)


def test_each_message_lands_once_whoever_takes_it(brokers: str, topic: str) -> None:
    produce(brokers, topic, lines(1000))
    with lakerunner.open(f"memory://kafka-once-{topic}") as lake:
        assert consume(lake, brokers, topic).rows == 1000
        produce(brokers, topic, lines(200, 1000))
        # Another group knows nothing of what the first has committed to Kafka: the lake does.
        report = consume(lake, brokers, topic, group="another")
        assert report.rows == 200
        found = lake.sql("SELECT count(*) AS n, count(DISTINCT attr_n) AS d FROM logs").to_pylist()
        assert found == [{"n": 1200, "d": 1200}]


def test_requests_of_otlp_and_text(brokers: str, topic: str) -> None:
    requests = [logs_request(50, seed=number) for number in range(8)]
    produce(brokers, topic, [*requests, b"\xffno request"])
    with lakerunner.open(f"memory://kafka-otlp-{topic}") as lake:
        report = consume(lake, brokers, topic, format="otlp")
        assert report.rows == 400
        (rejection,) = report.rejected
        assert rejection.source.url.startswith("kafka://")
        sent = sum(
            len(scope.log_records)
            for data in requests
            for resource in ExportLogsServiceRequest.FromString(data).resource_logs
            for scope in resource.scope_logs
        )
        assert lake.sql("SELECT count(*) FROM logs").scalar() == sent
        assert lake.retry_rejected().rows == 0
    with lakerunner.open(f"memory://kafka-text-{topic}") as lake:
        assert consume(lake, brokers, topic, format="text").rows >= 9


def test_headers_say_whose_a_message_is(brokers: str, topic: str) -> None:
    produce(brokers, topic, lines(40), {"tenant": b"acme"})
    produce(brokers, topic, lines(4), {"tenant": b"../other"})
    produce(brokers, topic, lines(10))
    with lakerunner.open(f"memory://kafka-owners-{topic}") as lake:
        report = consume(lake, brokers, topic, organization_header="tenant")
        assert lake.for_organization("acme").sql("SELECT count(*) FROM logs").scalar() == 40
        assert lake.sql("SELECT count(*) FROM logs").scalar() == 10
        assert len(report.rejected) == 4
        assert "tenant" in report.rejected[0].reason


CODE = """
import sys, lakerunner
brokers, topic, url, group = sys.argv[1:]
with lakerunner.open(url) as lake:
    print("open", flush=True)
    client = {"session.timeout.ms": 6000, "max.poll.interval.ms": 10000}
    lake.consume(brokers, topic, group=group, flush_seconds=0.2, client=client)
"""


def consumer(brokers: str, topic: str, url: str, group: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, brokers, topic, url, group]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_consumers_that_are_killed_lose_and_repeat_nothing(
    brokers: str, topic: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "lake")
    # noida-db waits for minutes until it takes a member of a group for dead. There each has a group
    # of its own: they know nothing of each other, and all want every message at the same time.
    alone = request.node.callspec.params["brokers"] == "noida"
    groups = (f"{topic}-{number}" if alone else topic for number in count())
    lakerunner.open(url).close()
    sent = threading.Event()

    def feed() -> None:
        for number in range(20):
            produce(brokers, topic, lines(100, 100 * number))
            time.sleep(0.3)
        sent.set()

    feeder = threading.Thread(target=feed)
    feeder.start()
    running = [consumer(brokers, topic, url, next(groups)) for _ in range(2)]
    try:
        while not sent.wait(random.uniform(0.5, 2.0)):  # noqa: S311 - no secret
            kill(running.pop(0))
            running.append(consumer(brokers, topic, url, next(groups)))
    finally:
        for each in running:
            kill(each)
        feeder.join()
    with lakerunner.open(url) as lake:
        for _ in range(10):
            # Until Kafka has noticed that the dead are dead, it gives their partitions to nobody.
            consume(lake, brokers, topic, group=next(groups))
            if lake.sql("SELECT count(*) FROM logs").scalar() >= 2000:
                break
        found = lake.sql("SELECT count(*) AS n, count(DISTINCT attr_n) AS d FROM logs").to_pylist()
        assert found == [{"n": 2000, "d": 2000}]


def test_a_consumer_that_slept_takes_nothing_twice() -> None:
    store = open_store("memory://kafka-claims")
    claims = Claims(store, "c/1", "topic")
    assert claims.newest(0) is None
    assert claims.put(0, Claim(0, 9)) == Claim(0, 9)
    assert claims.put(0, Claim(0, 99)) == Claim(0, 9)
    assert claims.put(0, Claim(10, 19)) == Claim(10, 19)
    # It had gathered from 0 on when it was stopped; the claim from there is long forgotten.
    assert claims.put(0, Claim(0, 99)) is None
    # It begins behind a gap that another one has filled.
    assert claims.put(0, Claim(15, 30)) is None
    assert claims.newest(0) == Claim(10, 19)
    assert claims.newest(1) is None


def test_what_cannot_be_is_said(brokers: str, tmp_path: Path) -> None:
    with lakerunner.open(tmp_path) as lake:
        with pytest.raises(ConfigurationError, match="no format"):
            lake.consume(brokers, "t", format="xml")
        with pytest.raises(ConfigurationError, match="at least one"):
            lake.consume("", "t")
        with pytest.raises(ConfigurationError, match=r"no\.such\.setting"):
            lake.consume(brokers, "t", client={"no.such.setting": 1})
        with pytest.raises(ConfigurationError, match="flush_second"):
            lake.consume(brokers, "t", flush_second=1)
        with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1"):
            lake.consume("127.0.0.1:1", "t", client={"log_level": 0})
