"""URLs are read as PostgreSQL reads them, and a password appears nowhere."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from lakerunner.catalog.postgres.pool import read_address
from lakerunner.errors import ConfigurationError

SECRET = "s3cr3t"  # noqa: S105 - an example


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://", {}),
        ("postgres://h", {"host": "h"}),
        ("postgresql:///lakes", {"dbname": "lakes"}),
        ("postgresql://u@h:6543/d", {"user": "u", "host": "h", "port": "6543", "dbname": "d"}),
        ("postgresql://u%40x:a%2Fb%3F@h/d", {"user": "u@x", "password": "a/b?", "host": "h"}),
        ("postgresql://a,b:2,c/d", {"host": "a,b,c", "port": ",2,", "dbname": "d"}),
        ("postgresql://[::1]:5433/d", {"host": "::1", "port": "5433"}),
        ("postgresql://%2Fvar%2Frun/d", {"host": "/var/run"}),
        ("postgresql:///d?host=/tmp&port=7", {"host": "/tmp", "port": "7"}),  # noqa: S108
        ("postgresql://h/d?sslmode=require&connect_timeout=3", {"connect_timeout": "3"}),
        ("postgresql://h/d?application_name=a%20b+c", {"application_name": "a b+c"}),
    ],
)
def test_a_url_means_what_it_says(url: str, expected: dict[str, str]) -> None:
    address = read_address(url)
    settings = conninfo_to_dict(address.conninfo)
    assert {name: settings.get(name) for name in expected} == expected
    assert settings.get("application_name")
    assert settings.get("connect_timeout")
    assert address.schema == "lakerunner"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgres://u:{SECRET}@h:1/d?schema=a%20b", "postgresql://u@h:1/d?schema=a%20b"),
        (f"postgresql://u@h/d?password={SECRET}&sslmode=allow", "postgresql://u@h/d?sslmode=allow"),
        (f"postgresql://u@h/d?pass%77ord={SECRET}", "postgresql://u@h/d"),
        (f"postgresql://h?sslpassword={SECRET}", "postgresql://h"),
    ],
)
def test_the_password_is_used_and_not_shown(url: str, shown: str) -> None:
    address = read_address(url)
    assert address.url == shown
    assert SECRET in address.conninfo
    assert address.secrets == (SECRET,)
    assert SECRET not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:p@{SECRET}@h/d",
        f"postgresql://u:{SECRET}/x@h/d",
        f"postgresql://u:{SECRET}?x@h/d",
        f"postgresql://u:{SECRET}#x@h/d",
        f"postgresql://u:{SECRET}",
        f"postgresql://u:{SECRET}@h:port/d",
        f"postgresql://u@h/d?passwort={SECRET}",
        f"postgresql://u:{SECRET}@h/d?nonsense=1",
        "mysql://h/d",
        "postgresql:/d",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as failure:
        read_address(url)
    assert SECRET not in f"{failure.value} {failure.value.context}"
    assert failure.value.__cause__ is None


@pytest.mark.parametrize("schema", ["", "pg_mine", "information_schema", "é" * 32, "a%00b"])
def test_names_that_postgresql_keeps_or_cuts_are_refused(schema: str) -> None:
    with pytest.raises(ConfigurationError, match="schema"):
        read_address(f"postgresql://h/d?schema={schema}")
