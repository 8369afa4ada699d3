"""The rules of ownership as users give them, and what follows: which buckets, and how reached."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lakerunner.errors import ConfigurationError, StoreError, did_you_mean
from lakerunner.ingest.inputs import Inputs, inputs_below
from lakerunner.model.profile import (
    PrefixMapping,
    StorageProfile,
    check_organization,
    read_prefixes,
    read_profiles,
    refuse_overlaps,
)
from lakerunner.model.segment import Rejection, Source
from lakerunner.policies.ownership import Ownership, is_below
from lakerunner.registry import split_scheme
from lakerunner.retrying import retrying
from lakerunner.store.urls import Location, locate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.ingest.inputs import OpenBucket
    from lakerunner.model.config import Config
    from lakerunner.store import ObjectMeta, ObjectStore

_END = re.compile(r"(?<![:/])/+$")  # of a URL, without the slashes of its scheme
_CLOUDS = frozenset({"s3", "gs", "abfs"})
_FIELDS = frozenset(Ownership._fields)


def read_ownership(rules: Ownership | Mapping[str, Any] | None) -> Ownership | None:
    """Read and check the rules that say whose objects are.

    Args:
        rules: An `Ownership`, or a mapping of its fields. There, `profiles` may also be YAML, or
            the path of a YAML file, and `prefixes` a mapping of URL to organization, or the path of
            a YAML file with a list of prefix mappings.

    Returns:
        The rules, with the prefixes of directories as their keys begin.

    Raises:
        ConfigurationError: A rule is unknown, wrong, or contradicts another; a file cannot be read.

    Example:
        >>> read_ownership({"prefixes": {"s3://raw/apps/": "acme"}}).prefixes[0].organization
        'acme'
    """
    if rules is None:
        return None
    if isinstance(rules, Mapping):
        rules = _from_fields(rules)
    if not isinstance(rules, Ownership):
        raise ConfigurationError(
            f"ownership: a {type(rules).__name__} is no rule; give an Ownership or its fields"
        )
    if rules.default is not None:
        check_organization(rules.default)
    refuse_overlaps(rules.profiles)
    return rules._replace(prefixes=read_prefixes([_located(one) for one in rules.prefixes]))


def _from_fields(fields: Mapping[str, Any]) -> Ownership:
    if unknown := sorted(set(fields) - _FIELDS):
        hint = did_you_mean(unknown[0], Ownership._fields)
        raise ConfigurationError(f"ownership: {unknown[0]!r} is no rule{hint}")
    return Ownership(
        prefixes=_prefixes(fields.get("prefixes", ())),
        profiles=_profiles(fields.get("profiles", ())),
        by_path=bool(fields.get("by_path", True)),
        buckets=_buckets(fields.get("buckets", ())),
        default=fields.get("default"),
    )


def _buckets(given: Any) -> tuple[str, ...]:
    places = [given] if isinstance(given, str) else list(given)
    if not all(isinstance(place, str | os.PathLike) for place in places):
        raise ConfigurationError("ownership: buckets are URLs, or paths of directories")
    return tuple(f"{place.bucket}/{place.key}".rstrip("/") for place in map(locate, places))


def _profiles(given: Any) -> tuple[StorageProfile, ...]:
    if isinstance(given, str | bytes | os.PathLike):
        return read_profiles(_text(given))
    try:
        return tuple(msgspec.convert(item, StorageProfile) for item in given)
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigurationError(f"storage profiles: {error}") from error


def _prefixes(given: Any) -> tuple[PrefixMapping, ...]:
    if isinstance(given, str | bytes | os.PathLike):
        try:
            given = msgspec.yaml.decode(_text(given))
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"prefix mapping: {error}") from error
    if isinstance(given, Mapping):
        return tuple(
            PrefixMapping(bucket=location.bucket, prefix=location.key, organization=organization)
            for location, organization in ((locate(url), each) for url, each in given.items())
        )
    try:
        return tuple(msgspec.convert(item, PrefixMapping) for item in given)
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigurationError(f"prefix mapping: {error}") from error


def _text(given: str | bytes | os.PathLike[str]) -> str | bytes:
    """YAML itself, or that of the file it names."""
    if isinstance(given, bytes) or (isinstance(given, str) and not _is_path(given)):
        return given
    try:
        return Path(given).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"ownership: {os.fspath(given)} cannot be read: {error}") from None


def _is_path(text: str) -> bool:
    return "\n" not in text and not text.lstrip().startswith(("-", "[", "{"))


def _located(mapping: PrefixMapping) -> PrefixMapping:
    """A prefix mapping with bucket and prefix split where stores split them."""
    place = locate(f"{_END.sub('', mapping.bucket)}/{mapping.prefix}")
    return msgspec.structs.replace(mapping, bucket=place.bucket, prefix=place.key)


def owned_places(rules: Ownership | None) -> list[Location]:
    """All prefixes that belong to someone by a profile or a mapping, none inside another.

    Example:
        >>> prefixes = {"s3://raw/apps/": "acme", "s3://raw/apps/cart/": "cart"}
        >>> owned_places(read_ownership({"prefixes": prefixes}))
        [Location(bucket='s3://raw', key='apps/')]
    """
    if rules is None:
        return []
    named = {Location(profile.url, "") for profile in rules.profiles}
    named |= {Location(mapping.bucket, mapping.prefix) for mapping in rules.prefixes}
    places: list[Location] = []
    for place in sorted(named):
        last = places[-1] if places else None
        if last is None or last.bucket != place.bucket or not is_below(place.key, last.key):
            places.append(place)
    return places


def owned_inputs(
    rules: Ownership | None, open_bucket: OpenBucket, lake: ObjectStore, config: Config
) -> Iterator[Inputs | Rejection]:
    """What lies where profiles and mappings point, or why it cannot be listed.

    Args:
        rules: The rules of ownership.
        open_bucket: Opens buckets as their profiles say.
        lake: The lake, whose own objects are no input.
        config: How often to try.

    Raises:
        ConfigurationError: No rule names a bucket, or one cannot be opened.
    """
    places = owned_places(rules)
    if not places:
        raise ConfigurationError("no storage profile and no prefix mapping says what to ingest")
    for bucket, prefix in places:
        store = open_bucket(bucket, lake.storage_options)
        try:
            retrying(partial(_first, store, prefix), config)
        except StoreError as error:
            source = Source(bucket, prefix, "")
            yield Rejection(source, error.code.value, error.message, time.time_ns())
        else:
            # A listing knows no parts of a path: `web` lists `webshop/`, too.
            found = inputs_below(store, prefix, lake.url)
            yield Inputs(found.store, _below(found.objects, prefix))


def _below(objects: Iterator[ObjectMeta], prefix: str) -> Iterator[ObjectMeta]:
    return (each for each in objects if is_below(each.key, prefix))


def _first(store: ObjectStore, prefix: str) -> ObjectMeta | None:
    return next(store.list(prefix), None)


def profiled_buckets(open_bucket: OpenBucket, lake_url: str, rules: Ownership | None) -> OpenBucket:
    """Open buckets as their storage profiles say; those without a profile as before.

    What a profile says of the endpoint and the region counts more than the storage options of the
    lake. Credentials come from these, unless the lake lies in another provider's cloud.
    """
    profiles = {profile.url: profile for profile in rules.profiles} if rules else {}
    lake_scheme = split_scheme(lake_url)[0]
    if not profiles:
        return open_bucket

    def opened(url: str, options: Mapping[str, object]) -> ObjectStore:
        profile = profiles.get(url.rstrip("/"))
        if profile is None:
            return open_bucket(url, options)
        if profile.role:
            raise ConfigurationError(
                f"storage profiles: {profile.url} asks for the role {profile.role!r}, which is not "
                "assumed for you; name an AWS profile with that role in storage_options",
                bucket=profile.url,
            )
        if lake_scheme in _CLOUDS and split_scheme(url)[0] != lake_scheme:
            options = {}
        return open_bucket(url, _merged(options, profile.storage_options))

    return opened


def _merged(options: Mapping[str, object], wanted: Mapping[str, object]) -> dict[str, object]:
    merged = dict(options)
    for name, value in wanted.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(old, value) if both else value  # type: ignore[arg-type] # checked
    return merged
