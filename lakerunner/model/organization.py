"""What may name an organization: a part of keys, URLs and file names, and never a way out of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lakerunner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

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
