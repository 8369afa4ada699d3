"""`lakerunner ingest`."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from lakerunner.cli.options import (
    CatalogUrl,
    FormatName,
    LakeUrl,
    Organization,
    SignalName,
    StorageOptions,
    open_lake,
)
from lakerunner.cli.progress import ProgressDisplay
from lakerunner.cli.rules import (
    MappingFile,
    PrefixMappings,
    Profiles,
    read_mapping_file,
    read_rules,
)
from lakerunner.cli.screen import answers, messages, size
from lakerunner.executors import available_cores, worker_processes
from lakerunner.model.report import IngestReport
from lakerunner.printable import printable

SET_ASIDE_EXIT = 3
"""Exit code when an ingest did its work but could not take everything."""

UNMATCHED_EXIT = 1
"""Exit code when a source named nothing: most often a typing error."""

_REASONS_SHOWN = 20


Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        help="What to take: an object, a prefix (ends at /), a folder or a glob in quotes. "
        "May be left out where profiles or prefix mappings say where to look.",
        show_default=False,
    ),
]

AllCores = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Processes that read and write, each within the memory setting; one for each core if "
        "not given. More than one start only where there is more than one batch.",
        show_default=False,
    ),
]


def ingest(  # noqa: PLR0913 - the options of a command
    lake: LakeUrl,
    source: Sources = None,
    *,
    signal: SignalName = None,
    input_format: FormatName = None,
    workers: AllCores = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="A source that names nothing is no failure.")
    ] = False,
    profiles: Profiles = None,
    prefix_mapping: PrefixMappings = None,
    mapping: MappingFile = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Take raw telemetry into a lake, each object exactly once.

    Run it again at any time, also after a crash: what was taken is skipped. Objects that cannot be
    taken are set aside with a reason ([bold]lakerunner rejected[/bold] lists them) and the exit
    code is 3; everything else is taken all the same.
    """
    rules, said = read_rules(profiles, prefix_mapping), read_mapping_file(mapping)
    if not source and rules is None:
        raise typer.BadParameter("name a SOURCE, or --profiles, or a --prefix-mapping")
    if not source and (signal or input_format or said):
        raise typer.BadParameter("--signal, --format and --mapping need a SOURCE")
    report = IngestReport()
    with (
        worker_processes(workers or available_cores()) as executor,
        open_lake(
            lake,
            catalog,
            organization,
            storage_option,
            read_only=False,
            executor=executor,
            ownership=rules,
        ) as opened,
        ProgressDisplay("ingest") as progress,
    ):
        if not source:
            report = opened.ingest_owned(progress=progress)
        for each in source or ():
            report += opened.ingest(
                each, signal=signal, format=input_format, mapping=said, progress=progress
            )
    show_report(report)
    if report.rejected or report.failed:
        raise typer.Exit(SET_ASIDE_EXIT)
    if report.unmatched and not allow_empty:
        raise typer.Exit(UNMATCHED_EXIT)


def show_report(report: IngestReport) -> None:
    """Print what an ingest did, and the reasons of what it set aside."""
    seconds = max(report.seconds, 1e-9)
    lines = {
        "objects taken": f"{report.objects:,}",
        "objects skipped": f"{report.skipped:,}",
        "rejected": f"{len(report.rejected):,}",
        "to be tried again": f"{len(report.failed):,}" if report.failed else "",
        "gone": f"{report.gone:,}" if report.gone else "",
        "rows": f"{report.rows:,}",
        "segments": f"{report.segments:,}",
        "bytes in": size(report.bytes_read),
        "bytes out": size(report.bytes_written),
        "seconds": f"{report.seconds:.2f}",
        "rows per second": f"{report.rows / seconds:,.0f}",
    }
    grid = Table(show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    for name, value in lines.items():
        if value:
            grid.add_row(name, value)
    console = answers()
    console.print(grid, soft_wrap=False)
    aside = (*report.rejected, *report.failed)
    for each in aside[:_REASONS_SHOWN]:
        console.print(
            Text(printable(f"{each.source.url}: {each.reason} ({each.code})"), style="yellow")
        )
    for source in report.unmatched:
        messages().print(Text(printable(f"nothing matches {source}"), style="yellow"))
    if len(aside) > _REASONS_SHOWN:
        console.print(f"and {len(aside) - _REASONS_SHOWN:,} more: lakerunner rejected lists them")
