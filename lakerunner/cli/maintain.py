"""`lakerunner maintain`, `retain`, `delete`, `deletions`: what keeps a lake small and in order."""

from typing import Annotated, Any

import typer
from rich.text import Text

from lakerunner.cli.compact import DryRun, OneOrganization, Watch, show_work
from lakerunner.cli.options import (
    CatalogUrl,
    LakeUrl,
    Organization,
    StorageOptions,
    Workers,
    open_lake,
)
from lakerunner.cli.progress import ProgressDisplay
from lakerunner.cli.screen import answers, messages
from lakerunner.cli.watch import stopped_by_interrupt
from lakerunner.errors import ConfigurationError
from lakerunner.executors import worker_processes
from lakerunner.lake import Lake
from lakerunner.limits import MAINTAIN_SECONDS
from lakerunner.maintenance import Maintainer, MaintainerState

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


def _of(lake: Lake, organization: str | None) -> Lake:
    return lake if organization is None else lake.for_organization(organization)


def maintain(  # noqa: PLR0913 - each is an option of the command
    lake: LakeUrl,
    *,
    keep: Keep = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    every: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="The pause of --watch, at most.")
    ] = MAINTAIN_SECONDS,
    workers: Workers = 1,
    organization: OneOrganization = None,
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Delete, merge, sum up, retire and collect, in this order.

    It may be killed at any time and run again, and any number may run at once: they share the work.
    What fails is put off, first for a minute and then for longer, and the rest goes on. The exit
    code is 3 if something failed.
    """
    if watch and organization is not None:
        raise ConfigurationError("maintain: --watch looks after all organizations")
    with (
        worker_processes(workers) as executor,
        open_lake(
            *(lake, catalog, "default", storage_option), read_only=False, config=read_keep(keep)
        ) as opened,
        ProgressDisplay("maintain") as progress,
        stopped_by_interrupt() as stop,
    ):
        if not watch or dry_run:
            report = _of(opened, organization).maintain(
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
    show_work(report)


def _tell(state: MaintainerState) -> None:
    style = "yellow" if state.failures else ""
    messages().print(Text(str(state), style=style), soft_wrap=True)
    for each in state.report.failed if state.report is not None and not state.failures else ():
        messages().print(Text(str(each), style="yellow"), soft_wrap=True)


def retain(
    lake: LakeUrl,
    *,
    keep: Keep = None,
    dry_run: DryRun = False,
    workers: Workers = 1,
    organization: OneOrganization = None,
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Drop what is older than it is kept, and take deleted rows out of the files.

    Nothing is dropped unless [bold]--keep[/bold] says how long rows are kept. Whole windows go, and
    nothing is rewritten for it.
    """
    with (
        worker_processes(workers) as executor,
        open_lake(
            *(lake, catalog, "default", storage_option), read_only=False, config=read_keep(keep)
        ) as opened,
        ProgressDisplay("retain") as progress,
    ):
        report = _of(opened, organization).retain(
            dry_run=dry_run, progress=progress, executor=executor
        )
    show_work(report)


def delete(
    lake: LakeUrl,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Whose rows: logs, spans, …")],
    where: Annotated[
        str, typer.Argument(metavar="CONDITION", help="Rows for which this SQL condition is true.")
    ],
    *,
    start: Annotated[str | None, typer.Option(help="Only rows from then on.")] = None,
    end: Annotated[str | None, typer.Option(help="Only rows before then.")] = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """Delete rows of one organization by a condition: no query sees them from now on.

    [bold]lakerunner retain[/bold] or [bold]maintain[/bold] takes them out of the files, and
    [bold]lakerunner deletions[/bold] proves it.
    """
    with open_lake(lake, catalog, organization, storage_option, read_only=False) as opened:
        asked = opened.delete(table, where, start, end)
    answers().print(Text(str(asked)), soft_wrap=True)


def deletions(
    lake: LakeUrl,
    *,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """List every deletion: what was asked for, how many rows went, which commit completed it."""
    with open_lake(lake, catalog, organization, storage_option) as opened:
        for proof in opened.deletions():
            answers().print(Text(str(proof)), soft_wrap=True)
