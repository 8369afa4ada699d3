"""Progress on the terminal: a bar where there is one, a line now and then where there is not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from lakerunner.cli.screen import messages, size

if TYPE_CHECKING:
    from types import TracebackType

    from lakerunner.model.report import ProgressEvent

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
        if self._console.is_terminal:
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
        detail = f"{event.rows:,} rows, {size(event.bytes)}"
        if self._bar:
            self._bar.update(self._task, completed=event.done, total=event.total, detail=detail)
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            total = "" if event.total is None else f" of {event.total:,}"
            self._console.print(f"{self._title}: {event.done:,}{total} objects, {detail}")
