"""A server as a child process: started on free loopback ports, waited for, always ended."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from lakerunner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HOST = "127.0.0.1"
_READY_SECONDS = 60.0
_STOP_SECONDS = 5.0
# A watcher beside the server ends it when our end of the pipe is closed: also if we are killed.
# Some programs only start another one: all that was started ends with them.
_WATCHED = 'exec 3<&0; (read -r _ <&3; kill -9 -$$) & exec "$@" 3<&- </dev/null'
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Service(NamedTuple):
    """A storage service that runs.

    Attributes:
        endpoint: Its URL, without a trailing slash.
        storage_options: How a store reaches it, in fsspec's words.
    """

    endpoint: str
    storage_options: Mapping[str, object]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody uses at this moment; each another one."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def find_program(name: str, package: str) -> str:
    """The program that a package installed beside this interpreter, or on the path.

    Raises:
        ConfigurationError: It is not there; the message names the package.
    """
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ConfigurationError(f"there is no program {name!r}: pip install {package}")
    return found


@contextmanager
def running(
    command: Callable[[Path], Sequence[str]],
    ready: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a server until the context ends; its files and its log are in a directory of its own.

    Args:
        command: Program and arguments, given that directory.
        ready: URL that answers, with whatever status, as soon as the server is ready; `tcp://…` of
            one that takes connections then.
        environment: What it shall find in its environment besides ours.

    Raises:
        ConfigurationError: It ended before it was ready, or was not ready in time.
    """
    with tempfile.TemporaryDirectory(prefix="lakerunner-server-") as name:
        log = Path(name, "log")
        data = Path(name, "data")
        data.mkdir()
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - a program that we name
                ["/bin/sh", "-c", _WATCHED, "server", *command(data)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=data,
                start_new_session=True,
            )
        try:
            _wait(process, ready, log)
            yield
        finally:
            # Nothing of the data is wanted any more, and some need seconds to end in good order.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if process.stdin is not None:
                process.stdin.close()
            process.wait(_STOP_SECONDS)


def send(method: str, url: str, body: bytes = b"") -> bytes:
    """Ask a server of this machine, past any proxy that the environment names."""
    request = urllib.request.Request(url, data=body, method=method)  # noqa: S310 - ours, http
    with _OPENER.open(request, timeout=_STOP_SECONDS) as answer:
        data: bytes = answer.read()
        return data


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if url.startswith("tcp://"):
                place = urlsplit(url)
                socket.create_connection((str(place.hostname), place.port or 0), timeout=2).close()
                return
            with _OPENER.open(url, timeout=2):
                return
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.05)
    tail = log.read_text(errors="replace")[-2000:]
    raise ConfigurationError(f"{process.args!r} is not ready at {url}: {tail}")
