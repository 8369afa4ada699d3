"""`lakerunner tables`, `describe`, `attributes`, `services`, `values`, `metrics`: what there is."""

from typing import Annotated

import typer

from lakerunner.cli.options import CatalogUrl, LakeUrl, Organization, StorageOptions, open_lake
from lakerunner.cli.output import Output, write
from lakerunner.cli.query import OutputFile, OutputOption
from lakerunner.cli.query import describe as describe_stats
from lakerunner.cli.screen import messages
from lakerunner.query import Result

Start = Annotated[str | None, typer.Option(help="Only from this time on.", show_default=False)]
End = Annotated[str | None, typer.Option(help="Only before this time.", show_default=False)]
TableName = Annotated[
    str, typer.Argument(metavar="TABLE", help="logs, spans or metrics.", show_default=False)
]

_SHOWN = 1000


def _show(found: Result, output: Output, file: OutputFile) -> None:
    write(found, found.schema, output, file, _SHOWN)
    messages().print(describe_stats(found.stats), style="dim")


def tables(
    lake: LakeUrl,
    *,
    output: OutputOption = Output.TABLE,
    file: OutputFile = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """List the tables, with what lies in them."""
    with open_lake(lake, catalog, organization, storage_option) as opened:
        _show(opened.tables(), output, file)


def describe(
    lake: LakeUrl,
    table: TableName,
    *,
    output: OutputOption = Output.TABLE,
    file: OutputFile = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """List the columns of a table, with their types and the attributes that they hold."""
    with open_lake(lake, catalog, organization, storage_option) as opened:
        _show(opened.describe(table), output, file)


def attributes(
    lake: LakeUrl,
    table: TableName,
    *,
    output: OutputOption = Output.TABLE,
    file: OutputFile = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """List the attributes of a table, as they were sent and as SQL has them."""
    with open_lake(lake, catalog, organization, storage_option) as opened:
        _show(opened.attributes(table), output, file)


def services(
    lake: LakeUrl,
    *,
    start: Start = None,
    end: End = None,
    output: OutputOption = Output.TABLE,
    file: OutputFile = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """List the services that sent logs, spans or metrics."""
    with open_lake(lake, catalog, organization, storage_option) as opened:
        _show(opened.services(start, end), output, file)


def values(  # noqa: PLR0913 - the options of a command
    lake: LakeUrl,
    column: Annotated[
        str, typer.Argument(metavar="COLUMN", help="A column, or the key of an attribute.")
    ],
    *,
    prefix: Annotated[
        str | None, typer.Option(help="Only those that begin so.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 1000,
    start: Start = None,
    end: End = None,
    output: OutputOption = Output.TABLE,
    file: OutputFile = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """List the distinct values of a column, in order."""
    with open_lake(lake, catalog, organization, storage_option) as opened:
        found = opened.values(column, prefix=prefix, limit=limit, start=start, end=end)
        _show(found, output, file)


def metrics(
    lake: LakeUrl,
    *,
    start: Start = None,
    end: End = None,
    output: OutputOption = Output.TABLE,
    file: OutputFile = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """List the metrics: names in PromQL and as sent, types, units, descriptions."""
    with open_lake(lake, catalog, organization, storage_option) as opened:
        _show(opened.metrics(start, end), output, file)
