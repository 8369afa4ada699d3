"""`lakerunner doctor`: looks a lake over, and says what to do."""

import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from lakerunner.cli.ingest import SET_ASIDE_EXIT
from lakerunner.cli.options import Connection, Shown
from lakerunner.cli.output import Output, write
from lakerunner.cli.screen import answers, size
from lakerunner.cli.settings import settings_file
from lakerunner.errors import LakerunnerError
from lakerunner.printable import counted, printable

if TYPE_CHECKING:
    from lakerunner.lake import Lake

SKEW_SECONDS = 30
"""How far the clocks of this machine and of the store may be apart."""

_EXAMPLES = 3


class Health(StrEnum):
    """How something is."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


class Finding(NamedTuple):
    """What was looked at, how it is, and what to do.

    Attributes:
        check: What was looked at.
        health: How it is.
        said: What was found.
        advice: What to do; empty where nothing needs to be done.
    """

    check: str
    health: Health
    said: str
    advice: str = ""


def doctor(
    connection: Connection,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not list the bucket, which takes long if it is big.")
    ] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Put nothing, not even the smallest object.")
    ] = False,
    shown: Shown,
) -> None:
    """Look a lake over: settings, credentials, clock, catalog, orphans; say what to do.

    It changes nothing; to learn whether the bucket takes writes and what time it has, it puts two
    empty objects, and not even these with --read-only. The exit code is 3 if something is bad.
    """
    findings = list(_examined(connection, quick=quick, read_only=read_only))
    if shown.output is Output.TABLE:
        _show(findings)
    else:
        import pyarrow as pa

        table = pa.Table.from_pylist([one._asdict() for one in findings])
        write(table.to_batches(), table.schema, shown.output, shown.file, len(findings))
    if any(one.health is Health.BAD for one in findings):
        raise typer.Exit(SET_ASIDE_EXIT)


def _show(findings: list[Finding]) -> None:
    from rich.text import Text

    styles = {Health.GOOD: "green", Health.NOTE: "yellow", Health.BAD: "red"}
    for one in findings:
        line = Text(f"{one.health:<5}", style=styles[one.health])
        answers().print(line.append(f"{one.check}: {printable(one.said)}", style="default"))
        if one.advice:
            answers().print(Text(f"      {printable(one.advice)}", style="bold"))


def _examined(connection: Connection, *, quick: bool, read_only: bool) -> Iterator[Finding]:
    yield _settings()
    yield _packages()
    try:
        lake = connection.open(read_only=read_only)
    except LakerunnerError as error:
        yield Finding("lake", Health.BAD, str(error), _OPEN_ADVICE.get(error.code, _ANY_ADVICE))
        return
    with lake:
        yield Finding("lake", Health.GOOD, f"{lake.store.url}, catalog {lake.catalog.url}")
        checks = [("catalog", _catalog), ("set aside", _rejected), ("work", _work)]
        if not read_only:
            checks = [("writing", _writing), ("clock", _clock), *checks]
        if not quick:
            checks += [("files", _files), ("orphans", _orphans)]
        for name, check in checks:
            yield _tried(name, check, lake)


_ANY_ADVICE = "see the message; `lakerunner COMMAND --help` names the options of a connection"
_OPEN_ADVICE = {
    "object_denied": "give credentials that may read and write the bucket, with --storage-option "
    "or the provider's own variables; or pass --read-only",
    "missing_extra": "install what the message names",
    "store_unavailable": "see that the endpoint can be reached from here",
}


def _tried(name: str, check: "Callable[[Lake], Finding]", lake: "Lake") -> Finding:
    try:
        return check(lake)
    except LakerunnerError as error:
        return Finding(name, Health.BAD, str(error), _OPEN_ADVICE.get(error.code, _ANY_ADVICE))


def _settings() -> Finding:
    path = settings_file()
    return Finding("settings", Health.GOOD, "no file" if path is None else str(path))


def _packages() -> Finding:
    from importlib.metadata import version
    from platform import platform, python_version

    names = ("lakerunner", "pyarrow", "datafusion")
    found = ", ".join(f"{name} {version(name)}" for name in names)
    return Finding("packages", Health.GOOD, f"Python {python_version()}, {found}, {platform()}")


def _writing(lake: "Lake") -> Finding:
    from lakerunner.store.probe import check_conditional_puts

    check_conditional_puts(lake.store)
    return Finding("writing", Health.GOOD, "the bucket takes puts, and create-only ones as it says")


def _clock(lake: "Lake") -> Finding:
    from lakerunner.fencing.fence import present_ns

    before = time.time_ns()
    skew = (present_ns(lake.store) - (before + time.time_ns()) // 2) / 1e9
    said = f"{abs(skew):.1f} s {'behind' if skew > 0 else 'ahead of'} the store's"
    if abs(skew) <= SKEW_SECONDS:
        return Finding("clock", Health.GOOD, said)
    return Finding(
        "clock",
        Health.NOTE,
        said,
        "let the machine keep time (NTP): now() in queries and ages in maintenance go by it",
    )


def _catalog(lake: "Lake") -> Finding:
    from lakerunner.fencing import Fence

    Fence(lake.store, lake.catalog).compare()
    whose = lake.organizations()
    told = lake.tables().to_arrow()
    rows, count = sum(told["rows"].to_pylist()), sum(told["segments"].to_pylist())
    said = f"{counted(len(whose), 'organization')}; '{lake.organization}' has "
    said += f"{counted(count, 'segment')} with {counted(rows, 'row')}"
    if lake.organization in whose or not whose:
        return Finding("catalog", Health.GOOD, said)
    known = ", ".join(whose[:_EXAMPLES])
    return Finding("catalog", Health.NOTE, said, f"name one with --organization: {known}")


def _rejected(lake: "Lake") -> Finding:
    listed = lake.rejected()
    if not listed:
        return Finding("set aside", Health.GOOD, "nothing")
    codes = sorted({str(one.code) for one in listed})
    return Finding(
        "set aside",
        Health.NOTE,
        f"{counted(len(listed), 'object')}: {', '.join(codes)}",
        "`lakerunner rejected LAKE` says why, and with --retry tries again",
    )


def _work(lake: "Lake") -> Finding:
    report = lake.compact(dry_run=True)
    waiting = len(report.waiting) + len(report.failed)
    if waiting:
        return Finding(
            "work",
            Health.BAD,
            f"{counted(waiting, 'task')} failed before and are put off: {report.waiting[0]}"
            if report.waiting
            else f"{counted(waiting, 'task')} failed",
            "`lakerunner maintain LAKE` tries them again and says what fails",
        )
    planned = len(report.planned)
    if not planned:
        return Finding("work", Health.GOOD, "no segments wait to be merged")
    return Finding(
        "work",
        Health.NOTE,
        f"{counted(planned, 'window')} could be merged",
        "run `lakerunner maintain LAKE` now and then, or with --watch",
    )


def _files(lake: "Lake") -> Finding:
    from lakerunner.schema.tables import TABLES

    there = {item.key: item.size for item in lake.store.list("segments/")}
    live = [one for table in TABLES for one in lake.segments(table)]
    lost = [one for one in live if one.key not in there]
    short = [one for one in live if one.key in there and there[one.key] != one.bytes]
    if not lost and not short:
        said = f"{counted(len(live), 'live segment')}, each there, "
        return Finding("files", Health.GOOD, f"{said}{size(sum(one.bytes for one in live))}")
    some = ", ".join(one.key for one in (*lost, *short)[:_EXAMPLES])
    return Finding(
        "files",
        Health.BAD,
        f"{len(lost):,} of {counted(len(live), 'live segment')} missing, "
        f"{len(short):,} of another size: {some}",
        "bring the files back from a backup or an older version, or `lakerunner unpublish LAKE "
        "SEGMENT` those that are lost",
    )


def _orphans(lake: "Lake") -> Finding:
    found = lake.collect_orphans(dry_run=True)
    if not found:
        return Finding("orphans", Health.GOOD, "no file that no commit names")
    return Finding(
        "orphans",
        Health.NOTE,
        f"{counted(len(found), 'file')} that no commit names, such as {found[0]}",
        "`lakerunner maintain LAKE` deletes them; if the catalog was lost, run "
        "`lakerunner recover LAKE` first",
    )
