"""`lakerunner aggregate`: make metrics of logs and spans by rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lakerunner.cli.compact import DryRun, show_work
from lakerunner.cli.options import CatalogUrl, LakeUrl, Organization, StorageOptions, open_lake
from lakerunner.cli.progress import ProgressDisplay

Rules = Annotated[
    Path, typer.Argument(metavar="RULES", help="What to make: a YAML file with a list of rules.")
]
Start = Annotated[
    str | None,
    typer.Option("--start", help="Go back to then; two days if not given.", show_default=False),
]
End = Annotated[
    str | None, typer.Option("--end", help="Only windows before it.", show_default=False)
]
Anew = Annotated[
    bool, typer.Option("--anew", help="Make again what earlier versions of a rule made.")
]


def aggregate(  # noqa: PLR0913 - each is an option of the command
    lake: LakeUrl,
    rules: Rules,
    *,
    start: Start = None,
    end: End = None,
    anew: Anew = False,
    dry_run: DryRun = False,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Make metrics of logs and spans: counts, bytes, histograms of numbers, requests.

    Each row counts once, however often this runs. With [bold]--start[/bold] a new rule is applied
    to old windows. The exit code is 3 if something failed; the rest is done.
    """
    with (
        open_lake(lake, catalog, organization, storage_option, read_only=dry_run) as opened,
        ProgressDisplay("aggregate") as progress,
    ):
        report = opened.aggregate(rules, start, end, anew=anew, dry_run=dry_run, progress=progress)
    show_work(report)
