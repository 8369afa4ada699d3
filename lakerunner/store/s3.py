"""Objects in S3, and in services that speak its protocol, on fsspec's `s3fs`."""

from __future__ import annotations

import os
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar

import s3fs
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore import exceptions as boto
from botocore.loaders import create_loader

from lakerunner.errors import (
    ConfigurationError,
    ObjectDeniedError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.limits import PUT_BYTES, STORE_TIMEOUT_SECONDS
from lakerunner.store.base import PutMode
from lakerunner.store.failures import answer_error, translated
from lakerunner.store.remote import Answer, Page, RemoteStore

if TYPE_CHECKING:
    from lakerunner.store.base import Buffer
    from lakerunner.store.filesystem import Info

_TIMEOUTS = {"connect_timeout": STORE_TIMEOUT_SECONDS, "read_timeout": STORE_TIMEOUT_SECONDS}
_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.NoAuthTokenError,
    boto.TokenRetrievalError,
)
_LOADER = create_loader(os.environ.get("AWS_DATA_PATH"))
_UNSENT = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)
_CALL = (boto.ParamValidationError, boto.ValidationError, boto.InvalidDNSNameError)


class _SendOnce(AIOHTTPSession):  # type: ignore[misc]  # it ships no types
    """Connections that repeat nothing: aiohttp would send a put again when its reply is lost."""

    async def _get_session(self, proxy_url: Any) -> Any:
        session = await super()._get_session(proxy_url)
        session._retry_connection = False  # noqa: SLF001 - aiohttp has no public word for it
        return session


def _session(profile: str | None) -> Any:
    """A session of our own that shares what botocore knows of AWS: reading that takes 0.1 s."""
    session = AioSession(profile=profile)
    session.register_component("data_loader", _LOADER)
    return session


class S3Store(RemoteStore):
    """A bucket of S3 or of a compatible service, or a prefix of one.

    Options are those of `s3fs.S3FileSystem`: `key`, `secret`, `token`, `anon`, `endpoint_url`,
    `client_kwargs`, `config_kwargs`, `profile`, `s3_additional_kwargs` (for encryption) and so on.
    Requests are `GetObject`, `HeadObject`, `PutObject`, `DeleteObject` and `ListObjectsV2`; the
    rights to these five are all it needs. A put is one `PutObject` and one `HeadObject`, for the
    answer to the first does not tell the time; `create` is the first alone. It takes `PUT_BYTES` at
    most.

    S3 makes the etag of a plain upload from its bytes: to write the same bytes again gives the same
    etag, so a raw object that is uploaded twice is one source. Listings are in the order of the
    service: SeaweedFS compares keys part by part, so `a/x` comes before `a-b/x` there, also in what
    `start_after` means. Directory buckets (S3 Express) list in no order and cannot hold a lake.

    Example:
        >>> S3Store("s3://acme-telemetry/lake/", {"anon": True})
        S3Store('s3://acme-telemetry/lake')
    """

    protocol: ClassVar[str] = "s3"
    etag_fields: ClassVar[tuple[str, ...]] = ("ETag",)
    time_fields: ClassVar[tuple[str, ...]] = ("LastModified",)

    def connect(self) -> Any:
        """Open a filesystem of our own, for `close` to close, that repeats nothing by itself."""
        options: dict[str, Any] = {**self.storage_options}
        config = {**_TIMEOUTS, **(options.pop("config_kwargs", None) or {})}
        config["retries"] = {"mode": "standard", "total_max_attempts": 1}
        config.setdefault("http_session_cls", _SendOnce)
        if options.get("session") is None:
            options["session"] = _session(options.pop("profile", None))
        filesystem = s3fs.S3FileSystem(
            **{"use_listings_cache": False, **options},
            config_kwargs=config,
            skip_instance_cache=True,
        )
        filesystem.retries = 1
        try:
            filesystem.connect()
        except Exception as error:
            ours = self.translate(error, self.url, "")
            if ours is error:
                raise
            raise ours from error
        return filesystem

    def disconnect(self, filesystem: Any) -> None:
        """Close the client; the filesystem's own finalizer finds nothing left to close."""
        filesystem.close_session(filesystem.loop, filesystem._s3creator)  # noqa: SLF001 - no other way

    async def fetch(self, filesystem: Any, name: str, span: str) -> Answer:
        """`GetObject`."""
        ranged = {"Range": span} if span else {}
        answer = await self._call(filesystem, "get_object", Key=name, **ranged)
        async with answer["Body"] as body:
            data = await body.read()
        total = answer.get("ContentRange", "").rpartition("/")[2] or len(data)
        return Answer({**answer, "size": int(total)}, data)

    async def describe(self, filesystem: Any, name: str) -> Info:
        """`HeadObject`."""
        answer = await self._call(filesystem, "head_object", Key=name)
        return {**answer, "size": answer["ContentLength"]}

    def create(self, key: str, data: Buffer) -> None:
        """`PutObject` alone: nobody asks for the time."""
        name = self._name(self._path(key))
        with translated(self.url, key, self.translate), self._bucket_expected():
            self.request(key, self._send, name, bytes(data), PutMode.CREATE, once=True)

    async def _send(self, filesystem: Any, name: str, data: bytes, mode: PutMode) -> Any:
        if len(data) > PUT_BYTES:
            raise StoreError(f"{name!r} has {len(data):,} bytes; S3 takes {PUT_BYTES:,} at once")
        condition = {"IfNoneMatch": "*"} if mode is PutMode.CREATE else {}
        return await self._call(filesystem, "put_object", Key=name, Body=data, **condition)

    async def upload(self, filesystem: Any, name: str, data: bytes, mode: PutMode) -> Info:
        """`PutObject`, then `HeadObject`."""
        written = await self._send(filesystem, name, data, mode)
        try:
            found = await self.describe(filesystem, name)
        except Exception as error:
            ours = self.translate(error, self.url, name)
            if not isinstance(ours, ObjectNotFoundError):
                raise
            found = {}
        if found.get("ETag") != written["ETag"]:
            # Somebody has replaced it already, or removed it: of our version the time is not known
            # any better than this.
            headers = written["ResponseMetadata"]["HTTPHeaders"]
            found = {**written, "LastModified": parsedate_to_datetime(headers["date"])}
        return {**found, "size": len(data)}

    async def page(self, filesystem: Any, prefix: str, start_after: str, token: str) -> Page:
        """`ListObjectsV2`."""
        begin = {"ContinuationToken": token} if token else {"StartAfter": start_after}
        wanted = {key: value for key, value in begin.items() if value}
        answer = await self._call(filesystem, "list_objects_v2", Prefix=prefix, **wanted)
        infos = [
            {**item, "name": item["Key"], "size": item["Size"]}
            for item in answer.get("Contents", ())
        ]
        return Page(infos, answer.get("NextContinuationToken", ""))

    async def remove(self, filesystem: Any, name: str) -> None:
        """`DeleteObject`."""
        await self._call(filesystem, "delete_object", Key=name)

    async def _call(self, filesystem: Any, operation: str, **arguments: Any) -> Any:
        return await filesystem._call_s3(operation, Bucket=self.bucket, **arguments)  # noqa: SLF001 - no other way on this loop

    def translate(self, error: Exception, url: str, key: str) -> Exception:
        """The error to raise for one of botocore; `s3fs` wraps some of them in errors of its own.

        It makes two different ones of the same refused create-only put, depending on the service,
        so what it made is not looked at.
        """
        cause = error.__cause__ if isinstance(error.__cause__, boto.ClientError) else error
        if isinstance(cause, boto.ClientError):
            told = cause.response.get("Error", {})
            status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code, message = str(told.get("Code", "")), str(told.get("Message", ""))
            return answer_error(status, code, message, url=url, key=key)
        if isinstance(cause, _CREDENTIALS):
            return ObjectDeniedError(f"no credentials for {url}: {cause}", url=url, key=key)
        if isinstance(cause, _CALL):
            return ConfigurationError(f"{url}: {cause}", url=url, key=key)
        if isinstance(cause, boto.BotoCoreError):
            lost = not isinstance(cause, _UNSENT)
            return StoreUnavailableError(f"{key!r} in {url}: {cause}", url=url, key=key, lost=lost)
        return super().translate(error, url, key)
