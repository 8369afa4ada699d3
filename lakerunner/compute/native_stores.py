"""DataFusion's own clients of storage services, set up from the options of a store.

DataFusion is given the same credentials and endpoints, in its own words. Options that its client
has no word for are never left out in silence: `native_store` says which, and segments are copied
to disk instead, where every option counts.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa
from datafusion.object_store import AmazonS3, GoogleCloud

from lakerunner.registry import split_scheme
from lakerunner.segments.checksums import damaged_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lakerunner.model.segment import Segment

Options = dict[str, Any]

_S3_WITHOUT_EFFECT = {
    "asynchronous",
    "cache_regions",
    "default_block_size",
    "default_cache_type",
    "default_fill_cache",
    "fixed_upload_size",
    "listings_expiry_time",
    "max_concurrency",
    "s3_additional_kwargs",
    "skip_instance_cache",
    "use_listings_cache",
    "use_ssl",
    "version_aware",
}
"""Options that change nothing for reads of whole keys; writes are not DataFusion's business."""
_KEY, _SECRET, _TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"
_S3_CONFIG_WITHOUT_EFFECT = {"connect_timeout", "max_pool_connections", "read_timeout", "retries"}
_GCS_WITHOUT_EFFECT = {
    "access",
    "block_size",
    "cache_timeout",
    "check_connection",
    "consistency",
    "default_location",
    "project",
    "requests_timeout",
    "session_kwargs",
    "skip_instance_cache",
    "timeout",
    "use_listings_cache",
    "version_aware",
}


class NativeStore(NamedTuple):
    """A bucket that DataFusion reads by itself.

    Attributes:
        scheme: Of its URLs, with `://`.
        bucket: Its name.
        prefix: Of the lake inside it, without slashes at its ends.
        client: What DataFusion reads it by.
    """

    scheme: str
    bucket: str
    prefix: str
    client: Any

    def name(self, key: str) -> str:
        """The key in the bucket for one in the lake."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def url(self, key: str) -> str:
        """The URL by which DataFusion names an object; nothing in it is read as a pattern."""
        return f"{self.scheme}{self.bucket}/{quote(self.name(key))}"


class NotNativeError(Exception):
    """DataFusion cannot read the store by itself; the message says why."""


def native_store(url: str, storage_options: Mapping[str, object], directory: Path) -> NativeStore:
    """The client of DataFusion for the bucket of a store. No request is made.

    Args:
        url: Where the store is rooted.
        storage_options: Its options, in fsspec's words.
        directory: A private directory, for a file of credentials; it is removed again.

    Raises:
        NotNativeError: DataFusion has no client for the scheme, or no word for an option.

    Example:
        >>> options = {"key": "k", "secret": "s", "client_kwargs": {"region_name": "eu-west-1"}}
        >>> native_store("s3://acme/lake", options, Path()).url("a b.parquet")
        's3://acme/lake/a%20b.parquet'
        >>> native_store("s3://acme/lake", {**options, "profile": "dev"}, Path())
        Traceback (most recent call last):
        lakerunner.compute.native_stores.NotNativeError: it has no word for the options profile
    """
    scheme, rest = split_scheme(url)
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3":
        client: Any = AmazonS3(bucket, **s3_arguments(storage_options, os.environ, Path.home()))
    elif scheme == "gs":
        client = _google(bucket, gcs_account(storage_options, os.environ), directory)
    else:
        raise NotNativeError(f"DataFusion has no client for '{scheme}://'")
    return NativeStore(f"{scheme}://", bucket, prefix.strip("/"), client)


def s3_arguments(
    storage_options: Mapping[str, object], environment: Mapping[str, str], home: Path
) -> Options:
    """Arguments of DataFusion's `AmazonS3` for options of `s3fs`.

    Credentials that are in no option are found by both in the same variables, or by the role of the
    machine; those in the files of the AWS command line are found by `s3fs` alone.

    Args:
        storage_options: Options of `s3fs.S3FileSystem`.
        environment: Variables of the process.
        home: Where the files of the AWS command line would be.

    Raises:
        NotNativeError: An option, or a source of credentials, has no counterpart.
    """
    given = _given(storage_options)
    client: Options = dict(given.pop("client_kwargs", {}))
    config: Options = dict(given.pop("config_kwargs", {}))
    key = _first(given.pop("key", None), given.pop("username", None), client.pop(_KEY, None))
    secret = _first(
        given.pop("secret", None), given.pop("password", None), client.pop(_SECRET, None)
    )
    token = _first(given.pop("token", None), client.pop(_TOKEN, None))
    endpoint = _first(
        given.pop("endpoint_url", None),
        client.pop("endpoint_url", None),
        environment.get("AWS_ENDPOINT_URL_S3"),
        environment.get("AWS_ENDPOINT_URL"),
    )
    region = _first(
        client.pop("region_name", None),
        config.pop("region_name", None),
        environment.get("AWS_DEFAULT_REGION"),
        environment.get("AWS_REGION"),
        "us-east-1" if endpoint else None,  # other services have no regions
    )
    _check_config(config, endpoint)
    unknown = [*(given.keys() - _S3_WITHOUT_EFFECT), *(f"client_kwargs.{one}" for one in client)]
    _refuse([*unknown, *(f"config_kwargs.{one}" for one in config)])
    if storage_options.get("use_ssl") is False and not endpoint:
        raise NotNativeError("it reads AWS by https only")
    if region is None:
        raise NotNativeError("the region is not named: client_kwargs={'region_name': …}")
    _check_chain(key, token, environment, home)
    return {
        "region": region,
        "access_key_id": key,
        "secret_access_key": secret,
        "session_token": token,
        "endpoint": endpoint,
        "allow_http": str(endpoint).startswith("http://"),
    }


def _check_config(config: Options, endpoint: Any) -> None:
    """Take out what DataFusion does anyhow; what is left has no counterpart."""
    for name in _S3_CONFIG_WITHOUT_EFFECT:
        config.pop(name, None)
    if config.get("signature_version") == "s3v4":
        del config["signature_version"]
    if config.get("s3") in ({}, {"addressing_style": "path" if endpoint else "auto"}):
        del config["s3"]


def _check_chain(key: Any, token: Any, environment: Mapping[str, str], home: Path) -> None:
    """Refuse where the two would find different credentials."""
    if key is not None:
        if token is None and environment.get("AWS_SESSION_TOKEN"):
            raise NotNativeError("it would take AWS_SESSION_TOKEN along with the given key")
        return
    if environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE"):
        raise NotNativeError("it knows no AWS profiles")
    if environment.get("AWS_ACCESS_KEY_ID"):
        return
    variables = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")
    defaults = (home / ".aws" / "credentials", home / ".aws" / "config")
    if any(
        Path(environment.get(name) or default).exists()
        for name, default in zip(variables, defaults, strict=True)
    ):
        raise NotNativeError("it does not read the files of the AWS command line")


def gcs_account(
    storage_options: Mapping[str, object], environment: Mapping[str, str]
) -> Options | Path | None:
    """The service account by which DataFusion's `GoogleCloud` does what options of `gcsfs` say.

    Args:
        storage_options: Options of `gcsfs.GCSFileSystem`.
        environment: Variables of the process.

    Returns:
        The content of an account's file, the path of one, or None for Google's default chain.

    Raises:
        NotNativeError: An option, or the kind of credentials, has no counterpart.
    """
    given = _given(storage_options)
    token = given.pop("token", None)
    endpoint = _first(given.pop("endpoint_url", None), environment.get("STORAGE_EMULATOR_HOST"))
    _refuse(given.keys() - _GCS_WITHOUT_EFFECT)
    if endpoint is not None and "://" not in str(endpoint):
        endpoint = f"http://{endpoint}"
    if isinstance(token, str) and Path(token).is_file():
        if endpoint is None and _is_account(json.loads(Path(token).read_text())):
            return Path(token)
        token = json.loads(Path(token).read_text())
    base = {} if endpoint is None else {"gcs_base_url": str(endpoint).rstrip("/")}
    if token == "anon":  # noqa: S105 - what gcsfs calls no credentials
        empty = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        return {**base, "disable_oauth": True, **empty}
    if isinstance(token, dict) and _is_account(token):
        return {**token, **base}
    if token in (None, "google_default") and endpoint is None:
        return None
    raise NotNativeError("it takes no credentials but a service account, Google's default, or none")


def _is_account(token: Any) -> bool:
    return isinstance(token, dict) and token.get("type") == "service_account"


def _google(bucket: str, account: Options | Path | None, directory: Path) -> Any:
    if not isinstance(account, dict):
        return GoogleCloud(bucket, None if account is None else str(account))
    path = directory / "service-account.json"
    try:
        path.touch(mode=0o600)
        path.write_text(json.dumps(account))
        return GoogleCloud(bucket, str(path))
    finally:
        path.unlink(missing_ok=True)


def _given(storage_options: Mapping[str, object]) -> Options:
    return {k: v for k, v in storage_options.items() if v not in (None, False, {}, "")}


def _first(*values: Any) -> Any:
    return next((value for value in values if value), None)


def _refuse(options: Any) -> None:
    if options:
        raise NotNativeError(f"it has no word for the options {', '.join(sorted(options))}")


# Copies of segments on local disk that processes share and that outlive them.
#
# A directory holds each copy once, under the name of its segment. Whoever reads one gets another
# name of the same file, a hard link in a place of its own. So copies can be removed at any time, by
# anybody, and nobody loses a file that is being read.

_LOG = logging.getLogger(__name__)
_SUFFIX = ".parquet"
_LEFT_SECONDS = 86_400.0
"""Age at which what a process that died left behind is removed."""


class SharedCopies:
    """The copies of segments of one lake. May be used from several threads and processes at once.

    Args:
        directory: Where they are kept; made if it is not there.
        lake: Which lake; copies of several may share a directory.
        bound_bytes: Bytes that they may take. It is looked at after each new copy, and by each
            process for itself, so a little more may be there for a moment.

    Attributes:
        links: A directory of this object alone, on the same disk.

    Raises:
        OSError: The directory cannot be written.
    """

    def __init__(self, directory: Path, lake: str, bound_bytes: int) -> None:
        name = hashlib.blake2b(lake.encode(), digest_size=12).hexdigest()
        self._directory = directory.absolute() / name
        self._bound = bound_bytes
        self._lock = threading.Lock()
        self._sound: set[str] = set()
        held = self._directory / "held"
        held.mkdir(parents=True, exist_ok=True)
        self._remove_left(held)
        self.links = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=held))

    def link(self, segment: Segment, path: Path, fetch: Callable[[], bytes]) -> bool:
        """Give a copy of a segment another name, and make the copy if there is none.

        A copy that is not as it was written is made again. It is looked at once in each process, as
        a whole.

        Args:
            segment: Which.
            path: The name, in `links`.
            fetch: Gets its bytes.

        Returns:
            Whether there was a copy.

        Raises:
            OSError: It cannot be written: the disk is full, or the directory is gone.
        """
        copy = self._directory / f"{segment.id.encode().hex()}{_SUFFIX}"
        if self._linked(segment, copy, path):
            os.utime(copy)
            return True
        data = fetch()
        partial = self.links / f"{threading.get_ident()}.partial"
        try:
            partial.write_bytes(data)
            with suppress(FileExistsError):  # another thread was first
                os.link(partial, path)
            partial.replace(copy)
        finally:
            partial.unlink(missing_ok=True)
        self._sound.add(segment.id)  # the caller looks at what it got from the store
        self._evict(keep=copy)
        return False

    def _linked(self, segment: Segment, copy: Path, path: Path) -> bool:
        try:
            os.link(copy, path)
        except FileNotFoundError:
            return False
        except FileExistsError:  # another thread was first, and has looked at it
            return True
        if self._is_sound(segment, path):
            return True
        _LOG.warning("a copy of segment %s is damaged and is made again: %s", segment.id, copy)
        path.unlink()
        copy.unlink(missing_ok=True)
        return False

    def _is_sound(self, segment: Segment, path: Path) -> bool:
        if path.stat().st_size != segment.bytes:
            return False
        if segment.id not in self._sound and segment.checksums:
            with pa.OSFile(str(path)) as file:
                if damaged_parts(file, segment):
                    return False
            self._sound.add(segment.id)
        return True

    def _evict(self, keep: Path) -> None:
        """Remove the copies that were not used for longest, until the others are few enough."""
        with self._lock:
            found = []
            for entry in os.scandir(self._directory):
                with suppress(FileNotFoundError):  # another process removed it meanwhile
                    if entry.name.endswith(_SUFFIX):
                        stat = entry.stat()
                        found.append((stat.st_mtime_ns, stat.st_size, entry.path))
            excess = sum(size for _, size, _ in found) - self._bound
            for _, size, path in sorted(found):
                if excess <= 0:
                    break
                if path != str(keep):
                    Path(path).unlink(missing_ok=True)
                    excess -= size

    def make_room(self) -> None:
        """Remove all copies that nobody reads, for the disk is full."""
        with self._lock:
            for entry in os.scandir(self._directory):
                if entry.name.endswith(_SUFFIX):
                    Path(entry.path).unlink(missing_ok=True)

    @staticmethod
    def _remove_left(held: Path) -> None:
        """Links of processes that are gone: a process that lives touches its directory."""
        for entry in os.scandir(held):
            with suppress(OSError):
                if time.time() - entry.stat().st_mtime > _LEFT_SECONDS:
                    shutil.rmtree(entry.path, ignore_errors=True)

    def close(self) -> None:
        """Let go of all links; the copies stay."""
        shutil.rmtree(self.links, ignore_errors=True)
