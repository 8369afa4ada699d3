"""`lakerunner recover`: make a lost catalog again."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from lakerunner.cli.ingest import SET_ASIDE_EXIT
from lakerunner.cli.options import CatalogUrl, LakeUrl, Organization, StorageOptions, open_lake
from lakerunner.cli.progress import ProgressDisplay
from lakerunner.cli.screen import answers, size
from lakerunner.limits import STORE_REQUESTS
from lakerunner.model.report import RecoveryReport
from lakerunner.printable import printable

_SHOWN = 20


def recover(
    lake: LakeUrl,
    *,
    merge: Annotated[
        bool, typer.Option("--merge", help="Add what a catalog that is in use lacks.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Footers that are read at a time.")
    ] = STORE_REQUESTS,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Make a lost catalog again from the segments of all organizations.

    It reads the footer of every segment and changes none. Afterwards, ingest again: objects that
    held no rows or were set aside are taken anew. The exit code is 3 if a file could not be read,
    or something is missing.
    """
    with (
        open_lake(
            lake,
            catalog,
            organization,
            storage_option,
            read_only=False,
            config={"workers": workers},
        ) as opened,
        ProgressDisplay("recover") as progress,
    ):
        report = opened.recover(merge=merge, dry_run=dry_run, progress=progress)
    _show(report)
    if report.broken or report.missing or report.refused:
        raise typer.Exit(SET_ASIDE_EXIT)


def _show(report: RecoveryReport) -> None:
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
