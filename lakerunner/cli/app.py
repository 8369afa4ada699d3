"""The commands in one place, and what happens when one of them fails."""

import inspect
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import Annotated

import typer
from typer.core import TyperGroup

import lakerunner
from lakerunner.cli.aggregate import aggregate
from lakerunner.cli.compact import compact
from lakerunner.cli.demo import demo
from lakerunner.cli.discovery import attributes, describe, metrics, services, tables, values
from lakerunner.cli.entry import INTERRUPTED_EXIT
from lakerunner.cli.generate import generate
from lakerunner.cli.ingest import ingest
from lakerunner.cli.inventory import rejected, segments
from lakerunner.cli.maintain import delete, deletions, maintain, retain
from lakerunner.cli.promql import promql
from lakerunner.cli.query import explain, sql, trace
from lakerunner.cli.recover import recover
from lakerunner.cli.rollup import rollup
from lakerunner.cli.screen import messages
from lakerunner.cli.serve import key, serve
from lakerunner.cli.watch import watch
from lakerunner.errors import LakerunnerError

FAILED_EXIT = 1

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage, "
    "3 done but some input was set aside, 130 interrupted."
)


class Commands(TyperGroup):
    """Turns what a command raises into one clear line and an exit code."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override] # typer's own type
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except LakerunnerError as error:
            messages().print(f"error: {error} ({error.code})", markup=False, style="red")
            raise typer.Exit(FAILED_EXIT) from None
        except BrokenExecutor:
            messages().print(
                "error: a worker process died, perhaps for want of memory; what was committed "
                "stays, run the command again with fewer workers",
                style="red",
            )
            raise typer.Exit(FAILED_EXIT) from None
        except KeyboardInterrupt:
            messages().print(
                "interrupted; what was committed stays, run the command again to go on"
            )
            raise typer.Exit(INTERRUPTED_EXIT) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"lakerunner {lakerunner.__version__}")
        raise typer.Exit


@app.callback()
def _lakerunner(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Turn a bucket of raw telemetry into an observability backend.

    Start with [bold]lakerunner demo[/bold]: a lake of your own, and answers, in under a minute.
    """


def _add(command: Callable[..., None], *examples: str) -> None:
    """Register a command; its docstring is its help, with paragraphs as the terminal wraps them."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    app.command(
        help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs),
        epilog="\n".join(["Examples:", *(f"  {example}" for example in examples)]),
    )(command)


_add(
    ingest,
    "lakerunner ingest ./lake ./otel-raw/",
    "lakerunner ingest s3://acme/lake s3://acme/otel-raw/ --workers 4",
    "lakerunner ingest ./lake './raw/**/*.binpb.gz' --organization acme",
    "lakerunner ingest ./lake ./raw/ --mapping mapping.yaml",
    "lakerunner ingest s3://acme/lake --profiles profiles.yaml",
)
_add(
    watch,
    "lakerunner watch s3://acme/lake sqs://raw-events",
    "lakerunner watch ./lake ./otel-raw/ --until-idle 30",
)
_add(
    sql,
    "lakerunner sql ./lake 'SELECT level, count(*) FROM logs GROUP BY 1'",
    "lakerunner sql ./lake 'SELECT body FROM logs' --output csv > bodies.csv",
    "lakerunner sql ./lake 'SELECT * FROM logs' -o parquet -f logs.parquet",
)
_add(
    promql,
    "lakerunner promql ./lake up",
    "lakerunner promql ./lake 'sum by (job) (rate(http_requests_total[5m]))' --start now-1h",
    "lakerunner promql ./lake 'rate(errors_total[1m])' --start now-15m --step 30s --plot",
)
_add(
    trace,
    "lakerunner trace ./lake d4cda95b652f4a1592b449d5929fda1b",
    "lakerunner trace ./lake d4cda95b652f4a1592b449d5929fda1b --start now-1h --logs",
    "lakerunner trace ./lake d4cda95b652f4a1592b449d5929fda1b -o json",
)
_add(
    explain,
    "lakerunner explain ./lake \"SELECT count(*) FROM logs WHERE level = 'ERROR'\"",
)
_add(
    serve,
    "lakerunner serve ./lake",
    "lakerunner serve s3://acme/lake --http :8080 --config gateway.yaml",
)
_add(key, "lakerunner key grafana --org acme", "lakerunner key ops --org acme --scope admin")
_add(
    segments,
    "lakerunner segments ./lake",
    "lakerunner segments ./lake --start now-1d --end now-12h --output json",
)
_add(tables, "lakerunner tables ./lake")
_add(describe, "lakerunner describe ./lake logs")
_add(attributes, "lakerunner attributes ./lake spans --output json")
_add(services, "lakerunner services ./lake --start now-1d")
_add(
    values,
    "lakerunner values ./lake level",
    "lakerunner values ./lake http.route --prefix /api --start now-1h",
)
_add(metrics, "lakerunner metrics ./lake --start now-1h")
_add(
    maintain,
    "lakerunner maintain ./lake --dry-run",
    "lakerunner maintain s3://acme/lake --keep logs=30d --keep spans=7d --watch",
)
_add(
    retain,
    "lakerunner retain ./lake --keep logs=30d --dry-run",
    "lakerunner retain ./lake --keep metrics=90d --keep metrics_rollup.10s=7d",
)
_add(
    delete,
    "lakerunner delete ./lake logs \"attr_user_id = 'x'\"",
    "lakerunner delete ./lake spans \"name = 'GET /health'\" --end now-7d",
)
_add(deletions, "lakerunner deletions ./lake")
_add(rejected, "lakerunner rejected ./lake", "lakerunner rejected ./lake --retry")
_add(
    compact,
    "lakerunner compact ./lake --dry-run",
    "lakerunner compact s3://acme/lake --workers 2 --watch",
)
_add(
    rollup,
    "lakerunner rollup ./lake --dry-run",
    "lakerunner rollup s3://acme/lake --workers 2 --watch",
)
_add(
    aggregate,
    "lakerunner aggregate ./lake rules.yaml",
    "lakerunner aggregate ./lake rules.yaml --start now-30d --anew",
)
_add(
    recover,
    "lakerunner recover ./lake --dry-run",
    "lakerunner recover s3://acme/lake --catalog postgresql://localhost/acme",
)
_add(
    generate,
    "lakerunner generate ./bucket --rate 1000 --duration 60",
    "lakerunner generate ./bucket --seed 7 --start 2026-01-01 --services cart,payment",
)
_add(demo, "lakerunner demo", "lakerunner demo /tmp/demo-lake")
