"""Delete what crashes left behind: files that no commit names."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from lakerunner.catalog.base import PAGE
from lakerunner.errors import CatalogError
from lakerunner.fencing import Fence
from lakerunner.fencing.heights import heights, present_ns, reached_before, thin_out
from lakerunner.policies.recovery import orphans, unusual
from lakerunner.segments.layout import SEGMENTS_PREFIX, segment_of

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

    They are condemned first, so that no commit that is still on its way can name them afterwards,
    however long its writer was stopped. The age is by the clock of the store, and a courtesy: it
    keeps writers from having to begin again.

    Args:
        store: The lake.
        catalog: What names its segments; the one that all of its writers use.
        config: For the grace period.
        dry_run: Only say what would be deleted.
        force: Delete an unusual share of the lake, too, and make the catalog that of the lake even
            if it is empty, or of another one.

    Returns:
        Keys of the orphans, in key order.

    Raises:
        CatalogMismatchError: The catalog is not this lake's, or not up to it.
        CatalogError: An unusual share of the lake would go.
        StoreError: The lake cannot be listed, or an orphan cannot be deleted.
    """
    fence = Fence(store, catalog)
    head = catalog.head() if dry_run else fence.take_over() if force else fence.begin()
    now_ns = present_ns(store)
    # Listed first, and asked for afterwards: what is committed in between is known. One answer for
    # live and removed segments alike, so none can slip from the one to the other unseen.
    found, files = list[str](), 0
    listing = store.list(SEGMENTS_PREFIX)
    while page := list(islice(listing, PAGE)):
        files += len(page)
        known = catalog.known([segment_of(item.key) for item in page])
        named = {item.key for item in page if segment_of(item.key) in known}
        found += orphans(page, named, now_ns=now_ns, grace_ns=config.orphan_grace_ns)
    if dry_run:
        return found
    if not force and unusual(len(found), files):
        raise CatalogError(
            f"{len(found):,} of the {files:,} segments in {store.url} are named by no commit "
            f"of {catalog.url}: nothing was deleted. If the catalog was lost or is another lake's, "
            "recover; pass force=True to delete them all"
        )
    reached = heights(store)
    floor = reached_before(reached, now_ns - config.orphan_grace_ns)
    # Backwards: the segment that closes a batch lies in its last window and goes first, so that
    # `recover` never takes what is left for a commit.
    leftovers = {key: segment_of(key) for key in reversed(found)}
    deleted = fence.discard(leftovers, head.incarnation, floor=floor)
    # Heights tell, too, what was removed long ago.
    thin_out(store, reached, now_ns - max(config.orphan_grace_ns, config.removed_grace_ns))
    catalog.purge([])  # a catalog in a bucket deletes what it needs no more
    return sorted(deleted)
