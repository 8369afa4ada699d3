"""Make segments that were put visible, at most once, whatever happens to the replies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lakerunner.errors import CommitConflictError, CommitUnknownError, LakerunnerError
from lakerunner.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.catalog import Catalog
    from lakerunner.model.commit import Commit
    from lakerunner.model.config import Config
    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectStore


def publish_commit(
    catalog: Catalog, lake: ObjectStore, commit: Commit, config: Config, *, begun_ns: int
) -> int:
    """Commit segments that were put, or delete them if they cannot be committed.

    Args:
        catalog: Where to.
        lake: Where the segments of `commit.add` lie.
        commit: What becomes visible.
        config: `attempts` and `backoff_seconds` of each question, and the grace of orphans.
        begun_ns: When the first of the segments was begun, in nanoseconds since the epoch.

    Returns:
        The sequence of the commit.

    Raises:
        CommitConflictError: Others were faster, or the segments are so old that the collection of
            orphans may take them for leftovers. Nothing is visible; they are deleted.
        CatalogError: There is no answer. The commit may have been applied; nothing is deleted.
    """
    try:
        _refuse_expired(begun_ns, config)
        return send_commit(catalog, commit, config)
    except CommitConflictError:
        discard_segments(lake, commit.add)
        raise


def _refuse_expired(begun_ns: int, config: Config) -> None:
    if time.time_ns() - begun_ns > config.orphan_grace_ns // 2:
        raise CommitConflictError("the segments are so old that they may be collected")


def send_commit(catalog: Catalog, commit: Commit, config: Config) -> int:
    """Send a commit until there is an answer; to send it again is harmless.

    Raises:
        CommitConflictError: It was refused.
        CommitUnknownError: The last reply was lost, too.
        CatalogUnavailableError: The catalog cannot be reached.
    """
    for _ in range(config.attempts - 1):
        try:
            return retrying(lambda: catalog.commit(commit), config)
        except CommitUnknownError:
            continue
    return retrying(lambda: catalog.commit(commit), config)


def discard_segments(lake: ObjectStore, segments: Iterable[Segment]) -> None:
    """Delete segments that no commit will name; what cannot be deleted is collected later.

    A segment that closes a commit goes first: without it the others count for nothing, whatever
    happens in between.
    """
    for segment in sorted(segments, key=lambda one: not one.siblings):
        try:
            lake.delete(segment.key)
        except LakerunnerError:
            continue
