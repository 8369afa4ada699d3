"""What a notification says: events, and what in it could not be read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from lakerunner.errors import InputError
from lakerunner.model.report import ObjectEvent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


class Notice(msgspec.Struct, frozen=True):
    """What one notification says.

    Attributes:
        events: Objects that arrived.
        problems: One error for each record that could not be read.
    """

    events: tuple[ObjectEvent, ...] = ()
    problems: tuple[InputError, ...] = ()

    def __add__(self, other: Notice) -> Notice:
        """Both together, in order."""
        return Notice(self.events + other.events, self.problems + other.problems)


def problem(text: str) -> Notice:
    """A notice of one thing that could not be read."""
    return Notice(problems=(InputError(text),))


def convert(value: Any, kind: type[T]) -> T:
    """Read decoded JSON as a struct; fields it does not have are passed over.

    Numbers may be written as text, as Google does.

    Raises:
        InputError: A field is missing or of another type.
    """
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"not a {kind.__name__.strip('_')}: {error}") from error


def named(
    bucket: str, key: str, size: int | None = None, etag: str = "", when: datetime | None = None
) -> Notice:
    """The notice of one object.

    Raises:
        InputError: It names no object.
    """
    if not bucket.partition("://")[2] or not key:
        raise InputError(f"a notification names no object: bucket {bucket!r}, key {key!r}")
    if size is not None and size < 0:
        size = None
    return Notice((ObjectEvent(bucket, key, size, etag.strip('"') or None, _nanoseconds(when)),))


def _nanoseconds(when: datetime | None) -> int:
    if when is None:
        return 0
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000
