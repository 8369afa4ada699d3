"""How a URL or a path names a bucket, and a key in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from lakerunner.errors import ConfigurationError, ObjectRangeError
from lakerunner.printable import holds_credentials, without_secrets
from lakerunner.registry import load_adapter, split_scheme

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from lakerunner.store.base import ByteRange, ObjectStore

_WITHOUT_BUCKET = {"file", "memory"}


def refuse_credentials(url: str) -> None:
    """Refuse a URL with a user and a password in it: it is kept, shown and logged.

    Raises:
        ConfigurationError: It has.

    Example:
        >>> refuse_credentials("s3://KEY:SECRET@b")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        lakerunner.errors.ConfigurationError: credentials have no place in the URL s3://***@b: ...
    """
    if split_scheme(url)[0] not in _WITHOUT_BUCKET and holds_credentials(url):
        raise ConfigurationError(
            f"credentials have no place in the URL {without_secrets(url)}: give them as "
            "storage_options, such as {'key': …, 'secret': …}, or in the environment"
        ) from None


class Location(NamedTuple):
    """A place in a bucket.

    Attributes:
        bucket: URL of the bucket, without a trailing slash: what `open_store` opens to read input,
            and `Source.bucket`.
        key: Key, prefix or glob inside the bucket; ends at a `/` if the URL does.
    """

    bucket: str
    key: str


def locate(url: str | PathLike[str]) -> Location:
    """Split a URL into its bucket and the key in it.

    A path is taken from the current directory, `.` and `..` are resolved, and `~` is a name like
    any other. The machine's file system is one bucket, `file://`, and so is the process's memory,
    `memory://`. What a `file://` URL has percent-encoded is decoded, as `Path.as_uri` writes it;
    elsewhere a `%` is a `%` in the key.

    Raises:
        ConfigurationError: The URL is empty, has no bucket, or is a `file://` URL with a host.

    Example:
        >>> locate("s3://acme-telemetry/otel-raw/")
        Location(bucket='s3://acme-telemetry', key='otel-raw/')
        >>> locate("/var/log/otel/*.binpb")
        Location(bucket='file://', key='var/log/otel/*.binpb')
        >>> locate("file:///var/log/a%20b.json").key
        'var/log/a b.json'
        >>> locate("memory://a/b")
        Location(bucket='memory://', key='a/b')
    """
    url = os.fspath(url)
    refuse_credentials(url)
    scheme, rest = split_scheme(url)
    if scheme == "file":
        key = absolute_path(url)[1:]
        directory = key and rest.endswith(("/", "/.", "/.."))
        return Location("file://", f"{key}/" if directory else key)
    if scheme in _WITHOUT_BUCKET:
        return Location(f"{scheme}://", rest.lstrip("/"))
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise ConfigurationError(f"{url!r} names no bucket", url=url)
    return Location(f"{scheme}://{bucket}", key)


def absolute_path(url: str) -> str:
    """The absolute path that a path or a `file://` URL means, without a trailing slash.

    Raises:
        ConfigurationError: It is empty, has another scheme, or has a host.

    Example:
        >>> absolute_path("file:///var/./lake/"), absolute_path("file://")
        ('/var/lake', '/')
    """
    scheme, rest = split_scheme(url)
    if not url or scheme != "file":
        raise ConfigurationError(f"{url!r} is no path", url=url)
    if url.startswith("file://") and rest and not rest.startswith("/"):
        raise ConfigurationError(f"{url!r} names a host; a local URL is file:///{rest}", url=url)
    if url.startswith("file://"):
        rest = unquote(rest)
    # POSIX leaves a meaning of its own to two slashes at the start of a path; here they are one.
    return "/" + os.path.abspath(rest or "/").lstrip("/")  # noqa: PTH100 - must resolve `..`


def file_url(path: str | PathLike[str]) -> str:
    """The `file://` URL of an absolute path, which `absolute_path` reads again.

    Example:
        >>> file_url("/var/50% off"), absolute_path(file_url("/var/50%20off"))
        ('file:///var/50%25 off', '/var/50%20off')
    """
    return f"file://{os.fspath(path).replace('%', '%25')}"


# What a request must satisfy before it is sent: a proper key, a range inside the object.

_NO_PART = {"", ".", ".."}


def check_key(key: str) -> None:
    """Refuse what can never be the key of an object, whatever the store.

    Raises:
        ConfigurationError: The key is empty, has an empty, `.` or `..` part, holds a NUL, or cannot
            be written as UTF-8.

    Example:
        >>> check_key("year=2026/a b+c.binpb")
        >>> check_key("../secret")
        Traceback (most recent call last):
        lakerunner.errors.ConfigurationError: '../secret' has a part that is empty, '.' or '..'
    """
    if _NO_PART.intersection(key.split("/")):
        raise ConfigurationError(f"{key!r} has a part that is empty, '.' or '..'", key=key)
    if "\0" in key or not is_utf8(key):
        raise ConfigurationError(f"{key!r} holds a NUL or is not UTF-8", key=key)


def split_prefix(prefix: str) -> tuple[str, str] | None:
    """Split a listing prefix after its last `/`; None if no key can start with it.

    Example:
        >>> split_prefix("raw/acme/lo"), split_prefix("lo"), split_prefix("../lo")
        (('raw/acme/', 'lo'), ('', 'lo'), None)
    """
    directory, slash, rest = prefix.rpartition("/")
    parts = directory.split("/") if slash else []
    if _NO_PART.intersection(parts) or "\0" in prefix or not is_utf8(prefix):
        return None
    return directory + slash, rest


def bounds(byte_range: ByteRange | None, size: int, key: str) -> tuple[int, int]:
    """Absolute `[start, end)` of what was asked of an object of `size` bytes; None asks for all.

    Raises:
        ObjectRangeError: The range is empty, reversed, or reaches outside the object.
    """
    if byte_range is None:
        return 0, size
    try:
        return byte_range.resolve(size)
    except ValueError as error:
        raise ObjectRangeError(f"{key!r}: {error}", key=key, size=size) from error


def is_utf8(text: str) -> bool:
    """Whether a text has a UTF-8 form; a file name that is not UTF-8 has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# From a URL to a store.


def open_store(
    url: str | PathLike[str], storage_options: Mapping[str, object] | None = None
) -> ObjectStore:
    """Open the store that a URL names. Nothing is read or written yet.

    Args:
        url: A URL, or a path, which need not exist.
        storage_options: Credentials and endpoints, in fsspec's words.

    Raises:
        UnknownSchemeError: There is no adapter for the scheme; the message lists those there are.
        MissingExtraError: The adapter is not installed; the message says how to.
        ConfigurationError: The URL cannot be read, or holds credentials.

    Example:
        >>> open_store("memory://acme/lake")
        MemoryStore('memory://acme/lake')
    """
    url = os.fspath(url)
    refuse_credentials(url)
    refuse_credentials(str((storage_options or {}).get("endpoint_url", "")))
    adapter = load_adapter("store", split_scheme(url)[0])
    store: ObjectStore = adapter(url, storage_options)
    return store
