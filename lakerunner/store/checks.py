"""What a request must satisfy before it is sent: a proper key, a range inside the object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.errors import ConfigurationError, ObjectRangeError

if TYPE_CHECKING:
    from lakerunner.store.base import ByteRange

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
