"""A queue of SQS, on moto: what is put lands once; leases, retries, and what is refused."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import lakerunner
from lakerunner.errors import ConfigurationError, EventsUnavailableError
from lakerunner.events import Delivery, open_source
from lakerunner.events.sqs import SqsSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def source(cloud: Any) -> Iterator[SqsSource]:
    with SqsSource(cloud.url, cloud.options, lease_seconds=1) as opened:
        yield opened


@pytest.fixture
def lake(cloud: Any, tmp_path: Path) -> Iterator[lakerunner.Lake]:
    with lakerunner.open(tmp_path / "lake", storage_options=cloud.options) as opened:
        yield opened


def bodies(lake: lakerunner.Lake) -> list[str]:
    found: list[str] = (
        lake.sql("SELECT body FROM logs ORDER BY body").to_arrow()["body"].to_pylist()
    )
    return found


def test_objects_that_are_put_land_once(cloud: Any, lake: lakerunner.Lake) -> None:
    cloud.announce()  # sends a test event
    keys = ["logs_1.binpb", "otel-raw/org 1/a+b=c%/logs_ü.binpb"]
    for number, key in enumerate(keys):
        cloud.put(key, f"{number}a", f"{number}b")
    cloud.put("logs_gone.binpb", "gone")
    cloud.s3.delete_object(Bucket=cloud.bucket, Key="logs_gone.binpb")
    cloud.send("no JSON")
    cloud.send(cloud.event("logs_1.binpb"))  # in a version that is not there any more
    report = lake.watch(cloud.url, until_idle=0.9, max_age=0.2)
    assert bodies(lake) == ["0a", "0b", "1a", "1b"]
    assert (report.objects, report.rows, report.gone) == (2, 4, 0)
    assert [each.code for each in report.failed] == ["object_not_found"]
    assert ["not JSON" in each.reason for each in report.rejected] == [True]


def test_an_upload_in_parts_lands_once(cloud: Any, lake: lakerunner.Lake) -> None:
    cloud.announce()
    where = {"Bucket": cloud.bucket, "Key": "logs_1.jsonl"}
    line = b'{"timestamp": "2026-09-22T12:00:00Z", "body": "%s"}\n' % (b"x" * 6000)
    upload = where | {"UploadId": cloud.s3.create_multipart_upload(**where)["UploadId"]}
    tags = [
        {
            "ETag": cloud.s3.upload_part(**upload, PartNumber=n, Body=line * 1000)["ETag"],
            "PartNumber": n,
        }
        for n in (1, 2)
    ]
    watching = threading.Thread(
        target=lake.watch, args=(cloud.url,), kwargs={"until_idle": 2.0, "max_age": 0.1}
    )
    watching.start()  # moto announces parts, before there is an object
    time.sleep(0.5)
    cloud.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": tags})
    watching.join(30)
    assert lake.sql("SELECT count(*) AS n FROM logs").to_arrow()["n"].to_pylist() == [2000]


def test_a_trickle_becomes_few_segments(cloud: Any, lake: lakerunner.Lake) -> None:
    cloud.announce()

    def trickle() -> None:
        for number in range(200):
            cloud.put(f"logs_{number}.binpb", f"{number:03}")

    thread = threading.Thread(target=trickle)
    thread.start()
    report = lake.watch(cloud.url, until_idle=1.0, max_age=0.7)
    thread.join()
    assert bodies(lake) == [f"{number:03}" for number in range(200)]
    assert report.segments == len(lake.segments()) <= 8
    assert cloud.left() == 0


def test_what_is_not_settled_comes_again(cloud: Any, source: SqsSource) -> None:
    cloud.send(cloud.event("a"))
    (first,) = source.receive(10, 0)
    assert [each.url for each in first.events] == [f"s3://{cloud.bucket}/a"]
    source.release([first])
    (second,) = source.receive(10, 2)
    source.release([second], 1)
    assert not source.receive(10, 0)
    (third,) = source.receive(10, 5)
    source.acknowledge([third])
    assert cloud.left() == 0
    source.acknowledge([first, second, third])  # too late does no harm
    source.release([first])
    source.extend([first])


def test_a_lease_ends_unless_it_is_kept(cloud: Any, source: SqsSource) -> None:
    cloud.send(cloud.event("a"))
    held = source.receive(1, 0)
    for _ in range(3):
        time.sleep(0.5)
        source.extend(held)
        assert not source.receive(1, 0)
    assert len(source.receive(1, 3)) == 1


def test_many_messages_are_settled_ten_at_a_time(cloud: Any, source: SqsSource) -> None:
    for number in range(23):
        cloud.send(cloud.event(f"{number}"))
    found: list[Delivery] = []
    while len(found) < 23:
        found += source.receive(1000, 1)
    assert len({each.events for each in found}) == 23
    source.extend(found)
    source.acknowledge(found)
    assert cloud.left() == 0


def test_a_queue_by_its_own_url(cloud: Any) -> None:
    cloud.send(cloud.event("a"))
    with open_source(cloud.queue_url, cloud.options) as opened:
        assert len(opened.receive(1, 0)) == 1


def test_a_queue_that_is_not_there(cloud: Any) -> None:
    with (
        SqsSource("sqs://nowhere", cloud.options) as opened,
        pytest.raises(ConfigurationError, match="nowhere"),
    ):
        opened.receive(1, 0)


def test_a_service_that_does_not_answer(cloud: Any) -> None:
    options = {**cloud.options, "endpoint_url": "http://127.0.0.1:9"}
    with SqsSource(cloud.url, options) as opened, pytest.raises(EventsUnavailableError):
        opened.receive(1, 0)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/raw", "eu-west-1"),
        ("sqs://sqs.cn-north-1.amazonaws.com.cn/123456789012/raw", "cn-north-1"),
    ],
)
def test_the_region_is_in_the_url(url: str, region: str) -> None:
    with SqsSource(url, {"key": "k", "secret": "s"}) as opened:
        client = opened._connected()
        assert client.meta.region_name == region
        assert opened._queue.startswith("https://sqs.")
