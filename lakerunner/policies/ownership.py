"""Whose an object is, and what it holds: told by its key, by prefixes, or by storage profiles."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.model.profile import is_organization
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from lakerunner.model.profile import PrefixMapping, StorageProfile

_RAW = {
    "otel-raw": None,
    "logs-raw": Signal.LOGS,
    "metrics-raw": Signal.METRICS,
    "traces-raw": Signal.SPANS,
}
"""Folders of raw telemetry, and the signal that all objects below hold."""

_TIME_PART = re.compile(r"(?:year|month|day|hour|minute|date|dt)=\d+.*|\d{4}|\d{2}")


class Owner(NamedTuple):
    """Whose an object is.

    Attributes:
        organization: Whose.
        signal: What it holds, where its place says so.
        collector: Which collector wrote it, if its key says so: a storage profile may be for one.
    """

    organization: str
    signal: Signal | None = None
    collector: str = ""


class Ownership(NamedTuple):
    """The rules of ownership.

    Attributes:
        prefixes: Whose the objects under a prefix are; the longest prefix counts. A prefix is made
            of whole parts of a path: `web` is not the beginning of `webshop/`.
        profiles: Whose buckets are.
        by_path: Whether keys such as `otel-raw/<organization>/<collector>/…` are believed …
        buckets: … and where: URLs of buckets, or of folders in them. Anybody may write such a key
            into a bucket of their own, so in any other place it says nothing.
        default: Whose all other objects are; None leaves them without an owner.
    """

    prefixes: tuple[PrefixMapping, ...] = ()
    profiles: tuple[StorageProfile, ...] = ()
    by_path: bool = True
    buckets: tuple[str, ...] = ()
    default: str | None = None


def owner_of(bucket: str, key: str, rules: Ownership) -> Owner | None:
    """Whose an object is; None if no rule says.

    The longest matching prefix counts first, then a storage profile of the bucket, then the key
    itself where it is believed, then the default. Keys are read in two forms: a gateway writes
    `otel-raw/<organization>/<collector>/…`, a collector of one organization
    `<organization>/otel-raw/…`; so are `logs-raw`, `metrics-raw` and `traces-raw`, which say the
    signal, too.

    Args:
        bucket: URL of the bucket.
        key: Full key of the object.
        rules: What is known.

    Example:
        >>> rules = Ownership(buckets=("s3://raw",))
        >>> owner_of("s3://raw", "otel-raw/acme/c1/year=2026/logs_1.binpb.gz", rules)
        Owner(organization='acme', signal=None, collector='c1')
        >>> owner_of("s3://raw", "acme/metrics-raw/1.csv", rules).signal
        <Signal.METRICS: 'metrics'>
        >>> owner_of("s3://another", "acme/metrics-raw/1.csv", rules)
    """
    believed = _believed_key(f"{bucket}/{key}", rules) if rules.by_path else None
    bucket = bucket.rstrip("/")
    mapped = _by_prefix(bucket, key, rules.prefixes)
    if mapped is not None:
        return Owner(mapped.organization, mapped.signal or _read_key(key).signal)
    read = _read_key(key)
    profile = _by_profile(bucket, key, read, rules.profiles)
    if profile is not None:
        return Owner(profile.organization_id, read.signal)
    if believed is not None and (told := _read_key(believed)).organization:
        return told
    return Owner(rules.default, read.signal) if rules.default is not None else None


def _believed_key(url: str, rules: Ownership) -> str | None:
    """The key of an object within a place whose keys are believed; None if it lies in none."""
    places = [f"{place.rstrip('/')}/" for place in rules.buckets]
    inside = [place for place in places if url.startswith(place)]
    return url[len(max(inside, key=len)) :] if inside else None


def _by_prefix(bucket: str, key: str, prefixes: tuple[PrefixMapping, ...]) -> PrefixMapping | None:
    matching = [
        mapping
        for mapping in prefixes
        if mapping.bucket.rstrip("/") == bucket and is_below(key, mapping.prefix)
    ]
    return max(matching, key=lambda mapping: len(mapping.prefix), default=None)


def is_below(key: str, prefix: str) -> bool:
    """Whether a key is that of a prefix, or lies below it: whole parts of the path count.

    Example:
        >>> is_below("web/a", "web"), is_below("web/a", "web/"), is_below("webshop/a", "web")
        (True, True, False)
    """
    return not prefix or f"{key}/".startswith(f"{prefix.rstrip('/')}/")


def _by_profile(
    bucket: str, key: str, read: Owner, profiles: tuple[StorageProfile, ...]
) -> StorageProfile | None:
    parts = key.split("/")[:-1]
    of_bucket = [profile for profile in profiles if profile.url == bucket]
    for profile in of_bucket:
        named = profile.collector_name
        if named and (named == read.collector or named in parts):
            return profile
    return next((profile for profile in of_bucket if not profile.collector_name), None)


def _read_key(key: str) -> Owner:
    """What a key says; an empty organization if it says none."""
    parts = key.split("/")[:-1]
    for place in (0, 1):
        if len(parts) <= place or parts[place] not in _RAW:
            continue
        signal = _RAW[parts[place]]
        if place == 1 and _is_organization(parts[0]):
            return Owner(parts[0], signal, _collector(parts, 2))
        if place == 0 and len(parts) > 1 and _is_organization(parts[1]):
            return Owner(parts[1], signal, _collector(parts, 2))
        return Owner("", signal)
    return Owner("")


def _is_organization(part: str) -> bool:
    return is_organization(part) and _TIME_PART.fullmatch(part) is None


def _collector(parts: list[str], place: int) -> str:
    part = parts[place] if len(parts) > place else ""
    return "" if _TIME_PART.fullmatch(part) else part
