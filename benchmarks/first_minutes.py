"""The first minutes of a new user at the command line, in the tutorial's order, with times.

`python benchmarks/first_minutes.py` prints each command, the first lines it answers, and how long
it took; `--install` begins with a fresh environment and `pip install`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINES = 12
COMMANDS = (
    ["--version"],
    ["--help"],
    ["generate", "bucket", "--rate", "200", "--duration", "60"],
    ["ingest", "lake", "bucket/otel-raw/"],
    ["sql", "lake", "SELECT level, count(*) AS records FROM logs GROUP BY 1 ORDER BY 2 DESC"],
    ["services", "lake"],
    ["doctor", "lake"],
)


def installed(place: Path) -> str:
    """A fresh environment with the package of this folder in it; its `lakerunner`."""
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    pip = [str(place / "venv/bin/python"), "-m", "pip", "install", "--quiet"]
    root = Path(__file__).resolve().parents[1]
    begun = time.perf_counter()
    subprocess.run([*pip, f"{root}[cli]"], check=True)
    seconds = time.perf_counter() - begun
    sys.stdout.write(f"$ pip install 'lakerunner[cli]'\n[{seconds:.2f} s]\n\n")
    return str(place / "venv/bin/lakerunner")


def main() -> None:
    """Give the commands, one after the other, in an empty folder."""
    with tempfile.TemporaryDirectory() as name:
        fresh = "--install" in sys.argv
        program = installed(Path(name)) if fresh else f"{Path(sys.executable).parent}/lakerunner"
        for words in COMMANDS:
            begun = time.perf_counter()
            done = subprocess.run(
                [program, *words], cwd=name, capture_output=True, text=True, check=False
            )
            seconds = time.perf_counter() - begun
            said = "\n".join((done.stdout + done.stderr).splitlines()[:LINES])
            sys.stdout.write(f"$ lakerunner {' '.join(words)}\n{said}\n[{seconds:.2f} s]\n\n")


if __name__ == "__main__":
    main()
