"""Answers that are sent while they are found: never as a whole in memory, no faster than read.

The work runs in a thread and writes into a pipe of a few pieces; it waits while the client does not
read, and ends when the client has gone. What fails before the first piece is a proper error; what
fails later breaks the connection off, so that no part is ever taken for the whole.
"""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pyarrow as pa
from anyio import from_thread
from starlette.responses import Response

from lakerunner.compute.turns import stopped_by
from lakerunner.errors import ConfigurationError, QueryLimitError
from lakerunner.gateway.envelope import encoding_wanted
from lakerunner.gateway.problems import cause_of, failed_answer
from lakerunner.query.writing import Form as RowForm
from lakerunner.query.writing import json_lines, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from lakerunner.gateway.serving import Serving, Visit
    from lakerunner.query import Result

_PIECE_BYTES = 256 * 1024
_PIECES = 4

ARROW, NDJSON, CSV, PARQUET = (
    "application/vnd.apache.arrow.stream",
    "application/x-ndjson",
    "text/csv; charset=utf-8",
    "application/vnd.apache.parquet",
)
_NAMES = {
    "arrow": ARROW,
    "json": NDJSON,
    "jsonl": NDJSON,
    "ndjson": NDJSON,
    "csv": CSV,
    "parquet": PARQUET,
}
_ACCEPTED = {
    "application/vnd.apache.arrow.stream": ARROW,
    "application/x-ndjson": NDJSON,
    "application/jsonl": NDJSON,
    "application/json": NDJSON,
    "text/csv": CSV,
    "application/vnd.apache.parquet": PARQUET,
    "*/*": NDJSON,
    "application/*": NDJSON,
    "text/*": CSV,
}
ROWS = (ARROW, NDJSON, CSV, PARQUET)
"""Everything that rows can come as."""

SUFFIXES = {ARROW: "arrows", NDJSON: "jsonl", CSV: "csv", PARQUET: "parquet"}
_FORMS = {NDJSON: RowForm.JSON, CSV: RowForm.CSV, PARQUET: RowForm.PARQUET}


def media_type_of(request: Request, name: str = "") -> str:
    """What a request wants rows as: by `format`, or else by `Accept`; JSON lines by default.

    Raises:
        ConfigurationError: There is no such format.
    """
    if name:
        if name not in _NAMES:
            raise ConfigurationError(
                f"no such format: {name!r}; there are {', '.join(_NAMES)}", format=name
            )
        return _NAMES[name]
    ranked = []
    for place, part in enumerate(request.headers.get("accept", "*/*").split(",")):
        kind, *rest = (piece.strip() for piece in part.split(";"))
        quality = next((_quality(one[2:]) for one in rest if one.startswith("q=")), 1.0)
        if kind in _ACCEPTED and quality > 0:
            ranked.append((-quality, place, _ACCEPTED[kind]))
    if not ranked:
        raise ConfigurationError(
            f"Accept names nothing that there is; there are {', '.join(_ACCEPTED)}"
        )
    return min(ranked)[2]


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def encoding_of(request: Request, media_type: str) -> str | None:
    """How an answer is compressed on its way: `zstd`, `gzip` or not at all."""
    return None if media_type == PARQUET else encoding_wanted(request.headers)  # it is inside


def send_result(
    result: Result, sink: Any, media_type: str, encoding: str | None, most: int | None = None
) -> None:
    """Write an answer into something that takes bytes.

    Raises:
        QueryLimitError: It has more rows than it may.
    """
    batches = result if most is None else _bounded(result, most)
    if media_type == ARROW:
        with _compressed(sink, encoding) as out, pa.ipc.new_stream(out, result.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return
    compression = None if media_type == PARQUET else (encoding or "none")
    write_rows(batches, result.schema, sink, _FORMS[media_type], compression=compression)


def _bounded(batches: Iterable[Any], most: int) -> Iterator[Any]:
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        if rows > most:
            raise QueryLimitError(
                f"the answer has more than the {most:,} rows it may: add a LIMIT", limit="rows"
            )
        yield batch


def json_list(batches: Sequence[Any]) -> bytes:
    """Rows as a JSON list of objects."""
    lines = b"".join(map(json_lines, batches)).rstrip(b"\n")
    return b"[" + lines.replace(b"\n", b",") + b"]"


def _compressed(sink: Any, encoding: str | None) -> Any:
    file = pa.PythonFile(sink, "w")
    return file if encoding is None else pa.CompressedOutputStream(file, encoding)


class Pipe(io.RawIOBase):
    """Where the thread writes: waits while the client is behind, and fails when it has gone.

    Args:
        out: To the task that sends.

    Attributes:
        headers: Further headers of the answer, until something was pushed.
        pushed: Whether something was.
    """

    def __init__(self, out: MemoryObjectSendStream[bytes]) -> None:
        super().__init__()
        self._out = out
        self._held = bytearray()
        self.headers: dict[str, str] = {}
        self.pushed = False

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any, /) -> int:
        """Take some bytes; they go on when there are enough of them."""
        self._held += data
        if len(self._held) >= _PIECE_BYTES:
            self.push()
        return len(data)

    def push(self) -> None:
        """Send what is held.

        Raises:
            anyio.BrokenResourceError: Nobody reads any more.
        """
        if self._held:
            self.pushed = True
            piece, self._held = bytes(self._held), bytearray()
            from_thread.run(self._out.send, piece)


class Streamed(Response):
    """An answer that a thread writes while it is sent.

    Args:
        serving: Counts it, and has the threads.
        visit: Who asks.
        request: What it answers.
        work: Writes the answer into a `Pipe`.
        media_type: Of the answer.
        headers: Further ones.
        failed: Answers what fails before the first piece.
    """

    def __init__(
        self,
        serving: Serving,
        visit: Visit,
        request: Request,
        work: Callable[[Pipe], None],
        media_type: str,
        headers: Mapping[str, str],
        failed: Callable[[Exception], Response] = failed_answer,
    ) -> None:
        super().__init__(None, 200, dict(headers), media_type)
        del self.headers["content-length"]
        self._serving = serving
        self._visit = visit
        self._request = request
        self._work = work
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        out, pieces = anyio.create_memory_object_stream[bytes](_PIECES)
        pipe, started, stop = Pipe(out), False, threading.Event()
        counted = self._serving.counted(self._visit, self._request)
        try:
            with out, pieces, counted, ended_with(stop), stopped_by(stop):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._produce, pipe, out)
                    first = await _next(pieces)
                    tasks.start_soon(hang_up, receive, tasks.cancel_scope)
                    started = True
                    self.headers.update(pipe.headers)
                    await send(
                        {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                    )
                    while first is not None:
                        await send({"type": "http.response.body", "body": first, "more_body": True})
                        first = await _next(pieces)
                    await send({"type": "http.response.body", "body": b""})
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = cause_of(group)
            if started or not isinstance(error, Exception):
                raise error from None
            await self._failed(error)(scope, receive, send)

    async def _produce(self, pipe: Pipe, out: MemoryObjectSendStream[bytes]) -> None:
        await self._serving.thread(partial(self._written, pipe))
        out.close()  # not where it failed: then the whole answer fails, and does not just end

    def _written(self, pipe: Pipe) -> None:
        self._work(pipe)
        pipe.push()


@contextmanager
def ended_with(stop: threading.Event) -> Iterator[None]:
    """Stop work that a thread still does when the context ends: nobody waits for it any more."""
    try:
        yield
    finally:
        stop.set()


async def _next(pieces: MemoryObjectReceiveStream[bytes]) -> bytes | None:
    try:
        return await pieces.receive()
    except anyio.EndOfStream:
        return None


async def hang_up(receive: Receive, scope: anyio.CancelScope) -> None:
    """End the work when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
