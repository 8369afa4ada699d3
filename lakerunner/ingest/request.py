"""What the user says of the input of one call, checked before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lakerunner.errors import ConfigurationError
from lakerunner.formats.detect import require_format
from lakerunner.ingest.mapping import check_mapping
from lakerunner.model.organization import check_organization
from lakerunner.model.signal import read_signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakerunner.model.mapping import SourceMapping
    from lakerunner.model.signal import Signal


class Request(NamedTuple):
    """What the user says of the input of one call.

    Attributes:
        organization: Whose rows they are, whatever the rules of ownership say.
        signal: What they are; told from the content if not given.
        format: Name of their format; told from name and content if not given.
        mapping: Which fields mean what.
    """

    organization: str | None = None
    signal: Signal | None = None
    format: str | None = None
    mapping: SourceMapping | None = None


def read_request(
    signal: Signal | str | None = None,
    format_name: str | None = None,
    mapping: SourceMapping | Mapping[str, Any] | None = None,
    organization: str | None = None,
    *,
    only: str | None = None,
) -> Request:
    """Check what the user says.

    Args:
        signal: See `Request`; the mapping may name it, too.
        format_name: See `Request`; the mapping may name it, too.
        mapping: See `Request`.
        organization: See `Request`.
        only: The only organization that may be named, if it is not any.

    Raises:
        ConfigurationError: The mapping is wrong, there is no such signal or format, or the
            organization cannot be one or may not be named.

    Example:
        >>> read_request("logs", mapping={"format": "csv"}).format
        'csv'
    """
    said = check_mapping(mapping)
    if organization is not None:
        check_organization(organization)
        if only is not None and organization != only:
            raise ConfigurationError(
                f"this is bound to '{only}' and writes nothing for others",
                organization=organization,
            )
    chosen = format_name if format_name is not None else said.format if said else None
    if chosen is not None:
        require_format(chosen)
    return Request(
        organization=organization,
        signal=read_signal(signal) if signal is not None else said.signal if said else None,
        format=chosen,
        mapping=said,
    )
