"""S3: the suite on two services, and what holds for it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import settings
from hypothesis.stateful import rule, run_state_machine_as_test

from lakerunner.store import ObjectStore, open_store
from lakerunner.testing.store import StoreSuite
from lakerunner.testing.store_fixture import ODD_KEYS, PREFIXES, STARTS, TREE
from lakerunner.testing.store_machine import PREFIXES as MACHINE_PREFIXES
from lakerunner.testing.store_machine import StoreMachine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from lakerunner.testing.servers import Service


def boto_client(service: Service) -> Any:
    options: Any = service.storage_options
    return boto3.client(
        "s3",
        endpoint_url=service.endpoint,
        aws_access_key_id=options["key"],
        aws_secret_access_key=options["secret"],
        region_name="us-east-1",
    )


class S3Suite(StoreSuite):
    """Behind the store's back works boto3: another client, over other connections."""

    new_etags: ClassVar[bool] = False  # they are made of the bytes
    service: Service
    client: Any

    def use(self, service: Service) -> Iterator[None]:
        self.service = service
        self.client = boto_client(service)
        yield
        self.client.close()

    def open_store(self, place: Path) -> ObjectStore:
        return open_store(f"s3://lake/{place.name}", self.service.storage_options)

    def raw_write(self, store: ObjectStore, key: str, data: bytes) -> None:
        self.client.put_object(**_where(store, key), Body=data)

    def raw_read(self, store: ObjectStore, key: str) -> bytes:
        try:
            data: bytes = self.client.get_object(**_where(store, key))["Body"].read()
        except ClientError as error:
            raise FileNotFoundError(key) from error
        return data

    def raw_delete(self, store: ObjectStore, key: str) -> None:
        self.client.delete_object(**_where(store, key))


def _where(store: ObjectStore, key: str) -> dict[str, str]:
    return {"Bucket": "lake", "Key": f"{store.url.removeprefix('s3://lake/')}/{key}"}


class TestMoto(S3Suite):
    adapter = "S3 on moto"

    @pytest.fixture(autouse=True)
    def _service(self, moto_s3: Service) -> Iterator[None]:
        yield from self.use(moto_s3)


def seaweedfs_listing(keys: Iterable[str], prefix: str, start: str) -> list[str]:
    """What SeaweedFS lists: it keeps keys as files in directories, and compares them as such.

    `a/x` comes before `a-b/x`, because `a` comes before `a-b`. To start behind `a` passes over the
    directory of that name with all that is in it. S3 compares keys as texts.
    """

    def parts(key: str) -> list[bytes]:
        return key.encode().split(b"/")

    home = prefix[: prefix.rfind("/") + 1]
    if not start.startswith(home):  # all of the prefix lies on one side of it
        start = "" if start < home else "\U0010ffff"
    return [
        key
        for key in sorted(keys, key=parts)
        if key.startswith(prefix) and parts(key) > parts(start)
        if not (start and key.startswith(f"{start}/"))
    ]


class TestSeaweedFS(S3Suite):
    """Where SeaweedFS 4.48 is not like S3, what it does is written down here, and nothing else."""

    adapter = "S3 on SeaweedFS"
    races = 3  # it lets the losers wait for a second

    @pytest.fixture(autouse=True)
    def _service(self, seaweed: Service) -> Iterator[None]:
        yield from self.use(seaweed)

    @pytest.mark.parametrize("key", [key for key in ODD_KEYS if "\\" not in key], ids=ascii)
    def test_a_key_is_plain_text(self, store: ObjectStore, key: str) -> None:
        super().test_a_key_is_plain_text(store, key)

    def test_a_backslash_becomes_a_slash(self, store: ObjectStore) -> None:
        assert store.put("a\\b", b"1") == store.head("a\\b")
        assert store.get("a\\b").data == store.get("a/b").data == b"1"
        assert [meta.key for meta in store.list()] == ["a/b"]

    @pytest.mark.parametrize("prefix", PREFIXES, ids=ascii)
    def test_a_listing(self, store: ObjectStore, prefix: str) -> None:
        for key in reversed(TREE):
            self.raw_write(store, key, key.encode())
        for start in STARTS:
            expected = seaweedfs_listing(TREE, prefix, start)
            found = store.list(prefix, start_after=start)
            assert list(found) == [store.head(key) for key in expected]

    def test_any_history(self, place: Path) -> None:
        store = self.open_store(place)

        class Machine(StoreMachine):
            def __init__(run) -> None:  # noqa: N805 - `self` is the suite
                super().__init__(store, self.raw_write, self.raw_delete, new_etags=False)

            @rule(prefix=MACHINE_PREFIXES, start_after=MACHINE_PREFIXES)
            def list_part(run, prefix: str, start_after: str) -> None:  # noqa: N805 - as above
                after = run.home + start_after if start_after else ""
                found = store.list(run.home + prefix, start_after=after)
                expected = seaweedfs_listing(run.model, prefix, start_after)
                assert [meta.key for meta in found] == [run.home + key for key in expected]

        examples = max(1, settings().max_examples // 4)
        run_state_machine_as_test(
            Machine, settings=settings(max_examples=examples, stateful_step_count=30)
        )
        store.close()
