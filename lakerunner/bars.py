"""A bar for `progress=True`: in a notebook, or on the terminal that stderr is."""

from __future__ import annotations

import sys
import time
import uuid
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.model.report import Progress, ProgressEvent

ProgressLike: TypeAlias = "Progress | bool"
"""A callback, or True for a bar; False is none."""

_SECONDS = 0.1
"""Between two pictures of a bar."""

_CELLS = 24


@contextmanager
def shown(title: str, progress: ProgressLike | None) -> Iterator[Progress | None]:
    """The callback to report to: the caller's own, a bar for as long as the work takes, or none.

    The bar is drawn by a notebook where there is one, else on stderr if that is a terminal, and
    otherwise nowhere: it never ends up in a file.
    """
    if not isinstance(progress, bool):
        yield progress
        return
    canvas = _canvas() if progress else None
    if canvas is None:
        yield None
        return
    bar = Bar(title, canvas)
    try:
        yield bar
    finally:
        bar.close()


class Canvas(Protocol):
    """Where a bar is drawn."""

    def draw(self, title: str, share: float | None, said: str) -> None:
        """Replace what is drawn; the share of the work is None while that is unknown."""

    def close(self) -> None:
        """Leave what was drawn last, or nothing."""


class Bar:
    """A callback that draws; see `lakerunner.model.report.Progress`.

    Args:
        title: What the work is.
        canvas: Where it is drawn.
    """

    def __init__(self, title: str, canvas: Canvas) -> None:
        self._title, self._canvas = title, canvas
        self._begun = time.monotonic()
        self._drawn = float("-inf")
        self._last: ProgressEvent | None = None

    def __call__(self, event: ProgressEvent, /) -> None:
        """Draw an event, unless another was drawn just now."""
        self._last = event
        if time.monotonic() - self._drawn >= _SECONDS:
            self._draw(event)

    def close(self) -> None:
        """Draw the end."""
        if self._last is not None:
            self._draw(self._last)
        self._canvas.close()

    def _draw(self, event: ProgressEvent) -> None:
        self._drawn = time.monotonic()
        total = "" if event.total is None else f" of {event.total:,}"
        share = event.done / event.total if event.total else None
        seconds = self._drawn - self._begun
        said = f"{event.done:,}{total}, {event.rows:,} rows, {event.bytes / 1e6:,.1f} MB, "
        self._canvas.draw(self._title, share, f"{said}{seconds:.0f} s")


class _Terminal:
    """The line of a terminal on which the cursor stands."""

    def draw(self, title: str, share: float | None, said: str) -> None:
        filled = _CELLS if share is None else round(min(share, 1) * _CELLS)
        bar = ("·" if share is None else "━") * filled + " " * (_CELLS - filled)
        sys.stderr.write(f"\r\x1b[2K{title} {bar} {said}")
        sys.stderr.flush()

    def close(self) -> None:
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()


class _Notebook:
    """An output of a notebook's cell."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._id = uuid.uuid4().hex
        self._there = False

    def draw(self, title: str, share: float | None, said: str) -> None:
        value = "" if share is None else f' value="{min(share, 1):.4f}"'
        html = f"<div>{escape(title)} <progress{value}></progress> {escape(said)}</div>"
        text = f"{title}: {said}"
        self._display(
            {"text/html": html, "text/plain": text},
            raw=True,
            display_id=self._id,
            update=self._there,
        )
        self._there = True

    def close(self) -> None:
        """It stays, as what a cell shows does."""


def _canvas() -> Canvas | None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and hasattr(shell, "kernel"):
        from IPython.display import display  # noqa: PLC0415 - loaded already, if it is there

        return _Notebook(display)
    return _Terminal() if sys.stderr is not None and sys.stderr.isatty() else None
