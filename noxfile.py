#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.5.1", "uv>=0.7"]
# ///
"""Every check and chore of the project, one session each; CI runs these and nothing else.

`python3 noxfile.py` needs Python and pip only: it fetches nox and uv into `.nox/bootstrap` and
starts again there. `uv run noxfile.py` and `nox` do the same work. `-l` lists the sessions,
`-s tests` runs one, and what follows `--` goes to its tool: `python3 noxfile.py -s tests -- -x`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def bootstrap() -> int:
    """Run this file again in a small environment of its own that has nox and uv.

    Pip reached the package index to get here. Where uv cannot, even with the certificates of the
    system (a mirror that only pip is configured for), the sessions are installed with pip as well.
    """
    home = ROOT / ".nox" / "bootstrap"
    bin_dir, suffix = (home / "Scripts", ".exe") if os.name == "nt" else (home / "bin", "")
    python, uv, nox_ = (bin_dir / f"{name}{suffix}" for name in ("python", "uv", "nox"))
    if not (uv.exists() and nox_.exists()):
        # The new environment gets no pip of its own: some systems ship venv without ensurepip.
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", home], check=True)
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
        subprocess.run([*pip, "nox>=2025.5.1", "uv>=0.7"], check=True)
    probe = [uv, "pip", "install", "--quiet", "--dry-run", "--python", python, "hatchling"]
    last_resort = {"NOX_DEFAULT_VENV_BACKEND": "virtualenv"}
    for settings in ({}, {"UV_SYSTEM_CERTS": "true"}, last_resort):
        os.environ.update(settings)
        if subprocess.run(probe, check=False, capture_output=True).returncode == 0:
            break
    return subprocess.run([python, __file__, *sys.argv[1:]], check=False, cwd=ROOT).returncode


if __name__ == "__main__" and importlib.util.find_spec("nox") is None:
    sys.exit(bootstrap())

import nox  # noqa: E402 - only importable now

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = os.environ.get("NOX_DEFAULT_VENV_BACKEND", "uv|virtualenv")
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = [*(CHECKS := ["lint", "imports", "types", "docs"]), "tests"]

PROCESSES = ["--numprocesses=2", "--dist=loadfile"]
PACKAGE = "-e.[all,testing]"
SMOKE = [
    *("tests/test_import.py", "tests/test_public_api.py", "tests/test_aio.py"),
    *("tests/test_worker_processes.py", "tests/query/test_result.py"),
    *("tests/query/test_right_answers.py", "tests/formats/records/test_platforms.py"),
    "tests/cli/test_at_home.py",
]
"""Tests that go through everything once: what is run with other versions of Python."""

PEER = "drain3>=0.9.11"
"""What fingerprints are compared with. It asks for one old version of what others need a new one
of, and runs with either: it is installed without what it asks for."""


def install(session: nox.Session, *groups: str, package: bool = False) -> None:
    """Install dependency groups of pyproject.toml, and lakerunner where a session runs it."""
    pyproject = nox.project.load_toml(ROOT / "pyproject.toml")
    session.install(
        *nox.project.dependency_groups(pyproject, *groups), *([PACKAGE] if package else [])
    )
    if "test" in groups:
        session.install("--no-deps", PEER)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and formatting."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def imports(session: nox.Session) -> None:
    """import-linter: which part may import which."""
    install(session, "lint")
    session.run("lint-imports", "--config", "importlinter.ini")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, over the library, the tests and the benchmarks."""
    install(session, "types", "test", package=True)
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into `site/`, with its notebooks; a broken link, a failing cell fails."""
    install(session, "docs")
    session.install("-e.[notebook]")
    build_site(session)


@nox.session
def pictures(session: nox.Session) -> None:
    """Build the site, look at it in a headless browser and write docs/pictures; needs Chromium."""
    install(session, "pictures")
    session.install("-e.[notebook]")
    build_site(session)
    session.run("python", "docs_build/segment.py")
    session.run("python", "docs_build/pictures.py")


def build_site(session: nox.Session) -> None:
    """MkDocs; its theme advertises its successor on every build, unless told not to."""
    session.run("mkdocs", "build", "--strict", "--quiet", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def tests(session: nox.Session) -> None:
    """pytest: the tests, each benchmark once, and every example in the documentation.

    Two processes share the files; each starts the services that its own tests need.
    """
    install(session, "test", package=True)
    # Hundreds of processes are started: each would compile all that it imports, where a system
    # forbids that this is kept.
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}
    session.run("pytest", *PROCESSES, *session.posargs, env=compiled)


@nox.session(python=["3.12", "3.13", "3.14"])
def pythons(session: nox.Session) -> None:
    """pytest: a part of the tests with other versions of Python, those of them that are there."""
    install(session, "test", package=True)
    session.run("pytest", *(session.posargs or SMOKE))


@nox.session
def matrix(session: nox.Session) -> None:
    """pytest: the conformance suites; writes docs/reference/conformance.md."""
    install(session, "test", package=True)
    page = "--conformance-matrix=docs/reference/conformance.md"
    session.run("pytest", "tests/store", "tests/catalog", page, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """pytest-benchmark, timed."""
    install(session, "test", package=True)
    session.run("pytest", "benchmarks", "--benchmark-enable", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """`lakerunner demo`: telemetry is made, ingested and queried; the answers are printed."""
    session.install("-e.[cli]")
    session.run("lakerunner", "demo", *session.posargs)
    session.log(f"`lakerunner` is {session.bin}/lakerunner here")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel, look inside, install it alone and import it."""
    session.install("build")
    out = Path(session.create_tmp()) / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out), silent=True)
    (wheel,) = out.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    needed = {"lakerunner/py.typed", "lakerunner/gateway/page/index.html"}
    if not needed <= set(names) or any(n.startswith("tests/") for n in names):
        session.error(f"{wheel.name} must hold {' and '.join(sorted(needed))}, and no tests")
    session.install("--force-reinstall", str(wheel))
    session.chdir(out)
    session.run("python", "-I", "-c", "import lakerunner; print(lakerunner.__version__)")


def side_by_side() -> int:
    """Run the tests, and all other checks beside them; what these print comes in one piece."""
    run = [sys.executable, __file__, "-s"]
    with subprocess.Popen([*run, "tests"]) as testing:
        checks = subprocess.run(
            [*run, *CHECKS], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        sys.stdout.buffer.write(checks.stdout)
        sys.stdout.flush()
    return checks.returncode or testing.returncode


if __name__ == "__main__":
    sys.exit(nox.main() if sys.argv[1:] else side_by_side())
