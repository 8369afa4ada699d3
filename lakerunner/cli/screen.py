"""Where output goes: answers to stdout, everything said about them to stderr."""

from __future__ import annotations

import sys

from rich.console import Console

_UNBOUNDED = 100_000
"""Columns of a console that is no terminal: lines are never cut or wrapped in a file or pipe."""


def answers() -> Console:
    """The console for answers."""
    return _console(stderr=False)


def messages() -> Console:
    """The console for progress, statistics and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _UNBOUNDED
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=True)


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
