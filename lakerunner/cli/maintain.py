"""Maintenance by hand: merging, summing up, retiring, deleting, and making a catalog again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakerunner.cli.ingest import SET_ASIDE_EXIT, stopped_by_interrupt
from lakerunner.cli.options import Connection, Everyone, Range, Workers
from lakerunner.cli.screen import ProgressDisplay, answers, messages, size
from lakerunner.errors import ConfigurationError
from lakerunner.limits import (
    COMPACT_WATCH_SECONDS,
    MAINTAIN_SECONDS,
    ROLLUP_SETTLE_SECONDS,
    STORE_REQUESTS,
)
from lakerunner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from lakerunner.maintenance import MaintainerState
    from lakerunner.model.report import RecoveryReport, WorkReport

_SHOWN = 20

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Watch = Annotated[
    bool, typer.Option("--watch", help="Do it again and again, until Ctrl-C or SIGTERM.")
]
TableName = Annotated[
    str | None, typer.Option("--table", help="Only this table.", show_default=False)
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="TABLE=TIME",
        help="How long rows are kept: 30d for all, or logs=30d, or metrics_rollup.10s=7d; "
        "'forever', or 'default' for 30 days. Give it once for each.",
        show_default=False,
    ),
]


def compact(
    everyone: Everyone,
    *,
    table: TableName = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    workers: Workers = 1,
) -> None:
    """Merge the small segments of each window into few.

    No row changes, and whoever queries meanwhile sees each of them once. It may be killed at any
    time, and several may run at once. With [bold]--watch[/bold] segments wait for others that may
    come, so that fewer bytes are written. The exit code is 3 if something failed; the rest is done.
    """
    from lakerunner.compact import Compactor
    from lakerunner.executors import worker_processes
    from lakerunner.tasks import Manner

    with (
        worker_processes(workers) as executor,
        everyone.open(read_only=dry_run) as opened,
        ProgressDisplay("compact") as progress,
        stopped_by_interrupt() as stop,
    ):
        compactor = Compactor(
            opened.store, opened.catalog, organization=everyone.organization, executor=executor
        )
        manner = Manner(progress=progress, stop=stop)

        def once() -> "WorkReport":
            return compactor.run(manner, table=table, dry_run=dry_run, eager=not watch)

        report = _repeated(once, stop) if watch and not dry_run else once()
    _show_work(report)


def rollup(
    everyone: Everyone,
    *,
    times: Range,
    dry_run: DryRun = False,
    watch: Watch = False,
    workers: Workers = 1,
) -> None:
    """Sum metrics up in tiers: the table metrics_rollup.

    It sums up what changed since, so run it as often as you like. It may be killed at any time, and
    several may run at once. With [bold]--watch[/bold] windows that still fill wait until they are
    over, or until much has come. The exit code is 3 if something failed; the rest is done.
    """
    from lakerunner.executors import worker_processes

    with (
        worker_processes(workers) as executor,
        everyone.open(read_only=dry_run) as opened,
        ProgressDisplay("rollup") as progress,
        stopped_by_interrupt() as stop,
    ):
        mine = everyone.bound(opened)

        def once() -> "WorkReport":
            return mine.rollup(
                times.start,
                times.end,
                dry_run=dry_run,
                settle_seconds=ROLLUP_SETTLE_SECONDS if watch else None,
                executor=executor,
                progress=progress,
                stop=stop,
            )

        report = _repeated(once, stop) if watch and not dry_run else once()
    _show_work(report)


def aggregate(
    connection: Connection,
    rules: Annotated[
        Path,
        typer.Argument(metavar="RULES", help="What to make: a YAML file with a list of rules."),
    ],
    *,
    times: Range,
    anew: Annotated[
        bool, typer.Option("--anew", help="Make again what earlier versions of a rule made.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Make metrics of logs and spans: counts, bytes, histograms of numbers, requests.

    Each row counts once, however often this runs. It goes back two days, and with
    [bold]--start[/bold] as far as that says, so that a new rule is applied to old windows. The
    exit code is 3 if something failed; the rest is done.
    """
    with (
        connection.open(read_only=dry_run) as opened,
        ProgressDisplay("aggregate") as progress,
    ):
        report = opened.aggregate(
            rules, times.start, times.end, anew=anew, dry_run=dry_run, progress=progress
        )
    _show_work(report)


def _repeated(once: "Callable[[], WorkReport]", stop: "Event") -> "WorkReport":
    """Do it again until stopped, with a pause in between; the report says it all together."""
    from msgspec.structs import replace

    report = once()
    while not stop.wait(COMPACT_WATCH_SECONDS):
        # What failed then and works now is no failure any more.
        report = replace(report, failed=(), waiting=()) + once()
    return report


def _show_work(report: "WorkReport") -> None:
    """Print what maintenance did, would do, or could not do.

    Raises:
        typer.Exit: Something failed.
    """
    from rich.text import Text

    console = answers()
    for line in report.planned:
        console.print(Text(printable(line)), soft_wrap=True)
    console.print(Text(str(report)), soft_wrap=True)
    for each in (*report.failed, *report.waiting)[:_SHOWN]:
        console.print(Text(str(each), style="yellow"), soft_wrap=True)
    if report.failed:
        raise typer.Exit(SET_ASIDE_EXIT)


def read_keep(options: list[str] | None) -> dict[str, Any]:
    """Read values of `--keep` as the setting `retention`.

    Raises:
        ConfigurationError: One contradicts another.

    Example:
        >>> read_keep(["logs=30d", "metrics_rollup.10s=7d", "metrics_rollup.1h=forever"])
        {'retention': {'logs': '30d', 'metrics_rollup': {'10s': '7d', '1h': 'forever'}}}
        >>> read_keep(["default"]), read_keep(None)
        ({'retention': 'default'}, {})
    """
    if not options:
        return {}
    if len(options) == 1 and "=" not in options[0]:
        return {"retention": options[0]}
    kept: dict[str, Any] = {}
    for option in options:
        name, separator, value = option.partition("=")
        table, _, resolution = name.partition(".")
        told = kept.setdefault(table, {} if resolution else value)
        if not separator or isinstance(told, dict) is not bool(resolution):
            raise ConfigurationError(
                f"--keep {option!r}: give one time for all, or TABLE=TIME, or TABLE.RESOLUTION=TIME"
            )
        if resolution:
            told[resolution] = value
    return {"retention": kept}


def maintain(
    everyone: Everyone,
    *,
    keep: Keep = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    every: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="The pause of --watch, at most.")
    ] = MAINTAIN_SECONDS,
    workers: Workers = 1,
) -> None:
    """Delete, merge, sum up, retire and collect, in this order.

    It may be killed at any time and run again, and any number may run at once: they share the work.
    What fails is put off, first for a minute and then for longer, and the rest goes on. The exit
    code is 3 if something failed.
    """
    from rich.text import Text

    from lakerunner.executors import worker_processes
    from lakerunner.maintenance import Maintainer

    if watch and everyone.organization is not None:
        raise ConfigurationError("maintain: --watch looks after all organizations")
    with (
        worker_processes(workers) as executor,
        everyone.open(read_only=False, config=read_keep(keep)) as opened,
        ProgressDisplay("maintain") as progress,
        stopped_by_interrupt() as stop,
    ):
        if not watch or dry_run:
            report = everyone.bound(opened).maintain(
                dry_run=dry_run, progress=progress, stop=stop, executor=executor
            )
        else:
            maintainer = Maintainer(
                *(opened.store, opened.catalog),
                config=read_keep(keep),
                executor=executor,
                seconds=every,
                progress=progress,
                reported=_tell,
            )
            maintainer.run(stop)
            return
    for part in report.parts:
        answers().print(Text(str(part)), soft_wrap=True)
    _show_work(report)


def _tell(state: "MaintainerState") -> None:
    from rich.text import Text

    style = "yellow" if state.failures else ""
    messages().print(Text(str(state), style=style), soft_wrap=True)
    for each in state.report.failed if state.report is not None and not state.failures else ():
        messages().print(Text(str(each), style="yellow"), soft_wrap=True)


def retain(
    everyone: Everyone, *, keep: Keep = None, dry_run: DryRun = False, workers: Workers = 1
) -> None:
    """Drop what is older than it is kept, and take deleted rows out of the files.

    Nothing is dropped unless [bold]--keep[/bold] says how long rows are kept. Whole windows go, and
    nothing is rewritten for it.
    """
    from lakerunner.executors import worker_processes

    with (
        worker_processes(workers) as executor,
        everyone.open(read_only=False, config=read_keep(keep)) as opened,
        ProgressDisplay("retain") as progress,
    ):
        report = everyone.bound(opened).retain(
            dry_run=dry_run, progress=progress, executor=executor
        )
    _show_work(report)


def delete(
    connection: Connection,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Whose rows: logs, spans, …")],
    where: Annotated[
        str, typer.Argument(metavar="CONDITION", help="Rows for which this SQL condition is true.")
    ],
    *,
    times: Range,
) -> None:
    """Delete rows of one organization by a condition: no query sees them from now on.

    [bold]lakerunner retain[/bold] or [bold]maintain[/bold] takes them out of the files, and
    [bold]lakerunner deletions[/bold] proves it.
    """
    from rich.text import Text

    with connection.open(read_only=False) as opened:
        asked = opened.delete(table, where, times.start, times.end)
    answers().print(Text(str(asked)), soft_wrap=True)


def deletions(connection: Connection) -> None:
    """List every deletion: what was asked for, how many rows went, which commit completed it."""
    from rich.text import Text

    with connection.open() as opened:
        for proof in opened.deletions():
            answers().print(Text(str(proof)), soft_wrap=True)


def recover(
    connection: Connection,
    *,
    merge: Annotated[
        bool, typer.Option("--merge", help="Add what a catalog that is in use lacks.")
    ] = False,
    dry_run: DryRun = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Footers that are read at a time.")
    ] = STORE_REQUESTS,
) -> None:
    """Make a lost catalog again from the segments of all organizations.

    It reads the footer of every segment and changes none. Afterwards, ingest again: objects that
    held no rows or were set aside are taken anew. The exit code is 3 if a file could not be read,
    or something is missing.
    """
    with (
        connection.open(read_only=False, config={"workers": workers}) as opened,
        ProgressDisplay("recover") as progress,
    ):
        report = opened.recover(merge=merge, dry_run=dry_run, progress=progress)
    _show_recovery(report)
    if report.broken or report.missing or report.refused:
        raise typer.Exit(SET_ASIDE_EXIT)


def _show_recovery(report: "RecoveryReport") -> None:
    from rich.table import Table
    from rich.text import Text

    lines = {
        "commits": report.commits,
        "segments": report.segments,
        "rows": report.rows,
        "sources": report.sources,
        "files replaced": len(report.replaced),
        "files left out": len(report.left_out),
        "files broken": len(report.broken),
        "segments missing": len(report.missing),
        "sources to be taken": len(report.uncovered),
        "commits refused": len(report.refused),
    }
    grid = Table(show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    for name, value in lines.items():
        grid.add_row(name, f"{value:,}")
    grid.add_row("bytes", size(report.bytes))
    grid.add_row("seconds", f"{report.seconds:.2f}")
    console = answers()
    console.print(grid)
    for each in report.broken[:_SHOWN]:
        console.print(Text(printable(f"{each.key}: {each.reason}"), style="yellow"))
    for name in report.missing[:_SHOWN]:
        console.print(Text(f"missing: segment {name}", style="yellow"))
