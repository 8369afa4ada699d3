"""How an attribute key becomes a column name."""

from __future__ import annotations

import re
from hashlib import blake2s
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

RESOURCE, SCOPE, RECORD = "resource_", "scope_", "attr_"
"""Prefixes of attribute columns, by the message that holds the attribute."""

OVERFLOW = "attribute_overflow"
"""The map column that holds attributes beyond the column cap: column name to value as text."""

_DIGITS = 6
"""Digits of a digest that tell two keys of one folded name apart, if they can."""

_FOLDED = re.compile(r"[^a-z0-9]")


def column_name(prefix: str, key: str) -> str:
    """Fold a key: lower case, and every character outside `[a-z0-9]` becomes `_`.

    Example:
        >>> column_name("resource_", "Service.Name"), column_name("attr_", "k8s/größe")
        ('resource_service_name', 'attr_k8s_gr__e')
    """
    return prefix + _FOLDED.sub("_", key.lower())


def assign_names(
    prefix: str, keys: Iterable[str], reserved: Collection[str] = ()
) -> dict[str, str]:
    """Give every key of one prefix a column name of its own.

    Of several keys that fold to one name, the first in text order keeps it (so `http.method` comes
    before `http_method`); each other one gets a suffix made from the key alone, so that it has the
    same name in every segment where it is not first. Names in `reserved` are never given out.

    Returns:
        Column name by key.

    Example:
        >>> assign_names("attr_", ["a_b", "a.b", "c"])
        {'a.b': 'attr_a_b', 'a_b': 'attr_a_b__80b05e', 'c': 'attr_c'}
    """
    names: dict[str, str] = {}
    used = set(reserved)
    for key in sorted(keys):
        name = column_name(prefix, key)
        if name in used:
            name = next(longer for longer in other_names(name, key) if longer not in used)
        used.add(name)
        names[key] = name
    return names


def other_names(name: str, key: str) -> tuple[str, ...]:
    """Names that a key may have where another one keeps its folded name, the likeliest first.

    Example:
        >>> other_names("attr_a_b", "a_b")[:2]
        ('attr_a_b__80b05e', 'attr_a_b__80b05ec')
    """
    digest = blake2s(key.encode("utf-8", "surrogatepass")).hexdigest()
    return tuple(f"{name}__{digest[:length]}" for length in range(_DIGITS, len(digest) + 1))
