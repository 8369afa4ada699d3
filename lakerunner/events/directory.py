"""Events made by looking into a directory again and again, for files that others write."""

from __future__ import annotations

import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from lakerunner.errors import ConfigurationError
from lakerunner.events.polling import PrefixPoller
from lakerunner.store.urls import absolute_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from lakerunner.store.base import ObjectMeta

_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~")


def is_unfinished(key: str) -> bool:
    """Whether a name is one that programs give to files which they are still writing.

    Example:
        >>> [is_unfinished(key) for key in ("a/.logs.json.x1", "a/logs.json.part", "a/logs.json")]
        [True, True, False]
    """
    name = PurePosixPath(key).name
    return name.startswith((".", "_tmp", "~")) or name.lower().endswith(_UNFINISHED)


class DirectoryWatcher(PrefixPoller):
    """Announces each file below a directory once it is complete.

    A file counts as complete when it was not changed for `settle_seconds` and two looks found it
    the same. That is a guess: the writer that pauses for longer has its file taken in two versions,
    with the first rows twice. Writers should write under another name and rename; names that start
    with a `.` or end at `.tmp`, `.part` and the like are never taken.

    Args:
        url: A directory, which need not exist yet.
        options: None are needed.
        interval_seconds: Between two looks.
        settle_seconds: How long a file must hold still. 0 takes each file at first sight: right if
            all writers rename.

    Raises:
        ConfigurationError: It is no path of this machine.
    """

    def __init__(
        self,
        url: str | PathLike[str],
        options: Mapping[str, object] | None = None,
        *,
        interval_seconds: float = 1.0,
        settle_seconds: float = 5.0,
    ) -> None:
        if settle_seconds < 0:
            raise ConfigurationError("settle_seconds must not be negative")
        directory = absolute_path(str(url)).rstrip("/")
        super().__init__(
            f"{directory}/", options, interval_seconds=interval_seconds, relist_every=1
        )
        self._settle_ns = round(settle_seconds * 10**9)
        self._unsettled: dict[str, str] = {}

    def is_ready(self, meta: ObjectMeta) -> bool:
        """Whether a file is complete."""
        if is_unfinished(meta.key):
            return False
        if not self._settle_ns:
            return True
        if self._unsettled.get(meta.key) != meta.etag:
            self._unsettled[meta.key] = meta.etag
            return False
        if time.time_ns() - meta.modified_ns < self._settle_ns:
            return False
        del self._unsettled[meta.key]
        return True
