"""Where the `lakerunner` command begins; it loads without any of the `cli` extra installed."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn

NEEDED = ("typer", "rich", "plotext", "prompt_toolkit")
"""What the `cli` extra installs."""

USAGE_EXIT, INTERRUPTED_EXIT = 2, 130


def main() -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"the command line needs {' and '.join(missing)}; run: pip install 'lakerunner[cli]'",
            file=sys.stderr,
        )
        sys.exit(USAGE_EXIT)
    try:
        import_module("lakerunner.cli.app").app(prog_name="lakerunner")
    except KeyboardInterrupt:  # while modules are loading; later on the app sees to it
        sys.exit(INTERRUPTED_EXIT)
    sys.exit(0)
