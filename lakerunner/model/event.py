"""What a bucket says when an object arrived."""

from __future__ import annotations

import msgspec


class ObjectEvent(msgspec.Struct, frozen=True):
    """The announcement of an object. It may come twice, late, out of order, or for nothing.

    Attributes:
        bucket: URL of the bucket, as in `Source.bucket`: `s3://acme-telemetry`.
        key: Full key of the object inside the bucket, decoded.
        size: Bytes as stored, or None if the announcement does not tell.
        etag: The version marker that the bucket's store would give (ETag or generation), or None if
            the announcement does not tell.
        time_ns: When it happened, in nanoseconds since the epoch; 0 if the announcement does not
            tell.

    Example:
        >>> ObjectEvent("s3://raw", "logs-raw/a b.json").url
        's3://raw/logs-raw/a b.json'
    """

    bucket: str
    key: str
    size: int | None = None
    etag: str | None = None
    time_ns: int = 0

    @property
    def url(self) -> str:
        """The object's URL, for messages."""
        return f"{self.bucket}/{self.key}"
