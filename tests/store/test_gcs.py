"""Google Cloud Storage: the suite on fake-gcs-server, and what holds for it alone."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from google.api_core.exceptions import NotFound
from google.cloud import storage

from lakerunner.store import ByteRange, ObjectStore, open_store
from lakerunner.testing.store import StoreSuite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.testing.servers import Service


class TestGcsStore(StoreSuite):
    """Behind the store's back works Google's own client."""

    adapter = "GCS on fake-gcs-server"

    @pytest.fixture(autouse=True)
    def _service(self, google: Service) -> Iterator[None]:
        self.service = google
        client = storage.Client(
            project="lakerunner",
            client_options={"api_endpoint": google.endpoint},
            use_auth_w_custom_endpoint=False,
        )
        self.bucket = client.bucket("lake")
        yield
        client.close()

    def open_store(self, place: Path) -> ObjectStore:
        return open_store(f"gs://lake/{place.name}", self.service.storage_options)

    def raw_write(self, store: ObjectStore, key: str, data: bytes) -> None:
        self._blob(store, key).upload_from_string(data, "application/octet-stream")

    def raw_read(self, store: ObjectStore, key: str) -> bytes:
        try:
            data: bytes = self._blob(store, key).download_as_bytes()
        except NotFound as error:
            raise FileNotFoundError(key) from error
        return data

    def raw_delete(self, store: ObjectStore, key: str) -> None:
        self._blob(store, key).delete()

    def _blob(self, store: ObjectStore, key: str) -> storage.Blob:
        return self.bucket.blob(f"{store.url.removeprefix('gs://lake/')}/{key}")


def test_what_is_stored_packed_is_read_as_it_is_stored(google: Service) -> None:
    client = storage.Client(
        project="lakerunner",
        client_options={"api_endpoint": google.endpoint},
        use_auth_w_custom_endpoint=False,
    )
    packed = gzip.compress(b"record " * 1000)
    blob = client.bucket("lake").blob("packed/a.json.gz")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed, "application/json")
    client.close()
    store = open_store("gs://lake/packed", google.storage_options)
    meta, data, content_type = store.get("a.json.gz")
    assert (meta.size, data, content_type) == (len(packed), packed, "application/json")
    assert store.get("a.json.gz", ByteRange(0, 2)).data == packed[:2]
    store.close()
