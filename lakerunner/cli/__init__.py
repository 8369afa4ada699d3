"""The command line: `lakerunner`, a thin layer of typer and rich over the library."""

from __future__ import annotations

from lakerunner.cli.entry import main

__all__ = ["main"]
