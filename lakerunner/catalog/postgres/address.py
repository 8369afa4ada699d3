"""Where a catalog lives, read from a URL whose password is never shown."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo

from lakerunner.errors import ConfigurationError
from lakerunner.limits import CATALOG_CONNECT_S

_SCHEMA = "lakerunner"
_NAME_BYTES = 63
"""Bytes of a name in PostgreSQL; it would cut longer ones in silence."""

_HOST = r"(?:\[[^\]@/?#]*\]|[^@/:?#,\[\]]*)(?::\d*)?"
_URL = re.compile(
    r"(?P<scheme>postgres(?:ql)?)://"
    r"(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?:/(?P<database>[^/?#@]*))?"
    r"(?:\?(?P<query>.*))?"
)

_SECRET = frozenset({"password", "sslpassword"})
_DEFAULTS = {
    "application_name": "lakerunner",
    "connect_timeout": str(CATALOG_CONNECT_S),
    # A server that vanishes without a word is noticed in a minute and not in two hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}


class Address(NamedTuple):
    """A schema in a database, and how to connect to it.

    Attributes:
        location: The URL as it was given, with its password if it has one.
        url: The URL without it, for people.
        schema: The schema that holds the tables.
        conninfo: What the client library is given.
        secrets: What no message may hold.
    """

    location: str
    url: str
    schema: str
    conninfo: str
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


def read_address(location: str) -> Address:
    """Read `postgresql://user:password@host:port/database?schema=name&…`.

    Everything but `schema` has the meaning that PostgreSQL's own client library gives it; what is
    left out comes from its environment variables and its password file.

    Raises:
        ConfigurationError: It is no such URL, or an option is unknown. No message repeats any part
            of a URL that could not be taken apart: it may be a piece of the password.

    Example:
        >>> address = read_address("postgresql://acme:s3cret@db.acme.example/lakes?schema=eu")
        >>> address.schema, address
        ('eu', Address('postgresql://acme@db.acme.example/lakes?schema=eu'))
    """
    match = _URL.fullmatch(location)
    if match is None:
        raise ConfigurationError(
            "this is no PostgreSQL URL; write postgresql://user@host:5432/database?schema=name, "
            "and inside a password %40 for @, %2F for /, %3F for ? and %23 for #"
        )
    query = [part.partition("=")[::2] for part in (match["query"] or "").split("&") if part]
    options = {unquote(name): unquote(value) for name, value in query}
    schema = _checked(options.pop("schema", _SCHEMA))
    if match["password"]:
        options.setdefault("password", unquote(match["password"]))
    secrets = tuple(options[name] for name in sorted(_SECRET & options.keys()) if options[name])
    hosts = [host.rpartition(":") if _has_port(host) else (host, "", "")
             for host in match["hosts"].split(",")]  # fmt: skip
    parts = {
        "user": unquote(match["user"] or ""),
        "dbname": unquote(match["database"] or ""),
        "host": ",".join(unquote(host.strip("[]")) for host, _, _ in hosts),
        "port": ",".join(port for _, _, port in hosts) if any(p for _, _, p in hosts) else "",
    }
    settings = _DEFAULTS | {name: value for name, value in parts.items() if value} | options
    try:
        conninfo = make_conninfo("", **settings)
    except ProgrammingError:
        unknown = ", ".join(sorted(options.keys() - _SECRET))
        raise ConfigurationError(
            f"PostgreSQL knows not all of these options of the catalog's URL: {unknown}"
        ) from None
    return Address(location, _shown(match, query), schema, conninfo, secrets)


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def _shown(match: re.Match[str], query: list[tuple[str, str]]) -> str:
    user = f"{match['user']}@" if match["user"] else ""
    database = f"/{match['database']}" if match["database"] else ""
    kept = "&".join(f"{n}={v}" for n, v in query if unquote(n) not in _SECRET)
    return f"postgresql://{user}{match['hosts']}{database}{'?' if kept else ''}{kept}"


def _checked(schema: str) -> str:
    if (
        not schema
        or "\0" in schema
        or len(schema.encode()) > _NAME_BYTES
        or schema.startswith("pg_")
        or schema == "information_schema"
    ):
        raise ConfigurationError(
            f"{quote(schema)!r} cannot be the schema of a catalog; "
            f"take a name of 1 to {_NAME_BYTES} bytes that PostgreSQL does not keep for itself",
            schema=schema,
        )
    return schema
