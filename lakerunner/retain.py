"""Remove what is no longer needed: for now, what crashes left behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lakerunner.errors import CatalogError
from lakerunner.model.times import MAX_NS
from lakerunner.policies.orphans import orphans
from lakerunner.segments.naming import SEGMENTS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.config import Config
    from lakerunner.store import ObjectStore


def collect_orphans(
    store: ObjectStore,
    catalog: Catalog,
    config: Config,
    *,
    dry_run: bool = False,
    force: bool = False,
) -> Sequence[str]:
    """Delete segment files that no commit names and that are older than `config.orphan_grace_ns`.

    An ingestor does not commit segments older than half of that, so a file that is collected can
    never be named by a commit that was still on its way.

    Args:
        store: The lake.
        catalog: What names its segments; the one that all of its writers use.
        config: For the grace period.
        dry_run: Only say what would be deleted.
        force: Delete even if the catalog names no segment at all, as a lost or a wrong one does.

    Returns:
        Keys of the orphans, in key order.

    Raises:
        CatalogError: The catalog names no segment, so that all of the lake would go; `recover`
            rebuilds a lost catalog.
        StoreError: The lake cannot be listed, or an orphan cannot be deleted.
    """
    # Listed first: a segment that is committed after the listing is not in it, or is younger than
    # the grace period.
    listed = list(store.list(SEGMENTS_PREFIX))
    named = {segment.key for segment in catalog.removed(MAX_NS)}
    for table in catalog.tables():
        named |= {segment.key for segment in catalog.segments(*table)}
    found = orphans(listed, named, now_ns=time.time_ns(), grace_ns=config.orphan_grace_ns)
    if found and not (named or dry_run or force):
        raise CatalogError(
            f"the catalog names no segment, and {len(found):,} lie in {store.url}: recover a lost "
            "catalog first, or pass force=True to delete them all"
        )
    if not dry_run:
        # Backwards: the segment that closes a batch lies in its last window and goes first, so that
        # `recover` never takes what is left for a commit.
        store.delete_many(reversed(found))
    return found
