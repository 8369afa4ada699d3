"""`lakerunner rollup`: bring the tiers of metrics up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lakerunner.cli.compact import DryRun, OneOrganization, Watch, repeated, show_work
from lakerunner.cli.options import CatalogUrl, LakeUrl, StorageOptions, Workers, open_lake
from lakerunner.cli.progress import ProgressDisplay
from lakerunner.cli.watch import stopped_by_interrupt
from lakerunner.executors import worker_processes
from lakerunner.limits import ROLLUP_SETTLE_SECONDS

if TYPE_CHECKING:
    from lakerunner.model.report import WorkReport

Start = Annotated[
    str | None, typer.Option("--start", help="Only windows after it.", show_default=False)
]
End = Annotated[
    str | None, typer.Option("--end", help="Only windows before it.", show_default=False)
]


def rollup(  # noqa: PLR0913 - each is an option of the command
    lake: LakeUrl,
    *,
    start: Start = None,
    end: End = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    workers: Workers = 1,
    organization: OneOrganization = None,
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Sum metrics up in tiers: the table metrics_rollup.

    It sums up what changed since, so run it as often as you like. It may be killed at any time, and
    several may run at once. With [bold]--watch[/bold] windows that still fill wait until they are
    over, or until much has come. The exit code is 3 if something failed; the rest is done.
    """
    with (
        worker_processes(workers) as executor,
        open_lake(
            lake, catalog, organization or "default", storage_option, read_only=dry_run
        ) as opened,
        ProgressDisplay("rollup") as progress,
        stopped_by_interrupt() as stop,
    ):
        mine = opened.for_organization(organization) if organization else opened

        def once() -> WorkReport:
            return mine.rollup(
                start,
                end,
                dry_run=dry_run,
                settle_seconds=ROLLUP_SETTLE_SECONDS if watch else None,
                executor=executor,
                progress=progress,
                stop=stop,
            )

        report = repeated(once, stop) if watch and not dry_run else once()
    show_work(report)
