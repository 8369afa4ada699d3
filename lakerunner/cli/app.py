"""The commands in one place, and what happens when one of them fails."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

import lakerunner
from lakerunner.cli.entry import INTERRUPTED_EXIT
from lakerunner.cli.screen import errors, forget_stdout
from lakerunner.cli.settings import own_settings
from lakerunner.errors import LakerunnerError

FAILED_EXIT = 1

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage, "
    "3 done but some input was set aside, 130 interrupted."
)


class Named(NamedTuple):
    """A command as the list of them has it; its module is loaded when it is called.

    Attributes:
        module: Below `lakerunner.cli`.
        says: What it does: the first sentence of its docstring.
        examples: Lines for its help.
    """

    module: str
    says: str
    examples: tuple[str, ...]


COMMANDS = {
    "ingest": Named(
        "ingest",
        "Take raw telemetry into a lake, each object exactly once.",
        (
            "lakerunner ingest ./lake ./otel-raw/",
            "lakerunner ingest s3://acme/lake s3://acme/otel-raw/ --workers 4",
            "lakerunner ingest ./lake './raw/**/*.binpb.gz' --organization acme",
            "journalctl -o json | lakerunner ingest ./lake -",
            "lakerunner ingest ./lake ./raw/ --mapping mapping.yaml",
            "lakerunner ingest s3://acme/lake --profiles profiles.yaml",
        ),
    ),
    "watch": Named(
        "ingest",
        "Take what is announced, as it arrives, until stopped; each object exactly once.",
        (
            "lakerunner watch s3://acme/lake sqs://raw-events",
            "lakerunner watch ./lake ./otel-raw/ --until-idle 30",
        ),
    ),
    "consume": Named(
        "ingest",
        "Take topics of Kafka, as messages arrive, until stopped; each message exactly once.",
        (
            "lakerunner consume s3://acme/lake kafka:9092 otlp_logs otlp_spans",
            "lakerunner consume ./lake localhost:9092 app-logs --message-format json",
            "lakerunner consume ./lake kafka:9093 logs --client security.protocol=SSL",
        ),
    ),
    "sql": Named(
        "query",
        "Answer a SQL query over a lake: tables logs, spans, metrics.",
        (
            "lakerunner sql ./lake 'SELECT level, count(*) FROM logs GROUP BY 1'",
            "lakerunner sql ./lake @errors.sql --start now-1h",
            "lakerunner sql ./lake 'SELECT body FROM logs' --output csv > bodies.csv",
            "lakerunner sql ./lake 'SELECT * FROM logs' -o parquet -f logs.parquet",
        ),
    ),
    "promql": Named(
        "promql",
        "Answer a PromQL expression over the metrics of a lake.",
        (
            "lakerunner promql ./lake up",
            "lakerunner promql ./lake 'sum(rate(http_requests_total[5m]))' --start now-1h",
            "lakerunner promql ./lake 'rate(errors_total[1m])' --start now-15m --step 30s --plot",
        ),
    ),
    "trace": Named(
        "query",
        "Show all spans of a trace as a waterfall, or write them as rows.",
        (
            "lakerunner trace ./lake d4cda95b652f4a1592b449d5929fda1b",
            "lakerunner trace ./lake d4cda95b652f4a1592b449d5929fda1b --start now-1h --logs",
            "lakerunner trace ./lake d4cda95b652f4a1592b449d5929fda1b -o json",
        ),
    ),
    "explain": Named(
        "query",
        "Say how a SQL query would be answered: each segment kept or dropped, and why.",
        ("lakerunner explain ./lake \"SELECT count(*) FROM logs WHERE level = 'ERROR'\"",),
    ),
    "shell": Named(
        "shell",
        "Ask a lake one question after another, with history and completion.",
        ("lakerunner shell ./lake", "lakerunner shell ./lake --output csv < questions.sql"),
    ),
    "serve": Named(
        "serve",
        "Answer SQL and PromQL over HTTP, and receive telemetry, until stopped.",
        (
            "lakerunner serve ./lake",
            "lakerunner serve s3://acme/lake --http :8080 --config gateway.yaml",
            "lakerunner serve ./lake --otlp-http 127.0.0.1:4318 --otlp-grpc 127.0.0.1:4317",
        ),
    ),
    "status": Named(
        "status",
        "Tell what is in a lake, what was set aside, what failed, and what waits to be committed.",
        (
            "lakerunner status ./lake",
            "lakerunner status ./lake --journal /var/lib/lakerunner",
        ),
    ),
    "key": Named(
        "serve",
        "Make an API key: print it, and what to put below `access: keys:` in the settings.",
        (
            "lakerunner key grafana --org acme",
            "lakerunner key ops --org acme --scope admin",
        ),
    ),
    "tables": Named(
        "inventory", "List the tables, with what lies in them.", ("lakerunner tables ./lake",)
    ),
    "describe": Named(
        "inventory",
        "List the columns of a table, with their types and the attributes that they hold.",
        ("lakerunner describe ./lake logs",),
    ),
    "attributes": Named(
        "inventory",
        "List the attributes of a table, as they were sent and as SQL has them.",
        ("lakerunner attributes ./lake spans --output json",),
    ),
    "services": Named(
        "inventory",
        "List the services that sent logs, spans or metrics.",
        ("lakerunner services ./lake --start now-1d",),
    ),
    "values": Named(
        "inventory",
        "List the distinct values of a column, in order.",
        (
            "lakerunner values ./lake level",
            "lakerunner values ./lake http.route --prefix /api --start now-1h",
        ),
    ),
    "metrics": Named(
        "inventory",
        "List the metrics: names in PromQL and as sent, types, units, descriptions.",
        ("lakerunner metrics ./lake --start now-1h",),
    ),
    "segments": Named(
        "inventory",
        "List the segments of a table.",
        (
            "lakerunner segments ./lake",
            "lakerunner segments ./lake --start now-1d --end now-12h --output json",
        ),
    ),
    "show": Named(
        "debugging",
        "Show one segment: what its footer says, its columns, and its first rows.",
        (
            "lakerunner show ./lake 019c3f0e",
            "lakerunner show ./lake 019c3f0e --rows 100 -o jsonl",
        ),
    ),
    "rejected": Named(
        "inventory",
        "List the input that was set aside, with reasons.",
        ("lakerunner rejected ./lake", "lakerunner rejected ./lake --retry"),
    ),
    "replay": Named(
        "debugging",
        "Read input as an ingest would, and show what becomes of it; nothing is taken.",
        (
            "lakerunner replay ./lake ./raw/one.json",
            "lakerunner replay ./lake s3://acme/raw/one.json.gz --mapping m.yaml -o jsonl",
        ),
    ),
    "unpublish": Named(
        "debugging",
        "Take segments out of all answers; their files stay, and so does a note of them.",
        ("lakerunner unpublish ./lake 019c3f0e --reason 'a test that should not be here'",),
    ),
    "doctor": Named(
        "doctor",
        "Look a lake over: settings, credentials, clock, catalog, orphans; say what to do.",
        ("lakerunner doctor ./lake", "lakerunner doctor s3://acme/lake --quick -o json"),
    ),
    "maintain": Named(
        "maintain",
        "Delete, merge, sum up, retire and collect, in this order.",
        (
            "lakerunner maintain ./lake --dry-run",
            "lakerunner maintain s3://acme/lake --keep logs=30d --keep spans=7d --watch",
        ),
    ),
    "compact": Named(
        "maintain",
        "Merge the small segments of each window into few.",
        (
            "lakerunner compact ./lake --dry-run",
            "lakerunner compact s3://acme/lake --workers 2 --watch",
        ),
    ),
    "rollup": Named(
        "maintain",
        "Sum metrics up in tiers: the table metrics_rollup.",
        (
            "lakerunner rollup ./lake --dry-run",
            "lakerunner rollup s3://acme/lake --workers 2 --watch",
        ),
    ),
    "aggregate": Named(
        "maintain",
        "Make metrics of logs and spans: counts, bytes, histograms of numbers, requests.",
        (
            "lakerunner aggregate ./lake rules.yaml",
            "lakerunner aggregate ./lake rules.yaml --start now-30d --anew",
        ),
    ),
    "retain": Named(
        "maintain",
        "Drop what is older than it is kept, and take deleted rows out of the files.",
        (
            "lakerunner retain ./lake --keep logs=30d --dry-run",
            "lakerunner retain ./lake --keep metrics=90d --keep metrics_rollup.10s=7d",
        ),
    ),
    "delete": Named(
        "maintain",
        "Delete rows of one organization by a condition: no query sees them from now on.",
        (
            "lakerunner delete ./lake logs \"attr_user_id = 'x'\"",
            "lakerunner delete ./lake spans \"name = 'GET /health'\" --end now-7d",
        ),
    ),
    "deletions": Named(
        "maintain",
        "List every deletion: what was asked for, how many rows went, which commit completed it.",
        ("lakerunner deletions ./lake",),
    ),
    "recover": Named(
        "maintain",
        "Make a lost catalog again from the segments of all organizations.",
        (
            "lakerunner recover ./lake --dry-run",
            "lakerunner recover s3://acme/lake --catalog postgresql://localhost/acme",
        ),
    ),
    "generate": Named(
        "generate",
        "Generate realistic telemetry of a shop, as a collector would write it to a bucket.",
        (
            "lakerunner generate ./bucket --rate 1000 --duration 60",
            "lakerunner generate ./bucket --seed 7 --start 2026-01-01 --services cart,payment",
        ),
    ),
    "demo": Named(
        "demo",
        "Generate ten minutes of telemetry, take it into a lake, and ask what went wrong.",
        ("lakerunner demo", "lakerunner demo /tmp/demo-lake"),
    ),
}


class Command(TyperCommand):
    """A command whose lake may be left out where the settings name one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; where one is missing, the lake is the one of the settings."""
        given, settings = list(args), own_settings()
        said = {name: getattr(settings, name) for name in ("organization", "catalog", "output")}
        ctx.default_map = {name: value for name, value in said.items() if value is not None}
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as missing:
            if settings.lake is None or "lake" not in [one.name for one in self.params]:
                raise
            try:
                return super().parse_args(ctx, [settings.lake, *given])
            except typer.BadParameter:
                raise missing from None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What the line of usage has, as it is written elsewhere."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options below the headings that they have."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                argument = option.param_type_name == "argument"
                panel = getattr(option, "rich_help_panel", None)
                name = "Arguments" if argument else str(panel or "Options")
                panels.setdefault(name, []).append(record)
        for name in sorted(panels, key=_PANELS.index):
            with formatter.section(name):
                formatter.write_dl(panels[name])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the base has it
        """Write the examples, each on a line of its own."""
        with formatter.section("Examples"):
            for line in (self.epilog or "").splitlines():
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
        formatter.write("\n")


_PANELS = ["Arguments", "Options", "Whose it is, and how it is read", "Connection"]


class Commands(TyperGroup):
    """Loads a command when it is called; turns what it raises into one clear line and a code."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as the base has it
        """Names, in the order in which one comes to need them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as the base has it
        """A command to be listed; what it takes is not loaded for it."""
        named = COMMANDS.get(cmd_name)
        return None if named is None else TyperCommand(name=cmd_name, help=named.says)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the base has it
        """Write the commands with all that is said of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, named.says) for name, named in COMMANDS.items()])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """A command to be called."""
        # What an unknown name is held against.
        self.commands = {name: self.get_command(ctx, name) for name in COMMANDS}
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load(name), rest

    def invoke(self, ctx: Any) -> object:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except LakerunnerError as error:
            errors().print(f"error: {error} ({error.code})", markup=False, style="red")
            raise typer.Exit(FAILED_EXIT) from None
        except BrokenPipeError:  # who reads the answer has read enough
            forget_stdout()
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            errors().print("interrupted; what was committed stays, run the command again to go on")
            raise typer.Exit(INTERRUPTED_EXIT) from None
        except Exception as error:
            if not _is_broken_pool(error):
                raise
            errors().print(
                "error: a worker process died, perhaps for want of memory; what was committed "
                "stays, run the command again with fewer workers",
                style="red",
            )
            raise typer.Exit(FAILED_EXIT) from None


def _is_broken_pool(error: Exception) -> bool:
    from concurrent.futures import BrokenExecutor

    return isinstance(error, BrokenExecutor)


def load(name: str) -> Any:
    """A command with all that it takes; its docstring is its help."""
    from lakerunner.cli.options import spelled

    named = COMMANDS[name]
    function = getattr(import_module(f"lakerunner.cli.{named.module}"), name)
    paragraphs = (inspect.getdoc(function) or "").replace("[bold]", "").replace("[/bold]", "")
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    one.command(
        name,
        cls=Command,
        help="\n\n".join(" ".join(each.split()) for each in paragraphs.split("\n\n")),
        epilog="\n".join(named.examples),
        context_settings={"help_option_names": ["-h", "--help"]},
    )(spelled(function))
    return typer.main.get_command(one)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich takes longer to load than all else, and is not needed for it
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

    Start with `lakerunner demo`: a lake of your own, and answers, in under a minute.
    """
