"""The one place where what a file system raises becomes an error of ours."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from lakerunner.errors import (
    LakerunnerError,
    ObjectDeniedError,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectRangeError,
    StoreError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MISSING = {errno.ENXIO, errno.ENODEV, errno.ELOOP}  # sockets, and links that lead nowhere
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
# To try these again cannot help: the request itself is what the file system refuses.
_HOPELESS = {
    errno.EINVAL,
    errno.ENAMETOOLONG,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EXDEV,
}


def store_error(error: Exception, url: str, key: str) -> Exception:
    """The error to raise for one that a file system raised.

    Errors of ours, and errors that have nothing to do with the storage (a `TypeError`, say), come
    back as they are. Of the rest, whatever is not known to be hopeless counts as a failure that may
    pass: a full disk, an I/O error, a connection that broke, a timeout.

    Args:
        error: What was raised.
        url: Where the store is rooted, for the message.
        key: The object, or the prefix of a listing.

    Example:
        >>> type(store_error(OSError(errno.ENOSPC, "full"), "file:///lake", "a")).__name__
        'StoreUnavailableError'
    """
    if isinstance(error, LakerunnerError) or not isinstance(error, OSError):
        return error
    kind: type[StoreError]
    nothing = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
    if nothing or error.errno in _MISSING:
        return ObjectNotFoundError(f"no object {key!r} in {url}", url=url, key=key)
    if isinstance(error, FileExistsError):
        return ObjectExistsError(f"there is an object {key!r} in {url}", url=url, key=key)
    if isinstance(error, PermissionError) or error.errno in _DENIED:
        kind = ObjectDeniedError
    elif error.errno in _HOPELESS:
        kind = StoreError
    else:
        kind = StoreUnavailableError
    return kind(f"{key!r} in {url}: {error.strerror or error}", url=url, key=key)


@contextmanager
def translated(
    url: str, key: str, translate: Callable[[Exception, str, str], Exception] = store_error
) -> Iterator[None]:
    """Run storage calls; what they raise leaves as `translate` says, with its cause attached."""
    try:
        yield
    except Exception as error:
        ours = translate(error, url, key)
        if ours is error:
            raise
        raise ours from error


# What the answer of a storage service means: from status and code to an error of ours.

_DENIED_STATUS: Final = {401, 403}
_DENIED_CODES: Final = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
"""S3 answers these with 400."""

_PASSING: Final = {408, 425, 429}
_PASSING_CODES: Final = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException"}
_UNTOUCHED_CODES: Final = {"SlowDown", "Throttling", "ThrottlingException"}
_MOVED: Final = {301, 307}


def answer_error(  # noqa: PLR0911 - a table, written as one
    status: int, code: str, message: str, *, url: str, key: str
) -> StoreError:
    """The error to raise for an answer that is not a success.

    Args:
        status: HTTP status.
        code: What the service calls it, or an empty text.
        message: What the service says of it.
        url: Where the store is rooted.
        key: The object, or the prefix of a listing.

    Returns:
        An error whose `context` has `url`, `key` and `status`. That of a `StoreUnavailableError`
        also has `lost`: whether the request may have taken effect all the same.

    Example:
        >>> error = answer_error(429, "SlowDown", "", url="s3://b", key="a")
        >>> type(error).__name__, error.context["lost"]
        ('StoreUnavailableError', False)
    """
    about: dict[str, object] = {"url": url, "key": key, "status": status}
    said = ": ".join(part for part in (code, message) if part) or "no reason given"
    where = f"{key!r} in {url}"
    if code == "NoSuchBucket":
        return StoreError(f"there is no bucket for {url}: {said}", **about)
    if status == HTTPStatus.NOT_FOUND:
        return ObjectNotFoundError(f"no object {where}", **about)
    if status == HTTPStatus.PRECONDITION_FAILED:
        return ObjectExistsError(f"there is an object {where}", **about)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return ObjectRangeError(f"{where} does not have these bytes", **about)
    if status in _DENIED_STATUS or code in _DENIED_CODES:
        return ObjectDeniedError(f"{where} is refused ({status}): {said}", **about)
    # S3 answers 409 when another conditional write of the same key is under way: ours was not done.
    broken = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if broken or status in {*_PASSING, HTTPStatus.CONFLICT} or code in _PASSING_CODES:
        if status == HTTPStatus.NOT_IMPLEMENTED:
            return StoreError(f"{where}: the service cannot do this: {said}", **about)
        lost = not (
            status in {HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
            or code in _UNTOUCHED_CODES
        )
        return StoreUnavailableError(f"{where} ({status}): {said}", **about, lost=lost)
    if status in _MOVED or code == "AuthorizationHeaderMalformed":
        return StoreError(f"{where}: name the region of the bucket: {said}", **about)
    return StoreError(f"{where} ({status}): {said}", **about)
