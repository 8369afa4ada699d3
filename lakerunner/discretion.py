"""What messages of a lake bound to one organization do not say: where its server lies."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from lakerunner.errors import LakerunnerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SHORTEST = 4
"""Characters of a place below which it is left in: it would be found in words."""


class Discretion:
    """Leaves places out of texts and errors.

    Args:
        places: URLs and paths, of the store, the catalog and local copies. None are left out where
            there are none.

    Example:
        >>> discreet = Discretion(["file:///srv/lake"])
        >>> discreet.kept_from("[srv/lake/segments/a.parquet] in file:///srv/lake")
        '[segments/a.parquet] in the lake'
    """

    def __init__(self, places: Iterable[str] = ()) -> None:
        forms: dict[str, str] = {}
        for place in places:
            url = place.rstrip("/")
            path = url.partition("://")[2] or url
            for form in (url, path, path.strip("/")):
                forms |= {unquote(form): "the lake", quote(form, safe="/:"): "the lake"}
        self._forms = sorted((one for one in forms if len(one) >= _SHORTEST), key=len, reverse=True)

    def kept_from(self, text: str) -> str:
        """The text without the places."""
        for form in self._forms:
            if form in text:
                text = text.replace(f"{form}/", "").replace(form, "the lake")
        return text

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run what may fail; its errors leave without the places, and without their causes.

        Raises:
            LakerunnerError: Whatever is raised inside.
        """
        if not self._forms:
            yield
            return
        try:
            yield
        except LakerunnerError as error:
            context = {
                name: self.kept_from(value) if isinstance(value, str) else value
                for name, value in error.context.items()
            }
            raise type(error)(self.kept_from(error.message), **context) from None
