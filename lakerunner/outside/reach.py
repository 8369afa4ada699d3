"""How processes of others reach the files of a lake."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakerunner.compute.native_stores import NotNativeError, s3_arguments
from lakerunner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectStore

_VARIABLES = {
    "endpoint": "AWS_ENDPOINT",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "region": "AWS_REGION",
}


def file_urls(store: ObjectStore, segments: Sequence[Segment], scheme: str = "") -> list[str]:
    """URLs of segments as another process can open them.

    Args:
        store: Where they lie.
        segments: Which.
        scheme: What the engine calls `s3`.

    Raises:
        ConfigurationError: The lake lies in the memory of this process.
    """
    if store.url.startswith("memory:"):
        raise ConfigurationError(
            "a lake in memory:// cannot be read by engines of others: no other process sees it",
            url=store.url,
        )
    root = store.url.rstrip("/")
    if scheme and root.startswith("s3://"):
        root = f"{scheme}://{root.removeprefix('s3://')}"
    return [f"{root}/{one.key}" for one in segments]


def bucket_environment(store: ObjectStore) -> dict[str, str]:
    """What an engine of Rust, as Sail is, finds a bucket of S3 by: variables of its environment.

    Args:
        store: Where the lake lies; its options say how it is reached.

    Returns:
        Address and credentials, to be given to the engine's processes as they start. Empty if the
        lake is in no such bucket, or is reached in a way that cannot be told so.

    Example:
        >>> import lakerunner
        >>> bucket_environment(lakerunner.open("memory://doc/environment").store)
        {}
    """
    given = reached(store)
    if given is None:
        return {}
    named = {name: str(given[ours]) for ours, name in _VARIABLES.items() if given[ours]}
    plain = str(given["endpoint"] or "").startswith("http://")
    return {**named, "AWS_ALLOW_HTTP": "true"} if plain else named


def reached(store: ObjectStore) -> Mapping[str, Any] | None:
    """How a bucket of S3 is reached; None for other places, and where only s3fs can tell."""
    if not store.url.startswith("s3://"):
        return None
    try:
        return s3_arguments(store.storage_options, os.environ, Path.home())
    except NotNativeError:
        return None
