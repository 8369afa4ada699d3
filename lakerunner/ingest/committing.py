"""Commit what a batch produced: at most once, whatever happens to the replies."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from lakerunner.errors import CommitConflictError, ConfigurationError
from lakerunner.formats.detect import require_format
from lakerunner.ingest.batch import ingest_batch
from lakerunner.ingest.inputs import check_mapping
from lakerunner.model.commit import Commit
from lakerunner.model.profile import check_organization
from lakerunner.model.report import IngestReport
from lakerunner.model.segment import Rejection, TakenSource
from lakerunner.model.signal import read_signal
from lakerunner.publish.committing import publish_commit
from lakerunner.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lakerunner.catalog import Catalog
    from lakerunner.fencing import Fence
    from lakerunner.ingest.inputs import IngestOutcome
    from lakerunner.ingest.local_files import LocalFiles
    from lakerunner.model.config import Config
    from lakerunner.model.profile import SourceMapping
    from lakerunner.model.segment import Source
    from lakerunner.model.signal import Signal


class ReplacedVersions:
    """Versions of a bucket's objects that were set aside as a whole, looked up when first needed.

    Used by one thread.

    Args:
        catalog: Knows what was set aside.
        bucket: URL of the bucket.
        config: How often to ask the catalog.
    """

    def __init__(self, catalog: Catalog, bucket: str, config: Config) -> None:
        self._catalog = catalog
        self._bucket = bucket
        self._config = config
        self._found: dict[str, dict[str, list[Source]]] = {}  # by organization and key

    def older(self, organization: str, taken: Iterable[TakenSource]) -> tuple[TakenSource, ...]:
        """The other versions of objects that were set aside, as sources without rows."""
        new = dict.fromkeys(each.source for each in taken)
        if not new:
            return ()
        if organization not in self._found:
            found: dict[str, list[Source]] = {}
            ask = partial(self._catalog.rejections, organization)
            for rejection in retrying(ask, self._config):
                if rejection.rows is None and rejection.source.bucket == self._bucket:
                    found.setdefault(rejection.source.key, []).append(rejection.source)
            self._found[organization] = found
        known = self._found[organization]
        old = (old for source in new for old in known.pop(source.key, ()))
        return tuple(TakenSource(source, 0) for source in old if source not in new)


def commit_outcome(
    fence: Fence,
    outcome: IngestOutcome,
    replaced: ReplacedVersions | None,
    files: LocalFiles | None = None,
    *,
    record: bool = True,
    attempt: int = 1,
) -> IngestReport:
    """Commit a batch, all tables at once, and report on it.

    When another ingestor took some of the sources meanwhile, the batch is made again from the
    others, and the segments made in vain are deleted.

    Args:
        fence: The lake and the catalog.
        outcome: What the batch produced.
        replaced: Older versions that were set aside. Where a newer one is taken, they are settled:
            nobody can read them any more.
        files: For files of this machine: notes what is taken of them.
        record: Whether to record sources; bytes given by hand have no identity.
        attempt: How often these objects have been tried, this time included.

    Raises:
        CommitConflictError: Bytes given by hand were made into segments so slowly that these can no
            longer be committed; nothing is visible.
        CatalogError: The commit failed: all of the batch is visible or nothing.
    """
    task = outcome.task
    aside = (*outcome.aside, *outcome.rejected)
    report = IngestReport(failed=outcome.failed, bytes_read=outcome.bytes_read)
    if not outcome.taken and not (record and aside):
        return report + IngestReport(rejected=aside)
    older = () if replaced is None else replaced.older(task.account, outcome.taken)
    claims = files.settle(task.batch_id, outcome.taken) if files is not None else ()
    commit = Commit(
        id=task.batch_id,
        organization=task.account,
        committed_ns=time.time_ns(),
        add=outcome.segments,
        taken=(*outcome.taken, *older, *claims) if record else (),
        rejected=aside if record else (),
    )
    try:
        publish_commit(fence, commit, task.config)
    except CommitConflictError as conflict:
        if not record:
            raise
        return report + _again(fence, outcome, conflict, attempt, files)
    return report + IngestReport(
        objects=len(outcome.taken),
        rows=sum(each.rows for each in outcome.taken),
        rejected=aside,
        segments=len(commit.add),
        bytes_written=sum(segment.bytes for segment in commit.add),
        untimed=dict(outcome.untimed),
    )


def _again(
    fence: Fence,
    outcome: IngestOutcome,
    conflict: CommitConflictError,
    attempt: int,
    files: LocalFiles | None,
) -> IngestReport:
    """Make and commit a part of a batch again, without what others have taken meanwhile."""
    task = outcome.task
    sources = [taken.source for taken in outcome.taken]
    sources += [rejection.source for rejection in outcome.rejected]
    known = retrying(lambda: fence.catalog.sources(sources), task.config)
    if files is not None:  # others took as much of a file, or another part from the same place
        claims = {claim: source for source in sources if (claim := files.claims_of(source))}
        claimed = retrying(lambda: fence.catalog.sources(list(claims)), task.config)
        known |= {claims[claim]: state for claim, state in claimed.items()}
    left = {source.key: source for source in sources if source not in known}
    skipped = IngestReport(skipped=len(sources) - len(left))
    if not left:
        return skipped
    # Whoever loses a part of its sources to others has fewer each time, so that this ends: only
    # refusals that leave all of them count as attempts.
    attempt += len(left) == len(sources)
    if attempt > task.config.attempts:
        now_ns = time.time_ns()
        lost = (Rejection(s, conflict.code.value, conflict.message, now_ns) for s in left.values())
        return skipped + IngestReport(failed=tuple(lost))
    smaller = task._replace(
        batch_id=uuid.uuid4().hex,
        objects=tuple(item for item in task.objects if item.key in left),
        epoch=fence.begin().epoch,
    )
    return skipped + commit_outcome(fence, ingest_batch(smaller), None, files, attempt=attempt)


# What the user says of the input of one call, checked before anything is read.


class Request(NamedTuple):
    """What the user says of the input of one call.

    Attributes:
        organization: Whose rows they are, whatever the rules of ownership say.
        signal: What they are; told from the content if not given.
        format: Name of their format; told from name and content if not given.
        mapping: Which fields mean what.
    """

    organization: str | None = None
    signal: Signal | None = None
    format: str | None = None
    mapping: SourceMapping | None = None


def read_request(
    signal: Signal | str | None = None,
    format_name: str | None = None,
    mapping: SourceMapping | Mapping[str, Any] | None = None,
    organization: str | None = None,
    *,
    only: str | None = None,
) -> Request:
    """Check what the user says.

    Args:
        signal: See `Request`; the mapping may name it, too.
        format_name: See `Request`; the mapping may name it, too.
        mapping: See `Request`.
        organization: See `Request`.
        only: The only organization that may be named, if it is not any.

    Raises:
        ConfigurationError: The mapping is wrong, there is no such signal or format, or the
            organization cannot be one or may not be named.

    Example:
        >>> read_request("logs", mapping={"format": "csv"}).format
        'csv'
    """
    said = check_mapping(mapping)
    if organization is not None:
        check_organization(organization)
        if only is not None and organization != only:
            raise ConfigurationError(
                f"this is bound to '{only}' and writes nothing for others",
                organization=organization,
            )
    chosen = format_name if format_name is not None else said.format if said else None
    if chosen is not None:
        require_format(chosen)
    return Request(
        organization=organization,
        signal=read_signal(signal) if signal is not None else said.signal if said else None,
        format=chosen,
        mapping=said,
    )
