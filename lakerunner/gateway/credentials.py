"""Who may ask, as settings say it: API keys, certificates, tokens of others, and strangers.

An API key is 32 random bytes; what is kept of it is its SHA-256 digest.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_network
from typing import TYPE_CHECKING

import msgspec

from lakerunner.errors import ConfigurationError
from lakerunner.model.profile import check_organization

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_PREFIX = "lr_"

ANY = "*"
"""Instead of an organization: the key is for all of them, and each request names one."""


class AccessScope(StrEnum):
    """What a key allows; each allows what stands before it, too."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def allows(self, wanted: AccessScope) -> bool:
        """Whether this is enough for what is wanted.

        Example:
            >>> AccessScope.ADMIN.allows(AccessScope.READ)
            True
        """
        order = list(AccessScope)
        return order.index(self) >= order.index(wanted)


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of an API key.

    Attributes:
        name: For people: who uses it.
        sha256: Hex digest of the key.
        organizations: Whose rows it reaches; a request names one of them if there are several, or
            any one for `*`.
        scope: What it allows.
        expires: Until when it is good; None for no end.
    """

    name: str
    sha256: str
    organizations: tuple[str, ...] = ("default",)
    scope: AccessScope = AccessScope.READ
    expires: datetime | None = None

    def __post_init__(self) -> None:
        if len(self.sha256) != hashlib.sha256().digest_size * 2:
            raise ConfigurationError(
                f"key {self.name!r}: sha256 must be the 64 hex digits of a digest", key=self.name
            )
        _check_organizations(self.name, self.organizations)


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client that shows a certificate.

    Attributes:
        name: For people: who it is.
        subject: Of its certificate, as RFC 4514 writes it: `CN=collector,O=Acme`.
        organizations: Whose rows it reaches; see `ApiKey`.
        scope: What it may do.
    """

    name: str
    subject: str
    organizations: tuple[str, ...] = ("default",)
    scope: AccessScope = AccessScope.READ

    def __post_init__(self) -> None:
        _check_organizations(self.name, self.organizations)


def _check_organizations(name: str, organizations: Iterable[str]) -> None:
    if not organizations:
        raise ConfigurationError(f"key {name!r} is for no organization", key=name)
    for organization in organizations:
        if organization != ANY:
            check_organization(organization)


class JwtSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How tokens of others are checked.

    Attributes:
        algorithms: Which signatures are taken.
        secret_file: File of the shared secret, for `HS256`.
        jwks_file: File of a JSON Web Key Set, for `RS256` and `EdDSA`.
        issuer: What `iss` must be; None if it does not matter.
        audience: What `aud` must hold; None if it does not matter.
        organization_claim: Which claim names the organization.
        scope_claim: Which claim names the scope; a token without it may read.
    """

    algorithms: tuple[str, ...] = ("RS256", "EdDSA")
    secret_file: str | None = None
    jwks_file: str | None = None
    issuer: str | None = None
    audience: str | None = None
    organization_claim: str = "org_id"
    scope_claim: str = "lakerunner_scope"


class AccessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may ask.

    Attributes:
        keys: API keys.
        keys_file: File of further ones, in YAML or JSON as `lakerunner key` prints them. It is read
            again when it changes: so keys are added, replaced and taken away while it is served.
        subjects: Clients that show a certificate.
        subject_header: Where a proxy that ends TLS says whose certificate it has checked.
        trusted_proxies: Addresses or networks from which that header is believed.
        anonymous: Whose rows are read by whoever shows no key; None: nobody's.
        anonymous_scope: What that allows.
        jwt: Tokens of others; None if none are taken.
    """

    keys: tuple[ApiKey, ...] = ()
    keys_file: str | None = None
    subjects: tuple[Subject, ...] = ()
    subject_header: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    anonymous: str | None = None
    anonymous_scope: AccessScope = AccessScope.READ
    jwt: JwtSettings | None = None

    def __post_init__(self) -> None:
        if (self.subject_header is None) != (not self.trusted_proxies):
            raise ConfigurationError("subject_header and trusted_proxies belong together")
        for text in self.trusted_proxies:
            try:
                ip_network(text)
            except ValueError as error:
                raise ConfigurationError(f"trusted_proxies: {error}") from error


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of keys holds.

    Attributes:
        keys: Each.
    """

    keys: tuple[ApiKey, ...] = ()


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(KeyFile)


def new_key(
    name: str,
    organizations: tuple[str, ...] = ("default",),
    scope: AccessScope = AccessScope.READ,
    expires: datetime | None = None,
) -> tuple[str, ApiKey]:
    """Make an API key.

    Returns:
        The key, to be shown once, and what is kept of it.

    Example:
        >>> key, kept = new_key("dashboards", ("acme",))
        >>> key.startswith("lr_"), kept.sha256 == digest(key)
        (True, True)
    """
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    return key, ApiKey(name, digest(key), organizations, scope, expires)


def digest(key: str) -> str:
    """What is kept of a key: the SHA-256 of its UTF-8, in hex; it is random and needs no salt."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
