"""`lakerunner segments` and `lakerunner rejected`: what a lake holds, and what it does not."""

from collections.abc import Sequence
from typing import Annotated, Any

import pyarrow as pa
import typer

from lakerunner.cli.ingest import SET_ASIDE_EXIT, show_report
from lakerunner.cli.options import CatalogUrl, LakeUrl, Organization, StorageOptions, open_lake
from lakerunner.cli.output import Output, write
from lakerunner.cli.progress import ProgressDisplay
from lakerunner.cli.query import OutputFile, OutputOption
from lakerunner.cli.rules import (
    MappingFile,
    PrefixMappings,
    Profiles,
    read_mapping_file,
    read_rules,
)
from lakerunner.cli.screen import messages, size
from lakerunner.damage import DamagedSegment
from lakerunner.model.segment import Rejection, Segment
from lakerunner.printable import printable

_TIME = pa.timestamp("ns", "UTC")
_EVERYTHING = 1_000_000


def segments(  # noqa: PLR0913 - the options of a command are its arguments
    lake: LakeUrl,
    *,
    table: Annotated[str, typer.Option(help="Which table.")] = "logs",
    start: Annotated[
        str | None,
        typer.Option(help="Only those with rows from this time on.", show_default=False),
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="Only those with rows before this time.", show_default=False)
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read them all, and list those that are damaged.")
    ] = False,
    set_aside: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Leave this damaged one out of all answers."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why it is set aside; told from its file if not given.")
    ] = None,
    output: OutputOption = Output.TABLE,
    file: OutputFile = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """List the segments of a table.

    Times are RFC 3339, epoch numbers, or relative such as now-15m. With --verify, the exit code is
    3 if any is damaged.
    """
    if reason and not set_aside:
        raise typer.BadParameter("--reason goes with --set-aside")
    with open_lake(
        lake, catalog, organization, storage_option, read_only=set_aside is None
    ) as opened:
        if set_aside:
            listed = opened.set_aside(set_aside, reason=reason)
            messages().print(f"set aside: {printable(listed.source.key)}: ", end="", markup=False)
            messages().print(f"{printable(listed.reason)}, {listed.rows:,} rows", markup=False)
            return
        if verify:
            with ProgressDisplay("verify") as progress:
                damaged = opened.verify(table, start, end, progress=progress)
            shown = damage_table(damaged)
            write(shown.to_batches(), shown.schema, output, file, _EVERYTHING)
            messages().print(f"{len(damaged):,} damaged", style="dim")
            raise typer.Exit(SET_ASIDE_EXIT if damaged else 0)
        found = opened.segments(table, start, end)
    shown = segment_table(found)
    if output is Output.TABLE:  # as much as fits a line
        shown = shown.select(["first", "last", "rows", "bytes", "level", "key"])
        shown = shown.cast(pa.schema([_milliseconds(field) for field in shown.schema]), safe=False)
    write(shown.to_batches(), shown.schema, output, file, _EVERYTHING)
    rows, stored = sum(each.rows for each in found), sum(each.bytes for each in found)
    messages().print(f"{len(found):,} segments, {rows:,} rows, {size(stored)}", style="dim")


def _milliseconds(field: Any) -> Any:
    return field.with_type(pa.timestamp("ms", "UTC")) if field.type == _TIME else field


def segment_table(segments: Sequence[Segment]) -> Any:
    """Segments as an Arrow table, one a row."""
    columns = {
        "window": pa.array([each.window_start_ns for each in segments], _TIME),
        "first": pa.array([each.min_timestamp_ns for each in segments], _TIME),
        "last": pa.array([each.max_timestamp_ns for each in segments], _TIME),
        "rows": pa.array([each.rows for each in segments], pa.int64()),
        "bytes": pa.array([each.bytes for each in segments], pa.int64()),
        "level": pa.array([each.level for each in segments], pa.int32()),
        "key": pa.array([each.key for each in segments], pa.string()),
    }
    return pa.table(columns)


def damage_table(damaged: Sequence[DamagedSegment]) -> Any:
    """Damaged segments as an Arrow table, one a row."""
    columns = {
        "id": pa.array([each.segment.id for each in damaged], pa.string()),
        "rows": pa.array([each.segment.rows for each in damaged], pa.int64()),
        "reason": pa.array([each.reason for each in damaged], pa.string()),
        "key": pa.array([each.segment.key for each in damaged], pa.string()),
    }
    return pa.table(columns)


def rejected(  # noqa: PLR0913 - the options of a command
    lake: LakeUrl,
    *,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try again to take what is set aside.")
    ] = False,
    lines: Annotated[
        bool, typer.Option("--lines", help="List each line that is set aside, with its text.")
    ] = False,
    output: OutputOption = Output.TABLE,
    file: OutputFile = None,
    profiles: Profiles = None,
    prefix_mapping: PrefixMappings = None,
    mapping: MappingFile = None,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
) -> None:
    """List the input that was set aside, with reasons.

    With --retry, try to take it again, for instance after an upgrade or under new rules; the exit
    code is 3 if some of it was set aside once more.
    """
    rules, said = read_rules(profiles, prefix_mapping), read_mapping_file(mapping)
    if not retry and (rules or said):
        raise typer.BadParameter("--profiles, --prefix-mapping and --mapping go with --retry")
    with open_lake(
        lake, catalog, organization, storage_option, read_only=not retry, ownership=rules
    ) as opened:
        if retry:
            with ProgressDisplay("retry") as progress:
                report = opened.retry_rejected(mapping=said, progress=progress)
            show_report(report)
            if report.rejected or report.failed:
                raise typer.Exit(SET_ASIDE_EXIT)
            return
        table = opened.rejected_lines() if lines else rejection_table(opened.rejected())
    write(table.to_batches(), table.schema, output, file, _EVERYTHING)
    messages().print(f"{table.num_rows:,} set aside", style="dim")


def rejection_table(rejections: Sequence[Rejection]) -> Any:
    """Rejections as an Arrow table, one a row."""
    columns = {
        "at": pa.array([each.rejected_at_ns for each in rejections], _TIME),
        "code": pa.array([each.code for each in rejections], pa.string()),
        "rows": pa.array([each.rows for each in rejections], pa.int64()),
        "reason": pa.array([each.reason for each in rejections], pa.string()),
        "source": pa.array([each.source.url for each in rejections], pa.string()),
    }
    return pa.table(columns)
