"""How to read records of a shape that is not known: which field is the time, which the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import available_timezones

import msgspec

from lakerunner.errors import ConfigurationError, did_you_mean
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

Constant = str | int | float | bool


class SourceMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A description of the records in some JSON, CSV, logfmt, text or Parquet objects.

    What it does not mention is recognised as if there were no mapping: other columns become
    attributes. Fields inside of objects are written with dots: `kubernetes.pod_name`.

    Attributes:
        signal: What the records are: `logs`, `spans` or `metrics`.
        format: Name of the format; told from name and content if not given.
        columns: Source field by table column: `{"body": "msg", "timestamp": "when"}`.
        attributes: Attribute key by source field. A key that begins with `resource.` or `scope.`
            belongs there: `{"svc": "resource.service.name"}`.
        constants: Attributes that every row gets: `{"resource.service.name": "nginx"}`.
        drop: Source fields that are left out.
        rows: Source field that holds the list of records, where an object wraps them: `Records`.
        pattern: For text lines: a regular expression (RE2) whose named groups become fields. Lines
            that do not match are kept whole, as the body.
        timestamp_format: A `strptime` format of times.
        timestamp_unit: Unit of times that are numbers: `s`, `ms`, `us` or `ns`.
        timezone: IANA name of the zone of times that carry none.
        day_first: Whether the day comes before the month in times such as `01/02/2026 10:00`; the
            other times of the object tell unless given.
        duration_unit: Unit of the field that `columns` names for `duration_ns`.

    Example:
        >>> read_mapping({"columns": {"body": "msg"}, "signal": "logs"}).columns
        {'body': 'msg'}
    """

    signal: Signal | None = None
    format: str | None = None
    columns: dict[str, str] = {}
    attributes: dict[str, str] = {}
    constants: dict[str, Constant] = {}
    drop: tuple[str, ...] = ()
    rows: str | None = None
    pattern: str | None = None
    timestamp_format: str | None = None
    timestamp_unit: Literal["s", "ms", "us", "ns"] | None = None
    timezone: str = "UTC"
    day_first: bool | None = None
    duration_unit: Literal["s", "ms", "us", "ns"] = "ns"

    def __post_init__(self) -> None:
        if self.timezone not in available_timezones():
            raise ConfigurationError(
                f"mapping: {self.timezone!r} is no time zone such as 'Europe/Berlin'",
                timezone=self.timezone,
            )


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(SourceMapping)


def read_mapping(mapping: SourceMapping | Mapping[str, Any] | None) -> SourceMapping | None:
    """A mapping, checked.

    Raises:
        ConfigurationError: A field is unknown or has a wrong type.
    """
    if mapping is None or isinstance(mapping, SourceMapping):
        return mapping
    for name in mapping:
        if name not in SourceMapping.__struct_fields__:
            hint = did_you_mean(str(name), SourceMapping.__struct_fields__)
            raise ConfigurationError(f"mapping: {str(name)!r} is no part of one{hint}", field=name)
    try:
        return msgspec.convert(dict(mapping), SourceMapping)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"mapping: {error}") from error
