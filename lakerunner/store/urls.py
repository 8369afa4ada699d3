"""How a URL or a path names a bucket, and a key in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from lakerunner.errors import ConfigurationError
from lakerunner.printable import holds_credentials, without_secrets
from lakerunner.registry import split_scheme

if TYPE_CHECKING:
    from os import PathLike

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
