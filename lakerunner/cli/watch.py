"""`lakerunner watch`."""

import signal as signals
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from lakerunner.cli.ingest import SET_ASIDE_EXIT, show_report
from lakerunner.cli.options import (
    CatalogUrl,
    FormatName,
    LakeUrl,
    Organization,
    SignalName,
    StorageOptions,
    Workers,
    open_lake,
    read_storage_options,
)
from lakerunner.cli.progress import ProgressDisplay
from lakerunner.events import open_source
from lakerunner.executors import worker_processes
from lakerunner.limits import WATCH_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def watch(  # noqa: PLR0913 - each is an option of the command
    lake: LakeUrl,
    source: EventSourceUrl,
    *,
    max_age: MaxAge = WATCH_SECONDS,
    until_idle: UntilIdle = None,
    signal: SignalName = None,
    input_format: FormatName = None,
    workers: Workers = 1,
    organization: Organization = "default",
    catalog: CatalogUrl = None,
    storage_option: StorageOptions = None,
    source_option: SourceOptions = None,
) -> None:
    """Take what is announced, as it arrives, until stopped; each object exactly once.

    Ctrl-C or SIGTERM ends it: what has arrived is committed first. It may be killed at any time and
    started again, and several may watch the same queue.
    """
    options = {**read_storage_options(storage_option), **read_storage_options(source_option)}
    with (
        open_source(source, options) as opened_source,
        worker_processes(workers) as executor,
        open_lake(
            lake, catalog, organization, storage_option, read_only=False, executor=executor
        ) as opened,
        ProgressDisplay("watch") as progress,
        stopped_by_interrupt() as stop,
    ):
        report = opened.watch(
            opened_source,
            stop=stop,
            max_age=max_age,
            until_idle=until_idle,
            signal=signal,
            format=input_format,
            progress=progress,
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
