"""Where output goes: answers to stdout, everything said about them to stderr."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

from lakerunner.printable import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Progress

    from lakerunner.model.report import ProgressEvent

_UNBOUNDED = 100_000
"""Columns of a console that is no terminal: lines are never cut or wrapped in a file or pipe."""

_HUSHED: ContextVar[bool] = ContextVar("hushed", default=False)


@contextmanager
def hushed(wanted: bool) -> Iterator[None]:
    """Within it nothing is said about answers, if that is wanted: neither notes nor progress."""
    token = _HUSHED.set(wanted or _HUSHED.get())
    try:
        yield
    finally:
        _HUSHED.reset(token)


def answers() -> Console:
    """The console for answers."""
    return _console(stderr=False)


def messages() -> Console:
    """The console for progress, statistics and notes; a silent one where `--quiet` is given."""
    return _console(stderr=True, quiet=_HUSHED.get())


def errors() -> Console:
    """The console for errors."""
    return _console(stderr=True)


def _console(*, stderr: bool, quiet: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _UNBOUNDED
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=True, quiet=quiet)


def forget_stdout() -> None:
    """Let what is still to be written to a closed pipe go nowhere; nobody reads it."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # no file, as in a test or a notebook
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def size(count: float) -> str:
    """Bytes as a person reads them.

    Example:
        >>> size(999), size(1_300_000)
        ('999 B', '1.3 MB')
    """
    units = ("B", "kB", "MB", "GB", "TB")
    step = 1000
    position = 0
    while count >= step and position < len(units) - 1:
        count /= step
        position += 1
    return f"{count:.1f} {units[position]}" if position else f"{count:.0f} B"


LINE_SECONDS = 5.0
"""Seconds between two lines where there is no terminal."""


class ProgressDisplay:
    """Shows progress events on stderr; it is a `lakerunner.model.report.Progress`.

    Enter it around the work. Where stderr is no terminal it says how far the work is every
    `LINE_SECONDS`, and nothing if the work is done before.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = messages()
        self._said = time.monotonic()
        self._bar: Progress | None = None
        if self._console.is_terminal and not self._console.quiet:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
            )

            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=None, detail="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, event: ProgressEvent, /) -> None:
        """Show an event."""
        detail = f"{counted(event.rows, 'row')}, {size(event.bytes)}"
        if self._bar:
            self._bar.update(self._task, completed=event.done, total=event.total, detail=detail)
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            total = "" if event.total is None else f" of {event.total:,}"
            self._console.print(f"{self._title}: {event.done:,}{total} objects, {detail}")
