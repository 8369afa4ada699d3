"""Turn decoded rows into segments and put them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pyarrow as pa
from msgspec.structs import replace

from lakerunner.errors import ObjectExistsError
from lakerunner.ingest.retrying import retrying
from lakerunner.ingest.task import commit_id
from lakerunner.model.segment import Segment
from lakerunner.schema.canonical import SORT_ORDER
from lakerunner.segments.codec import encode, order_columns
from lakerunner.segments.layout import WindowTable, lay_out
from lakerunner.segments.naming import segment_id, segment_key
from lakerunner.segments.stats import column_stats
from lakerunner.store import PutMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.ingest.task import IngestTask
    from lakerunner.model.signal import Signal
    from lakerunner.model.source import Source


def write_segments(
    task: IngestTask, table: pa.Table, signal: Signal, sources: tuple[Source, ...]
) -> Iterator[Segment]:
    """Sort rows, cut them at windows, and put one segment for each window.

    Args:
        task: The batch they belong to.
        table: Decoded rows; one chunk per column.
        signal: Their signal.
        sources: The objects they came from.

    Yields:
        Each segment, once it is durable.
    """
    owner = pa.array([task.account]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(
        pa.nulls(table.num_rows, pa.int32()).fill_null(0), owner.dictionary
    )
    whole = order_columns(table.append_column("organization", column), signal)
    for window in lay_out(whole, task.config.window_ns, SORT_ORDER[signal]):
        described = _describe(task, window, signal, sources)
        data = encode(window.table, described)
        yield _put(task, replace(described, bytes=data.size), data)


def _describe(
    task: IngestTask, window: WindowTable, signal: Signal, sources: tuple[Source, ...]
) -> Segment:
    created_ns = time.time_ns()
    identifier = segment_id(created_ns, os.urandom(8))
    columns = column_stats(window.table)
    bounds = columns["timestamp"]
    return Segment(
        id=identifier,
        organization=task.account,
        signal=signal,
        key=segment_key(task.account, signal, window.start_ns, identifier),
        window_start_ns=window.start_ns,
        window_ns=task.config.window_ns,
        min_timestamp_ns=int(bounds.min or 0),
        max_timestamp_ns=int(bounds.max or 0),
        rows=window.table.num_rows,
        bytes=0,
        sort=window.sort,
        columns=columns,
        created_ns=created_ns,
        commit_id=commit_id(task.batch_id, signal),
        sources=sources,
    )


def _put(task: IngestTask, segment: Segment, data: pa.Buffer) -> Segment:
    view = memoryview(data)

    def attempt() -> None:
        try:
            task.lake.put(segment.key, view, PutMode.CREATE)
        except ObjectExistsError:
            # The key is unique to this segment, so what is there is our own put, whose reply was
            # lost; a put is whole or not there at all.
            if task.lake.head(segment.key).size != segment.bytes:
                raise

    retrying(attempt, task.config)
    return segment
