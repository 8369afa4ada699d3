"""The listed objects that the catalog does not know yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.ingest.reading import piece_span
from lakerunner.model.source import Source, SourceState
from lakerunner.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakerunner.catalog import Catalog
    from lakerunner.ingest.inputs import Inputs
    from lakerunner.ingest.local_files import LocalFiles
    from lakerunner.model.config import Config
    from lakerunner.store import ObjectMeta

_LOOKUP_OBJECTS = 1000  # sources looked up in the catalog in one call


class NewObjects:
    """Passes over listed objects that were taken or set aside; looks a thousand up at a time.

    Used by one thread.

    Args:
        catalog: Knows what was taken and what was set aside.
        inputs: What was listed.
        config: How often to ask the catalog.
        again: Whether to hand on what was set aside.
        files: For files of this machine: knows what of them was taken.

    Attributes:
        seen: New objects handed on so far.
        skipped: Known objects passed over so far.
        exhausted: Whether the listing has come to its end.
    """

    def __init__(
        self,
        catalog: Catalog,
        inputs: Inputs,
        config: Config,
        *,
        again: bool,
        files: LocalFiles | None = None,
    ) -> None:
        self._files = files
        self._catalog = catalog
        self._inputs = inputs
        self._config = config
        self._again = again
        self.seen = 0
        self.skipped = 0
        self.exhausted = False

    def __iter__(self) -> Iterator[ObjectMeta]:
        for listed in _chunks(self._inputs.objects, _LOOKUP_OBJECTS):
            for item in self._unknown(listed):
                self.seen += 1
                yield item
        self.exhausted = True

    def _unknown(self, listed: list[ObjectMeta]) -> list[ObjectMeta]:
        bucket = self._inputs.store.url
        sources = [Source(bucket, item.key, item.etag) for item in listed]
        known = retrying(lambda: self._catalog.sources(sources), self._config)
        found = listed
        if self._files is not None:
            found = self._files.left_of(listed, known)
            sources = [Source(bucket, item.key, item.etag) for item in found]
            others = [source for source in sources if piece_span(source.etag)]
            known |= retrying(lambda: self._catalog.sources(others), self._config) if others else {}
        new = [
            item
            for item, source in zip(found, sources, strict=True)
            if source not in known or (self._again and known[source] is SourceState.REJECTED)
        ]
        self.skipped += len(listed) - len(new)
        return new


def _chunks(items: Iterable[ObjectMeta], size: int) -> Iterator[list[ObjectMeta]]:
    chunk: list[ObjectMeta] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
