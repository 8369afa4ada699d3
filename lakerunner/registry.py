"""URL scheme to adapter: one table, loaded on first use, with no fallback to another backend."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

from lakerunner.errors import MissingExtraError, UnknownSchemeError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Adapter(NamedTuple):
    """Where an adapter class lives.

    Attributes:
        path: `module:Class`.
        extra: The optional dependency it needs, or an empty text.
    """

    path: str
    extra: str = ""


STORES: Mapping[str, Adapter] = {
    "file": Adapter("lakerunner.store.local:LocalStore"),
    "gs": Adapter("lakerunner.store.gcs:GcsStore", "gcs"),
    "memory": Adapter("lakerunner.store.memory:MemoryStore"),
    "s3": Adapter("lakerunner.store.s3:S3Store", "s3"),
}

CATALOGS: Mapping[str, Adapter] = {
    "bucket+file": Adapter("lakerunner.catalog.bucket:open_bucket_catalog"),
    "bucket+gs": Adapter("lakerunner.catalog.bucket:open_bucket_catalog", "gcs"),
    "bucket+memory": Adapter("lakerunner.catalog.bucket:open_bucket_catalog"),
    "bucket+s3": Adapter("lakerunner.catalog.bucket:open_bucket_catalog", "s3"),
    "memory": Adapter("lakerunner.catalog.memory:MemoryCatalog"),
    "postgres": Adapter("lakerunner.catalog.postgres:PostgresCatalog", "postgres"),
    "postgresql": Adapter("lakerunner.catalog.postgres:PostgresCatalog", "postgres"),
    "sqlite": Adapter("lakerunner.catalog.sqlite:SqliteCatalog"),
}

EVENT_SOURCES: Mapping[str, Adapter] = {
    "file": Adapter("lakerunner.events.directory:DirectoryWatcher"),
    "http": Adapter("lakerunner.events.sqs:SqsSource", "s3"),
    "https": Adapter("lakerunner.events.sqs:SqsSource", "s3"),
    "pubsub": Adapter("lakerunner.events.pubsub:PubSubSource", "gcs"),
    "sqs": Adapter("lakerunner.events.sqs:SqsSource", "s3"),
}

_TABLES = {"store": STORES, "catalog": CATALOGS, "events": EVENT_SOURCES}

GROUPS = {
    "store": "lakerunner.stores",
    "catalog": "lakerunner.catalogs",
    "events": "lakerunner.event_sources",
}
"""Entry-point groups by which another package adds a scheme."""


def load_adapter(kind: str, scheme: str) -> Any:
    """Import the adapter class for a URL scheme.

    Args:
        kind: `store`, `catalog` or `events`.
        scheme: The part of the URL before `://`.

    Raises:
        UnknownSchemeError: Nothing is registered; the message lists what is.
        MissingExtraError: The adapter's dependency is not installed; the message says how to.

    Example:
        >>> load_adapter("store", "memory").__name__
        'MemoryStore'
    """
    table = _TABLES[kind]
    adapter = table.get(scheme) or _plugin(kind, scheme)
    if adapter is None:
        known = ", ".join(f"{name}://" for name in sorted(table))
        raise UnknownSchemeError(f"no {kind} for '{scheme}://'; known are {known}", scheme=scheme)
    module, _, name = adapter.path.partition(":")
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        if not adapter.extra:
            raise
        raise MissingExtraError(
            f"'{scheme}://' needs an extra: pip install 'lakerunner[{adapter.extra}]'",
            scheme=scheme,
            missing=error.name,
        ) from error


def _plugin(kind: str, scheme: str) -> Adapter | None:
    for entry in entry_points(group=GROUPS[kind], name=scheme):
        return Adapter(entry.value)
    return None


def split_scheme(url: str) -> tuple[str, str]:
    """Split a URL or a plain path into scheme and rest; a path has the scheme `file`.

    Example:
        >>> split_scheme("s3://bucket/key"), split_scheme("/var/lake")
        (('s3', 'bucket/key'), ('file', '/var/lake'))
    """
    scheme, separator, rest = url.partition("://")
    return (scheme, rest) if separator else ("file", url)
