"""Make segments that were put visible, at most once, whatever happens to the replies."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lakerunner.errors import CommitConflictError, CommitUnknownError, LakerunnerError
from lakerunner.model.head import incarnation_of
from lakerunner.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.catalog import Catalog
    from lakerunner.fencing import Fence
    from lakerunner.model.commit import Commit
    from lakerunner.model.config import Config
    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectStore

_LOG = logging.getLogger(__name__)


def publish_commit(fence: Fence, commit: Commit, config: Config) -> int:
    """Commit segments that were put, or delete them if they cannot be committed.

    Args:
        fence: The lake in which the segments of `commit.add` lie, and the catalog. It began before
            the first of them was put.
        commit: What becomes visible.
        config: `attempts` and `backoff_seconds` of each question.

    Returns:
        The sequence of the commit.

    Raises:
        CommitConflictError: Others were faster, or the segments are so old that their files may
            be deleted. Nothing is visible; they are deleted.
        CatalogMismatchError: The lake was recovered since. Nothing is visible; the files are left
            to the collection, for the recovery may have adopted them.
        CatalogError: There is no answer. The commit may have been applied; nothing is deleted.
    """
    try:
        sequence = send_commit(fence.catalog, commit, config)
    except CommitConflictError:
        _discard(fence, commit.add)
        raise
    fence.reached(sequence)
    return sequence


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


def _discard(fence: Fence, segments: Iterable[Segment]) -> None:
    """Delete what a refused commit would have named; what cannot be deleted is collected later.

    A segment that closes a commit goes first: without it the others count for nothing, whatever
    happens in between.
    """
    by_epoch: dict[int, dict[str, str]] = {}
    for segment in sorted(segments, key=lambda one: not one.siblings):
        by_epoch.setdefault(incarnation_of(segment.epoch), {})[segment.key] = segment.id
    for incarnation, files in by_epoch.items():
        try:
            fence.discard(files, incarnation)
        except LakerunnerError as error:
            _LOG.info("%s: left to the collection of orphans: %s", fence.store.url, error)


def delete_unnamed(lake: ObjectStore, segments: Iterable[Segment]) -> None:
    """Delete segments whose ids nobody but the caller knows: no commit will ever name them.

    What cannot be deleted is collected later.
    """
    for segment in segments:
        try:
            lake.delete(segment.key)
        except LakerunnerError:
            continue
