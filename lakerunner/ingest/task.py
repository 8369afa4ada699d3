"""One batch of objects on its way through ingestion: what goes in, and what comes out.

Both travel between processes when the executor is a process pool: they hold no table and no bytes.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.policies.batching import batches
from lakerunner.policies.ownership import Owner, owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lakerunner.model.config import Config
    from lakerunner.model.mapping import SourceMapping
    from lakerunner.model.segment import Segment
    from lakerunner.model.signal import Signal
    from lakerunner.model.source import Rejection, TakenSource
    from lakerunner.policies.ownership import Ownership
    from lakerunner.store import ObjectMeta, ObjectStore


class IngestTask(NamedTuple):
    """A batch to be ingested.

    Attributes:
        batch_id: Names the commit of this batch.
        lake: Where segments go.
        source: The bucket the objects lie in.
        objects: The objects, as they were listed.
        organization: Whose rows they hold; None where no rule says, so that they are set aside.
        steward: Who is told of objects without an owner.
        signal: The signal the user named, if any.
        hint: The signal that the objects' place speaks of, if any.
        format: The format the user named, if any.
        mapping: What the user says of records of named fields, if anything.
        config: The settings.
        epoch: Where the catalog stood when the batch was begun: see `Fence.begin`.
        announced: Whether the objects were announced, not listed: one that is not there may be yet
            to come, so it counts as failed and is not set aside.
        record: Whether the catalog learns of the sources; bytes given by hand have no identity.
    """

    batch_id: str
    lake: ObjectStore
    source: ObjectStore
    objects: tuple[ObjectMeta, ...]
    organization: str | None
    steward: str
    signal: Signal | None
    hint: Signal | None
    format: str | None
    mapping: SourceMapping | None
    config: Config
    epoch: int
    announced: bool = False
    record: bool = True

    @property
    def account(self) -> str:
        """The organization whose commit this becomes."""
        return self.steward if self.organization is None else self.organization


class IngestOutcome(NamedTuple):
    """What became of a batch; nothing of it is committed yet.

    Attributes:
        task: The batch.
        segments: Segments that were put.
        taken: Sources whose every row is in `segments`, whatever tables these are of.
        aside: Lines that were set aside of sources in `taken`.
        rejected: Sources that cannot be taken.
        failed: Sources that cannot be taken for now.
        bytes_read: Stored bytes of all objects that were read.
    """

    task: IngestTask
    segments: tuple[Segment, ...]
    taken: tuple[TakenSource, ...]
    aside: tuple[Rejection, ...]
    rejected: tuple[Rejection, ...]
    failed: tuple[Rejection, ...]
    bytes_read: int


def tasks_of(
    objects: Iterable[ObjectMeta],
    common: IngestTask,
    rules: Ownership | None,
    admits: Callable[[str], bool] = bool,
) -> Iterator[IngestTask]:
    """Put objects into batches, each of one owner.

    Args:
        objects: What is to be taken, as it is listed.
        common: What all batches have in common.
        rules: Who owns which object; None if all are the steward's.
        admits: Whether the lake can hold an organization of this name beside the others.
    """

    def owner(item: ObjectMeta) -> Owner | None:
        if rules is None:
            return Owner(common.steward)
        found = owner_of(common.source.url, item.key, rules)
        # Collectors may share a batch: their rows lie together anyway.
        if found is None or not admits(found.organization):
            return None
        return found._replace(collector="")

    sizes = common.config.batch_bytes, common.config.batch_objects
    for found, batch in batches(objects, owner, batch_bytes=sizes[0], batch_objects=sizes[1]):
        yield common._replace(
            batch_id=uuid.uuid4().hex,
            objects=batch,
            organization=None if found is None else found.organization,
            hint=None if found is None else found.signal,
        )
