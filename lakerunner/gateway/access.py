"""Who asks: from the headers of a request to an organization and what may be done there.

A key says all by itself whose rows are meant: nothing else in a request can, but that a key for
several organizations lets the request choose among these. So do a token that others sign, and the
subject of a certificate.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import threading
import time
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from lakerunner.errors import ConfigurationError, MissingExtraError
from lakerunner.gateway.credentials import (
    ANY,
    AccessScope,
    AccessSettings,
    ApiKey,
    JwtSettings,
    KeyFile,
    digest,
)
from lakerunner.model.profile import check_organization

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_LOG = logging.getLogger("lakerunner.gateway")

ORGANIZATION_HEADERS = ("x-scope-orgid", "x-organization")
"""Where a key for several organizations says which one is meant; the first is Prometheus' and
Loki's custom."""

_KEY_HEADERS = ("x-cardinalhq-api-key", "api-key", "x-api-key", "dd-api-key")
_KEY_COOKIES = ("api_key", "cardinal_token")
_JWT_PARTS = 3
_LOOK_SECONDS = 1.0  # how often the file of keys is looked at


class Identity(NamedTuple):
    """Who asks, before it is known for whom.

    Attributes:
        name: Of the key, or the subject of a token.
        organizations: Whose rows that reaches, or `*`.
        scope: What is allowed.
    """

    name: str
    organizations: tuple[str, ...]
    scope: AccessScope

    def reaches(self, organization: str) -> bool:
        """Whether it may see the rows of one."""
        return ANY in self.organizations or organization in self.organizations


class Caller(NamedTuple):
    """Who asks.

    Attributes:
        name: Of the key, or the subject of a token.
        organization: Whose rows are meant.
        scope: What is allowed.
    """

    name: str
    organization: str
    scope: AccessScope


class Refused(Exception):  # noqa: N818 - it is an answer, and no defect
    """The request shows nothing that would let it in, or asks for more than that allows.

    Attributes:
        status: 401, or 403 where it is known who asks.
    """

    def __init__(self, message: str, status: int = 401) -> None:
        super().__init__(message)
        self.status = status


class Access:
    """Decides who a request is from. Safe across threads.

    Args:
        settings: Who may ask.

    Raises:
        ConfigurationError: A file of keys cannot be read.
        MissingExtraError: Tokens are to be checked, and PyJWT is not installed.
    """

    def __init__(self, settings: AccessSettings) -> None:
        self._settings = settings
        self._tokens = None if settings.jwt is None else _Tokens(settings.jwt)
        self._networks = [ip_network(text) for text in settings.trusted_proxies]
        self._file = None if settings.keys_file is None else _KeysInFile(settings.keys_file)
        self._used: dict[str, float] = {}
        if settings.anonymous is not None:
            check_organization(settings.anonymous)

    def all_keys(self) -> tuple[ApiKey, ...]:
        """All API keys that there are now."""
        return (*self._settings.keys, *(() if self._file is None else self._file.keys()))

    def last_used(self, key: ApiKey) -> float | None:
        """When a key was shown last to this process, in seconds since the epoch."""
        return self._used.get(key.sha256)

    def caller(
        self,
        headers: Mapping[str, str],
        cookies: Mapping[str, str],
        organization: str | None = None,
        subject: str | None = None,
    ) -> Caller:
        """Who sent these headers, and for whom.

        Args:
            headers: Names in lower case, or a mapping that does not mind.
            cookies: By name.
            organization: Which one is meant; None if a header says it.
            subject: Of the certificate that was checked; None for none.

        Raises:
            Refused: Nobody that may ask.
        """
        found = self.identity(headers, cookies, subject)
        chosen = _chosen(found.organizations, headers, organization)
        return Caller(found.name, chosen, found.scope)

    def identity(
        self, headers: Mapping[str, str], cookies: Mapping[str, str], subject: str | None = None
    ) -> Identity:
        """Who sent these headers; see `caller`.

        Raises:
            Refused: Nobody that may ask.
        """
        shown = _shown(headers, cookies)
        if shown is None:
            return self._certified(subject) or self._stranger()
        if self._tokens is not None and shown.count(".") == _JWT_PARTS - 1:
            return self._tokens.identity(shown)
        key = self._known(shown)
        if key is None or (key.expires is not None and key.expires <= datetime.now(UTC)):
            raise Refused("the API key is not known, or no longer good")
        self._used[key.sha256] = time.time()
        return Identity(key.name, key.organizations, key.scope)

    def subject_of(self, scope: MutableMapping[str, Any]) -> str | None:
        """The subject of the certificate that a client has shown, by the scope of its connection.

        The server itself says so, or a proxy that is trusted. What anybody else sends in the header
        of the proxy is no subject.
        """
        shown = scope.get("extensions", {}).get("tls", {}).get("client_cert_name")
        if shown or self._settings.subject_header is None:
            return shown or None
        try:
            peer = ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return None
        if not any(peer in network for network in self._networks):
            return None
        name = self._settings.subject_header.lower().encode("latin-1")
        found = [value for key, value in scope["headers"] if key == name]
        return found[0].decode("latin-1") if len(found) == 1 else None

    def _certified(self, subject: str | None) -> Identity | None:
        for one in self._settings.subjects:
            if one.subject == subject:
                return Identity(one.name, one.organizations, one.scope)
        return None

    def _known(self, shown: str) -> ApiKey | None:
        mine = digest(shown)
        found = None
        for key in self.all_keys():  # all of them, whichever it is: in equal time
            if hmac.compare_digest(key.sha256, mine):
                found = key
        return found

    def _stranger(self) -> Identity:
        organization = self._settings.anonymous
        if organization is None:
            raise Refused("an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY")
        return Identity("anonymous", (organization,), self._settings.anonymous_scope)


class _KeysInFile:
    """API keys in a file that may change."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._written = self._time()
        self._keys = self._read()
        self._looked = time.monotonic()

    def keys(self) -> tuple[ApiKey, ...]:
        """Those that are good now. A file that is broken or gone changes nothing."""
        if time.monotonic() - self._looked < _LOOK_SECONDS or not self._lock.acquire(
            blocking=False
        ):
            return self._keys
        try:
            self._looked = time.monotonic()
            written = self._time()
            if written != self._written:
                self._keys, self._written = self._read(), written
        except ConfigurationError as error:
            _LOG.warning("the keys are those from before: %s", error)
        finally:
            self._lock.release()
        return self._keys

    def _time(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise ConfigurationError(f"{self._path}: {error.strerror}") from error
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> tuple[ApiKey, ...]:
        try:
            return msgspec.yaml.decode(_file(str(self._path)), type=KeyFile).keys
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"{self._path}: {error}", path=str(self._path)) from error


def _chosen(
    organizations: tuple[str, ...], headers: Mapping[str, str], named: str | None = None
) -> str:
    said = next((headers[name] for name in ORGANIZATION_HEADERS if headers.get(name)), None)
    if None not in (said, named) and said != named:
        raise Refused("a header of the request names one organization, and its path another", 403)
    wanted = named if said is None else said
    if wanted is not None and ANY in organizations:
        return check_organization(wanted)
    if wanted is None and len(organizations) == 1 and ANY not in organizations:
        return organizations[0]
    if wanted is None:
        raise Refused(f"this key is for several organizations: name one in {_named()}", 403)
    if wanted not in organizations:
        raise Refused("this key is not for the organization that the request names", 403)
    return wanted


def _named() -> str:
    return " or ".join(ORGANIZATION_HEADERS)


def _shown(headers: Mapping[str, str], cookies: Mapping[str, str]) -> str | None:
    """The key or token that a request shows."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "":
            pass
        case "bearer" | "token" | "splunk" | "apikey":
            return rest.strip()
        case "basic":
            return _password(rest)
        case _:
            raise Refused("Authorization must be Bearer or Basic")
    for name in _KEY_HEADERS:
        if headers.get(name):
            return headers[name]
    return next((cookies[name] for name in _KEY_COOKIES if cookies.get(name)), None)


def _password(encoded: str) -> str:
    """The password of basic authentication: the key; the name of the user does not matter."""
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("Authorization: Basic is not base64 of user:password") from None
    return text.partition(":")[2]


class _Tokens:
    """JSON Web Tokens that others sign."""

    def __init__(self, settings: JwtSettings) -> None:
        try:
            import jwt  # noqa: PLC0415 - of the extra, and only where tokens are taken
        except ImportError as error:
            raise MissingExtraError(
                "tokens need PyJWT; run: pip install 'lakerunner[gateway]'", missing="jwt"
            ) from error
        self._jwt = jwt
        self._settings = settings
        self._secret: Any = None
        self._keys: dict[str | None, Any] = {}
        if settings.secret_file is not None:
            self._secret = _file(settings.secret_file).strip()
        if settings.jwks_file is not None:
            try:
                found = jwt.PyJWKSet.from_json(_file(settings.jwks_file).decode())
            except (jwt.PyJWTError, ValueError) as error:
                raise ConfigurationError(f"{settings.jwks_file}: {error}") from error
            self._keys = {one.key_id: one.key for one in found.keys}
        if self._secret is None and not self._keys:
            raise ConfigurationError("jwt: secret_file or jwks_file is needed to check tokens")

    def identity(self, token: str) -> Identity:
        """Who a token is of.

        Raises:
            Refused: It is not good.
        """
        jwt, settings = self._jwt, self._settings
        try:
            head = jwt.get_unverified_header(token)
            algorithm = head.get("alg", "")
            shared = algorithm.startswith("HS")
            key = self._secret if shared else self._keys.get(head.get("kid"))
            if key is None or algorithm not in settings.algorithms:
                raise Refused("the token is signed by nobody known here")
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=settings.issuer,
                audience=settings.audience,
                options={"require": ["exp"], "verify_aud": settings.audience is not None},
            )
        except jwt.PyJWTError:
            raise Refused("the token is not good") from None
        organization = claims.get(settings.organization_claim)
        scope = claims.get(settings.scope_claim, AccessScope.READ)
        if not isinstance(organization, str) or scope not in list(AccessScope):
            raise Refused("the token names no organization, or a scope that there is not", 403)
        try:
            check_organization(organization)
        except ConfigurationError:
            raise Refused("the token names what can be no organization", 403) from None
        return Identity(str(claims.get("sub", "token")), (organization,), AccessScope(scope))


def _file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", path=path) from error
