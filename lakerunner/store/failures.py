"""The one place where what a file system raises becomes an error of ours."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakerunner.errors import (
    LakerunnerError,
    ObjectDeniedError,
    ObjectExistsError,
    ObjectNotFoundError,
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
