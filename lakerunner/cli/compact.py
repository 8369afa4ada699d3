"""`lakerunner compact`, and what the commands of maintenance have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace
from rich.text import Text

from lakerunner.cli.ingest import SET_ASIDE_EXIT
from lakerunner.cli.options import (
    CatalogUrl,
    LakeUrl,
    StorageOptions,
    Workers,
    open_lake,
)
from lakerunner.cli.progress import ProgressDisplay
from lakerunner.cli.screen import answers
from lakerunner.cli.watch import stopped_by_interrupt
from lakerunner.compact import Compactor
from lakerunner.executors import worker_processes
from lakerunner.limits import COMPACT_WATCH_SECONDS
from lakerunner.printable import printable
from lakerunner.tasks import Manner

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from lakerunner.model.report import WorkReport

_SHOWN = 20

OneOrganization = Annotated[
    str | None,
    typer.Option(
        "--organization",
        "--org",
        help="Whose segments; those of all if not given.",
        rich_help_panel="Connection",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Watch = Annotated[
    bool, typer.Option("--watch", help="Do it again and again, until Ctrl-C or SIGTERM.")
]
TableName = Annotated[
    str | None, typer.Option("--table", help="Only this table.", show_default=False)
]


def compact(
    lake: LakeUrl,
    *,
    table: TableName = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    workers: Workers = 1,
    organization: OneOrganization = None,
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Merge the small segments of each window into few.

    No row changes, and whoever queries meanwhile sees each of them once. It may be killed at any
    time, and several may run at once. With [bold]--watch[/bold] segments wait for others that may
    come, so that fewer bytes are written. The exit code is 3 if something failed; the rest is done.
    """
    with (
        worker_processes(workers) as executor,
        open_lake(
            lake, catalog, organization or "default", storage_option, read_only=dry_run
        ) as opened,
        ProgressDisplay("compact") as progress,
        stopped_by_interrupt() as stop,
    ):
        compactor = Compactor(
            opened.store, opened.catalog, organization=organization, executor=executor
        )
        manner = Manner(progress=progress, stop=stop)

        def once() -> WorkReport:
            return compactor.run(manner, table=table, dry_run=dry_run, eager=not watch)

        report = repeated(once, stop) if watch and not dry_run else once()
    show_work(report)


def repeated(once: Callable[[], WorkReport], stop: Event) -> WorkReport:
    """Do it again until stopped, with a pause in between; the report says it all together."""
    report = once()
    while not stop.wait(COMPACT_WATCH_SECONDS):
        # What failed then and works now is no failure any more.
        report = replace(report, failed=(), waiting=()) + once()
    return report


def show_work(report: WorkReport) -> None:
    """Print what maintenance did, would do, or could not do.

    Raises:
        typer.Exit: Something failed.
    """
    console = answers()
    for line in report.planned:
        console.print(Text(printable(line)), soft_wrap=True)
    console.print(Text(str(report)), soft_wrap=True)
    for each in (*report.failed, *report.waiting)[:_SHOWN]:
        console.print(Text(str(each), style="yellow"), soft_wrap=True)
    if report.failed:
        raise typer.Exit(SET_ASIDE_EXIT)
