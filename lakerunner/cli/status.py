"""`lakerunner status`: how a lake is doing."""

from pathlib import Path
from typing import Annotated

import typer

from lakerunner.cli.options import Everyone, Shown
from lakerunner.cli.output import write
from lakerunner.cli.screen import messages

_EVERYTHING = 1_000_000


def status(
    everyone: Everyone,
    *,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Tell what waits in this journal, too, and what writers could not take.",
            show_default=False,
        ),
    ] = None,
    shown: Shown,
) -> None:
    """Tell what is in a lake, what was set aside, what failed, and what waits to be committed.

    The table on stdout is what each organization has; what needs somebody is told on stderr. What
    is running now, `/metrics` of `lakerunner serve` tells.
    """
    import pyarrow as pa

    from lakerunner.intake.journal import waiting_in

    with everyone.open() as opened:
        found = everyone.bound(opened).status()
    moment = pa.timestamp("ns", "UTC")
    tables = found.tables
    table = pa.table(
        {
            "organization": pa.array([one.organization for one in tables], pa.string()),
            "table": pa.array([one.table for one in tables], pa.string()),
            "segments": pa.array([one.segments for one in tables], pa.int64()),
            "rows": pa.array([one.rows for one in tables], pa.int64()),
            "bytes": pa.array([one.bytes for one in tables], pa.int64()),
            "first": pa.array([one.first_ns for one in tables], pa.int64()).cast(moment),
            "last": pa.array([one.last_ns for one in tables], pa.int64()).cast(moment),
        }
    )
    write(table.to_batches(), table.schema, shown.output, shown.file, _EVERYTHING)
    for aside in found.set_aside:
        messages().print(
            f"{aside.organization}: {aside.objects:,} objects and {aside.rows:,} lines set aside, "
            f"the latest because {aside.reason}",
            markup=False,
        )
    for one in found.setbacks:
        messages().print(f"put off: {one.task}: {one.reason}", markup=False)
    for waits in waiting_in(journal) if journal is not None else ():
        messages().print(str(waits), markup=False)
    messages().print(f"commit {found.sequence:,}: {found}", style="dim", markup=False)
