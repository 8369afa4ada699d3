"""Deletions as a catalog holds them: segments of a table of the lake's own, one for each.

So they come and go in the order of commits, a state of the past has those of its time, and the
files tell a recovery of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.model.deletion import DELETED, DELETIONS, Deletion, Proof, applies, statement_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lakerunner.catalog.base import Catalog
    from lakerunner.model.segment import Segment


def pending_deletions(
    catalog: Catalog, organization: str, table: str | None = None, *, sequence: int | None = None
) -> Sequence[Deletion]:
    """Deletions that are not complete, in the order in which they were asked for.

    Args:
        catalog: What holds them.
        organization: Whose.
        table: Only those that concern this table.
        sequence: As of this commit; None means now.

    Raises:
        CatalogVersionError: A newer lakerunner asked for one: nothing can be read without it.
        SnapshotExpiredError: As `Catalog.segments` says.
    """
    found = catalog.segments(organization, DELETIONS, sequence=sequence)
    said = (statement_of(one, Deletion) for one in found)
    wanted = (one for one in said if table in {None, one.table})
    return sorted(wanted, key=lambda one: (one.asked_ns, one.id))


def proofs(catalog: Catalog, organization: str) -> Sequence[Proof]:
    """What was done for deletions, in order; of a complete one there is one proof."""
    found = catalog.segments(organization, DELETED)
    said = (statement_of(one, Proof) for one in found)
    return sorted(said, key=lambda one: (one.deletion.asked_ns, one.deletion.id, one.done_ns))


def concerned(deletions: Iterable[Deletion], segment: Segment) -> Sequence[Deletion]:
    """Deletions of which a segment may have rows.

    A merge of it with others would mix these with rows that are not concerned, so merges wait until
    it was rewritten. What a merge makes has `oldest` as the least of `age_of` its inputs, and
    `applied` as all deletions that were pending when it began.
    """
    return [one for one in deletions if applies(one, segment)]
