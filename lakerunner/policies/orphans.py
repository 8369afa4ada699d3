"""Which objects of a lake nothing names any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lakerunner.limits import ORPHANS_SHARE, ORPHANS_UNUSUAL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


class Written(Protocol):
    """An object as far as this choice cares."""

    @property
    def key(self) -> str:
        """Its key, relative to the lake."""

    @property
    def modified_ns(self) -> int:
        """When it was written, in nanoseconds since the epoch."""


def unusual(found: int, files: int) -> bool:
    """Whether a collection would take so much of a lake that something else must be wrong.

    Example:
        >>> unusual(3, 100), unusual(80, 100), unusual(9, 9), unusual(2, 3)
        (False, True, True, False)
    """
    return found == files > 0 or (found >= ORPHANS_UNUSUAL and found > ORPHANS_SHARE * files)


def orphans(
    objects: Iterable[Written], named: Collection[str], *, now_ns: int, grace_ns: int
) -> Sequence[str]:
    """Keys of objects that no commit names and that are too old for one to be on its way.

    Args:
        objects: What lies in the lake.
        named: Keys that a commit names, of live and of removed segments.
        now_ns: The present.
        grace_ns: Age below which an object is left alone.

    Example:
        >>> from types import SimpleNamespace
        >>> written = {"a": 0, "b": 90}
        >>> objects = [SimpleNamespace(key=key, modified_ns=at) for key, at in written.items()]
        >>> orphans(objects, {"c"}, now_ns=100, grace_ns=50)
        ['a']
    """
    return [
        item.key
        for item in objects
        if item.key not in named and item.modified_ns <= now_ns - grace_ns
    ]
