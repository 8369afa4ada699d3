"""Remove what was committed, in a way that the loss of the catalog does not undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.errors import CommitConflictError
from lakerunner.fencing.intents import Intent, put_intent, put_mark, withdraw_intent
from lakerunner.publish.committing import publish_commit
from lakerunner.publish.footers import read_footer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from lakerunner.fencing import Fence
    from lakerunner.model.commit import Commit
    from lakerunner.model.config import Config
    from lakerunner.model.head import Head
    from lakerunner.model.segment import Segment


def announce_removal(
    fence: Fence,
    kind: str,
    removed: Iterable[Segment],
    head: Head,
    *,
    commit_id: str = "",
    unreadable: Collection[str] = (),
) -> str:
    """Say which live segments are about to go, before anything is put in their place.

    Args:
        fence: The lake and its catalog.
        kind: Why: `compact`, `rollup`, `retain`, `delete` or `damage`.
        removed: The segments, as the catalog describes them. Their footers are read.
        head: What `Fence.begin` returned before they were looked up.
        commit_id: The commit that will remove them.
        unreadable: Ids of those whose footers are damaged or gone. They are announced as the
            catalog describes them, without their sources.

    Returns:
        The key of the intent, for `publish_removal`.

    Raises:
        CatalogMismatchError: The lake was recovered since.
        StoreError: A footer cannot be read, or the intent not be put.
    """
    described = tuple(
        one if one.id in unreadable else read_footer(fence.store, one.key, one.bytes)
        for one in removed
    )
    intent = Intent(kind, head.incarnation, commit_id=commit_id, remove=described)
    announced = put_intent(fence.store, intent)
    fence.verify(head.incarnation)
    return announced


def publish_removal(
    fence: Fence, commit: Commit, announced: str, head: Head, config: Config
) -> int:
    """Commit a removal that was announced, and mark it as done before anybody is told.

    Args:
        fence: The lake and its catalog.
        commit: What goes, and what comes in its place.
        announced: What `announce_removal` returned.
        head: As given to it.
        config: `attempts` and `backoff_seconds` of each question.

    Returns:
        The sequence of the commit.

    Raises:
        CommitConflictError: Others were faster. Nothing is visible, and what was put is deleted.
        CatalogMismatchError: The lake was recovered meanwhile: it may have happened, or not.
        CatalogError: There is no answer. It may have been applied.
    """
    try:
        sequence = publish_commit(fence, commit, config)
    except CommitConflictError:
        withdraw_intent(fence.store, announced)
        raise
    put_mark(fence.store, announced, [segment.id for segment in commit.add])
    fence.verify(head.incarnation)
    return sequence
