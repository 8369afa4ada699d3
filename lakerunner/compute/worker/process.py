"""One worker as its engine sees it: started, asked, watched, and ended."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.compute.turns import check_cancelled, refuse_stopped
from lakerunner.compute.worker.messages import BATCH, Ask, Ended, Ready, receive, send
from lakerunner.errors import QueryExecutionError, QueryLimitError
from lakerunner.limits import MIB, WORKER_CANCEL_SECONDS, WORKER_WATCH_SECONDS

if TYPE_CHECKING:
    from lakerunner.compute.worker.messages import RemoteQuery, WorkerSettings
    from lakerunner.errors import LakerunnerError

# It starts without the program around it: a script needs no guard against being imported again.
_START = (
    "import sys; sys.path[:] = {path!r}; from lakerunner.compute.worker.serving import main; main()"
)
# Address space is limited, so allocators must not reserve more of it than they use.
_ENVIRONMENT = {
    "MIMALLOC_ARENA_RESERVE": "65536",
    "MALLOC_ARENA_MAX": "2",
    "RUST_BACKTRACE": "0",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_OUT_OF_MEMORY = ("memory allocation of", "Cannot allocate memory", "bad_alloc", "failed to alloc")
_START_SECONDS = 60.0
_DYING_SECONDS = 5.0
_LAST_WORDS = 2000
_PIPE_BYTES = 1 * MIB


class Worker:
    """A process that answers one query after the other.

    To be used by one thread at a time. It starts in the background; who needs it first waits.

    Args:
        settings: What it is started with.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [
                sys.executable,
                "-c",
                _START.format(path=sys.path),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            bufsize=0,
            env={**os.environ, **_ENVIRONMENT},
            process_group=0,  # a Ctrl-C at the terminal is for us: we end it then
        )
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # more than the system allows: it works as it is
                fcntl.fcntl(self._out.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._out.fileno(), select.POLLIN)
        self._ready: Ready | None = None
        self._deadline: float | None = None
        send(self._in, settings)

    @property
    def _in(self) -> Any:
        return self._process.stdin

    @property
    def _out(self) -> Any:
        return self._process.stdout

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it has started."""
        return self._ready is not None

    @property
    def worn(self) -> bool:
        """Whether it holds so much memory while it does nothing that another had better start."""
        if self._ready is None:
            return False
        return self._resident_bytes() > self._ready.resident_bytes + self._settings.spare_bytes // 2

    def ask(self, what: Ask, query: RemoteQuery, seconds: float | None) -> Any:
        """Ask for something that is one value; an error that is answered is returned.

        Args:
            what: For what.
            query: Of which query.
            seconds: How long it may take.

        Raises:
            TimeoutError: It took longer; what is asked is still being worked on.
            QueryLimitError: It would need more memory than it may have; the worker has ended.
            QueryExecutionError: The worker died.
        """
        self._tell(what, query)
        return self._read(seconds)[1]

    def run(self, query: RemoteQuery) -> None:
        """Start a run, whose batches `next_batch` takes."""
        self._tell(Ask.RUN, query)

    def schema(self, seconds: float | None) -> Any:
        """The schema of a run that was started, or how it ended before it began."""
        return self._read(seconds)[1]

    def next_batch(self, schema: Any, seconds: float | None) -> Any:
        """The next batch of a run, or how it ended.

        Raises:
            TimeoutError: It took longer; what is asked is still being worked on.
            QueryLimitError: It would need more memory than it may have; the worker has ended.
            QueryExecutionError: The worker died.
        """
        kind, content = self._read(seconds)
        if kind == BATCH:
            return pa.ipc.read_record_batch(pa.py_buffer(content), schema)
        return content

    def cancel(self) -> Ended | None:
        """End a run: gently where that is quick, or else with the process."""
        try:
            self._tell(Ask.CANCEL, None)
            until = time.monotonic() + WORKER_CANCEL_SECONDS
            while True:
                _, content = self._read(max(until - time.monotonic(), 0))
                if isinstance(content, Ended):
                    return content
        except (QueryExecutionError, TimeoutError):
            self.end()
            return None
        except BaseException:
            self.end()
            raise

    def kill(self) -> None:
        """End the process while another thread may wait for it: that one sees it die."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.kill()
        for pipe in (self._in, self._out, self._words):
            with suppress(OSError):
                pipe.close()

    def await_ready(self) -> None:
        """Wait until it can be asked.

        Raises:
            QueryExecutionError: It could not be started.
        """
        if self._ready is None:
            try:
                _, self._ready = self._read(_START_SECONDS)
            except TimeoutError:
                self.end()
                raise QueryExecutionError(
                    f"no process for queries could be started within {_START_SECONDS:g} s"
                ) from None

    def _tell(self, what: Ask, query: RemoteQuery | None) -> None:
        try:
            send(self._in, (what, query))
        except OSError:
            raise self._death() from None

    def _read(self, seconds: float | None) -> tuple[bytes, Any]:
        self._deadline = None if seconds is None else time.monotonic() + seconds
        try:
            return receive(self)
        except TimeoutError:
            raise
        except (EOFError, OSError):
            raise self._death() from None

    def readinto(self, buffer: memoryview) -> int | None:
        """Read what the worker writes; while it writes nothing, watch its memory and clock."""
        while not self._poll.poll(WORKER_WATCH_SECONDS * 1000):
            if self._deadline is not None and time.monotonic() >= self._deadline:
                raise TimeoutError
            check_cancelled()
            refuse_stopped()
            self._watch_memory()
        count: int | None = self._out.readinto(buffer)
        return count

    def _watch_memory(self) -> None:
        if self._ready is None:
            return
        settings = self._settings
        bound = self._ready.resident_bytes + settings.memory_bytes + settings.spare_bytes
        if self._resident_bytes() > bound:
            self.end()
            raise self._over_memory()

    def _resident_bytes(self) -> int:
        """Memory of the process; 0 where the system does not tell, and only its own limit holds."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def _over_memory(self) -> QueryLimitError:
        return QueryLimitError(
            "the query needs more memory than its process may have, which "
            f"query_memory_bytes ({self._settings.memory_bytes:,}) limits: raise it, or ask for "
            "less",
            limit="query_memory_bytes",
        )

    def _death(self) -> LakerunnerError:
        """Why the process ended by itself."""
        try:
            code = self._process.wait(_DYING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._words.seek(0, os.SEEK_END)
        self._words.seek(max(self._words.tell() - _LAST_WORDS, 0))
        words = self._words.read().decode(errors="replace").strip()
        self.end()
        if any(one in words for one in _OUT_OF_MEMORY):
            return self._over_memory()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return QueryExecutionError(
            f"the process that ran the query died ({how}); other queries go on", detail=words
        )
