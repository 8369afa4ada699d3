"""Objects in Google Cloud Storage, on fsspec's `gcsfs`."""

from __future__ import annotations

import asyncio
import io
import json
import re
import secrets
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import quote

import aiohttp
import google.auth.exceptions as auth
import yarl
from gcsfs.core import GCSFileSystem
from gcsfs.retry import HttpError

from lakerunner.errors import ObjectDeniedError, StoreError, StoreUnavailableError
from lakerunner.limits import PUT_BYTES, STORE_TIMEOUT_SECONDS
from lakerunner.store.base import PutMode
from lakerunner.store.failures import answer_error
from lakerunner.store.remote import Answer, Page, RemoteStore

if TYPE_CHECKING:
    from lakerunner.store.filesystem import Info

_TIMEOUT = aiohttp.ClientTimeout(
    total=None, sock_connect=STORE_TIMEOUT_SECONDS, sock_read=STORE_TIMEOUT_SECONDS
)
_FIELDS = "name,size,generation,updated"
_NO_BUCKET = re.compile(r"bucket does not exist", re.IGNORECASE)
_OK = 300


class _Reply(NamedTuple):
    headers: Any
    body: bytes


class _RefusedError(Exception):
    """An answer that is no success, on its way to `translate`."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.said = _message(body)


class GcsStore(RemoteStore):
    """A bucket of Google Cloud Storage, or a prefix of one.

    Options are those of `gcsfs.GCSFileSystem`: `token`, `project`, `endpoint_url`, `requester_pays`
    and so on. `gcsfs` finds the credentials and keeps the connections; the requests are made here,
    one for each verb of the store, because its own repeat a create-only upload whose reply was
    lost, and ask for the kind of the bucket before the first of them. The rights it needs are those
    of the role Storage Object User.

    The etag is the generation of the object: every overwrite has another.

    Example:
        >>> GcsStore("gs://acme-telemetry/lake/", {"token": "anon"})
        GcsStore('gs://acme-telemetry/lake')
    """

    protocol: ClassVar[str] = "gs"
    etag_fields: ClassVar[tuple[str, ...]] = ("generation",)
    time_fields: ClassVar[tuple[str, ...]] = ("updated",)

    def connect(self) -> Any:
        """Open a filesystem of our own, for `close` to close, that unpacks nothing by itself."""
        options: dict[str, Any] = {**self.storage_options}
        session = {"auto_decompress": False, **(options.pop("session_kwargs", None) or {})}
        try:
            return GCSFileSystem(
                **{"use_listings_cache": False, **options},
                session_kwargs=session,
                skip_instance_cache=True,
            )
        except Exception as error:
            ours = self.translate(error, self.url, "")
            if ours is error:
                raise
            raise ours from error

    def disconnect(self, filesystem: Any) -> None:
        """Close the session; the filesystem's own finalizer finds nothing left to close."""
        filesystem.close_session(filesystem.loop, filesystem.session)

    async def fetch(self, filesystem: Any, name: str, span: str) -> Answer:
        """`GET …?alt=media`, as it is stored: nothing is unpacked on the way."""
        headers = {"Accept-Encoding": "gzip", **({"Range": span} if span else {})}
        reply = await self._send(filesystem, "GET", self._object(name), headers, None, alt="media")
        total = reply.headers.get("Content-Range", "").rpartition("/")[2] or len(reply.body)
        info = {
            "size": int(total),
            "generation": reply.headers.get("X-Goog-Generation"),
            "ContentType": reply.headers.get("Content-Type"),
            "updated": parsedate_to_datetime(reply.headers["Last-Modified"]),
        }
        return Answer(info, reply.body)

    async def describe(self, filesystem: Any, name: str) -> Info:
        """`GET` of the description."""
        reply = await self._send(filesystem, "GET", self._object(name), {}, None, fields=_FIELDS)
        info: Info = json.loads(reply.body)
        return info

    async def upload(self, filesystem: Any, name: str, data: bytes, mode: PutMode) -> Info:
        """`POST …?uploadType=multipart`, whose answer describes the version written."""
        if len(data) > PUT_BYTES:
            raise StoreError(f"{name!r} has {len(data):,} bytes; the limit is {PUT_BYTES:,}")
        condition = {"ifGenerationMatch": "0"} if mode is PutMode.CREATE else {}
        boundary = secrets.token_hex(16)
        parts = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
        parts += json.dumps({"name": name})
        parts += f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        # Not as plain bytes: aiohttp sends those without letting other requests in between.
        body = io.BytesIO(b"".join((parts.encode(), data, f"\r\n--{boundary}--\r\n".encode())))
        reply = await self._send(
            filesystem,
            "POST",
            f"upload/storage/v1/b/{quote(self.bucket, safe='')}/o",
            {"Content-Type": f"multipart/related; boundary={boundary}"},
            body,
            uploadType="multipart",
            fields=_FIELDS,
            **condition,
        )
        info: Info = json.loads(reply.body)
        return info

    async def page(self, filesystem: Any, prefix: str, start_after: str, token: str) -> Page:
        """`GET` of the objects of a bucket."""
        asked = {"prefix": prefix, "startOffset": start_after, "pageToken": token}
        wanted = {key: value for key, value in asked.items() if value}
        path = f"storage/v1/b/{quote(self.bucket, safe='')}/o"
        fields = f"nextPageToken,items({_FIELDS})"
        reply = await self._send(filesystem, "GET", path, {}, None, fields=fields, **wanted)
        answer = json.loads(reply.body)
        items = [item for item in answer.get("items", ()) if item["name"] != start_after]
        return Page(items, answer.get("nextPageToken", ""))

    async def remove(self, filesystem: Any, name: str) -> None:
        """`DELETE`."""
        await self._send(filesystem, "DELETE", self._object(name), {}, None)

    def _object(self, name: str) -> str:
        return f"storage/v1/b/{quote(self.bucket, safe='')}/o/{quote(name, safe='')}"

    async def _send(
        self,
        filesystem: Any,
        method: str,
        path: str,
        headers: dict[str, str],
        data: io.BytesIO | None,
        /,
        **parameters: str,
    ) -> _Reply:
        """One request, with the credentials and over the connections of `gcsfs`."""
        session = await filesystem._set_session()  # noqa: SLF001 - no other way to send only once
        session._retry_connection = False  # noqa: SLF001 - aiohttp would repeat by itself
        sent = {"Accept-Encoding": "identity", **headers}
        query = "&".join(
            f"{key}={quote(str(value), safe='')}"
            for key, value in filesystem._get_params(parameters).items()  # noqa: SLF001 - as above
        )
        url = yarl.URL(f"{filesystem._location}/{path}?{query}", encoded=True)  # noqa: SLF001 - as above
        async with session.request(
            method,
            url,
            headers=filesystem._get_headers(sent),  # noqa: SLF001 - as above
            data=data,
            timeout=filesystem.requests_timeout or _TIMEOUT,
        ) as response:
            body = await response.read()
            if response.status >= _OK:
                raise _RefusedError(response.status, body)
            return _Reply(response.headers, body)

    def translate(self, error: Exception, url: str, key: str) -> Exception:
        """The error to raise for an answer, or for what broke on the way to one."""
        if isinstance(error, _RefusedError):
            missing = error.status == 404 and _NO_BUCKET.search(error.said)  # noqa: PLR2004 - a status
            code = "NoSuchBucket" if missing else ""
            return answer_error(error.status, code, error.said, url=url, key=key)
        if isinstance(error, auth.GoogleAuthError | HttpError):
            if isinstance(error, auth.TransportError):
                return StoreUnavailableError(f"{url}: {error}", url=url, key=key, lost=False)
            return ObjectDeniedError(f"no credentials for {url}: {error}", url=url, key=key)
        if isinstance(error, aiohttp.ClientError | asyncio.TimeoutError):
            lost = not isinstance(error, aiohttp.ClientConnectorError)
            said = str(error) or type(error).__name__
            return StoreUnavailableError(f"{key!r} in {url}: {said}", url=url, key=key, lost=lost)
        return super().translate(error, url, key)


def _message(body: bytes) -> str:
    """What an answer says in words: JSON of Google's form, or text."""
    text = body.decode(errors="replace").strip()
    try:
        told = json.loads(text)["error"]
        return str(told["message"] if isinstance(told, dict) else told)
    except (ValueError, KeyError, TypeError):
        return text[:500]
