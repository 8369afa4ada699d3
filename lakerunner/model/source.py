"""Where rows came from: the identity of an input object, and what became of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Source(msgspec.Struct, frozen=True, order=True):
    """The identity of one version of one input object.

    Two sources are the same object exactly when all three parts are equal. Content is never part
    of the identity: two objects with equal bytes are two objects.

    Attributes:
        bucket: URL of the bucket, without a trailing slash: `s3://acme-telemetry`, `file://`.
        key: Full key of the object inside the bucket.
        etag: The store's version marker (ETag, generation, or modification time and size).

    Example:
        >>> Source("s3://raw", "otel-raw/acme/c1/logs_1.binpb", "9a0364b9").url
        's3://raw/otel-raw/acme/c1/logs_1.binpb'
    """

    bucket: str
    key: str
    etag: str

    @property
    def url(self) -> str:
        """The object's URL, for messages."""
        return f"{self.bucket}/{self.key}"


LAKE = "lake:"
"""As the bucket of a source: a segment of the lake itself that was set aside. No object is there
to be taken again."""


class SourceState(StrEnum):
    """What a catalog knows of a source."""

    TAKEN = "taken"
    REJECTED = "rejected"


UNKNOWN_ROWS = -1
"""As the number of rows of a source: a recovered catalog cannot tell."""


class TakenSource(msgspec.Struct, frozen=True):
    """A source whose every row is in the lake.

    Attributes:
        source: Its identity.
        rows: Rows that came from it; 0 for an object that holds none, or `UNKNOWN_ROWS`.
    """

    source: Source
    rows: int


class Rejection(msgspec.Struct, frozen=True):
    """A source, or a part of one, that was set aside.

    Attributes:
        source: The object.
        code: An `lakerunner.errors.ErrorCode` value.
        reason: One sentence for a person.
        rows: How many rows or lines were set aside, or None for the whole object.
        rejected_at_ns: When, in nanoseconds since the epoch.
    """

    source: Source
    code: str
    reason: str
    rejected_at_ns: int
    rows: int | None = None
