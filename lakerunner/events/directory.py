"""Events made by looking into a directory again and again, for files that others write."""

from __future__ import annotations

import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import ConfigurationError
from lakerunner.events.polling import PrefixPoller
from lakerunner.store.urls import absolute_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from lakerunner.store.base import ObjectMeta

_LINES = (".log", ".txt", ".text", ".jsonl", ".ndjson", ".logfmt", ".out", ".err")
_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~")


class _Unsettled(NamedTuple):
    """The version of a file that was seen last, and since when it is waited for."""

    etag: str
    since_ns: int


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
    the same. That is a guess, which does no harm where text is appended: what follows is taken as
    a continuation. A file of lines that does not come to rest, by its name, is announced all the
    same every `settle_seconds`, and once more when it rests. For other files writers should write
    under another name and rename; names that start with a `.` or end at `.tmp`, `.part` and the
    like are never taken.

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
        self._unsettled: dict[str, _Unsettled] = {}

    def is_ready(self, meta: ObjectMeta) -> bool:
        """Whether a file is complete, or grows and is to be taken as far as it is there."""
        if is_unfinished(meta.key):
            return False
        if not self._settle_ns:
            return True
        now_ns = time.time_ns()
        before = self._unsettled.get(meta.key)
        if before is not None and before.etag == meta.etag:
            if now_ns - meta.modified_ns < self._settle_ns:
                return False
            del self._unsettled[meta.key]
            return True
        since_ns = now_ns if before is None else before.since_ns
        due = now_ns - since_ns >= self._settle_ns and meta.key.lower().endswith(_LINES)
        self._unsettled[meta.key] = _Unsettled(meta.etag, now_ns if due else since_ns)
        return due

    def is_new(self, meta: ObjectMeta) -> bool:
        """Whether a file is to be asked about: also if it was announced before it was at rest."""
        return meta.key in self._unsettled or super().is_new(meta)
