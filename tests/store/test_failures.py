"""What a file system raises becomes the error that says what to do about it."""

from __future__ import annotations

import errno
import os

import pytest

from lakerunner.errors import (
    ObjectDeniedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.store.failures import store_error, translated

KINDS = {
    **dict.fromkeys(("ENOENT", "ENOTDIR", "EISDIR", "ENXIO", "ELOOP"), ObjectNotFoundError),
    **dict.fromkeys(("EACCES", "EPERM", "EROFS"), ObjectDeniedError),
    **dict.fromkeys(("ENAMETOOLONG", "EINVAL", "EXDEV"), StoreError),
    **dict.fromkeys(("ENOSPC", "EDQUOT", "EIO", "EMFILE", "ETIMEDOUT"), StoreUnavailableError),
    **dict.fromkeys(("ECONNRESET", "EPIPE", "ESTALE", "EFBIG"), StoreUnavailableError),
    "EEXIST": ObjectExistsError,
}


@pytest.mark.parametrize("name", KINDS)
def test_an_error_number_has_its_kind(name: str) -> None:
    code = getattr(errno, name)
    cause = OSError(code, os.strerror(code), "/lake/a")
    with pytest.raises(StoreError) as failure, translated("file:///lake", "a"):
        raise cause
    assert type(failure.value) is KINDS[name]
    assert failure.value.__cause__ is cause
    assert failure.value.context == {"url": "file:///lake", "key": "a"}
    assert "'a'" in str(failure.value)


def test_a_timeout_may_pass() -> None:
    assert type(store_error(TimeoutError("30 s"), "s3://b", "a")) is StoreUnavailableError


@pytest.mark.parametrize("error", [TypeError("a bug"), ObjectExistsError("ours"), KeyError("x")])
def test_what_is_none_of_its_business_passes(error: Exception) -> None:
    with pytest.raises(type(error)) as failure, translated("file:///lake", "a"):
        raise error
    assert failure.value is error
