"""From a URL to an event source."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lakerunner.events.polling import PrefixPoller
from lakerunner.registry import EVENT_SOURCES, STORES, load_adapter, split_scheme
from lakerunner.store.urls import refuse_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from lakerunner.events.base import EventSource


def open_source(
    url: str | PathLike[str], options: Mapping[str, object] | None = None
) -> EventSource:
    """Open the event source that a URL names. Nothing is requested yet.

    Args:
        url: A queue (`sqs://…`, `pubsub://…`, or the `https://` URL of an SQS queue), a directory
            to be watched, or any other URL of a store: a prefix to be listed again and again.
        options: Credentials and endpoints, in fsspec's words.

    Raises:
        UnknownSchemeError: There is no adapter for the scheme; the message lists those there are.
        MissingExtraError: The adapter is not installed; the message says how to.
        ConfigurationError: The URL cannot be read, or holds credentials.

    Example:
        >>> open_source("/var/telemetry"), open_source("memory://raw/logs/")
        (DirectoryWatcher('/var/telemetry/'), PrefixPoller('memory://raw/logs/'))
    """
    url = os.fspath(url)
    refuse_credentials(url)
    scheme = split_scheme(url)[0]
    if scheme in STORES and scheme not in EVENT_SOURCES:
        return PrefixPoller(url, options)
    source: EventSource = load_adapter("events", scheme)(url, options)
    return source
