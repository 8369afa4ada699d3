"""The first minutes of a new user, in the order of the tutorial, with times.

`python benchmarks/first_minutes.py --install` begins with a fresh environment and `pip install`,
and goes through the fences of docs/tutorial.md as they stand: the lines of a shell one by one,
Python in one interpreter. `--write` keeps what is printed in docs/first-minutes.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "first-minutes.md"
LINES, COLUMNS = 12, 110
FENCE = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)

INTERPRETER = """
import contextlib, io, json, sys, time
names = {}
for line in sys.stdin:
    said, begun = io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(said):
        exec(compile(json.loads(line), "tutorial", "exec"), names)
    answer = {"said": said.getvalue(), "seconds": time.perf_counter() - begun}
    print(json.dumps(answer), flush=True)
"""

HEAD = """# The first minutes

What somebody sees who installs lakerunner into a fresh environment and follows the
[tutorial](tutorial.md), with the seconds that each step took, on two cores under a load of
{load:.0f}. `python benchmarks/first_minutes.py --install --write` makes this page; long answers
are cut.

"""


def installed(place: Path) -> tuple[str, float]:
    """A fresh environment with the package of this folder in it, and how long that took."""
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    pip = [str(place / "venv/bin/python"), "-m", "pip", "install", "--quiet"]
    begun = time.perf_counter()
    subprocess.run([*pip, f"{ROOT}[cli]", "pandas"], check=True)
    return f"{place}/venv/bin", time.perf_counter() - begun


def steps(bin_dir: str, place: Path) -> Iterator[tuple[str, str, float]]:
    """Each step of the tutorial: what is typed, what is answered, and the seconds."""
    fences = FENCE.findall((ROOT / "docs" / "tutorial.md").read_text())
    environment = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", "COLUMNS": str(COLUMNS)}
    with subprocess.Popen(
        [f"{bin_dir}/python", "-c", INTERPRETER],
        cwd=place,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as python:
        if python.stdin is None or python.stdout is None:
            raise RuntimeError("the interpreter has no pipes")
        for kind, text in [("bash", "lakerunner --version\nlakerunner --help"), *fences]:
            if kind == "python":
                python.stdin.write(f"{json.dumps(text)}\n")
                python.stdin.flush()
                answer = json.loads(python.stdout.readline())
                yield prompted(text), answer["said"], answer["seconds"]
                continue
            for line in text.splitlines():
                begun = time.perf_counter()
                done = subprocess.run(
                    ["/bin/sh", "-c", line],
                    cwd=place,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                yield f"$ {line}", done.stdout + done.stderr, time.perf_counter() - begun
        python.stdin.close()
    if python.returncode:
        raise RuntimeError("the tutorial did not run to its end")


def prompted(text: str) -> str:
    """Python as an interpreter shows what was typed."""
    first, *more = text.strip().splitlines()
    return "\n".join([f">>> {first}", *(f"... {line}".rstrip() for line in more)])


def recorded(*, fresh: bool) -> Iterator[str]:
    """The recording, step by step."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        bin_dir, total = str(Path(sys.executable).parent), 0.0
        if fresh:
            bin_dir, total = installed(place)
            yield f"$ pip install 'lakerunner[cli]' pandas\n[{total:.2f} s]\n"
        for typed, said, seconds in steps(bin_dir, place):
            total += seconds
            told = said.replace(name, "~").replace(name[1:], "~").splitlines()
            lines = [line[:COLUMNS].rstrip() for line in told]
            shown = [*lines[:LINES], *(["…"] if len(lines) > LINES else [])]
            yield "\n".join([typed, *shown, f"[{seconds:.2f} s; {total:.2f} s in all]", ""])


def main() -> None:
    """Print the recording, and keep it where it is asked for."""
    parts = []
    for part in recorded(fresh="--install" in sys.argv):
        sys.stdout.write(f"{part}\n")
        sys.stdout.flush()
        parts.append(part)
    if "--write" in sys.argv:
        PAGE.write_text(
            f"{HEAD.format(load=os.getloadavg()[0])}```text\n" + "\n".join(parts) + "```\n"
        )


if __name__ == "__main__":
    main()
