"""`lakerunner ingest`, `lakerunner watch` and `lakerunner consume`."""

import signal as signals
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from lakerunner.cli.options import Connection, Content, Rules, Workers, read_storage_options
from lakerunner.cli.screen import ProgressDisplay, answers, messages, size
from lakerunner.cli.settings import own_settings
from lakerunner.limits import WATCH_SECONDS
from lakerunner.printable import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.model.report import IngestReport

SET_ASIDE_EXIT = 3
"""Exit code when an ingest did its work but could not take everything."""

UNMATCHED_EXIT = 1
"""Exit code when a source named nothing: most often a typing error."""

_REASONS_SHOWN = 20


Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        help="What to take: an object, a prefix (ends at /), a folder or a glob in quotes, "
        "or - for stdin. May be left out where profiles or prefix mappings say where to look.",
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


def ingest(
    connection: Connection,
    source: Sources = None,
    *,
    content: Content,
    workers: AllCores = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="A source that names nothing is no failure.")
    ] = False,
    rules: Rules,
) -> None:
    """Take raw telemetry into a lake, each object exactly once.

    Run it again at any time, also after a crash: what was taken is skipped. Objects that cannot be
    taken are set aside with a reason ([bold]lakerunner rejected[/bold] lists them) and the exit
    code is 3; everything else is taken all the same.
    """
    from lakerunner.executors import available_cores, worker_processes
    from lakerunner.model.report import IngestReport

    ownership, said = rules.ownership, rules.fields()
    default = own_settings().lake
    if not source and ownership is None and default is not None:
        connection, source = connection._replace(lake=default), [connection.lake]
    if not source and ownership is None:
        raise typer.BadParameter("name a SOURCE, or --profiles, or a --prefix-mapping")
    if not source and (content.signal or content.input_format or said):
        raise typer.BadParameter("--signal, --format and --mapping need a SOURCE")
    report = IngestReport()
    with (
        worker_processes(workers or available_cores()) as executor,
        connection.open(read_only=False, executor=executor, ownership=ownership) as opened,
        ProgressDisplay("ingest") as progress,
    ):
        if not source:
            report = opened.ingest_owned(progress=progress)
        for each in source or ():
            report += opened.ingest(
                sys.stdin.buffer if each == "-" else each,
                signal=content.signal,
                format=content.input_format,
                mapping=said,
                progress=progress,
            )
    show_report(report)
    if report.rejected or report.failed:
        raise typer.Exit(SET_ASIDE_EXIT)
    if report.unmatched and not allow_empty:
        raise typer.Exit(UNMATCHED_EXIT)


def show_report(report: "IngestReport") -> None:
    """Print what an ingest did, and the reasons of what it set aside."""
    from rich.table import Table
    from rich.text import Text

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
    for name, rows in report.untimed.items():
        said = f"{counted(rows, 'row')} of {name} without a time of their own have their object's"
        messages().print(Text(said, style="yellow"))
    for source in report.unmatched:
        messages().print(Text(printable(f"nothing matches {source}"), style="yellow"))
    if len(aside) > _REASONS_SHOWN:
        console.print(f"and {len(aside) - _REASONS_SHOWN:,} more: lakerunner rejected lists them")


EventSourceUrl = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="What announces objects: sqs://QUEUE, pubsub://PROJECT/SUBSCRIPTION, a directory, "
        "or a prefix to be listed again and again.",
        show_default=False,
    ),
]
SourceOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--source-option",
        metavar="KEY=VALUE",
        help="A credential or endpoint of SOURCE, where it differs from that of the lake.",
        show_default=False,
    ),
]
MaxAge = Annotated[
    float, typer.Option(min=0.0, metavar="SECONDS", help="How long an object may wait for others.")
]
UntilIdle = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        metavar="SECONDS",
        help="End when nothing was announced for so long.",
        show_default=False,
    ),
]


def watch(
    connection: Connection,
    source: EventSourceUrl,
    *,
    max_age: MaxAge = WATCH_SECONDS,
    until_idle: UntilIdle = None,
    content: Content,
    workers: Workers = 1,
    source_option: SourceOptions = None,
    rules: Rules,
) -> None:
    """Take what is announced, as it arrives, until stopped; each object exactly once.

    Ctrl-C or SIGTERM ends it: what has arrived is committed first. It may be killed at any time and
    started again, and several may watch the same queue.
    """
    from lakerunner.events import open_source
    from lakerunner.executors import worker_processes

    lent, said = read_storage_options(connection.storage_option), rules.fields()
    with (
        open_source(source, {**lent, **read_storage_options(source_option)}) as opened_source,
        worker_processes(workers) as executor,
        connection.open(read_only=False, executor=executor, ownership=rules.ownership) as opened,
        ProgressDisplay("watch") as progress,
        stopped_by_interrupt() as stop,
    ):
        report = opened.watch(
            opened_source,
            stop=stop,
            max_age=max_age,
            until_idle=until_idle,
            signal=content.signal,
            format=content.input_format,
            mapping=said,
            progress=progress,
        )
    show_report(report)
    if report.rejected or report.failed:
        raise typer.Exit(SET_ASIDE_EXIT)


def consume(  # noqa: PLR0913 - options
    connection: Connection,
    brokers: Annotated[
        str, typer.Argument(help="Where to find the cluster: HOST:PORT,…", show_default=False)
    ],
    topic: Annotated[list[str], typer.Argument(help="What to take.", show_default=False)],
    *,
    message_format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT", help="What a message holds: otlp, json, text, or auto: look at each."
        ),
    ] = "auto",
    signal: Annotated[
        str | None,
        typer.Option(help="logs, spans or metrics, where no topic says it.", show_default=False),
    ] = None,
    group: Annotated[str, typer.Option(help="Name of the consumer group.")] = "lakerunner",
    organization_header: Annotated[
        str | None,
        typer.Option(
            metavar="HEADER", help="Which header says whose a message is.", show_default=False
        ),
    ] = None,
    max_age: MaxAge = WATCH_SECONDS,
    until_idle: UntilIdle = None,
    client: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="A setting of librdkafka, as sasl.username.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Take topics of Kafka, as messages arrive, until stopped; each message exactly once.

    Ctrl-C or SIGTERM ends it: what has arrived is committed first. Several may take the same.
    """
    with (
        connection.open(read_only=False) as opened,
        ProgressDisplay("consume") as progress,
        stopped_by_interrupt() as stop,
    ):
        report = opened.consume(
            brokers,
            topic,
            stop=stop,
            until_idle=until_idle,
            progress=progress,
            format=message_format,
            signal=signal,
            group=group,
            organization_header=organization_header,
            flush_seconds=max(max_age, 0.1),
            client=read_storage_options(client),
        )
    show_report(report)
    if report.rejected or report.failed:
        raise typer.Exit(SET_ASIDE_EXIT)


@contextmanager
def stopped_by_interrupt() -> "Iterator[threading.Event]":
    """An event that the first Ctrl-C sets; the second interrupts."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signals.getsignal(signals.SIGINT)

    def first(*_: object) -> None:
        stop.set()
        signals.signal(signals.SIGINT, before)

    signals.signal(signals.SIGINT, first)
    try:
        yield stop
    finally:
        signals.signal(signals.SIGINT, before)
