"""What may name an organization: a part of keys, URLs and file names, and never a way out of it."""

from __future__ import annotations

import re

from lakerunner.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_SHOWN = 60


def is_organization(name: object) -> bool:
    """Whether an organization can have this name.

    Example:
        >>> is_organization("acme.eu-1"), is_organization("../acme")
        (True, False)
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and ".." not in name


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
