"""Storage profiles: which organization's telemetry lies in which bucket, and how to reach it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import available_timezones

import msgspec

from lakerunner.errors import ConfigurationError, did_you_mean
from lakerunner.model.signal import Signal
from lakerunner.printable import holds_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# What may name an organization: a part of keys, URLs and file names, and never a way out of it.

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_SHOWN = 60


def is_organization(name: object) -> bool:
    """Whether an organization can have this name.

    Example:
        >>> is_organization("acme.eu-1"), is_organization("../acme")
        (True, False)
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and ".." not in name


_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\..*)?", re.IGNORECASE)


def check_distinct(name: str, others: Iterable[str]) -> None:
    """Refuse a name that a store cannot hold, or not apart from others, if it ignores case.

    Raises:
        ConfigurationError: It differs from another in case only, ends at a dot, or is that of a
            device: on such a store two organizations would share their files.

    Example:
        >>> check_distinct("acme", ["acme", "other"])
        >>> check_distinct("ACME", ["acme", "other"])
        Traceback (most recent call last):
        lakerunner.errors.ConfigurationError: this store ignores case: 'ACME' would be 'acme'
    """
    twin = next((one for one in others if one != name and one.casefold() == name.casefold()), None)
    if twin is not None:
        raise ConfigurationError(
            f"this store ignores case: {name!r} would be {twin!r}", organization=name
        )
    if name.endswith(".") or _DEVICES.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot name an organization on this store: it has no folder of that name",
            organization=name,
        )


def is_distinct(name: str, others: Iterable[str]) -> bool:
    """Whether `check_distinct` takes a name."""
    try:
        check_distinct(name, others)
    except ConfigurationError:
        return False
    return True


def check_organization(name: str) -> str:
    """Return the name of an organization if it can be one.

    Raises:
        ConfigurationError: It is empty, longer than 128 characters, or could leave its own prefix.

    Example:
        >>> check_organization("acme.eu-1")
        'acme.eu-1'
    """
    if not is_organization(name):
        shown = repr(name) if len(repr(name)) <= _SHOWN else f"{repr(name)[:_SHOWN]}…"
        raise ConfigurationError(
            f"{shown} cannot name an organization: use up to 128 letters, digits and . _ @ + -, "
            "of which the first is a letter or digit and no two dots follow each other",
            organization=name,
        )
    return name


_SCHEMES = {"aws": "s3", "gcp": "gs", "azure": "abfs"}


class PrefixMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose objects lie under a prefix, where their names do not say.

    Attributes:
        bucket: URL of the bucket, such as `s3://acme-telemetry`.
        prefix: Beginning of the keys.
        organization: Whose they are.
        signal: What they hold; told from name and content if not given.
    """

    bucket: str
    prefix: str
    organization: str
    signal: Signal | None = None

    def __post_init__(self) -> None:
        check_organization(self.organization)


class StorageProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One organization's bucket.

    Attributes:
        organization_id: Whose it is.
        bucket: Name of the bucket, without a scheme.
        instance_num: Tells several profiles of one organization apart.
        collector_name: Collector whose objects these are; others in the bucket are not meant.
        cloud_provider: `aws` (and what speaks S3), `gcp` or `azure`.
        region: Region of the bucket.
        endpoint: URL of the service, where it is not the cloud's own.
        use_path_style: The bucket's name is part of the path, not of the host.
        insecure_tls: Certificates are not checked.
        role: Role to assume when reaching the bucket.

    Example:
        >>> profile = StorageProfile(organization_id="acme", bucket="raw", endpoint="http://s3:80")
        >>> profile.url, profile.storage_options["endpoint_url"]
        ('s3://raw', 'http://s3:80')
    """

    organization_id: str
    bucket: str
    instance_num: int = 1
    collector_name: str = ""
    cloud_provider: Literal["aws", "gcp", "azure"] = "aws"
    region: str = ""
    endpoint: str = ""
    use_path_style: bool = False
    insecure_tls: bool = False
    role: str = ""

    def __post_init__(self) -> None:
        check_organization(self.organization_id)
        if holds_credentials(self.endpoint):
            raise ConfigurationError(
                f"storage profiles: credentials have no place in the endpoint of {self.url}: "
                "give them as storage_options, or in the environment"
            )

    @property
    def url(self) -> str:
        """URL of the bucket."""
        return f"{_SCHEMES[self.cloud_provider]}://{self.bucket}"

    @property
    def storage_options(self) -> dict[str, object]:
        """How to reach the bucket, in fsspec's words."""
        if self.cloud_provider != "aws":
            return {"endpoint_url": self.endpoint} if self.endpoint else {}
        options: dict[str, object] = {}
        if self.endpoint:
            options["endpoint_url"] = self.endpoint
        client: dict[str, object] = {}
        if self.region:
            client["region_name"] = self.region
        if self.insecure_tls:
            client["verify"] = False
        if client:
            options["client_kwargs"] = client
        if self.use_path_style:
            options["config_kwargs"] = {"s3": {"addressing_style": "path"}}
        return options


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(StorageProfile)
msgspec.json.Decoder(PrefixMapping)


def read_profiles(text: str | bytes) -> tuple[StorageProfile, ...]:
    r"""Read storage profiles from YAML: a list of them.

    Raises:
        ConfigurationError: The text is no YAML, a field is unknown or wrong, or two profiles claim
            the same objects.

    Example:
        >>> text = "- organization_id: acme\n  bucket: raw\n  cloud_provider: gcp"
        >>> read_profiles(text)[0].url
        'gs://raw'
    """
    try:
        profiles = msgspec.yaml.decode(text, type=tuple[StorageProfile, ...])
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"storage profiles: {error}") from error
    refuse_overlaps(profiles)
    return profiles


def refuse_overlaps(profiles: Sequence[StorageProfile]) -> None:
    """Refuse profiles of several organizations, or twice the same, for the same objects.

    Refused as well are two ways to reach a bucket: objects are known by its name alone.

    Raises:
        ConfigurationError: Two profiles overlap.
    """
    seen: dict[tuple[str, str], StorageProfile] = {}
    numbers: dict[tuple[str, int], StorageProfile] = {}
    for profile in profiles:
        place = (profile.url, profile.collector_name)
        whole = (profile.url, "")
        number = (profile.organization_id, profile.instance_num)
        for other in (seen.get(place), seen.get(whole)):
            if other is not None:
                raise _overlap(profile, other)
        for (url, _), other in seen.items():
            if url != profile.url:
                continue
            if not profile.collector_name:
                raise _overlap(profile, other)
            if other.storage_options != profile.storage_options or other.role != profile.role:
                raise ConfigurationError(
                    f"storage profiles: {url} is to be reached in two ways, by the profiles of "
                    f"'{other.organization_id}' and of '{profile.organization_id}'",
                    bucket=url,
                )
        if number in numbers:
            raise ConfigurationError(
                f"storage profiles: organization '{profile.organization_id}' has two profiles with "
                f"instance_num {profile.instance_num}",
                organization=profile.organization_id,
            )
        seen[place], numbers[number] = profile, profile


def _overlap(profile: StorageProfile, other: StorageProfile) -> ConfigurationError:
    return ConfigurationError(
        f"storage profiles of '{other.organization_id}' and '{profile.organization_id}' overlap: "
        f"both claim objects in {profile.url}; give each a collector_name of its own",
        bucket=profile.url,
    )


def read_prefixes(
    mappings: Sequence[PrefixMapping | Mapping[str, object]],
) -> tuple[PrefixMapping, ...]:
    """Prefix mappings, checked.

    Raises:
        ConfigurationError: A field is unknown or wrong, or one prefix is mapped twice.
    """
    try:
        # To plain values first: a mapping made by hand is checked like one from a file.
        plain = [msgspec.to_builtins(item) for item in mappings]
        read = tuple(msgspec.convert(item, PrefixMapping) for item in plain)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"prefix mapping: {error}") from error
    seen: dict[tuple[str, str], PrefixMapping] = {}
    for mapping in read:
        place = (mapping.bucket.rstrip("/"), mapping.prefix)
        if place in seen:
            raise ConfigurationError(
                f"prefix mapping: '{mapping.bucket}/{mapping.prefix}' is mapped twice"
            )
        seen[place] = mapping
    return read


# How to read records of a shape that is not known: which field is the time, which the text.

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
