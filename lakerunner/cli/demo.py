"""`lakerunner demo`: from nothing to answers about an incident, in well under a minute."""

import shlex
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from lakerunner.cli.generate import put_objects
from lakerunner.cli.ingest import show_report
from lakerunner.cli.screen import ProgressDisplay, answers, size
from lakerunner.errors import ConfigurationError

MARKER = "lakerunner-demo.json"
"""A file that says that the directory is a demo's own, and may be made anew."""

LAKE, RAW = "lake", "otel-raw"

MINUTES = 10


def demo(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where the demo puts its files.")
    ] = Path("demo-lake"),
    *,
    rate: Annotated[float, typer.Option(min=20, help="Records per second.")] = 1000.0,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds tell the same story.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Use a directory that holds other files; they stay.")
    ] = False,
) -> None:
    """Generate ten minutes of telemetry, take it into a lake, and ask what went wrong.

    Nothing is sent anywhere. The lake stays behind to play with; the next run makes it anew.
    """
    import msgspec
    from rich.text import Text

    import lakerunner
    from lakerunner.cli.demo_questions import ask_all
    from lakerunner.generate import TelemetryConfig
    from lakerunner.model.signal import Signal
    from lakerunner.model.times import NANOS, isoformat
    from lakerunner.store.urls import open_store

    prepare(directory, force=force)
    console = answers()
    begun = time.perf_counter()
    now_ns = time.time_ns() // NANOS * NANOS
    config = TelemetryConfig(
        seed=seed,
        signals=tuple(Signal),
        rate=rate,
        temporality="delta",
        duration_s=MINUTES * 60.0,
        start_ns=now_ns - MINUTES * 60 * NANOS,
    )
    (directory / MARKER).write_bytes(msgspec.json.encode(config))

    console.print(f"\n[bold]1. Telemetry of a shop[/]: {MINUTES} minutes until {isoformat(now_ns)}")
    stored = put_objects(open_store(directory), config, "generate")
    seconds = time.perf_counter() - begun
    console.print(
        f"{stored.records} of 8 services in {stored.objects:,} objects, "
        f"{size(stored.bytes)}, as a collector would have left them in "
        f"{directory / RAW} ({seconds:.1f} s)",
        markup=False,
    )

    console.print("\n[bold]2. Ingest[/]: from these objects to sorted, indexed Parquet")
    with lakerunner.open(str(directory / LAKE)) as lake:
        with ProgressDisplay("ingest") as progress:
            report = lake.ingest(f"{directory / RAW}/", progress=progress)
        show_report(report)
        ask_all(lake, console)
    console.print(f"\nAll of it took {time.perf_counter() - begun:.1f} s.")
    console.print("\n[bold]Go on[/] with the lake that is left behind:\n")
    for line in go_on(directory):
        console.print(Text(f"  {line}"))


def prepare(directory: Path, *, force: bool) -> None:
    """Make an empty place for the demo; only what an earlier demo made is ever removed.

    Raises:
        ConfigurationError: The directory holds something else, or is no directory.
    """
    own = (directory / MARKER).is_file()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        taken = [name for name in (LAKE, RAW) if (directory / name).exists()]
        if not own and (taken or (any(directory.iterdir()) and not force)):
            hint = f"it has {' and '.join(taken)} in it" if taken else "or add --force"
            raise ConfigurationError(
                f"{directory} is not empty and no demo made it; name another directory ({hint})"
            )
        for name in taken:
            shutil.rmtree(directory / name)
    except OSError as error:
        raise ConfigurationError(f"cannot use {directory}: {error.strerror}") from error


def go_on(directory: Path) -> list[str]:
    """Commands to copy."""
    lake = shlex.quote(str(directory / LAKE))
    sql = "SELECT level, count(*) FROM logs GROUP BY 1 ORDER BY 2 DESC"
    recent = "SELECT count(*) FROM logs WHERE timestamp >= now() - interval '3 minutes'"
    return [
        f'lakerunner sql {lake} "{sql}"',
        f'lakerunner explain {lake} "{recent}"',
        f"lakerunner segments {lake}",
        f"lakerunner ingest {lake} {shlex.quote(f'{directory / RAW}/')}   # again: all skipped",
        "",
        "import lakerunner",
        f'lakerunner.open({str(directory / LAKE)!r}, read_only=True).sql("{sql}").to_pandas()',
    ]
