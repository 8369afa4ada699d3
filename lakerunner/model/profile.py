"""Storage profiles: which organization's telemetry lies in which bucket, and how to reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from lakerunner.errors import ConfigurationError
from lakerunner.model.organization import check_organization
from lakerunner.model.signal import Signal
from lakerunner.printable import holds_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
